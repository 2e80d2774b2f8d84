-- name: open_session
select session_id from open_sessions where streamer_id = $1

-- name: remember_session
insert into open_sessions (streamer_id, session_id) values ($1, $2) on conflict do nothing returning session_id

-- name: forget_session
delete from open_sessions where streamer_id = $1 and session_id = $2

-- name: save_watch
insert into watches (streamer_id, url, name, effective, enabled) values ($1, $2, $3, $4::jsonb, $5)
on conflict (streamer_id) do update
set url = excluded.url, name = excluded.name, effective = excluded.effective, enabled = excluded.enabled

-- name: remove_watch
delete from watches where streamer_id = $1

-- name: effective
select effective::text from watches where streamer_id = $1 and enabled

-- name: session_of
select session_id from watches where streamer_id = $1

-- name: set_session
update watches set session_id = $2 where streamer_id = $1

-- name: clear_session
update watches set session_id = null where streamer_id = $1 and session_id = $2

-- name: request_check
update watches set check_requested = check_requested + 1 where streamer_id = $1

-- name: watched
select streamer_id, url, name, effective::text as effective, session_id, check_requested from watches where enabled order by streamer_id

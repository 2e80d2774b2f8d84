-- name: requested
insert into recordings (recording_id, session_id, streamer_id, status) values ($1, $2, $3, 'requested') on conflict do nothing

-- name: started
update recordings set status = 'recording', worker = $2, epoch = $3, changed_at = now() where recording_id = $1

-- name: stop_requested
update recordings set stop_reason = $2, changed_at = now() where recording_id = $1

-- name: changed
update recordings set changes = changes + 1, changed_at = now() where recording_id = $1

-- name: ended
update recordings set status = 'ended', cursor = null, changed_at = now() where recording_id = $1

-- name: asked
select recording_id, stop_reason, changes from recordings where recording_id = any($1::text[])

-- name: save_cursor
update recordings set cursor = $3 where recording_id = $1 and epoch = $2

-- name: cursor
select cursor from recordings where recording_id = $1

-- name: slots_changed
insert into slots (scope, slots, extra_high) values ($1, $2, $3)
on conflict (scope) do update set slots = excluded.slots, extra_high = excluded.extra_high

-- name: slots
select scope, slots, extra_high from slots where scope = any($1::text[])

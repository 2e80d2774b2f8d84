-- name: save_target
insert into targets (target_id, kind, address, secret, events, enabled) values ($1, $2, $3, $4, $5, $6)
on conflict (target_id) do update set
  kind = excluded.kind, address = excluded.address, secret = excluded.secret, events = excluded.events, enabled = excluded.enabled

-- name: save_data_key
insert into data_keys (target_id, wrapped) values ($1, $2) on conflict (target_id) do update set wrapped = excluded.wrapped

-- name: change_target
update targets set events = $2, enabled = $3 where target_id = $1

-- name: remove_target
delete from targets where target_id = $1

-- name: listeners
select target_id, events from targets where enabled order by target_id

-- name: place
select kind, address, secret, wrapped from targets join data_keys using (target_id) where target_id = $1

-- name: target_exists
select exists (select from targets where target_id = $1)

-- name: add_notification
insert into notifications (notification_id, target_id, event_type, event, title, body, severity)
values ($1, $2, $3, $4::jsonb, $5, $6, $7)

-- name: notification
select target_id, event_type, event, title, body, severity, attempts, rounds, error from notifications where notification_id = $1

-- name: attempted
update notifications set attempts = attempts + 1 where notification_id = $1

-- name: failed
update notifications set attempts = attempts + 1, error = $2, failed_at = now() where notification_id = $1

-- name: try_again
update notifications set attempts = 0, rounds = rounds + 1, error = null, failed_at = null where notification_id = $1 returning rounds

-- name: remove_notification
delete from notifications where notification_id = $1

-- name: purge_failed
delete from notifications where failed_at < now() - make_interval(secs => $1)

-- name: remember_streamer
insert into streamers (streamer_id, name) values ($1, $2) on conflict (streamer_id) do update set name = excluded.name

-- name: forget_streamer
delete from streamers where streamer_id = $1

-- name: remember_session
insert into sessions (session_id, streamer_id, streamer_name, title) values ($1, $2, $3, $4) on conflict do nothing

-- name: purge_sessions
delete from sessions where opened_at < now() - make_interval(days => 30)

-- name: about
select coalesce(streamer.name, session.streamer_name, '') as streamer, coalesce(session.title, '') as title
from (select $1::text as session_id, $2::text as streamer_id) asked
left join sessions session on session.session_id = asked.session_id
left join streamers streamer on streamer.streamer_id = coalesce(nullif(asked.streamer_id, ''), session.streamer_id)

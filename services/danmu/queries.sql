-- name: plan
insert into chats
  (session_id, streamer_id, streamer_name, platform, title, category, started_ms, chat_kind, descriptor, metadata,
   own_recording_id, cut_every_ms, keep_raw, account)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10::jsonb, $11, $12::bigint, $13::boolean, $14)
on conflict (session_id) do nothing

-- name: stopping
update chats set reason = $2, revision = revision + 1 where session_id = $1

-- name: over
update chats set expected = $2, over_ms = $3, over_metadata = $4::jsonb, revision = revision + 1
where session_id = $1 returning session_id

-- name: open_segment
with opened as (
  insert into segments (session_id, recording_id, index, started_ms)
  select $1, $2, $3::integer, $4::bigint where not exists (select from chats where session_id = $1 and ended)
  on conflict do nothing
)
update chats set revision = revision + 1 where session_id = $1

-- name: close_segment
with closed as (
  insert into segments (session_id, recording_id, index, started_ms, ended_ms, closed_ms, metadata, breaks)
  select $1, $2, $3::integer, $4::bigint, $5::bigint, $6::bigint, $7::jsonb, $8::jsonb
  where not exists (select from chats where session_id = $1 and ended)
  on conflict (session_id, recording_id, index) do update
  set started_ms = excluded.started_ms, ended_ms = excluded.ended_ms, closed_ms = excluded.closed_ms, metadata = excluded.metadata,
      breaks = excluded.breaks
)
update chats set revision = revision + 1 where session_id = $1

-- name: turn
with closed as (
  update segments set ended_ms = $4::bigint, closed_ms = $4::bigint, metadata = $5::jsonb
  where session_id = $1 and recording_id = $2 and index = $3::integer and closed_ms is null
)
update chats set revision = revision + 1 where session_id = $1

-- name: discard_segment
with discarded as (
  insert into segments (session_id, recording_id, index, started_ms, discarded)
  select $1, $2, $3::integer, 0, true where not exists (select from chats where session_id = $1 and ended)
  on conflict (session_id, recording_id, index) do update set discarded = true
)
update chats set revision = revision + 1 where session_id = $1

-- name: load_plan
select session_id, streamer_id, streamer_name, platform, title, category, started_ms, chat_kind, descriptor, metadata,
       reason, expected, over_ms, over_metadata, own_recording_id, cut_every_ms, keep_raw, account,
       leaving_epoch, holding_epoch, joined_epoch, departed_epoch
from chats where session_id = $1 and not ended

-- name: load_segments
select recording_id, index, started_ms, ended_ms, closed_ms, discarded, cut_ms, metadata, breaks
from segments where session_id = $1 order by started_ms, index

-- name: revisions
select session_id, revision from chats where session_id = any($1::text[])

-- name: cut_segment
update segments set cut_ms = $4 where session_id = $1 and recording_id = $2 and index = $3

-- name: end_chat
update chats set ended = true where session_id = $1

-- name: forget_segments
delete from segments where session_id = $1

-- name: ended_chats
select session_id from chats where session_id = any($1::text[]) and ended

-- name: load_statistics
select statistics from chats where session_id = $1

-- name: save_statistics
update chats set statistics = $2 where session_id = $1

-- name: mark_leaving
update chats set leaving_epoch = $2, revision = revision + 1 where session_id = $1 and leaving_epoch < $2

-- name: mark_holding
update chats set holding_epoch = $2, revision = revision + 1 where session_id = $1 and holding_epoch < $2

-- name: mark_joined
update chats set joined_epoch = $2, revision = revision + 1 where session_id = $1 and joined_epoch < $2

-- name: mark_departed
update chats set departed_epoch = $2, revision = revision + 1 where session_id = $1 and departed_epoch < $2

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

-- name: secured
update recordings set secured_at = greatest(secured_at, $2) where recording_id = $1

-- name: replica
insert into replicas (worker, free) values ($1, $2) on conflict (worker) do update set free = excluded.free, seen_at = now()

-- name: replica_gone
delete from replicas where worker = $1 or seen_at < now() - interval '1 hour'

-- name: others_are_free
select exists (select from replicas where worker <> $1 and free > 0 and seen_at > now() - make_interval(secs => $2))

-- name: offer_handover
-- A standby that is there already stays, unless it is the one that owns the recording now.
insert into handovers (recording_id, owner, epoch, lasting, cursor) values ($1, $2, $3, $4, $5)
on conflict (recording_id) do update set owner = $2, epoch = $3, lasting = $4, cursor = $5, joint = null, offered_at = now(),
  successor = case when handovers.successor = $2 then null else handovers.successor end,
  holds = case when handovers.successor = $2 then null else handovers.holds end
where handovers.epoch <= $3

-- name: claim_handovers
with open as (
  select recording_id from handovers
  where owner <> $1 and joint is null and (successor is null or seen_at < now() - make_interval(secs => $3))
  order by offered_at limit $2 for update skip locked
)
update handovers set successor = $1, seen_at = now(), holds = null
from open where handovers.recording_id = open.recording_id
returning handovers.recording_id, handovers.lasting, handovers.cursor

-- name: stand_by
update handovers set seen_at = now(), holds = coalesce($3, holds) where recording_id = $1 and successor = $2
returning joint is not null as settled, (select secured_at from recordings where recording_id = $1) as secured_at

-- name: step_back
update handovers set successor = null, holds = null where recording_id = $1 and successor = $2

-- name: successor
select successor, holds from handovers
where recording_id = $1 and successor is not null and successor <> $2 and seen_at > now() - make_interval(secs => $3)

-- name: leave_joint
insert into handovers (recording_id, owner, epoch, joint) values ($1, $2, $3, $4)
on conflict (recording_id) do update set owner = $2, epoch = $3, joint = $4 where handovers.epoch <= $3

-- name: joint
select joint, secured from handovers where recording_id = $1 and epoch = $2

-- name: secure
update handovers set secured = $3
where recording_id = $1 and epoch = $2 and (secured is null or (secured->>'index')::integer < $4)

-- name: close_handover
delete from handovers where recording_id = $1 and epoch <= $2

-- name: keep_stream
insert into streamed_files (recording_id, segment, epoch, sent) values ($1, $2, $3, $4)
on conflict (recording_id, segment, epoch) do update set sent = excluded.sent, changed_at = now()

-- name: streams_of
select segment, epoch, sent from streamed_files where recording_id = $1 and epoch < $2 order by segment, epoch

-- name: forget_stream
delete from streamed_files where recording_id = $1 and segment = $2 and epoch = $3

-- name: load_stream
select type, data::text as data from events where stream = $1 and version > $2 order by version

-- name: read_log
select position, stream, version, event_id, type, data::text as data, meta::text as meta, recorded_at
from events where position > $2 and ($1 = '' or stream = $1) order by position limit $3

-- name: first_of_stream
select event_id, meta::text as meta from events where stream = $1 and version = 1

-- JSON in arrays comes as text: for each jsonb of an array the driver would call our codec, which was a third of an append of 50 events.

-- name: append
with fence as materialized (
  -- A claim by another replica waits for this append, or this append sees the claim. No stronger lock than that takes, so that the heartbeat
  -- and offers of the same work pass.
  select epoch from leases where name = $4 and epoch = $5 and owner is not null for key share
), allowed as materialized (
  select 1 as yes where $4::text is null or exists (select from fence)
), created as (
  insert into streams (stream, version) select $1, $3::integer from allowed where $2::integer = 0
  on conflict (stream) do nothing returning version
), moved as (
  update streams set version = streams.version + $3::integer from allowed
  where streams.stream = $1 and $2::integer > 0 and streams.version = $2::integer returning streams.version
), head as materialized (
  select version from created union all select version from moved
), logged as (
  insert into events (stream, version, event_id, type, data, meta, recorded_at)
  select $1, $2::integer + x.n, x.id, x.type, x.data::jsonb, $10::jsonb, $6::timestamptz
  from head, unnest($7::uuid[], $8::text[], $9::text[]) with ordinality as x(id, type, data, n) order by x.n
), queued as (
  insert into outbox (message_id, subject, headers, payload)
  select x.id, x.subject, x.headers::jsonb, x.payload
  from head, unnest($7::uuid[], $11::text[], $12::text[], $13::bytea[]) with ordinality as x(id, subject, headers, payload, n)
  order by x.n
)
select exists (select from allowed) as allowed, exists (select from head) as appended

-- name: enqueue
insert into outbox (message_id, subject, headers, payload) values ($1, $2, $3::jsonb, $4)

-- name: range_of_log
select position, stream, version, event_id, type, data::text as data, meta::text as meta, recorded_at
from events
where ($1::bigint = 0 or position >= $1) and ($2::bigint = 0 or position <= $2)
  and ($3 = '' or (stream = $3 and version >= $4::integer))
order by position limit $5

-- name: enqueue_many
insert into outbox (message_id, subject, headers, payload)
select x.id, x.subject, x.headers::jsonb, x.payload
from unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[]) with ordinality as x(id, subject, headers, payload, n) order by x.n

-- name: outbox_batch
select id, subject, headers::text as headers, payload from outbox where id > $2 order by id limit $1

-- name: outbox_delete
delete from outbox where id = any($1::bigint[])

-- name: outbox_state
select count(*) as pending, coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as oldest_s from outbox

-- name: outbox_waiting
select exists (select from outbox)

-- name: inbox_seen
select exists (select from inbox where consumer = $1 and message_id = $2)

-- name: inbox_seen_many
select x.consumer, x.message_id from unnest($1::text[], $2::uuid[]) as x(consumer, message_id) join inbox using (consumer, message_id)

-- name: inbox_record_many
insert into inbox (consumer, message_id) select * from unnest($1::text[], $2::uuid[]) on conflict do nothing

-- name: inbox_record
insert into inbox (consumer, message_id) values ($1, $2) on conflict do nothing

-- name: inbox_purge
delete from inbox where ctid = any(array(
  select ctid from inbox where handled_at < now() - make_interval(secs => $1) order by handled_at limit 10000 for update skip locked))

-- name: lock_head
select position from store_head for update

-- name: head
select position from store_head

-- name: append
with incoming as materialized (
  select x.* from unnest($2::uuid[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::jsonb[], $9::jsonb[],
                         $10::uuid[], $11::uuid[], $12::timestamptz[])
    with ordinality as x(event_id, service, stream, version, type, subject, data, meta, correlation_id, causation_id, time, n)
  where not exists (select from store_events e where e.event_id = x.event_id)
    and not exists (select from store_events e where (e.service, e.stream, e.version) = (x.service, x.stream, x.version))
), numbered as (
  select $1::bigint + row_number() over (order by n) as position, * from incoming
), inserted as (
  insert into store_events (position, event_id, service, stream, version, type, subject, data, meta, correlation_id, causation_id, time)
  select position, event_id, service, stream, version, type, subject, data, meta, correlation_id, causation_id, time
  from numbered order by position
  returning position, event_id
), moved as (
  update store_head set position = $1::bigint + (select count(*) from incoming) where exists (select from incoming)
)
select position, event_id from inserted order by position

-- name: known_ids
select event_id from store_events where event_id = any($1::uuid[])

-- name: after
select position, event_id, service, stream, version, type, subject, data::text as data, meta::text as meta, correlation_id, causation_id, time, recorded_at
from store_events where position > $1 order by position limit $2

-- name: at
select position, event_id, service, stream, version, type, subject, data::text as data, meta::text as meta, correlation_id, causation_id, time, recorded_at
from store_events where position = any($1::bigint[]) order by position

-- name: caused_by
select position, event_id, service, stream, version, type, subject, data::text as data, meta::text as meta, correlation_id, causation_id, time, recorded_at
from store_events where causation_id = $1 order by type like '%.dead_letter.buried.v%', position limit 1

-- name: applied
select s.service, s.stream, s.applied
from store_streams s join unnest($1::text[], $2::text[]) as x(service, stream) on (s.service, s.stream) = (x.service, x.stream)

-- name: parked
select p.service, p.stream, p.version, p.position
from store_parked p join unnest($1::text[], $2::text[]) as x(service, stream) on (p.service, p.stream) = (x.service, x.stream)
where p.released_by is null order by p.service, p.stream, p.version

-- name: set_applied
insert into store_streams (service, stream, applied)
select * from unnest($1::text[], $2::text[], $3::integer[])
on conflict (service, stream) do update set applied = excluded.applied

-- name: park
insert into store_parked (service, stream, version, position, released_by)
select * from unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[])
on conflict (service, stream, version) do update set released_by = excluded.released_by

-- name: in_order_of_application
with chosen as (
  select e.position as place, e.position from store_events e
  where e.position > $1 and e.position <= $2 and not exists (select from store_parked p where p.position = e.position)
  union all
  select p.released_by, p.position from store_parked p where p.released_by > $1 and p.released_by <= $2
)
select e.position, e.event_id, e.service, e.stream, e.version, e.type, e.subject, e.data::text as data, e.meta::text as meta, e.correlation_id,
       e.causation_id, e.time, e.recorded_at
from chosen c join store_events e on e.position = c.position
where e.service = any($3::text[])
order by c.place, e.version

-- name: gaps
select p.service, p.stream, coalesce(s.applied, 0) + 1 as missing, count(*) as waiting,
       extract(epoch from now() - min(p.parked_at))::float8 as age_s
from store_parked p left join store_streams s on (s.service, s.stream) = (p.service, p.stream)
where p.released_by is null
group by p.service, p.stream, s.applied order by age_s desc limit 1000

-- name: parked_count
select count(*) from store_parked where released_by is null

-- name: projections
select name, version, position, built_at, state, error from projections order by name

-- name: projection_state
select version, state from projections where name = $1

-- name: projections_moved
update projections set position = $1 where name = any($2::text[])

-- name: projection_failed
update projections set state = 'failed', error = $2 where name = $1

-- name: projection_built
insert into projections (name, version, position, state) values ($1, $2, $3, 'current')
on conflict (name) do update set version = excluded.version, position = excluded.position, built_at = now(), state = 'current', error = ''

-- name: lock_rebuild
select pg_try_advisory_lock(hashtext(current_schema() || ' rebuild'), hashtext($1))

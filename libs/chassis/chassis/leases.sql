-- name: offer
insert into leases (name, kind, not_before, priority) values ($1, $2, now() + make_interval(secs => $3), $4)
on conflict (name) do update set offers = leases.offers + 1, not_before = least(coalesce(leases.not_before, now()), excluded.not_before)

-- name: prioritise
update leases set priority = $2 where name = $1

-- name: rest
-- Spread by half of the time, so that what was in one process when it ended does not meet in the next one.
update leases set owner = null, expires_at = null, deaths = deaths + 1,
  not_before = now() + make_interval(secs => (0.5 + random()) * least(2 ^ least(deaths + 1, 9), 300))
where kind = $1 and owner is not null and expires_at < now() and name <> all($2::text[])
returning name, epoch, deaths

-- name: progressed
update leases set deaths = 0 where name = $1 and epoch = $2 and deaths > 0

-- name: claim
-- for update, not less: it is what an append under an older epoch waits for, and what waits for such an append.
with open as (
  select name from leases
  where kind = $1 and (owner is null or ($7 and expires_at < now())) and (not_before is null or not_before <= now()) and name <> all($5::text[])
    and priority >= $6
  order by priority desc, created_at limit $4 for update skip locked
)
update leases set owner = $2, epoch = nextval('lease_epochs'), expires_at = now() + make_interval(secs => $3)
from open where leases.name = open.name
returning leases.name, leases.epoch, leases.offers, leases.priority, leases.deaths,
  extract(epoch from now() - greatest(leases.created_at, coalesce(leases.not_before, leases.created_at)))::float8 as waited_s

-- name: claim_one
with open as (
  select name from leases where name = $1 and (owner is null or expires_at < now()) for update skip locked
)
update leases set owner = $2, epoch = nextval('lease_epochs'), expires_at = now() + make_interval(secs => $3)
from open where leases.name = open.name
returning leases.name, leases.epoch, leases.offers, leases.priority, 0::float8 as waited_s

-- name: claim_named
with open as (
  select name from leases where name = $1 and (owner is null or expires_at < now()) for update
), taken as (
  update leases set owner = $3, epoch = nextval('lease_epochs'), expires_at = now() + make_interval(secs => $4)
  from open where leases.name = open.name returning leases.epoch
), made as (
  insert into leases (name, kind, owner, epoch, expires_at)
  select $1, $2, $3, nextval('lease_epochs'), now() + make_interval(secs => $4) where not exists (select from open)
  on conflict (name) do nothing returning epoch
)
select epoch from taken union all select epoch from made

-- name: beat
update leases set expires_at = now() + make_interval(secs => $2)
from unnest($3::text[], $4::bigint[]) as held(name, epoch)
where leases.name = held.name and leases.epoch = held.epoch and leases.owner = $1
returning leases.name

-- name: release
update leases set owner = null, expires_at = null, deaths = 0 where name = $1 and epoch = $2 and owner = $3

-- name: postpone
update leases set owner = null, expires_at = null, deaths = 0,
  not_before = case when offers = $5 then now() + make_interval(secs => $4) else now() end
where name = $1 and epoch = $2 and owner = $3

-- name: finish
delete from leases where name = $1 and epoch = $2 and owner = $3 and offers = $4

-- name: next_open_s
select extract(epoch from min(greatest(coalesce(case when owner is null then not_before else expires_at end, now()), now())) - now())::float8
from leases where kind = $1 and name <> all($2::text[]) and priority >= $3

-- name: offer
insert into leases (name, kind, not_before) values ($1, $2, now() + make_interval(secs => $3)) on conflict (name) do nothing

-- name: claim
with open as (
  select name from leases
  where kind = $1 and (owner is null or expires_at < now()) and (not_before is null or not_before <= now())
  order by created_at limit $4 for update skip locked
)
update leases set owner = $2, epoch = epoch + 1, expires_at = now() + make_interval(secs => $3)
from open where leases.name = open.name
returning leases.name, leases.epoch

-- name: claim_named
insert into leases (name, kind, owner, epoch, expires_at)
values ($1, $2, $3, 1, now() + make_interval(secs => $4))
on conflict (name) do update set owner = $3, epoch = leases.epoch + 1, expires_at = now() + make_interval(secs => $4)
where leases.owner is null or leases.expires_at < now()
returning epoch

-- name: beat
update leases set expires_at = now() + make_interval(secs => $2)
from unnest($3::text[], $4::bigint[]) as held(name, epoch)
where leases.name = held.name and leases.epoch = held.epoch and leases.owner = $1
returning leases.name

-- name: release
update leases set owner = null, expires_at = null where name = $1 and epoch = $2 and owner = $3

-- name: postpone
update leases set owner = null, expires_at = null, not_before = now() + make_interval(secs => $4)
where name = $1 and epoch = $2 and owner = $3

-- name: finish
delete from leases where name = $1 and epoch = $2 and owner = $3

-- name: next_open_s
select extract(epoch from min(greatest(coalesce(case when owner is null then not_before else expires_at end, now()), now())) - now())::float8
from leases where kind = $1

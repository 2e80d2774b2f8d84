-- name: begin
insert into idempotency_keys as k (owner, key, fingerprint) values ($1, $2, $3)
on conflict (owner, key) do update set
  fingerprint = excluded.fingerprint, claimed_at = now(), status = null, headers = null, sealed_body = null,
  started_at = case when k.started_at < now() - interval '24 hours' then now() else k.started_at end
where k.started_at < now() - interval '24 hours'
   or (k.status is null and k.claimed_at < now() - interval '2 minutes' and k.fingerprint = excluded.fingerprint)
returning started_at

-- name: find
select fingerprint, status, headers, sealed_body from idempotency_keys where owner = $1 and key = $2

-- name: finish
update idempotency_keys set status = $3, headers = $4, sealed_body = $5 where owner = $1 and key = $2

-- name: release
update idempotency_keys set claimed_at = '-infinity' where owner = $1 and key = $2 and status is null

-- name: forget
delete from idempotency_keys where owner = $1 and key = $2 and status is null

-- name: purge
delete from idempotency_keys where started_at < now() - interval '24 hours'

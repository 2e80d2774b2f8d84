-- name: begin
insert into idempotency_keys (owner, key, fingerprint) values ($1, $2, $3)
on conflict (owner, key) do update set fingerprint = excluded.fingerprint, started_at = now(), status = null, headers = null, sealed_body = null
where idempotency_keys.started_at < now() - interval '24 hours'
   or (idempotency_keys.status is null and idempotency_keys.started_at < now() - interval '2 minutes' and idempotency_keys.fingerprint = excluded.fingerprint)
returning true

-- name: find
select fingerprint, status, headers, sealed_body from idempotency_keys where owner = $1 and key = $2

-- name: finish
update idempotency_keys set status = $3, headers = $4, sealed_body = $5 where owner = $1 and key = $2

-- name: forget
delete from idempotency_keys where owner = $1 and key = $2

-- name: purge
delete from idempotency_keys where started_at < now() - interval '24 hours'

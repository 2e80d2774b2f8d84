-- name: hold
select pg_try_advisory_lock($1::integer, hashtext(current_schema() || ' ' || $2 || ' ' || $3))

-- name: begin
-- A mark that an earlier life left counts, unless the server was started since: then its session ended with the server, and the process may live.
with before as (
  select handler is not null and handler <> $3 and begun_at > pg_postmaster_start_time() as crashed
  from suspects where consumer = $1 and message_id = $2
), marked as (
  insert into suspects (consumer, message_id, handler) values ($1, $2, $3)
  on conflict (consumer, message_id) do update
  set handler = $3, begun_at = now(), crashes = suspects.crashes + coalesce((select crashed from before), false)::integer
  returning crashes
)
select crashes, coalesce((select crashed from before), false) as crashed_now from marked

-- name: end
-- One statement for two cases: a count of crashes is kept, for they may go on; a row without any has served its purpose.
with spotless as (
  delete from suspects where consumer = $1 and message_id = $2 and handler = $3 and crashes = 0
)
update suspects set handler = null where consumer = $1 and message_id = $2 and handler = $3 and crashes > 0

-- name: purge
delete from suspects where begun_at < now() - make_interval(secs => $1)

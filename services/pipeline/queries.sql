-- name: add_job
insert into jobs (job_id, run_id) values ($1, $2) on conflict (job_id) do nothing

-- name: remove_jobs
delete from jobs where job_id = any($1::text[])

-- name: run_of
select run_id from jobs where job_id = $1

-- name: is_open
select exists (select from jobs where job_id = $1)

-- name: begin_attempt
update jobs set attempts = attempts + 1 where job_id = $1 returning attempts, error, receipts::text as receipts

-- name: undo_attempt
update jobs set attempts = greatest(attempts - 1, 0) where job_id = $1

-- name: note_error
update jobs set error = $2 where job_id = $1

-- name: save_receipt
-- for share: a claim by another replica waits for this write, or this write sees the claim.
with mine as materialized (
  select 1 from leases where name = $4 and epoch = $5 and owner is not null for share
)
update jobs set receipts = receipts || jsonb_build_object($2::text, $3::jsonb) where job_id = $1 and exists (select from mine)
returning job_id

-- name: add_finished
insert into finished_sessions (session_id, streamer_id, streamer_name, title, finished_at, files) values ($1, $2, $3, $4, now(), $5::jsonb)
on conflict do nothing

-- name: finished_sessions
select session_id, streamer_id, streamer_name, title, finished_at, files::text as files from finished_sessions where not going order by finished_at

-- name: going_sessions
select session_id from finished_sessions where going

-- name: session_goes
update finished_sessions set going = true where session_id = $1

-- name: session_gone
delete from finished_sessions where session_id = $1

-- name: forget_uploads
delete from uploads where session_id = $1

-- name: upload_requested
insert into uploads (upload_id, session_id, source, destination) values ($1, $2, $3, $4) on conflict do nothing

-- name: upload_done
update uploads set done = true, destination = $2 where upload_id = $1

-- name: upload_given_up
delete from uploads where upload_id = $1

-- name: uploads
select session_id, source, destination, done from uploads

-- name: open_runs
select distinct run_id from jobs

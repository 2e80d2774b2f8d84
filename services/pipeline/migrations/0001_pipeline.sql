-- Jobs that are released and not over. A job that is over is in the log and nowhere else.
create table jobs (
  job_id   text primary key,
  run_id   text not null,
  attempts integer not null default 0,
  error    text not null default '',
  -- What the job has published so far, by slot: after a crash a file that is there as written down is not made again.
  receipts jsonb not null default '{}'
);

-- name: tables
create table rm_runs (
  run_id     text primary key,
  session_id text not null,
  kind       text not null,
  index      integer not null,
  state      text not null,
  steps      jsonb not null,
  inputs     jsonb not null,
  outputs    jsonb not null,
  error      text not null,
  planned_at timestamptz not null,
  ended_at   timestamptz,
  version    integer not null
);
create index on rm_runs (planned_at desc, run_id desc);
create index on rm_runs (session_id, planned_at desc);
create table rm_jobs (
  run_id      text not null,
  job_id      text not null,
  session_id  text not null,
  step_id     text not null,
  processor   text not null,
  state       text not null,
  worker      text not null,
  attempts    integer not null,
  inputs      jsonb not null,
  outputs     jsonb not null,
  error       text not null,
  seconds     double precision,
  released_at timestamptz not null,
  started_at  timestamptz,
  ended_at    timestamptz,
  primary key (run_id, job_id)
);
create index on rm_jobs (released_at desc, job_id desc);
create index on rm_jobs (session_id, released_at desc);

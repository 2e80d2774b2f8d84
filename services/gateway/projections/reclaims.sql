-- name: tables
create table rm_reclaims (
  request_id   text primary key,
  dry_run      boolean not null,
  state        text not null,
  items        jsonb not null,
  sessions     integer not null,
  files        integer not null,
  bytes        bigint not null,
  requested_at timestamptz not null,
  ended_at     timestamptz,
  version      integer not null
);
create table rm_reclaimed (
  session_id   text primary key,
  reason       text not null,
  files        integer not null,
  bytes        bigint not null,
  reclaimed_at timestamptz
);

-- name: tables
create table rm_uploads (
  upload_id    text primary key,
  session_id   text not null,
  source       jsonb not null,
  destination  text not null,
  state        text not null,
  worker       text not null,
  artifact     jsonb,
  seconds      double precision,
  error        text not null,
  attempts     integer not null,
  requested_at timestamptz not null,
  ended_at     timestamptz,
  version      integer not null
);
create index on rm_uploads (requested_at desc, upload_id desc);
create index on rm_uploads (session_id, requested_at desc);

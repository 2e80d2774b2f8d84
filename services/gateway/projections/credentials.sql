-- name: tables
create table rm_credentials (
  credential_id text primary key,
  name          text not null,
  domains       jsonb not null,
  holds         jsonb not null,
  version       integer not null,
  created_at    timestamptz not null,
  updated_at    timestamptz not null
);
create index on rm_credentials (name, credential_id);

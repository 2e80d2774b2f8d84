-- name: tables
create table rm_sessions (
  session_id    text primary key,
  streamer_id   text not null,
  streamer_name text not null,
  url           text not null,
  platform      text not null,
  title         text not null,
  category      text not null,
  state         text not null,
  started_at    text not null,
  opened_at     timestamptz not null,
  closed_at     timestamptz,
  reason        text,
  version       integer not null
);
create index on rm_sessions (opened_at desc, session_id desc);
create index on rm_sessions (streamer_id, opened_at desc, session_id desc);
create index on rm_sessions (streamer_id) where state <> 'closed';
create table rm_processes (
  session_id   text primary key,
  recording_id text not null,
  attempts     integer not null,
  planned_at   timestamptz not null,
  completed_at timestamptz
);
create table rm_chats (
  session_id text primary key,
  state      text not null,
  kind       text not null,
  worker     text not null,
  files      integer not null,
  lines      integer not null,
  cause      text not null,
  started_at timestamptz not null,
  ended_at   timestamptz
);
create table rm_chat_files (
  session_id   text not null,
  recording_id text not null,
  index        integer not null,
  log          jsonb not null,
  xml          jsonb not null,
  lines        integer not null,
  started_at   text not null,
  primary key (session_id, recording_id, index)
);
create table rm_manifests (
  session_id  text primary key,
  segments    integer not null,
  duration_ms bigint not null,
  chat_lines  integer not null,
  failed_runs integer not null,
  manifest    jsonb not null,
  finished_at timestamptz not null
);
create table rm_chat_statistics (
  session_id text primary key,
  statistics jsonb not null
);

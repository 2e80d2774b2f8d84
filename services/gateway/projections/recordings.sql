-- name: tables
create table rm_recordings (
  recording_id  text primary key,
  session_id    text not null,
  streamer_id   text not null,
  streamer_name text not null,
  url           text not null,
  platform      text not null,
  title         text not null,
  category      text not null,
  state         text not null,
  worker        text not null,
  epoch         bigint not null,
  engine        text not null,
  segments      integer not null,
  gaps          jsonb not null,
  lost_ms       bigint not null,
  duration_ms   bigint not null,
  bytes         bigint not null,
  reason        text,
  detail        text not null,
  priority      text not null,
  queue_rank    smallint not null,
  not_before    timestamptz,
  requested_at  timestamptz not null,
  started_at    timestamptz,
  ended_at      timestamptz,
  version       integer not null
);
create index on rm_recordings (requested_at desc, recording_id desc);
create index on rm_recordings (session_id, requested_at desc);
create index on rm_recordings (streamer_id, requested_at desc);
create index on rm_recordings (streamer_id) where ended_at is null;
create index on rm_recordings (queue_rank, requested_at, recording_id) where state = 'requested';
create table rm_segments (
  recording_id text not null,
  index        integer not null,
  session_id   text not null,
  state        text not null,
  uri          text not null,
  artifact     jsonb,
  start_ms     bigint not null,
  duration_ms  bigint,
  started_at   text not null,
  split_reason text not null,
  recovered    boolean not null,
  repairs      jsonb not null,
  opened_at    timestamptz not null,
  completed_at timestamptz,
  primary key (recording_id, index)
);
create index on rm_segments (session_id, opened_at, recording_id, index);

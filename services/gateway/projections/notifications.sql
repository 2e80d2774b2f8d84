-- name: tables
create table rm_targets (
  target_id  text primary key,
  kind       text not null,
  name       text not null,
  host       text not null,
  events     jsonb not null,
  enabled    boolean not null,
  version    integer not null,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index on rm_targets (name, target_id);
create table rm_notifications (
  notification_id text primary key,
  target_id       text not null,
  event_type      text not null,
  event_id        text not null,
  state           text not null,
  attempts        integer not null,
  error           text not null,
  requested_at    timestamptz not null,
  ended_at        timestamptz
);
create index on rm_notifications (requested_at desc, notification_id desc);
create index on rm_notifications (target_id, requested_at desc);

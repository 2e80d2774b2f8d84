-- Where to send. Address and secret are sealed with the data key of their target; what may be shown of them is in the events.
create table targets (
  target_id text primary key,
  kind      text not null,
  address   text not null,
  secret    text not null,
  events    text[] not null,
  enabled   boolean not null
);

-- One key per target, itself sealed with the system key, in a table of its own: without its row the target's secrets are
-- forgotten, also in backups of `targets`.
create table data_keys (
  target_id text primary key references targets on delete cascade,
  wrapped   text not null
);

-- What is still to be delivered, with the event it tells of. A row lives until its message is delivered; one that failed
-- stays a while so that it can be tried again.
create table notifications (
  notification_id text primary key,
  target_id       text not null,
  event_type      text not null,
  event           jsonb not null,
  title           text not null,
  body            text not null,
  severity        text not null,
  attempts        integer not null default 0,
  rounds          integer not null default 1,
  error           text,
  failed_at       timestamptz
);
create index notifications_failed on notifications (failed_at) where failed_at is not null;

-- Names for messages to people; events carry ids.
create table streamers (
  streamer_id text primary key,
  name        text not null
);
create table sessions (
  session_id    text primary key,
  streamer_id   text not null,
  streamer_name text not null,
  title         text not null,
  opened_at     timestamptz not null default now()
);
create index sessions_age on sessions (opened_at);

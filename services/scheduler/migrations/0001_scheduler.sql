-- Whom to check: a view of config's resolved streamers and the monitor's sessions.
create table watches (
  streamer_id     text primary key,
  url             text not null,
  name            text not null,
  effective       jsonb not null,
  enabled         boolean not null,
  session_id      text,
  check_requested integer not null default 0
);

-- The event store: every event of every service, in the order in which the projector recorded it.
create table store_events (
  position       bigint primary key,
  event_id       uuid not null unique,
  service        text not null,
  stream         text not null,
  version        integer not null,
  type           text not null,
  subject        text not null,
  data           jsonb not null,
  meta           jsonb not null,
  correlation_id uuid not null,
  causation_id   uuid,
  time           timestamptz not null,
  recorded_at    timestamptz not null default now(),
  unique (service, stream, version)
);
create index on store_events (causation_id) where causation_id is not null;
create index on store_events (correlation_id, position);
create index on store_events (type, position);
create index on store_events ((data ->> 'session_id'), position) where data ->> 'session_id' is not null;
create index on store_events ((data ->> 'streamer_id'), position) where data ->> 'streamer_id' is not null;

create trigger store_is_append_only before update or delete on store_events for each row execute function refuse_change();
create trigger store_is_never_truncated before truncate on store_events for each statement execute function refuse_change();

-- One row, locked by whoever appends: the single writer that makes `position` gapless, and the moment at which a rebuilt read model is swapped in.
create table store_head (
  only_one boolean primary key default true check (only_one),
  position bigint not null
);
insert into store_head (position) values (0);

-- How far the read models have applied each stream, and the events that came before a missing version of their stream. `released_by` is the
-- position of the event they had to wait for: a rebuild applies them at the same place again.
create table store_streams (
  service text not null,
  stream  text not null,
  applied integer not null,
  primary key (service, stream)
);
create table store_parked (
  service     text not null,
  stream      text not null,
  version     integer not null,
  position    bigint not null unique references store_events,
  released_by bigint references store_events,
  parked_at   timestamptz not null default now(),
  primary key (service, stream, version)
);
create index on store_parked (released_by);

-- Which version of each read model the tables rm_… hold, and up to where.
create table projections (
  name     text primary key,
  version  integer not null,
  position bigint not null,
  built_at timestamptz not null default now(),
  state    text not null check (state in ('current', 'failed')),
  error    text not null default ''
);
alter table store_events set (autovacuum_vacuum_insert_scale_factor = 0.2);

-- The log of one service: every statement runs in the service's own schema.
create table streams (
  stream  text primary key,
  version integer not null
);

create table events (
  position    bigint generated always as identity primary key,
  stream      text not null,
  version     integer not null,
  event_id    uuid not null unique,
  type        text not null,
  data        jsonb not null,
  meta        jsonb not null,
  recorded_at timestamptz not null,
  unique (stream, version)
);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'the event log is append-only' using errcode = 'restrict_violation';
end
$$;
create trigger events_are_append_only before update or delete on events for each row execute function refuse_change();
create trigger events_are_never_truncated before truncate on events for each statement execute function refuse_change();

-- Ordered by id, drained by DELETE after the acknowledgement.
create table outbox (
  id         bigint generated always as identity primary key,
  message_id uuid not null,
  subject    text not null,
  headers    jsonb not null,
  payload    bytea not null,
  created_at timestamptz not null default now()
);

create table inbox (
  consumer   text not null,
  message_id uuid not null,
  handled_at timestamptz not null default now(),
  primary key (consumer, message_id)
);
create index inbox_age on inbox (handled_at);

-- Work that exactly one replica does at a time. The epoch is the fencing token: it grows with each claim, and goes on growing when the
-- same work is finished and offered again. `offers` counts the offers, so that one made during the last moments of a run is not lost.
create sequence lease_epochs;
create table leases (
  name       text primary key,
  kind       text not null,
  owner      text,
  epoch      bigint not null default 0,
  expires_at timestamptz,
  not_before timestamptz,
  offers     bigint not null default 1,
  created_at timestamptz not null default now()
);
create index leases_open on leases (kind, created_at);

create table dead_letters (
  letter_id  text primary key,
  consumer   text not null,
  message_id text not null,
  subject    text not null,
  headers    jsonb not null,
  payload    bytea not null,
  error_type text not null,
  error      text not null,
  deliveries integer not null,
  buried_at  timestamptz not null default now(),
  unique (consumer, message_id)
);
-- The outbox and the inbox live by insert and delete: vacuum by count, not by share.
alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
alter table inbox set (autovacuum_vacuum_insert_scale_factor = 0.2);

-- Up to when (wall clock) the media of a recording lies in finished files: a standby need not hold what is older.
alter table recordings add column secured_at timestamptz;

-- Who could take a recording over, and how many.
create table replicas (
  worker  text primary key,
  free    integer not null,
  seen_at timestamptz not null default now()
);

-- A recording whose owner leaves it, or wants a second replica to hold its media all the time (lasting): the successor holds media
-- from somewhere on (holds), the owner says where its own media ends (joint), and whoever claims the lease goes on there.
-- For a lasting one the owner also says how to go on behind its last finished file (secured), should the next one be lost with its machine.
create table handovers (
  recording_id text primary key,
  owner        text not null,
  epoch        bigint not null,
  lasting      boolean not null default false,
  cursor       jsonb,
  successor    text,
  seen_at      timestamptz,
  holds        jsonb,
  joint        jsonb,
  secured      jsonb,
  offered_at   timestamptz not null default now()
);

-- What a replica that runs recordings must know without folding their events: what is asked of them, and where to go on.
create table recordings (
  recording_id text primary key,
  session_id   text not null,
  streamer_id  text not null,
  status       text not null check (status in ('requested', 'recording', 'ended')),
  stop_reason  text,
  cuts         integer not null default 0,
  worker       text not null default '',
  epoch        bigint not null default 0,
  cursor       jsonb,
  changed_at   timestamptz not null default now()
);
create index recordings_unfinished on recordings (status) where status <> 'ended';

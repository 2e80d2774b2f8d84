-- Messages whose earlier deliveries nobody answered. `handler` is the life of the process that handles one right now, alone; a row that still
-- names one whose session is gone tells of a process that ended in the middle of it.
create table suspects (
  consumer   text not null,
  message_id text not null,
  crashes    integer not null default 0,
  handler    text,
  begun_at   timestamptz not null default now(),
  primary key (consumer, message_id)
);

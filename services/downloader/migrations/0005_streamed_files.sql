-- What of a file that goes into a bucket while it is written is there already: any replica can finish it.
create table streamed_files (
  recording_id text not null,
  segment      integer not null,
  epoch        bigint not null,
  sent         jsonb not null,
  changed_at   timestamptz not null default now(),
  primary key (recording_id, segment, epoch)
);

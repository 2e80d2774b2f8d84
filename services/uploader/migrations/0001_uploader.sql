-- Resume state of running uploads: not history, deleted when the upload is over.
create table progress (
  upload_id     text primary key,
  epoch         bigint not null default 0,
  state         jsonb,
  interruptions integer not null default 0
);

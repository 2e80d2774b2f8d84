-- name: tables
create table rm_dead_letters (
  letter_id   text primary key,
  service     text not null,
  state       text not null,
  consumer    text not null,
  message_id  text not null,
  letter_type text not null,
  subject     text not null,
  error_type  text not null,
  error       text not null,
  deliveries  integer not null,
  buried_at   timestamptz not null,
  closed_at   timestamptz
);
create index on rm_dead_letters (buried_at desc, letter_id desc);
create index on rm_dead_letters (state, buried_at desc);

-- name: tables
create table rm_streamers (
  streamer_id text primary key,
  url         text not null,
  name        text not null,
  platform    text not null,
  template    text,
  layer       jsonb not null,
  enabled     boolean not null,
  effective   jsonb,
  provenance  jsonb,
  version     integer not null,
  created_at  timestamptz not null,
  updated_at  timestamptz not null
);
create index on rm_streamers (name, streamer_id);
create table rm_channels (
  streamer_id text primary key,
  live        boolean not null,
  title       text not null,
  category    text not null,
  error       text not null,
  fatal       boolean not null,
  changed_at  timestamptz not null
);

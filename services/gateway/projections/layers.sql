-- name: tables
create table rm_layers (
  layer_id   text primary key,
  kind       text not null,
  name       text not null,
  layer      jsonb not null,
  version    integer not null,
  updated_at timestamptz not null,
  removed    boolean not null
);
create index on rm_layers (kind, name, layer_id);

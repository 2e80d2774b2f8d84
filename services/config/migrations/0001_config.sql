-- Views of this service's own events, written in the transaction that appends them.
create table addresses (
  streamer_id text primary key,
  url_key     text not null unique,
  template    text,
  added_at    timestamptz not null default now()
);

create table layers (
  layer_id text primary key,
  layer    jsonb not null
);

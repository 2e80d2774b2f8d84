-- Inline views of the gateway's own events, with the secrets that never enter an event.
create table users (
  user_id       text primary key,
  username      text not null unique,
  role          text not null,
  password_hash text not null,
  version       integer not null,
  created_at    timestamptz not null default now()
);

create table api_keys (
  key_id      text primary key,
  user_id     text not null references users on delete cascade,
  name        text not null,
  scopes      text[] not null,
  secret_hash bytea not null,
  version     integer not null,
  created_at  timestamptz not null default now()
);
create index on api_keys (user_id);

-- One login is a family of refresh tokens, each used once; using one twice ends the family.
create table logins (
  family     text primary key,
  user_id    text not null references users on delete cascade,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  revoked_at timestamptz
);
create index on logins (user_id);
create index on logins (expires_at);

create table refresh_tokens (
  token_hash bytea primary key,
  family     text not null references logins on delete cascade,
  used_at    timestamptz
);
create index on refresh_tokens (family);

create table login_failures (
  key           text primary key,
  failures      integer not null,
  last_at       timestamptz not null,
  blocked_until timestamptz not null
);

create table idempotency_keys (
  owner       text not null,
  key         text not null,
  fingerprint bytea not null,
  started_at  timestamptz not null default now(),
  claimed_at  timestamptz not null default now(),
  status      integer,
  headers     jsonb,
  sealed_body text,
  primary key (owner, key)
);
create index on idempotency_keys (started_at);

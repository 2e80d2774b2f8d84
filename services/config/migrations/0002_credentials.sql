-- Cookies, headers and proxy logins, sealed with the data key of their credential.
create table credentials (
  credential_id text primary key,
  domains       text[] not null,
  sealed        text not null
);

-- One key per credential, itself sealed with the system key, in a table of its own: without its row the secrets are
-- forgotten, also in backups of `credentials`.
create table data_keys (
  credential_id text primary key references credentials on delete cascade,
  wrapped       text not null
);

-- A streamer has at most one open session.
create table open_sessions (
  streamer_id text primary key,
  session_id  text not null unique
);

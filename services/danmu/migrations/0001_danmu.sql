-- The plan of each session whose chat is kept. "revision" grows with whatever the runner that holds the session should look at.
create table chats (
  session_id    text primary key,
  streamer_id   text not null,
  streamer_name text not null,
  platform      text not null,
  title         text not null,
  category      text not null,
  started_ms    bigint not null,
  chat_kind     text not null,
  descriptor    jsonb not null,
  metadata      jsonb not null,
  reason        text,
  expected      integer,
  over_ms       bigint,
  over_metadata jsonb,
  ended         boolean not null default false,
  revision      integer not null default 1
);

-- Where the files of a session are cut: the downloader's segments, kept until the chat has ended.
create table segments (
  session_id   text not null,
  recording_id text not null,
  index        integer not null,
  started_ms   bigint not null,
  ended_ms     bigint,
  closed_ms    bigint,
  discarded    boolean not null default false,
  cut_ms       bigint,
  metadata     jsonb,
  primary key (session_id, recording_id, index)
);

-- A session whose video is not recorded: what its chat files are named by, and after how long one ends (0: never).
alter table chats add column own_recording_id text, add column cut_every_ms bigint;

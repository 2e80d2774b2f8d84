-- Whether the frames of a chat are kept as they came.
alter table chats add column keep_raw boolean not null default false;

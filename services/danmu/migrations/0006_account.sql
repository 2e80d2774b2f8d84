-- The credential that a chat is joined with: its id, never its secrets.
alter table chats add column account text;

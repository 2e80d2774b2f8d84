-- What the chat in the finished files was like: the state of the sketches, compressed. Saved with each file, in its transaction.
alter table chats add column statistics bytea;

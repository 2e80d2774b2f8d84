-- An owner that leaves in an orderly way stays in the room until its successor is in it. Epochs of leases, 0: nobody yet.
-- leaving: listens on and may be succeeded. holding, joined: the newest owner, and the newest that is in the room.
-- departed: has left the room, and its journal lies in the store.
alter table chats
  add column leaving_epoch bigint not null default 0,
  add column holding_epoch bigint not null default 0,
  add column joined_epoch bigint not null default 0,
  add column departed_epoch bigint not null default 0;

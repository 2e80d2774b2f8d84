-- What waits is claimed by priority, then by age. Equal priorities keep the order they had.
alter table leases add column priority smallint not null default 0;
drop index leases_open;
create index leases_open on leases (kind, priority desc, created_at);

-- How many owners in a row ended without giving the work back; only kept for kinds whose work rests then.
alter table leases add column deaths integer not null default 0;

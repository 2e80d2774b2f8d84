-- How many recordings run at a time, where somebody set it: for all replicas (scope 'all') or for one.
create table slots (
  scope      text primary key,
  slots      integer,
  extra_high integer
);

-- Where a finished segment has no media for time that passed: [[place in the file in ms, ms without media], …].
alter table segments add column breaks jsonb not null default '[]';

-- How often a recording was asked for a cut or given another configuration: its owner reads the log again when the number grows.
alter table recordings rename column cuts to changes;

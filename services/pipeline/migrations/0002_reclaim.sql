-- Finished sessions whose files may still be there, and what was uploaded of them: what goes to make room is chosen from these.
create table finished_sessions (
  session_id    text primary key,
  streamer_id   text not null,
  streamer_name text not null,
  title         text not null,
  finished_at   timestamptz not null,
  files         jsonb not null,
  going         boolean not null default false
);
create index on finished_sessions (finished_at);
create table uploads (
  upload_id   text primary key,
  session_id  text not null,
  source      text not null,
  destination text not null,
  done        boolean not null default false
);
create index on uploads (session_id);

-- Sessions that were finished before this version. Of uploads before it nothing is known: they count as not uploaded.
insert into finished_sessions (session_id, streamer_id, streamer_name, title, finished_at, files)
select e.data->>'session_id', e.data->>'streamer_id', coalesce(p.data->>'streamer_name', ''), coalesce(p.data->>'title', ''), e.recorded_at,
  coalesce((select jsonb_agg(file) from events l, jsonb_array_elements(l.data->'files') file
            where l.stream = e.stream and l.type = 'aircheck.pipeline.session.manifest_listed.v1'), '[]'::jsonb) || (e.data->'manifest')
from events e
left join events p on p.stream = e.stream and p.type = 'aircheck.pipeline.session.planned.v1'
where e.type = 'aircheck.pipeline.session.finished.v1';

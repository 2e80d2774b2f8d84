-- name: streamers
select to_jsonb(x) as item from (
  select s.streamer_id as id, s.url, s.name, s.platform, s.template, s.layer, s.enabled, s.effective, s.provenance, s.version, s.created_at, s.updated_at,
    case when not s.enabled then 'stopped'
         when r.recording_id is not null and r.state = 'recording' then 'recording'
         when c.streamer_id is null then 'waiting'
         when c.error <> '' then 'failing'
         when c.live then 'live'
         else 'offline' end as state,
    case when c.streamer_id is null then null
         else jsonb_build_object('live', c.live, 'title', c.title, 'category', c.category, 'error', c.error, 'fatal', c.fatal, 'changed_at', c.changed_at) end as channel,
    case when o.session_id is null then null
         else jsonb_build_object('id', o.session_id, 'state', o.state, 'title', o.title, 'started_at', o.started_at) end as session,
    case when r.recording_id is null then null
         else jsonb_build_object('id', r.recording_id, 'state', r.state, 'bytes', r.bytes, 'duration_ms', r.duration_ms) end as recording
  from rm_streamers s
  left join rm_channels c using (streamer_id)
  left join lateral (select * from rm_sessions o where o.streamer_id = s.streamer_id and o.state <> 'closed'
                     order by o.opened_at desc, o.session_id desc limit 1) o on true
  left join lateral (select * from rm_recordings r where r.streamer_id = s.streamer_id and r.ended_at is null
                     order by r.requested_at desc, r.recording_id desc limit 1) r on true
  where ($1::text is null or s.streamer_id = $1) and ($2::boolean is null or s.enabled = $2)
    and ($3::text is null or (s.name, s.streamer_id) > ($3, $4))
  order by s.name, s.streamer_id limit $5
) x

-- name: layers
select to_jsonb(x) as item from (
  select layer_id as id, kind, name, layer, version, updated_at, removed from rm_layers
  where ($1::text is null or layer_id = $1) and ($2::text is null or kind = $2) and ($1::text is not null or not removed)
    and ($3::text is null or (name, layer_id) > ($3, $4))
  order by name, layer_id limit $5
) x

-- name: sessions
select to_jsonb(x) as item from (
  select s.session_id as id, s.streamer_id, s.streamer_name, s.url, s.platform, s.title, s.category, s.state, s.started_at, s.opened_at, s.closed_at,
    s.reason, s.version,
    coalesce(r.recordings, '[]'::jsonb) as recordings, coalesce(r.segments, 0) as segments, coalesce(r.duration_ms, 0) as duration_ms,
    coalesce(r.bytes, 0) as bytes, coalesce(r.lost_ms, 0) as lost_ms,
    p.completed_at as recorded_at, m.finished_at, m.failed_runs, g.reclaimed_at, coalesce(g.reason, '') as reclaim_reason,
    case when c.session_id is null then null
         else jsonb_build_object('state', c.state, 'kind', c.kind, 'files', c.files, 'lines', c.lines, 'cause', c.cause) end as chat
  from rm_sessions s
  left join rm_processes p using (session_id)
  left join rm_chats c using (session_id)
  left join rm_manifests m using (session_id)
  left join rm_reclaimed g using (session_id)
  left join lateral (
    select jsonb_agg(r.recording_id order by r.requested_at, r.recording_id) as recordings, sum(r.segments) as segments,
           sum(r.duration_ms) as duration_ms, sum(r.bytes) as bytes, sum(r.lost_ms) as lost_ms
    from rm_recordings r where r.session_id = s.session_id) r on true
  where ($1::text is null or s.session_id = $1) and ($2::text is null or s.streamer_id = $2) and ($3::text is null or s.state = $3)
    and ($4::timestamptz is null or (s.opened_at, s.session_id) < ($4, $5))
  order by s.opened_at desc, s.session_id desc limit $6
) x

-- name: manifest
select to_jsonb(x) as item from (
  select session_id, segments, duration_ms, chat_lines, failed_runs, manifest, finished_at, g.reclaimed_at
  from rm_manifests left join rm_reclaimed g using (session_id) where session_id = $1
) x

-- name: reclaim
select to_jsonb(x) as item from (
  select request_id as id, dry_run, state, items, sessions, files, bytes, requested_at, ended_at, version from rm_reclaims where request_id = $1
) x

-- name: chat_files
select to_jsonb(x) as item from (
  select f.recording_id, f.index, f.log, f.xml, f.lines, f.started_at from rm_chat_files f
  left join rm_recordings r using (recording_id)
  where f.session_id = $1 order by r.requested_at, f.recording_id, f.index limit 10000
) x

-- name: chat
select to_jsonb(x) as item from (
  select session_id, state, kind, files, lines, cause, started_at, ended_at from rm_chats where session_id = $1
) x

-- name: chat_statistics
select statistics as item from rm_chat_statistics where session_id = $1

-- name: segments
select to_jsonb(x) as item from (
  select recording_id, index, session_id, state, uri, artifact, start_ms, duration_ms, started_at, split_reason, recovered, repairs, opened_at, completed_at
  from rm_segments
  where ($1::text is null or session_id = $1) and ($2::text is null or recording_id = $2)
    and ($3::timestamptz is null or (opened_at, recording_id, index) > ($3, $4, $5::integer))
  order by opened_at, recording_id, index limit $6
) x

-- name: artifacts
select to_jsonb(x) as item from (
  select recording_id, index, artifact from rm_segments
  where session_id = $1 and state = 'completed' and ($2::text is null or recording_id = $2) and ($3::integer[] is null or index = any($3))
  order by opened_at, recording_id, index
) x

-- name: waiting
select count(*) from rm_recordings where state = 'requested'

-- name: recordings
select to_jsonb(x) as item from (
  select recording_id as id, session_id, streamer_id, streamer_name, url, platform, title, category, state, worker, epoch, engine, segments, gaps, lost_ms, duration_ms,
    bytes, reason, detail, priority, not_before, requested_at, started_at, ended_at, version,
    (select reclaimed_at from rm_reclaimed g where g.session_id = r.session_id) as reclaimed_at,
    case when state = 'requested' then (
      select count(*) + 1 from rm_recordings q
      where q.state = 'requested' and (q.queue_rank, q.requested_at, q.recording_id) < (r.queue_rank, r.requested_at, r.recording_id)
    ) end as queue_position
  from rm_recordings r
  where ($1::text is null or recording_id = $1) and ($2::text is null or session_id = $2) and ($3::text is null or streamer_id = $3)
    and ($4::boolean is null or (ended_at is null) = $4)
    and ($5::timestamptz is null or (requested_at, recording_id) < ($5, $6))
  order by requested_at desc, recording_id desc limit $7
) x

-- name: runs
select to_jsonb(x) as item from (
  select run_id as id, session_id, kind, index, state, steps, inputs, outputs, error, planned_at, ended_at, version from rm_runs
  where ($1::text is null or run_id = $1) and ($2::text is null or session_id = $2) and ($3::text is null or state = $3)
    and ($4::timestamptz is null or (planned_at, run_id) < ($4, $5))
  order by planned_at desc, run_id desc limit $6
) x

-- name: jobs
select to_jsonb(x) as item from (
  select run_id, job_id, session_id, step_id, processor, state, worker, attempts, inputs, outputs, error, seconds, released_at, started_at, ended_at from rm_jobs
  where ($1::text is null or run_id = $1) and ($2::text is null or job_id = $2) and ($3::text is null or session_id = $3)
    and ($4::text is null or state = $4)
    and ($5::timestamptz is null or (released_at, job_id) < ($5, $6))
  order by released_at desc, job_id desc limit $7
) x

-- name: uploads
select to_jsonb(x) as item from (
  select upload_id as id, session_id, source, destination, state, worker, artifact, seconds, error, attempts, requested_at, ended_at, version from rm_uploads
  where ($1::text is null or upload_id = $1) and ($2::text is null or session_id = $2) and ($3::text is null or state = $3)
    and ($4::timestamptz is null or (requested_at, upload_id) < ($4, $5))
  order by requested_at desc, upload_id desc limit $6
) x

-- name: credentials
select to_jsonb(x) as item from (
  select credential_id as id, name, domains, holds, version, created_at, updated_at from rm_credentials
  where ($1::text is null or credential_id = $1) and ($2::text is null or (name, credential_id) > ($2, $3))
  order by name, credential_id limit $4
) x

-- name: targets
select to_jsonb(x) as item from (
  select target_id as id, kind, name, host, events, enabled, version, created_at, updated_at from rm_targets
  where ($1::text is null or target_id = $1) and ($2::text is null or (name, target_id) > ($2, $3))
  order by name, target_id limit $4
) x

-- name: notifications
select to_jsonb(x) as item from (
  select notification_id as id, target_id, event_type, event_id, state, attempts, error, requested_at, ended_at from rm_notifications
  where ($1::text is null or notification_id = $1) and ($2::text is null or target_id = $2) and ($3::text is null or state = $3)
    and ($4::timestamptz is null or (requested_at, notification_id) < ($4, $5))
  order by requested_at desc, notification_id desc limit $6
) x

-- name: dead_letters
select to_jsonb(x) as item from (
  select letter_id as id, service, state, consumer, message_id, letter_type as type, subject, error_type, error, deliveries, buried_at, closed_at from rm_dead_letters
  where ($1::text is null or letter_id = $1) and ($2::text is null or service = $2) and ($3::text is null or state = $3)
    and ($4::timestamptz is null or (buried_at, letter_id) < ($4, $5))
  order by buried_at desc, letter_id desc limit $6
) x

-- name: events
select position, event_id, service, stream, version, type, subject, data::text as data, meta::text as meta, correlation_id, causation_id, time, recorded_at
from store_events
where position > $1 and position < $2
  and ($3::text is null or type = $3 or type like replace($3, '_', '\_') || '.%')
  and ($4::text is null or service = $4)
  and ($5::text is null or stream = $5)
  and ($6::text is null or data ->> 'streamer_id' = $6)
  and ($7::text is null or data ->> 'session_id' = $7)
  and ($8::uuid is null or correlation_id = $8)
  and ($9::uuid is null or causation_id = $9)

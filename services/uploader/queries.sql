-- name: add
insert into progress (upload_id) values ($1) on conflict do nothing

-- name: progress
select state::text as state, interruptions from progress where upload_id = $1

-- name: save
insert into progress (upload_id, epoch, state) values ($1, $2, $3::jsonb)
on conflict (upload_id) do update set epoch = excluded.epoch, state = excluded.state
where progress.epoch <= excluded.epoch returning upload_id

-- name: interrupted
update progress set interruptions = interruptions + 1, state = case when $2 then null else state end where upload_id = $1

-- name: remove
delete from progress where upload_id = $1

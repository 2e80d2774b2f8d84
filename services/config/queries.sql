-- name: claim_url
insert into addresses (streamer_id, url_key, template) values ($1, $2, $3) on conflict do nothing returning streamer_id

-- name: release_url
delete from addresses where streamer_id = $1

-- name: set_template
update addresses set template = $2 where streamer_id = $1

-- name: template_users
select count(*) from addresses where template = $1

-- name: streamers
select streamer_id from addresses order by added_at, streamer_id

-- name: save_layer
insert into layers (layer_id, layer) values ($1, $2::jsonb) on conflict (layer_id) do update set layer = excluded.layer

-- name: remove_layer
delete from layers where layer_id = $1

-- name: layer_exists
select exists (select from layers where layer_id = $1)

-- name: layers
select layer_id, layer::text as layer from layers

-- name: save_credential
insert into credentials (credential_id, domains, sealed) values ($1, $2, $3)
on conflict (credential_id) do update set domains = excluded.domains, sealed = excluded.sealed

-- name: save_data_key
insert into data_keys (credential_id, wrapped) values ($1, $2) on conflict (credential_id) do update set wrapped = excluded.wrapped

-- name: remove_credential
delete from credentials where credential_id = $1

-- name: credential
select domains, sealed, wrapped from credentials join data_keys using (credential_id) where credential_id = $1

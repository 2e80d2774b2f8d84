-- name: users
select user_id, username, role, version, created_at from users
where $1::text is null or (username, user_id) > ($1, $2) order by username, user_id limit $3

-- name: user
select user_id, username, role, version, created_at from users where user_id = $1

-- name: insert_user
insert into users (user_id, username, role, password_hash, version) values ($1, $2, $3, $4, $5)
on conflict (username) do nothing returning user_id

-- name: set_password
update users set password_hash = $2, version = $3 where user_id = $1

-- name: rehash
update users set password_hash = $2 where user_id = $1 and password_hash = $3

-- name: delete_user
delete from users where user_id = $1

-- name: lock_admins
select user_id from users where role = 'admin' order by user_id for update

-- name: any_admin
select exists (select from users where role = 'admin')

-- name: credentials
select user_id, username, role, password_hash from users where username = $1

-- name: password_of
select password_hash from users where user_id = $1

-- name: keys
select key_id, user_id, name, scopes, version, created_at from api_keys
where ($1::text is null or user_id = $1) and ($2::timestamptz is null or (created_at, key_id) < ($2, $3))
order by created_at desc, key_id desc limit $4

-- name: key
select key_id, user_id, name, scopes, version, created_at from api_keys where key_id = $1

-- name: insert_key
insert into api_keys (key_id, user_id, name, scopes, secret_hash, version) values ($1, $2, $3, $4, $5, $6)

-- name: delete_key
delete from api_keys where key_id = $1

-- name: keys_of
select key_id from api_keys where user_id = $1 order by key_id for update

-- name: key_owner
select k.secret_hash, k.scopes, u.user_id, u.username, u.role from api_keys k join users u using (user_id) where k.key_id = $1

-- name: login_owner
select u.user_id, u.username, u.role from logins l join users u using (user_id)
where l.family = $1 and l.revoked_at is null and l.expires_at > now()

-- name: open_login
insert into logins (family, user_id, expires_at) values ($1, $2, now() + make_interval(secs => $3))

-- name: add_refresh_token
insert into refresh_tokens (token_hash, family) values ($1, $2)

-- name: use_refresh_token
update refresh_tokens t set used_at = now() from logins l
where t.token_hash = $1 and t.used_at is null and l.family = t.family and l.revoked_at is null and l.expires_at > now()
returning t.family

-- name: family_of_token
select family from refresh_tokens where token_hash = $1

-- name: extend_login
update logins set expires_at = now() + make_interval(secs => $2) where family = $1

-- name: revoke_login
update logins set revoked_at = now() where family = $1 and revoked_at is null

-- name: revoke_logins_of
update logins set revoked_at = now() where user_id = $1 and revoked_at is null

-- name: blocked_for
select coalesce(max(extract(epoch from blocked_until - now())), 0)::float8 from login_failures where key = any($1::text[])

-- name: count_failure
insert into login_failures (key, failures, last_at, blocked_until) values ($1, 1, now(), now())
on conflict (key) do update set
  failures = case when login_failures.last_at < now() - interval '15 minutes' then 1 else login_failures.failures + 1 end,
  last_at = now(),
  blocked_until = case
    when login_failures.last_at < now() - interval '15 minutes' or login_failures.failures + 1 < $2::integer then now()
    else now() + make_interval(secs => least(power(2, least(login_failures.failures + 1 - $2::integer, 10)), 300)) end

-- name: forget_failures
delete from login_failures where key = $1

-- name: purge_logins
delete from logins where expires_at < now() - interval '1 day'

-- name: purge_failures
delete from login_failures where last_at < now() - interval '1 day'

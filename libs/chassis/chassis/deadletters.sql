-- name: bury
insert into dead_letters (letter_id, consumer, message_id, subject, headers, payload, error_type, error, deliveries)
values ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9)
on conflict (consumer, message_id) do nothing returning letter_id

-- name: find_by_message
select letter_id from dead_letters where consumer = $1 and message_id = $2

-- name: find
select letter_id, consumer, subject, headers::text as headers, payload, error_type, error, deliveries, buried_at
from dead_letters where letter_id = $1 for update

-- name: forget
delete from dead_letters where letter_id = $1

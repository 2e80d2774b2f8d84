-- name: bury
insert into dead_letters (letter_id, consumer, subject, headers, payload, error_type, error, deliveries)
values ($1, $2, $3, $4::jsonb, $5, $6, $7, $8)

-- name: find_by_message
select letter_id from dead_letters where consumer = $1 and headers ->> 'ce-id' = $2

-- name: find
select letter_id, consumer, subject, headers::text as headers, payload, error_type, error, deliveries, buried_at
from dead_letters where letter_id = $1 for update

-- name: forget
delete from dead_letters where letter_id = $1

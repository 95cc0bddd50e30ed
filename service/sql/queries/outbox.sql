-- name: try_lead
-- One leader a shard, until its connection ends.
SELECT pg_try_advisory_lock(hashtext('media_outbox'), $1)

-- name: next
-- The oldest events of a shard: $2 at the most, and after the first no more than $3 bytes. A row that commits late, with a lower id, is
-- about another asset.
SELECT id, cloud, subject, type, event_id, event_time, revision, state, about
FROM (
    SELECT *, sum(length(about) + coalesce(length(state), 0)) OVER (ORDER BY id) - length(about) - coalesce(length(state), 0) AS before
    FROM (SELECT * FROM media_outbox WHERE shard = $1 ORDER BY id LIMIT $2) AS oldest) AS sized
WHERE before <= $3
ORDER BY id

-- name: remove
-- Events that Kafka has acked.
DELETE FROM media_outbox WHERE shard = $1 AND id = ANY ($2::bigint[])

-- name: notify
-- Wakes the relay when the transaction commits.
SELECT pg_notify('media_outbox', '')

-- name: size
-- Roughly, without counting: what autovacuum last saw.
SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'media_outbox'::regclass

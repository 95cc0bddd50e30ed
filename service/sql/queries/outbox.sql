-- name: try_lead
-- One leader a shard, until its connection ends.
SELECT pg_try_advisory_lock(hashtext('media_outbox'), $1)

-- name: forget_lightly
-- Nobody on this connection waits for the disk: deletions that a crash undoes are those of the last events, which are sent again.
SET synchronous_commit = off

-- name: next
-- The oldest events of a shard but those whose ids are $4: $2 at the most, and after the first no more than $3 bytes. A row that commits
-- late, with a lower id, is about another asset than all that were there before; its asset's next may be there by now. So those with
-- Kafka are left out one by one: left out as a range, they would hide it, and its next would overtake it.
SELECT id, cloud, subject, type, event_id, event_time, revision, state, about
FROM (
    SELECT *, sum(length(about) + coalesce(length(state), 0)) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING)
        - length(about) - coalesce(length(state), 0) AS before
    FROM (
        SELECT * FROM media_outbox
        WHERE shard = $1 AND id NOT IN (SELECT unnest($4::bigint[]))
        ORDER BY id LIMIT $2) AS oldest) AS sized
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

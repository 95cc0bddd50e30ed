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
SELECT id, cloud, subject, type, event_id, event_time, revision, state, about, sound
FROM (
    SELECT *, sum(length(about) + coalesce(length(state), 0)) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING)
        - length(about) - coalesce(length(state), 0) AS before
    FROM (
        SELECT * FROM media_outbox
        WHERE shard = $1 AND id NOT IN (SELECT unnest($4::bigint[]))
        ORDER BY id LIMIT $2) AS oldest) AS sized
WHERE before <= $3
ORDER BY id

-- name: next_ids
-- The ids of the oldest events of a shard.
SELECT id FROM media_outbox WHERE shard = $1 ORDER BY id LIMIT $2

-- name: one
-- An event, as `next` gives it.
SELECT id, cloud, subject, type, event_id, event_time, revision, state, about, sound FROM media_outbox WHERE shard = $1 AND id = $2

-- name: remove
-- Events that Kafka has acked.
DELETE FROM media_outbox WHERE shard = $1 AND id = ANY ($2::bigint[])

-- name: notify
-- Wakes the relay when the transaction commits.
SELECT pg_notify('media_outbox', '')

-- name: lock_aside
-- Between those who set aside and those who bring back: what is held must not change while one of them looks.
LOCK TABLE media_outbox_aside IN SHARE ROW EXCLUSIVE MODE

-- name: set_aside
-- Move events that can't be sent out of the way, each with its reason.
WITH moved AS (DELETE FROM media_outbox WHERE shard = $1 AND id = ANY ($2::bigint[]) RETURNING *)
INSERT INTO media_outbox_aside
    (id, shard, cloud, subject, type, event_id, event_time, revision, state, about, sound, written_at, reason)
SELECT id, shard, cloud, subject, type, event_id, event_time, revision, state, about, sound, written_at, why.reason
FROM moved JOIN unnest($2::bigint[], $3::text[]) AS why (id, reason) USING (id)
RETURNING id, cloud, subject, type, revision, reason

-- name: hold
-- Move events behind an earlier one of their subject that was set aside, if it still is.
WITH moved AS (
    DELETE FROM media_outbox AS o WHERE shard = $1 AND id = ANY ($2::bigint[]) AND EXISTS (
        SELECT FROM media_outbox_aside AS a
        WHERE a.shard = o.shard AND a.cloud = o.cloud AND a.subject = o.subject AND a.id < o.id)
    RETURNING *)
INSERT INTO media_outbox_aside (id, shard, cloud, subject, type, event_id, event_time, revision, state, about, sound, written_at)
SELECT id, shard, cloud, subject, type, event_id, event_time, revision, state, about, sound, written_at FROM moved

-- name: held
-- Whose events wait behind one that was set aside.
SELECT DISTINCT cloud, subject FROM media_outbox_aside WHERE shard = $1

-- name: known_types
-- Subjects with an event that was set aside for its type, which is known by now ($2).
SELECT DISTINCT cloud, subject FROM media_outbox_aside WHERE shard = $1 AND reason LIKE 'unknown type %' AND type = ANY ($2::text[])

-- name: aside
-- What is set aside, oldest first; each filter is off when null. Without $4, only what can't be sent itself, not what waits behind it.
SELECT id, shard, cloud, subject, type, event_id, event_time, revision, written_at, set_aside_at, reason,
       octet_length(state) AS state_bytes, octet_length(about) AS about_bytes,
       (SELECT count(*) FROM media_outbox_aside AS b
        WHERE b.shard = a.shard AND b.cloud = a.cloud AND b.subject = a.subject AND b.id > a.id) AS behind
FROM media_outbox_aside AS a
WHERE ($1::bigint[] IS NULL OR id = ANY ($1)) AND ($2::text IS NULL OR cloud = $2) AND ($3::text IS NULL OR subject = $3)
  AND ($4::boolean OR reason IS NOT NULL)
ORDER BY shard, id
LIMIT $5

-- name: contents
-- What an event that is set aside would tell.
SELECT state, about FROM media_outbox_aside WHERE shard = $1 AND id = $2

-- name: drop
-- Give events that are set aside up.
DELETE FROM media_outbox_aside WHERE id = ANY ($1::bigint[])

-- name: keep_state
-- Of these events, those that tell what an asset is now: their states still go to `media.assets`, though the events do not.
UPDATE media_outbox_aside AS a SET type = $2, reason = NULL
WHERE id = ANY ($1::bigint[]) AND type <> $2 AND state IS NOT NULL AND EXISTS (
    SELECT FROM media_assets AS m WHERE m.cloud = a.cloud AND m.asset_id = a.subject AND m.revision = a.revision)
RETURNING id

-- name: bring_back
-- Have all that is set aside of these subjects sent, each in the place it had; raises nothing for those of which nothing is.
WITH moved AS (
    DELETE FROM media_outbox_aside
    WHERE (cloud, subject) IN (SELECT * FROM unnest($1::text[], $2::text[])) RETURNING *)
INSERT INTO media_outbox (id, shard, cloud, subject, type, event_id, event_time, revision, state, about, sound, written_at)
OVERRIDING SYSTEM VALUE
SELECT id, shard, cloud, subject, type, event_id, event_time, revision, state, about, sound, written_at FROM moved
RETURNING id

-- name: backlog
-- How many events wait: counted up to $2, beyond as PostgreSQL keeps count of what is inserted and deleted. How long the oldest has
-- waited, in seconds. What is set aside, and how many of that can't be sent themselves: counted up to $2.
SELECT counted + CASE WHEN counted > $2 THEN greatest(0, pg_stat_get_live_tuples('media_outbox'::regclass) - counted) ELSE 0 END
           AS waiting,
       coalesce((SELECT extract(epoch FROM clock_timestamp() - written_at)::float FROM media_outbox
                 WHERE shard = $1 ORDER BY id LIMIT 1), 0) AS oldest,
       (SELECT count(*) FROM (SELECT FROM media_outbox_aside WHERE shard = $1 LIMIT $2) AS rows) AS aside,
       (SELECT count(*) FROM (SELECT FROM media_outbox_aside WHERE shard = $1 AND reason IS NOT NULL LIMIT $2) AS rows) AS unsendable
FROM (SELECT count(*) AS counted FROM (SELECT FROM media_outbox WHERE shard = $1 LIMIT $2 + 1) AS rows) AS few

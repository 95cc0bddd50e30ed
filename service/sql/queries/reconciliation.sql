-- name: try_lock
-- For one of these at a time, by name, until its connection ends.
SELECT pg_try_advisory_lock(hashtextextended(current_schema() || '.' || $1, 0))

-- name: unlock
SELECT pg_advisory_unlock_all()

-- name: unfinished
-- A sweep of the same scope that can go on where it stopped.
SELECT * FROM media_sweeps
WHERE cloud = $1 AND resource_types = $2::text[] AND prefix IS NOT DISTINCT FROM $3 AND dry_run = $4
  AND status IN ('running', 'broken') AND resumable AND progressed_at > now() - make_interval(secs => $5)
ORDER BY id DESC LIMIT 1

-- name: begin
INSERT INTO media_sweeps (cloud, resource_types, prefix, dry_run, passes) VALUES ($1, $2::text[], $3, $4, $5) RETURNING *

-- name: go_on
UPDATE media_sweeps SET status = 'running', reason = NULL, finished_at = NULL, progressed_at = now() WHERE id = $1

-- name: abandon
-- Sweeps that nothing will go on with any more; only one runs at a time, and it is not this one ($2).
UPDATE media_sweeps SET status = 'broken', reason = coalesce(reason, 'it was stopped'), finished_at = coalesce(finished_at, now())
WHERE cloud = $1 AND id <> $2 AND status = 'running'

-- name: progress
UPDATE media_sweeps
SET pass = $2, cursor = $3, listed = $4, calls = $5, published = $6, missing = $7, progressed_at = now()
WHERE id = $1

-- name: see
-- What is listed twice is there if one of both says so.
INSERT INTO media_sweep_seen AS s (sweep_id, asset_id, placeholder)
SELECT $1, asset_id, bool_and(placeholder) FROM unnest($2::text[], $3::boolean[]) AS l (asset_id, placeholder) GROUP BY asset_id
ON CONFLICT (sweep_id, asset_id) DO UPDATE SET placeholder = false WHERE s.placeholder AND NOT excluded.placeholder

-- name: mark
-- What tells a page of listing $2, and the cursor of the next one, from all others.
INSERT INTO media_sweep_marks (sweep_id, pass, mark) SELECT $1, $2, unnest($3::bytea[]) ON CONFLICT DO NOTHING

-- name: has_marks
SELECT EXISTS (SELECT FROM media_sweep_marks WHERE sweep_id = $1 AND pass = $2 AND mark = ANY ($3::bytea[]))

-- name: forget_marks
DELETE FROM media_sweep_marks WHERE sweep_id = $1 AND pass = $2

-- name: find
-- What was found; the first finding about an asset stays.
INSERT INTO media_drift (sweep_id, cloud, asset_id, resource_type, type, public_id, kind, fields, cause, announced)
SELECT $1, $2, f.*
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::text[], $10::boolean[])
  AS f (asset_id, resource_type, type, public_id, kind, fields, cause, announced)
ON CONFLICT DO NOTHING

-- name: finish
UPDATE media_sweeps SET status = $2, reason = $3, calls = $4, resumable = $5, finished_at = now(), progressed_at = now()
WHERE id = $1

-- name: forget_seen
-- Of every sweep of the cloud that nothing will go on with: those that have ended, and those that ended long ago in the middle.
WITH over AS (
    SELECT id FROM media_sweeps
    WHERE cloud = $1
      AND (status IN ('complete', 'refused') OR NOT resumable OR progressed_at <= now() - make_interval(secs => $2))),
marks AS (DELETE FROM media_sweep_marks WHERE sweep_id IN (SELECT id FROM over))
DELETE FROM media_sweep_seen WHERE sweep_id IN (SELECT id FROM over)

-- name: forget_sweeps
-- Old sweeps with their findings, but for the last of each cloud.
DELETE FROM media_sweeps AS s
WHERE cloud = $1 AND progressed_at < now() - make_interval(days => $2)
  AND EXISTS (SELECT FROM media_sweeps AS later WHERE later.cloud = s.cloud AND later.id > s.id)

-- name: kinds
SELECT kind, count(*) AS found FROM media_drift WHERE sweep_id = $1 GROUP BY kind

-- name: rows
-- The mirror's rows of these assets.
SELECT cloud, asset_id, public_id, resource_type, type, format, version, version_id, bytes, width, height, duration, etag, created_at,
       uploaded_at, placeholder, details, assigned_folder, asset_folder, display_name, tags, context, metadata, access_control,
       moderation, derived, deleted_at, clocks, revision
FROM media_assets WHERE cloud = $1 AND asset_id = ANY ($2::text[])

-- name: folder_moves
SELECT act, path, clock, to_path FROM media_folder_events WHERE cloud = $1 AND act = 'moved' ORDER BY clock COLLATE "C"

-- name: alive
-- How many live rows a sweep would have to list: of these resource types, of these delivery types (all when null), below this prefix
-- (all when null). A row that has no name yet belongs to no listing, only to the whole.
SELECT count(*) FROM media_assets
WHERE cloud = $1 AND deleted_at IS NULL
  AND (resource_type = ANY ($2::text[]) OR resource_type IS NULL AND $5::boolean)
  AND ($3::text[] IS NULL OR type = ANY ($3::text[]))
  AND ($4::text IS NULL OR starts_with(public_id, $4))

-- name: alive_by_cloud
-- About how many assets there are to list.
SELECT cloud, count(*) AS alive FROM media_assets
WHERE deleted_at IS NULL AND resource_type = ANY ($1::text[]) AND ($2::text IS NULL OR starts_with(public_id, $2))
GROUP BY cloud

-- name: unseen
-- Those of them that sweep $6 has listed as placeholders, or not at all, and then only if they were at rest since $7 seconds before it
-- began, or our own deletion has ended and nothing was heard since; $9 of them after the id $8.
SELECT a.asset_id, s.asset_id IS NOT NULL AS placeholder
FROM media_assets AS a LEFT JOIN media_sweep_seen AS s ON s.sweep_id = $6 AND s.asset_id = a.asset_id
WHERE cloud = $1 AND deleted_at IS NULL
  AND (resource_type = ANY ($2::text[]) OR resource_type IS NULL AND $5::boolean)
  AND ($3::text[] IS NULL OR type = ANY ($3::text[]))
  AND ($4::text IS NULL OR starts_with(public_id, $4))
  AND (s.placeholder
       OR s.asset_id IS NULL
          AND (updated_at < (SELECT started_at - make_interval(secs => $7) FROM media_sweeps WHERE id = $6)
               OR EXISTS (
                   SELECT FROM media_operations AS o
                   WHERE o.cloud = a.cloud AND o.asset_id = a.asset_id AND kind = 'destroy' AND status = 'completed'
                     AND confirmed_at IS NULL AND completed_at >= a.updated_at)))
  AND a.asset_id > $8
ORDER BY a.asset_id
LIMIT $9

-- name: listed
-- $2 assets that sweep $1 has seen, and that have not ended since, so far as the mirror knows.
SELECT s.asset_id FROM media_sweep_seen AS s JOIN media_assets AS a ON a.cloud = $3 AND a.asset_id = s.asset_id
WHERE s.sweep_id = $1 AND NOT s.placeholder AND NOT a.placeholder AND a.deleted_at IS NULL AND s.asset_id NOT LIKE '%/%'
ORDER BY s.asset_id DESC
LIMIT $2

-- name: alive_besides
-- $3 live assets besides these.
SELECT asset_id FROM media_assets
WHERE cloud = $1 AND deleted_at IS NULL AND NOT placeholder AND asset_id <> ALL ($2::text[]) AND asset_id NOT LIKE '%/%'
ORDER BY asset_id DESC
LIMIT $3

-- name: under_way
-- Of these assets, those that we are deleting, or ($3) have just deleted: that they are not in both places is no drift.
SELECT DISTINCT asset_id FROM media_operations
WHERE cloud = $1 AND asset_id = ANY ($2::text[]) AND kind IN ('destroy', 'upload')
  AND (status IN ('pending', 'processing') OR $3 AND status = 'completed' AND completed_at > now() - interval '15 minutes')

-- name: delivery_types
-- Delivery types that the mirror knows of a resource type.
SELECT DISTINCT type FROM media_assets WHERE cloud = $1 AND resource_type = $2 AND type IS NOT NULL

-- name: logged
-- What the sync log says of these assets: how many notifications of Cloudinary's, why the last one failed that no reading has come
-- after, and whether one has led to a question that is not answered yet.
SELECT asset_id, count(*) FILTER (WHERE notification_type NOT IN ('snapshot', 'missing') AND outcome <> 'failed') AS notifications,
       (array_agg(coalesce(notification_type || ': ', '') || coalesce(reason, '') ORDER BY applied_at DESC) FILTER (
           WHERE outcome = 'failed' AND applied_at > coalesce(l.read_at, '-infinity')))[1] AS failure,
       EXISTS (SELECT FROM media_refetch AS r WHERE r.cloud = $1 AND r.asset_id = l.asset_id) AS asked
FROM (
    SELECT *, max(applied_at) FILTER (WHERE notification_type IN ('snapshot', 'missing') AND outcome <> 'failed')
        OVER (PARTITION BY asset_id) AS read_at
    FROM media_sync_log WHERE cloud = $1 AND asset_id = ANY ($2::text[])) AS l
GROUP BY asset_id

-- name: sweeps
-- The last sweep of each cloud that came to an end, or the one asked for; each filter is off when null.
SELECT * FROM (
    SELECT DISTINCT ON (cloud) * FROM media_sweeps
    WHERE ($1::text IS NULL OR cloud = $1) AND (id = $2 OR $2 IS NULL AND status IN ('complete', 'refused'))
    ORDER BY cloud, id DESC) AS last
ORDER BY cloud

-- name: findings
SELECT sweep_id, cloud, asset_id, resource_type, type, public_id, kind, fields, cause, announced, found_at
FROM media_drift WHERE sweep_id = ANY ($1::bigint[])
ORDER BY cloud, kind, public_id, asset_id

-- name: last_complete
-- The last sweep of the whole of each cloud ($1 resource types) that came to its end: when, and what it found of each kind.
SELECT s.cloud, s.finished_at, d.kind, count(d.kind) AS found
FROM (SELECT DISTINCT ON (cloud) * FROM media_sweeps
      WHERE status = 'complete' AND prefix IS NULL AND cardinality(resource_types) = $1 ORDER BY cloud, id DESC) AS s
LEFT JOIN media_drift AS d ON d.sweep_id = s.id
GROUP BY s.cloud, s.finished_at, d.kind

-- name: is_due
-- Whether the whole of a cloud is to be swept: the last such sweep began $2 seconds ago, or broke off $3 seconds ago.
SELECT NOT EXISTS (
    SELECT FROM media_sweeps
    WHERE cloud = $1 AND prefix IS NULL AND cardinality(resource_types) = $4 AND NOT dry_run
      AND (status IN ('complete', 'refused') AND started_at > now() - make_interval(secs => $2)
           OR status = 'broken' AND progressed_at > now() - make_interval(secs => $3)))

-- name: questions
-- The oldest questions to the account, of those that are old enough for an answer's clock to lie after what raised them.
SELECT asset_id, requested_at FROM media_refetch
WHERE cloud = $1 AND requested_at <= now() - make_interval(secs => $2)
ORDER BY requested_at, asset_id LIMIT $3

-- name: answered
-- Questions that nobody has asked again meanwhile.
WITH gone AS (
    DELETE FROM media_refetch AS r USING unnest($2::text[], $3::timestamptz[]) AS a (asset_id, requested_at)
    WHERE r.cloud = $1 AND r.asset_id = a.asset_id AND r.requested_at = a.requested_at
    RETURNING 1)
SELECT count(*) FROM gone

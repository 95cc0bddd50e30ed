-- name: enqueue
-- Returns the ids in the order given. Wakes whoever works them off when this commits.
WITH added AS (
    INSERT INTO media_operations (cloud, asset_id, kind, arguments, public_id, resource_type, type, expected_version, origin)
    SELECT cloud, asset_id, kind, arguments, public_id, resource_type, type, expected_version, $9
    FROM unnest($1::text[], $2::text[], $3::text[], $4::jsonb[], $5::text[], $6::text[], $7::text[], $8::bigint[]) WITH ORDINALITY
      AS t (cloud, asset_id, kind, arguments, public_id, resource_type, type, expected_version, place)
    ORDER BY place
    RETURNING id)
SELECT id, pg_notify('media_operations', '') FROM added ORDER BY id

-- name: claim
-- Up to $5 that are due, uploads ($2) or all others; of an asset only the oldest that has not ended, and none while another is being
-- worked on (an old one may have been retried meanwhile). Deletions by SQL wait $4 seconds.
-- One whose worker has crashed is due when its lease ($3 seconds) is over.
WITH due AS (
    SELECT id FROM media_operations AS o
    WHERE cloud = $1 AND (kind = 'upload') = $2
      AND (status = 'pending' AND next_try_at <= now() OR status = 'processing' AND lease_until <= now())
      AND (origin <> 'sql' OR created_at <= now() - make_interval(secs => $4))
      AND NOT EXISTS (
          SELECT 1 FROM media_operations AS other
          WHERE other.cloud = o.cloud AND other.asset_id = o.asset_id AND other.id <> o.id
            AND other.status IN ('pending', 'processing') AND (other.id < o.id OR other.status = 'processing'))
    ORDER BY next_try_at, id
    LIMIT $5
    FOR UPDATE SKIP LOCKED)
UPDATE media_operations AS o SET
    status = 'processing', attempts = least(attempts, 1000000) + 1, claims = claims % 2000000000 + 1,
    lease_until = now() + make_interval(secs => $3)
FROM due WHERE o.id = due.id
RETURNING o.id, cloud, asset_id, kind, arguments, public_id, resource_type, type, expected_version, attempts, claims, result, started_at

-- name: renew
-- Those that are still being worked on keep their lease; returns them.
UPDATE media_operations AS o SET lease_until = now() + make_interval(secs => $3)
FROM unnest($1::bigint[], $2::integer[]) AS held (id, claims)
WHERE o.id = held.id AND o.claims = held.claims AND status = 'processing'
RETURNING o.id

-- name: start
-- Cloudinary's clock before the first call; returns those that are still ours to work on, with it.
UPDATE media_operations AS o SET started_at = coalesce(started_at, $3)
FROM unnest($1::bigint[], $2::integer[]) AS held (id, claims)
WHERE o.id = held.id AND o.claims = held.claims AND status = 'processing'
RETURNING o.id, started_at

-- name: finish
-- Completed, or failed if there is an error. Returns the id unless another worker has taken it up. When a deletion by SQL fails, the
-- asset is still there, and the account is asked, so that its row comes back.
WITH finished AS (
    UPDATE media_operations SET
        status = CASE WHEN $3::text IS NULL THEN 'completed' ELSE 'failed' END, error = $3,
        result = CASE jsonb_typeof(result) WHEN 'object' THEN result ELSE '{}' END || $4,
        asset_id = coalesce(asset_id, $5), completed_at = now(), lease_until = NULL
    WHERE id = $1 AND claims = $2 AND status = 'processing'
    RETURNING id, cloud, asset_id, status, origin),
asked AS (
    INSERT INTO media_refetch AS r (cloud, asset_id, reasons)
    SELECT cloud, asset_id, ARRAY['its deletion failed'] FROM finished WHERE origin = 'sql' AND status = 'failed'
    ON CONFLICT (cloud, asset_id) DO UPDATE SET
        reasons = ARRAY(SELECT DISTINCT unnest(r.reasons || excluded.reasons) ORDER BY 1), requested_at = now())
SELECT id FROM finished

-- name: complete
-- Returns those that no other worker has taken up.
UPDATE media_operations AS o SET status = 'completed', error = NULL, completed_at = now(), lease_until = NULL
FROM unnest($1::bigint[], $2::integer[]) AS held (id, claims)
WHERE o.id = held.id AND o.claims = held.claims AND status = 'processing'
RETURNING o.id

-- name: release
-- To be tried again in $4 seconds; $5: whether this was a try.
UPDATE media_operations SET
    status = 'pending', error = $3, next_try_at = now() + make_interval(secs => $4), attempts = attempts - CASE WHEN $5 THEN 0 ELSE 1 END,
    lease_until = NULL
WHERE id = $1 AND claims = $2 AND status = 'processing'
RETURNING id

-- name: note
-- What is known of an upload by now, for whoever takes it up after a crash. Returns the id unless another worker has.
UPDATE media_operations SET
    result = CASE jsonb_typeof(result) WHEN 'object' THEN result ELSE '{}' END || $3, asset_id = coalesce(asset_id, $4)
WHERE id = $1 AND claims = $2 AND status = 'processing'
RETURNING id

-- name: confirm
-- Cloudinary's own word: a notification of the asset, of a fitting type, triggered by our key, and not before we began. Looks at what
-- was logged, and at what was completed, in the last $3 seconds: either may have come first.
WITH fits (kind, notification_type) AS (VALUES
    ('destroy', 'delete'), ('rename', 'rename'), ('tags', 'resource_tags_changed'), ('context', 'resource_context_changed'),
    ('metadata', 'resource_metadata_changed'), ('display_name', 'resource_display_name_changed'), ('folder', 'move'),
    ('access', 'access_control_changed'), ('upload', 'upload'),
    -- `explicit` may be told of as an upload
    ('context', 'upload'), ('display_name', 'upload'), ('folder', 'upload'), ('access', 'upload')),
said AS (
    SELECT o.id
    FROM media_sync_log AS l JOIN fits USING (notification_type) JOIN media_operations AS o USING (cloud, asset_id, kind)
    WHERE l.applied_at > now() - make_interval(secs => $3) AND l.cloud = $1 AND l.triggered_by = $2 AND l.outcome <> 'failed'
      AND o.status = 'completed' AND o.confirmed_at IS NULL AND l.triggered_at >= o.started_at - interval '2 seconds'
    UNION
    SELECT o.id
    FROM media_operations AS o JOIN fits USING (kind) JOIN media_sync_log AS l USING (cloud, asset_id, notification_type)
    WHERE o.completed_at > now() - make_interval(secs => $3) AND o.cloud = $1 AND o.status = 'completed' AND o.confirmed_at IS NULL
      AND l.applied_at >= o.created_at AND l.triggered_by = $2 AND l.outcome <> 'failed'
      AND l.triggered_at >= o.started_at - interval '2 seconds')
UPDATE media_operations AS o SET confirmed_at = now() FROM said WHERE o.id = said.id AND o.status = 'completed'

-- name: reopen_unmirrored
-- Uploads whose own snapshot the mirror could not apply, and of which it has nothing otherwise: they are to be undone.
UPDATE media_operations AS o SET
    status = 'pending', completed_at = NULL, next_try_at = now(),
    result = result || jsonb_build_object('undo', 'the mirror could not apply it: ' || coalesce(failed.reason, 'no reason was given'))
FROM media_sync_log AS failed
WHERE o.cloud = $1 AND o.kind = 'upload' AND o.status = 'completed' AND o.confirmed_at IS NULL
  AND o.completed_at > now() - interval '1 day'
  AND failed.digest = o.result ->> 'digest' AND failed.outcome = 'failed' AND failed.applied_at >= o.created_at
  AND NOT EXISTS (SELECT 1 FROM media_assets AS a WHERE a.cloud = o.cloud AND a.asset_id = o.asset_id)
RETURNING o.id

-- name: is_mirrored
-- Whether the mirror has an asset, and alive.
SELECT EXISTS (SELECT 1 FROM media_assets WHERE cloud = $1 AND asset_id = $2 AND deleted_at IS NULL)

-- name: expire
-- Completed and cancelled ones that are older than so many days. What failed stays for a person to look at.
DELETE FROM media_operations WHERE status IN ('completed', 'cancelled') AND completed_at < now() - make_interval(days => $1)

-- name: asset
-- What the mirror knows of the assets that are called so, alive ones before deleted ones.
SELECT cloud, asset_id, public_id, resource_type, type, version, deleted_at
FROM media_assets
WHERE ($1::text IS NULL OR cloud = $1) AND (asset_id = $2 OR public_id = $2)
ORDER BY asset_id = $2 DESC, deleted_at NULLS FIRST, cloud, asset_id

-- name: list
-- Newest first; each filter is off when null.
SELECT id, cloud, asset_id, kind, arguments, public_id, resource_type, type, expected_version, status, attempts, next_try_at, origin,
       error, result, created_at, started_at, completed_at, confirmed_at
FROM media_operations
WHERE ($1::text IS NULL OR cloud = $1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR kind = $3)
  AND ($4::text IS NULL OR asset_id = $4 OR public_id = $4) AND ($5::bigint[] IS NULL OR id = ANY ($5))
ORDER BY id DESC
LIMIT $6

-- name: stats
-- How many, and since when the oldest of them.
SELECT cloud, kind, status, count(*) AS operations, count(confirmed_at) AS confirmed, min(created_at) AS oldest,
       max(attempts) AS most_attempts
FROM media_operations
WHERE $1::text IS NULL OR cloud = $1
GROUP BY cloud, kind, status ORDER BY cloud, kind, status

-- name: retry
-- Failed ones, from the beginning: these ($1), or all of a cloud ($2, of every one when null) when null.
UPDATE media_operations SET
    status = 'pending', attempts = 0, next_try_at = now(), error = NULL, completed_at = NULL, started_at = NULL,
    asset_id = CASE WHEN kind = 'upload' THEN NULL ELSE asset_id END, result = '{}'
WHERE status = 'failed' AND ($1::bigint[] IS NULL OR id = ANY ($1)) AND ($2::text IS NULL OR cloud = $2)
RETURNING id, pg_notify('media_operations', '')

-- name: cancel
-- Those that wait: these ($1), all of an asset ($2, by id or by the name it had), all of an origin ($4). An upload that has begun must
-- come to its end.
UPDATE media_operations SET status = 'cancelled', completed_at = now()
WHERE status = 'pending' AND (kind <> 'upload' OR started_at IS NULL)
  AND ($1::bigint[] IS NULL OR id = ANY ($1)) AND ($2::text IS NULL OR asset_id = $2 OR public_id = $2)
  AND ($3::text IS NULL OR cloud = $3) AND ($4::text IS NULL OR origin = $4)
RETURNING id, cloud, asset_id, kind, public_id, origin

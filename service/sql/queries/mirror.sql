-- name: lock_folders
-- Taken by every batch before its rows, so that no asset is placed by folder moves that are about to be outdated: shared, but for the
-- clouds ($2) of which the batch changes folders. In the order given, which is the same for all. The first is for `lock_mirrors`.
SELECT CASE WHEN cloud = ANY ($2::text[]) THEN pg_advisory_xact_lock(key) ELSE pg_advisory_xact_lock_shared(key) END
FROM unnest(array_prepend('', $1::text[])) AS cloud, hashtextextended(current_schema() || '.media_folders ' || cloud, 0) AS key

-- name: lock_mirrors
-- Keeps every mirror from writing until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || '.media_folders ', 0))

-- name: folder_events
-- The folder moves of these clouds ($1), which place assets, and all that is known of the folders of those that change some ($2).
SELECT cloud, act, path, clock, to_path FROM media_folder_events
WHERE cloud = ANY ($1::text[]) AND (act = 'moved' OR cloud = ANY ($2::text[]))
ORDER BY cloud, clock

-- name: assets_below
-- Those assigned to these folders, or to folders below them.
SELECT asset_id
FROM unnest($2::text[]) AS path JOIN media_assets ON assigned_folder = path OR starts_with(assigned_folder, path || '/')
WHERE cloud = $1

-- name: only_named
-- Of these ids, those of rows that were only ever named. An index of its own holds them; there are few, and usually none.
SELECT asset_id FROM media_assets WHERE cloud = $1 AND asset_id = ANY ($2::text[]) AND asset_id LIKE '%/%'

-- name: called
-- Whose rows have these names.
SELECT asset_id
FROM unnest($2::text[], $3::text[], $4::text[]) AS name (resource_type, type, public_id)
JOIN media_assets USING (resource_type, type, public_id)
WHERE cloud = $1

-- name: lock_assets
-- Always locked in key order: two mirrors that meet on some assets wait, and never deadlock.
SELECT cloud, asset_id, public_id, resource_type, type, format, version, version_id, bytes, width, height, duration, etag, created_at,
       uploaded_at, placeholder, details, assigned_folder, asset_folder, display_name, tags, context, metadata, access_control,
       moderation, derived, deleted_at, clocks, revision
FROM media_assets WHERE cloud = $1 AND asset_id = ANY ($2::text[])
ORDER BY asset_id
FOR UPDATE

-- name: write_assets
-- Returns how many of the rows were not there before, which the caller compares with what it had read.
WITH written AS (
    INSERT INTO media_assets AS a (
        cloud, asset_id, public_id, resource_type, type, format, version, version_id, bytes, width, height, duration, etag,
        created_at, uploaded_at, placeholder, details, assigned_folder, asset_folder, display_name, tags, context, metadata,
        access_control, moderation, derived, deleted_at, clocks, revision)
    SELECT * FROM unnest($1::media_asset_row[])
    ORDER BY cloud, asset_id
    ON CONFLICT (cloud, asset_id) DO UPDATE SET
        public_id = excluded.public_id, resource_type = excluded.resource_type, type = excluded.type,
        format = excluded.format, version = excluded.version, version_id = excluded.version_id, bytes = excluded.bytes,
        width = excluded.width, height = excluded.height, duration = excluded.duration, etag = excluded.etag,
        created_at = excluded.created_at, uploaded_at = excluded.uploaded_at, placeholder = excluded.placeholder,
        details = excluded.details, assigned_folder = excluded.assigned_folder, asset_folder = excluded.asset_folder,
        display_name = excluded.display_name, tags = excluded.tags, context = excluded.context, metadata = excluded.metadata,
        access_control = excluded.access_control, moderation = excluded.moderation, derived = excluded.derived,
        deleted_at = excluded.deleted_at, clocks = excluded.clocks, revision = excluded.revision, updated_at = now()
    RETURNING xmax = 0 AS inserted)
SELECT count(*) FILTER (WHERE inserted) FROM written

-- name: remove_adopted
-- Rows that have become part of another. Nothing is to be done at Cloudinary: the mirror's own deletions say that they are.
WITH writer AS (SELECT media_as_mirror())
DELETE FROM media_assets USING writer WHERE (cloud, asset_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))

-- name: claim_graves
-- Of assets that were only ever named: one may come to be and become part of another in one batch, and then no row tells two mirrors
-- that they make the same one. In key order; whoever is second waits.
INSERT INTO media_purged (cloud, asset_id, revision) SELECT $1, asset_id, 0 FROM unnest($2::text[]) AS born (asset_id) ORDER BY asset_id
ON CONFLICT DO NOTHING

-- name: graves
-- What is left of rows that were gone and come back. `is_known`: what it was is told, too.
SELECT t.cloud, t.asset_id, t.revision, t.was IS NOT NULL AS is_known, a.public_id, a.resource_type, a.type, a.format, a.version,
       a.version_id, a.bytes, a.width, a.height, a.duration, a.etag, a.created_at, a.uploaded_at, a.placeholder, a.details,
       a.assigned_folder, a.asset_folder, a.display_name, a.tags, a.context, a.metadata, a.access_control, a.moderation, a.derived,
       a.deleted_at, a.clocks
FROM media_purged AS t LEFT JOIN LATERAL jsonb_populate_record(NULL::media_assets, t.was) AS a ON t.was IS NOT NULL
WHERE t.cloud = $1 AND t.asset_id = ANY ($2::text[])
ORDER BY t.asset_id
FOR UPDATE OF t

-- name: any_rows
SELECT EXISTS (SELECT FROM media_assets WHERE cloud = $1 AND asset_id = ANY ($2::text[]))

-- name: leave_graves
-- Rows that are there again keep their revisions themselves, and what never was has none.
DELETE FROM media_purged AS p USING unnest($1::text[], $2::text[]) AS looked_for (cloud, asset_id)
WHERE p.cloud = looked_for.cloud AND p.asset_id = looked_for.asset_id
    AND (p.revision = 0 OR EXISTS (SELECT FROM media_assets AS a WHERE a.cloud = p.cloud AND a.asset_id = p.asset_id))

-- name: bury
-- What has become part of another, whether it ever was a row or not: an id of an event is never used twice.
INSERT INTO media_purged AS p (cloud, asset_id, revision)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS gone (cloud, asset_id, revision) ORDER BY cloud, asset_id
ON CONFLICT (cloud, asset_id) DO UPDATE SET revision = greatest(p.revision, excluded.revision), was = NULL, purged_at = now()

-- name: shared_names
-- Names that more than one live asset has, of these public ids.
SELECT resource_type, type, public_id
FROM media_assets
WHERE cloud = $1 AND public_id = ANY ($2::text[]) AND deleted_at IS NULL
GROUP BY resource_type, type, public_id HAVING count(*) > 1

-- name: rivals
-- Live assets whose name another live asset got later.
SELECT asset_id
FROM (
    SELECT asset_id, row_number() OVER (
        PARTITION BY resource_type, type, public_id
        ORDER BY clocks ->> 'name' COLLATE "C" DESC NULLS LAST, asset_id DESC) AS place
    FROM unnest($2::text[], $3::text[], $4::text[]) AS claimed (resource_type, type, public_id)
    JOIN media_assets USING (resource_type, type, public_id)
    WHERE cloud = $1 AND deleted_at IS NULL) AS claims
WHERE place > 1

-- name: ask
-- One question an asset, with every reason for it. In key order, as rows are locked.
INSERT INTO media_refetch AS r (cloud, asset_id, reasons)
SELECT cloud, asset_id, array_agg(DISTINCT reason)
FROM unnest($1::text[], $2::text[], $3::text[]) AS asked (cloud, asset_id, reason)
GROUP BY cloud, asset_id
ORDER BY cloud, asset_id
ON CONFLICT (cloud, asset_id) DO UPDATE SET
    reasons = ARRAY(SELECT DISTINCT unnest(r.reasons || excluded.reasons) ORDER BY 1), requested_at = now()

-- name: add_folder_events
INSERT INTO media_folder_events (cloud, act, path, clock, to_path)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])

-- name: remove_folders
-- Of one cloud, those that are not there any more.
DELETE FROM media_folders WHERE cloud = $1 AND path <> ALL ($2::text[])

-- name: put_folders
-- Of one cloud, those that there are.
INSERT INTO media_folders AS f (cloud, path, clock) SELECT $1, * FROM unnest($2::text[], $3::text[])
ON CONFLICT (cloud, path) DO UPDATE SET clock = excluded.clock, updated_at = now() WHERE f.clock <> excluded.clock

-- name: prepare_log
-- Day partitions for today and the two days after.
SELECT media_sync_log_prepare(2)

-- name: advance_offsets
-- Fenced: moves a partition only from where this batch began. Returns how many moved.
WITH moved AS (
    UPDATE media_offsets AS o SET next_offset = batch.next_offset, next_place = batch.next_place, updated_at = now()
    FROM unnest($2::integer[], $3::bigint[], $4::integer[], $5::bigint[], $6::integer[])
        AS batch (kafka_partition, expected_offset, expected_place, next_offset, next_place)
    WHERE o.kafka_topic = $1 AND o.kafka_partition = batch.kafka_partition
        AND o.next_offset = batch.expected_offset AND o.next_place = batch.expected_place
    RETURNING 1)
SELECT count(*) FROM moved

-- name: offsets
SELECT kafka_partition, kafka_cluster, next_offset, next_place FROM media_offsets WHERE kafka_topic = $1

-- name: begin_offset
-- A partition read for the first time.
INSERT INTO media_offsets (kafka_topic, kafka_partition, kafka_cluster, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING

-- name: set_offset
-- An operator's word: read this partition from here, whatever was read before.
INSERT INTO media_offsets (kafka_topic, kafka_partition, kafka_cluster, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT (kafka_topic, kafka_partition)
DO UPDATE SET kafka_cluster = excluded.kafka_cluster, next_offset = excluded.next_offset, next_place = 0, updated_at = now()

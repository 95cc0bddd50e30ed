-- name: assets
-- The mirror, newest change first; each filter is off when null.
SELECT cloud, asset_id, public_id, resource_type, type, format, version, version_id, bytes, width, height, duration, etag,
       asset_folder, display_name, tags, context, metadata, access_control, moderation, derived, details, placeholder, created_at,
       uploaded_at, deleted_at, revision, updated_at
FROM media_assets
WHERE ($1::text IS NULL OR cloud = $1)
  AND ($2::text IS NULL OR asset_id = $2 OR public_id = $2)
  AND ($3::boolean OR deleted_at IS NULL)
ORDER BY updated_at DESC, cloud, asset_id
LIMIT $4

-- name: log
-- The sync log, newest line first; each filter is off when null. An asset is called by its id or by its public id of today.
SELECT applied_at, cloud, asset_id, notification_type, outcome, reason, changed, triggered_at, triggered_by, received_at, digest,
       kafka_topic, kafka_partition, kafka_offset, ordinal
FROM media_sync_log
WHERE ($1::text IS NULL OR cloud = $1)
  AND ($2::text IS NULL OR asset_id = $2 OR (cloud, asset_id) IN (SELECT cloud, asset_id FROM media_assets WHERE public_id = $2))
  AND ($3::text IS NULL OR outcome = $3)
ORDER BY applied_at DESC, kafka_partition DESC, kafka_offset DESC, ordinal DESC
LIMIT $4

-- name: log_now
-- What the sync log's clock says.
SELECT now()

-- name: log_times
-- The transactions that wrote the sync log since a time, and how many lines each. All lines of one have the time at which it began.
SELECT applied_at, count(*) AS lines FROM media_sync_log WHERE applied_at >= $1 GROUP BY applied_at

-- name: log_at
-- The lines of these transactions, oldest first, with what the asset is called now; each filter is off when null.
SELECT applied_at, cloud, l.asset_id, a.public_id, notification_type, outcome, reason, changed, triggered_at, triggered_by,
       received_at, digest, kafka_topic, kafka_partition, kafka_offset, ordinal
FROM media_sync_log AS l LEFT JOIN media_assets AS a USING (cloud, asset_id)
WHERE applied_at = ANY ($1::timestamptz[])
  AND ($2::text IS NULL OR cloud = $2)
  AND ($3::text IS NULL OR asset_id = $3 OR a.public_id = $3)
  AND ($4::text IS NULL OR outcome = $4)
ORDER BY applied_at, kafka_partition, kafka_offset, ordinal

-- name: holdings
-- What the mirror holds.
SELECT count(*) FILTER (WHERE deleted_at IS NULL) AS alive, count(*) FILTER (WHERE deleted_at IS NOT NULL) AS deleted,
       coalesce(sum(bytes) FILTER (WHERE deleted_at IS NULL), 0)::bigint AS bytes
FROM media_assets

-- name: log_since
-- Lines written after a time, oldest first, with what the asset is called now.
SELECT applied_at, received_at, notification_type, l.asset_id, a.public_id, outcome, reason, changed
FROM media_sync_log AS l LEFT JOIN media_assets AS a USING (cloud, asset_id)
WHERE applied_at > $1
ORDER BY applied_at, kafka_partition, kafka_offset, ordinal
LIMIT 10000

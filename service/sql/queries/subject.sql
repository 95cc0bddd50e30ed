-- name: called
-- The assets that are called so, by id or by public id; of a cloud, or of any when null.
SELECT cloud, asset_id, resource_type, type, public_id, deleted_at
FROM media_assets
WHERE (asset_id = $1 OR public_id = $1) AND ($2::text IS NULL OR cloud = $2)
ORDER BY cloud, deleted_at DESC NULLS FIRST, asset_id
LIMIT 100

-- name: failures
-- Records of a topic ($1) that could not be processed, but for those that were applied to an asset ($2) later. An index of their own
-- holds them; there are few.
SELECT DISTINCT ON (kafka_partition, kafka_offset) kafka_partition, kafka_offset, ordinal, coalesce(reason, '') AS reason
FROM media_sync_log AS failed
WHERE outcome = 'failed' AND kafka_topic = $1 AND NOT EXISTS (
    SELECT FROM media_sync_log AS later
    WHERE later.cloud = failed.cloud AND later.asset_id = $2 AND later.outcome = 'applied'
        AND later.kafka_topic = failed.kafka_topic AND later.kafka_partition = failed.kafka_partition
        AND later.kafka_offset = failed.kafka_offset AND later.ordinal >= failed.ordinal)
ORDER BY kafka_partition, kafka_offset, ordinal

-- name: lock_assets
-- The batch's rows, by id or by name. Always locked in key order: two mirrors that meet on some assets wait, and never deadlock.
WITH wanted AS (
    SELECT cloud, asset_id FROM unnest($1::text[], $2::text[]) AS by_id (cloud, asset_id)
    UNION
    SELECT cloud, asset_id
    FROM unnest($3::text[], $4::text[], $5::text[], $6::text[]) AS by_name (cloud, resource_type, type, public_id)
    JOIN media_assets USING (cloud, resource_type, type, public_id))
SELECT cloud, asset_id, public_id, resource_type, type, format, version, version_id, bytes, width, height, duration, etag,
       placeholder, created_at, uploaded_at, details, asset_folder, display_name, tags, context, metadata, access_control,
       moderation, deleted_at, clocks, revision
FROM wanted JOIN media_assets AS a USING (cloud, asset_id)
ORDER BY cloud, asset_id
FOR UPDATE OF a

-- name: write_assets
-- Rows as columns; returns how many of them were not there before, which the caller compares with what it had read.
WITH written AS (
    INSERT INTO media_assets AS a (
        cloud, asset_id, public_id, resource_type, type, format, version, version_id, bytes, width, height, duration, etag,
        placeholder, created_at, uploaded_at, details, asset_folder, display_name, tags, context, metadata, access_control,
        moderation, deleted_at, clocks, revision)
    SELECT cloud, asset_id, public_id, resource_type, type, format, version, version_id, bytes, width, height, duration, etag,
           placeholder, created_at, uploaded_at, details, asset_folder, display_name, tags::text[], context, metadata,
           access_control, moderation, deleted_at, clocks, revision
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bigint[],
                $10::integer[], $11::integer[], $12::double precision[], $13::text[], $14::boolean[], $15::timestamptz[],
                $16::timestamptz[], $17::jsonb[], $18::text[], $19::text[], $20::text[], $21::jsonb[], $22::jsonb[],
                $23::jsonb[], $24::jsonb[], $25::timestamptz[], $26::jsonb[], $27::bigint[])
      AS t (cloud, asset_id, public_id, resource_type, type, format, version, version_id, bytes, width, height, duration, etag,
            placeholder, created_at, uploaded_at, details, asset_folder, display_name, tags, context, metadata, access_control,
            moderation, deleted_at, clocks, revision)
    ORDER BY cloud, asset_id
    ON CONFLICT (cloud, asset_id) DO UPDATE SET
        public_id = excluded.public_id, resource_type = excluded.resource_type, type = excluded.type,
        format = excluded.format, version = excluded.version, version_id = excluded.version_id, bytes = excluded.bytes,
        width = excluded.width, height = excluded.height, duration = excluded.duration, etag = excluded.etag,
        placeholder = excluded.placeholder, created_at = excluded.created_at, uploaded_at = excluded.uploaded_at,
        details = excluded.details, asset_folder = excluded.asset_folder, display_name = excluded.display_name,
        tags = excluded.tags, context = excluded.context, metadata = excluded.metadata,
        access_control = excluded.access_control, moderation = excluded.moderation, deleted_at = excluded.deleted_at,
        clocks = excluded.clocks, revision = excluded.revision, updated_at = now()
    RETURNING xmax = 0 AS inserted)
SELECT count(*) FILTER (WHERE inserted) FROM written

-- name: prepare_log
-- Day partitions for today and the two days after.
SELECT media_sync_log_prepare(2)

-- name: advance_offsets
-- Fenced: moves a partition only from where this batch began. Returns how many moved.
WITH moved AS (
    UPDATE media_offsets AS o SET next_offset = batch.next_offset, updated_at = now()
    FROM unnest($2::integer[], $3::bigint[], $4::bigint[]) AS batch (kafka_partition, expected, next_offset)
    WHERE o.kafka_topic = $1 AND o.kafka_partition = batch.kafka_partition AND o.next_offset = batch.expected
    RETURNING 1)
SELECT count(*) FROM moved

-- name: offsets
SELECT kafka_partition, kafka_cluster, next_offset FROM media_offsets WHERE kafka_topic = $1

-- name: begin_offset
-- A partition read for the first time.
INSERT INTO media_offsets (kafka_topic, kafka_partition, kafka_cluster, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING

-- name: set_offset
-- An operator's word: read this partition from here, whatever was read before.
INSERT INTO media_offsets (kafka_topic, kafka_partition, kafka_cluster, next_offset) VALUES ($1, $2, $3, $4)
ON CONFLICT (kafka_topic, kafka_partition)
DO UPDATE SET kafka_cluster = excluded.kafka_cluster, next_offset = excluded.next_offset, updated_at = now()

-- name: try_own
-- One scratch mirror at a time, for as long as this connection lives.
SELECT pg_try_advisory_lock(hashtextextended($1, 0))

-- name: disown
SELECT pg_advisory_unlock(hashtextextended($1, 0))

-- name: drop
DROP SCHEMA IF EXISTS "{name}" CASCADE

-- name: create
CREATE SCHEMA "{name}"

-- name: rows
-- In key order, the same on both sides.
SELECT * FROM media_assets ORDER BY cloud COLLATE "C", asset_id COLLATE "C"

-- name: folders
SELECT cloud, path, clock FROM media_folders ORDER BY cloud COLLATE "C", path COLLATE "C"

-- name: deleted_by_sql
-- Rows that are away because somebody wanted them to be, whatever the log says.
SELECT cloud, asset_id FROM media_purged WHERE was IS NOT NULL

-- name: some_rows
SELECT cloud, asset_id, public_id, resource_type, type, format, version, version_id, bytes, width, height, duration, etag, created_at,
       uploaded_at, placeholder, details, assigned_folder, asset_folder, display_name, tags, context, metadata, access_control,
       moderation, derived, deleted_at, clocks, revision
FROM media_assets JOIN unnest($1::text[], $2::text[]) AS wanted (cloud, asset_id) USING (cloud, asset_id)
ORDER BY cloud, asset_id

-- name: is_lost
SELECT to_regclass('media_assets') IS NULL

-- name: remove_rows
-- As the mirror's own deletion: nothing is to be done at Cloudinary.
WITH writer AS (SELECT media_as_mirror())
DELETE FROM media_assets USING writer WHERE (cloud, asset_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))

-- name: restore_tables
-- Tables that were lost, as they are made.
CREATE TABLE IF NOT EXISTS media_assets (LIKE "{name}".media_assets INCLUDING ALL);
CREATE TABLE IF NOT EXISTS media_folders (LIKE "{name}".media_folders INCLUDING ALL);
CREATE TABLE IF NOT EXISTS media_folder_events (LIKE "{name}".media_folder_events INCLUDING ALL)

-- name: replace_folders
DELETE FROM media_folders;
DELETE FROM media_folder_events;
INSERT INTO media_folders SELECT * FROM "{name}".media_folders;
INSERT INTO media_folder_events SELECT * FROM "{name}".media_folder_events

-- name: pending
-- The last revisions that are in the outbox, on their way to Kafka, or set aside.
SELECT DISTINCT ON (cloud, subject) cloud, subject, revision, state
FROM (SELECT cloud, subject, revision, state FROM media_outbox
      UNION ALL SELECT cloud, subject, revision, state FROM media_outbox_aside) AS told
WHERE revision IS NOT NULL ORDER BY cloud, subject, revision DESC

-- name: failed
-- Records that the mirror could not process, as far as the sync log reaches back. An index of their own holds them; there are few.
SELECT DISTINCT kafka_partition, kafka_offset FROM media_sync_log WHERE outcome = 'failed' AND kafka_topic = $1

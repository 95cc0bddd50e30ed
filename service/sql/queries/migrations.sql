-- name: create_table
-- Idempotent; run under the migration lock.
CREATE TABLE IF NOT EXISTS media_migrations (
    name       text        PRIMARY KEY,
    checksum   text        NOT NULL,  -- sha256 of the file
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- name: lock
-- Held to the end of the transaction, so that two processes never migrate at once.
SELECT pg_advisory_xact_lock(hashtext('media_migrations'))

-- name: table_exists
SELECT to_regclass('media_migrations') IS NOT NULL

-- name: applied
SELECT name, checksum FROM media_migrations

-- name: record
INSERT INTO media_migrations (name, checksum) VALUES ($1, $2)

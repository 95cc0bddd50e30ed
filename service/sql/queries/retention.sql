-- name: expire_log
-- Drops the sync log's days older than that many; returns how many were dropped.
SELECT media_sync_log_expire($1)

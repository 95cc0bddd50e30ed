-- name: called
-- The assets that are called so, by id or by public id; of a cloud, or of any when null.
SELECT cloud, asset_id, resource_type, type, public_id, deleted_at
FROM media_assets
WHERE (asset_id = $1 OR public_id = $1) AND ($2::text IS NULL OR cloud = $2)
ORDER BY cloud, deleted_at DESC NULLS FIRST, asset_id
LIMIT 100

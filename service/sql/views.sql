-- Made again by every `migrate`: what holds no data, and is lost with a table that is dropped.
-- media_names: who holds a name. Of the live assets that claim it, the one that got it last.
CREATE OR REPLACE VIEW media_names AS
SELECT DISTINCT ON (cloud, resource_type, type, public_id) cloud, resource_type, type, public_id, asset_id
FROM media_assets
WHERE deleted_at IS NULL AND public_id IS NOT NULL
ORDER BY cloud, resource_type, type, public_id, clocks ->> 'name' COLLATE "C" DESC NULLS LAST, asset_id DESC;
-- media_assets_deleted: a trigger is lost with its table, too.
CREATE OR REPLACE TRIGGER media_assets_deleted AFTER DELETE ON media_assets REFERENCING OLD TABLE AS deleted
FOR EACH STATEMENT EXECUTE FUNCTION media_assets_deleted();
CREATE OR REPLACE TRIGGER media_assets_truncated BEFORE TRUNCATE ON media_assets
FOR EACH STATEMENT EXECUTE FUNCTION media_assets_truncated();

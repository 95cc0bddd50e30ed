-- Every notification has a meaning: folders, derived versions, questions to the account.

ALTER TABLE media_assets
    ADD COLUMN assigned_folder text,                      -- as it was told; asset_folder is where folder moves have brought it
    ADD COLUMN derived         jsonb NOT NULL DEFAULT '{}';  -- by transformation

ALTER TABLE media_assets ALTER COLUMN moderation SET DEFAULT '{}';  -- by kind
UPDATE media_assets SET
    assigned_folder = asset_folder,
    moderation = coalesce(
        (SELECT jsonb_object_agg(coalesce(one ->> 'kind', ''), one - 'kind')
         FROM jsonb_array_elements(CASE jsonb_typeof(moderation) WHEN 'array' THEN moderation END) AS one), '{}'),
    -- placeholder and details have got clocks of their own, and began as part of the content; existence has got two
    clocks = (clocks - 'existence')
        || CASE WHEN clocks ? 'content'
           THEN jsonb_build_object('placeholder', clocks -> 'content', 'details', clocks -> 'content') ELSE '{}' END
        || CASE WHEN clocks ? 'existence'
           THEN jsonb_build_object(CASE WHEN deleted_at IS NULL THEN 'alive' ELSE 'deleted' END, clocks -> 'existence') ELSE '{}' END;
ALTER TABLE media_assets ALTER COLUMN moderation SET NOT NULL;

-- Assets that were only ever named; few, and usually none.
CREATE INDEX media_assets_provisional ON media_assets (cloud, asset_id) WHERE asset_id LIKE '%/%';

-- All that has happened to folders. What there is now follows from this set, in whatever order it came.
CREATE TABLE media_folder_events (
    cloud   text NOT NULL,
    clock   text NOT NULL COLLATE "C",
    act     text NOT NULL CHECK (act IN ('created', 'deleted', 'moved')),
    path    text NOT NULL,
    to_path text,                          -- of a move
    PRIMARY KEY (cloud, clock)
);

-- The folders that there are.
CREATE TABLE media_folders (
    cloud      text        NOT NULL,
    path       text        NOT NULL,
    clock      text        NOT NULL,       -- of what brought it there
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cloud, path)
);

-- Questions to the account, one an asset.
CREATE TABLE media_refetch (
    cloud        text        NOT NULL,
    asset_id     text        NOT NULL,     -- as in media_assets
    reasons      text[]      NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cloud, asset_id)
);

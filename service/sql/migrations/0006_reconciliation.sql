-- Sweeps of the account, and the drift that each has found.

CREATE TABLE media_sweeps (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cloud          text        NOT NULL,
    resource_types text[]      NOT NULL,   -- swept: image, video, raw
    prefix         text,                   -- of public ids; null: all of them
    dry_run        boolean     NOT NULL,   -- finds, but repairs nothing
    status         text        NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'complete', 'broken', 'refused')),
    reason         text,                   -- of a broken or refused one
    passes         jsonb       NOT NULL,   -- the listings it consists of, in order: [[resource type, delivery type or null], …]
    pass           integer     NOT NULL DEFAULT 0,  -- the one that is under way; their number when all are done
    cursor         text,                   -- of the next page of it; null: its first
    listed         bigint      NOT NULL DEFAULT 0,
    calls          bigint      NOT NULL DEFAULT 0,  -- of the Admin API
    published      bigint      NOT NULL DEFAULT 0,  -- readings, of what differed
    missing        bigint      NOT NULL DEFAULT 0,  -- readings that an asset is gone
    started_at     timestamptz NOT NULL DEFAULT now(),
    progressed_at  timestamptz NOT NULL DEFAULT now(),
    finished_at    timestamptz
);

CREATE INDEX media_sweeps_cloud ON media_sweeps (cloud, id);

-- What a sweep under way has listed so far; emptied at its end.
CREATE TABLE media_sweep_seen (
    sweep_id    bigint  NOT NULL REFERENCES media_sweeps ON DELETE CASCADE,
    asset_id    text    NOT NULL,
    placeholder boolean NOT NULL,   -- only as what is left of a deleted asset that has a backup
    PRIMARY KEY (sweep_id, asset_id)
);

-- In what the mirror differed from the account, one row an asset.
CREATE TABLE media_drift (
    sweep_id      bigint      NOT NULL REFERENCES media_sweeps ON DELETE CASCADE,
    cloud         text        NOT NULL,
    asset_id      text        NOT NULL,    -- as in media_assets
    resource_type text,
    type          text,
    public_id     text,
    kind          text        NOT NULL CHECK (kind IN ('missing', 'extra', 'stale', 'field', 'tombstone')),
    fields        jsonb       NOT NULL,    -- {column: {"mirror": …, "account": …}}
    cause         text        NOT NULL,    -- the likely one
    announced     boolean     NOT NULL,    -- a reading that repairs it is on the log
    found_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sweep_id, asset_id)
);

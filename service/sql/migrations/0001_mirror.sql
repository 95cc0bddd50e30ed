-- The mirror: one row an asset, one sync-log line a (notification, asset), one offset a partition.

CREATE TABLE media_assets (
    cloud          text        NOT NULL,
    asset_id       text        NOT NULL,   -- Cloudinary's, or resource_type/type/public_id while no body has told it
    public_id      text,
    resource_type  text,                   -- image, video, raw
    type           text,                   -- delivery type: upload, private, authenticated…
    format         text,
    version        bigint,                 -- unix seconds of the last change of content
    version_id     text,
    bytes          bigint,
    width          integer,
    height         integer,
    duration       double precision,       -- seconds
    etag           text,
    asset_folder   text,
    display_name   text,
    tags           text[]      NOT NULL DEFAULT '{}',
    context        jsonb       NOT NULL DEFAULT '{}',
    metadata       jsonb       NOT NULL DEFAULT '{}',
    access_control jsonb,
    moderation     jsonb,
    details        jsonb       NOT NULL DEFAULT '{}',  -- what Cloudinary says of the content and has no column
    placeholder    boolean     NOT NULL DEFAULT false,
    created_at     timestamptz,
    uploaded_at    timestamptz,
    deleted_at     timestamptz,            -- event time of the delete; null: alive
    clocks         jsonb       NOT NULL,   -- by field group, the clock of the statement that won (schemas/clock.py)
    revision       bigint      NOT NULL,   -- how many changes were applied
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cloud, asset_id)
);

-- Not unique: while notifications are on their way, two rows may claim one name.
CREATE INDEX media_assets_name ON media_assets (cloud, public_id, resource_type, type);

CREATE TABLE media_sync_log (
    applied_at        timestamptz NOT NULL DEFAULT now(),
    cloud             text,
    asset_id          text,
    notification_type text,
    outcome           text        NOT NULL CHECK (outcome IN ('applied', 'unchanged', 'ignored', 'refetch', 'failed')),
    reason            text,                -- of any outcome but applied and unchanged
    changed           text[]      NOT NULL DEFAULT '{}',  -- field groups
    triggered_at      timestamptz,
    triggered_by      text,                -- source:id
    received_at       timestamptz,
    digest            text,                -- sha256 of the body
    kafka_topic       text        NOT NULL,
    kafka_partition   integer     NOT NULL,
    kafka_offset      bigint      NOT NULL,
    ordinal           integer     NOT NULL  -- of the asset within the notification
) PARTITION BY RANGE (applied_at);

CREATE INDEX media_sync_log_asset ON media_sync_log (cloud, asset_id, applied_at);
CREATE INDEX media_sync_log_record ON media_sync_log (kafka_topic, kafka_partition, kafka_offset);

-- Makes the day partitions (UTC) from today to `days` ahead that are not there yet.
CREATE FUNCTION media_sync_log_prepare(days integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day   date;
BEGIN
    FOR day IN SELECT today + n FROM generate_series(0, days) AS n LOOP
        IF to_regclass(format('media_sync_log_%s', to_char(day, 'YYYYMMDD'))) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('media_sync_log_prepare'));
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS media_sync_log_%s PARTITION OF media_sync_log FOR VALUES FROM (%L) TO (%L)',
                to_char(day, 'YYYYMMDD'), day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        END IF;
    END LOOP;
END $$;

-- The next offset to apply. Kafka keeps a copy for lag monitors; this is the one that counts.
CREATE TABLE media_offsets (
    kafka_topic     text        NOT NULL,
    kafka_partition integer     NOT NULL,
    kafka_cluster   text        NOT NULL,  -- offsets mean nothing on another cluster
    next_offset     bigint      NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kafka_topic, kafka_partition)
);

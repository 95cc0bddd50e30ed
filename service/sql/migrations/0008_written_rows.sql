-- A row as the mirror writes it: arrays of these, one a batch, cost PostgreSQL and the mirror half of what an array a column does.
CREATE TYPE media_asset_row AS (
    cloud           text,
    asset_id        text,
    public_id       text,
    resource_type   text,
    type            text,
    format          text,
    version         bigint,
    version_id      text,
    bytes           bigint,
    width           integer,
    height          integer,
    duration        double precision,
    etag            text,
    created_at      timestamptz,
    uploaded_at     timestamptz,
    placeholder     boolean,
    details         jsonb,
    assigned_folder text,
    asset_folder    text,
    display_name    text,
    tags            text[],
    context         jsonb,
    metadata        jsonb,
    access_control  jsonb,
    moderation      jsonb,
    derived         jsonb,
    deleted_at      timestamptz,
    clocks          jsonb,
    revision        bigint
);

-- Nothing looks for a line by its record, and it took a tenth of the log's time.
DROP INDEX media_sync_log_record;

-- Room for a row's next version in its own page, so that an update touches no index.
ALTER TABLE media_assets SET (fillfactor = 85);

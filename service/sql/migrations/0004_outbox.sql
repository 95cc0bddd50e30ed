-- Events on their way to Kafka, written with the change that they tell of.

CREATE TABLE media_outbox (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    shard      smallint    NOT NULL DEFAULT 0,
    cloud      text        NOT NULL,
    subject    text        NOT NULL,       -- asset id, or folder path
    type       text        NOT NULL,       -- media.asset.created…
    event_id   text        NOT NULL,
    event_time timestamptz NOT NULL,
    revision   bigint,                     -- of an asset
    state      bytea,                      -- the asset after the change, as JSON
    about      bytea       NOT NULL,       -- what else is told, as a JSON object
    PRIMARY KEY (shard, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_threshold = -1);

-- Events that can't be sent are set aside, with those of their asset that come after them; all others go on.

ALTER TABLE media_outbox
    -- Its writer says that state and about are JSON; of any other row the relay looks itself.
    ADD COLUMN sound      boolean     NOT NULL DEFAULT false,
    -- How long it waits.
    ADD COLUMN written_at timestamptz NOT NULL DEFAULT now();

CREATE TABLE media_outbox_aside (
    id           bigint      NOT NULL,       -- as in the outbox, so that it keeps its place when it returns
    shard        smallint    NOT NULL,
    cloud        text        NOT NULL,
    subject      text        NOT NULL,
    type         text        NOT NULL,
    event_id     text        NOT NULL,
    event_time   timestamptz NOT NULL,
    revision     bigint,
    state        bytea,
    about        bytea       NOT NULL,
    sound        boolean     NOT NULL,
    written_at   timestamptz NOT NULL,
    reason       text,                       -- why it can't be sent; null: it only waits behind one of its asset that can't
    set_aside_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (shard, id)
);

-- By hash, since a subject may be longer than an index takes.
CREATE INDEX media_outbox_aside_subject ON media_outbox_aside USING hash (subject);

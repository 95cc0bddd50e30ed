-- Dead letters that were sent again, and a sync log that is let go of in time and can be followed.

-- The letters themselves are on Kafka. Offsets begin anew when a topic is made anew, hence failed_at.
CREATE TABLE media_redrives (
    kafka_topic     text        NOT NULL,  -- of the dead letter
    kafka_partition integer     NOT NULL,
    kafka_offset    bigint      NOT NULL,
    failed_at       timestamptz NOT NULL,  -- its record's timestamp
    redriven_at     timestamptz NOT NULL DEFAULT now(),
    to_partition    integer     NOT NULL,  -- where it went on the notifications topic
    to_offset       bigint      NOT NULL,
    PRIMARY KEY (kafka_topic, kafka_partition, kafka_offset, failed_at)
);

-- The newest lines, and those since a time; cheap, since lines come in this order.
CREATE INDEX media_sync_log_time ON media_sync_log (applied_at);

-- Drops the day partitions that lie wholly more than `days` days back; returns how many.
--
-- A drop needs media_sync_log for itself for a moment. It waits for whoever uses the table, and every writer that comes
-- meanwhile waits behind it: hence the short lock_timeout, and a next try at the caller's next call. (DETACH CONCURRENTLY would
-- not hold up writers at all, but can't run in a function or a transaction, and leaves a half detached partition when it fails.)
-- One caller does the work, any other returns at once.
CREATE FUNCTION media_sync_log_expire(days integer) RETURNS integer LANGUAGE plpgsql SET lock_timeout = '500ms' AS $$
DECLARE
    day     regclass;
    dropped integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('media_sync_log_expire')) THEN
        RETURN 0;
    END IF;
    FOR day IN
        SELECT c.oid
        FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
        WHERE inhparent = 'media_sync_log'::regclass
          AND c.relname ~ '^media_sync_log_\d{8}$'
          AND (to_date(right(c.relname, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC' <= now() - make_interval(days => days)
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %s', day);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;

-- Rights: what the mirror needs of tables that it doesn't own, and who alone may delete rows in silence (service/sql/roles.sql).

-- Says that what this transaction deletes from media_assets is the mirror's own business. Whoever may execute this may do so.
CREATE FUNCTION media_as_mirror() RETURNS void LANGUAGE sql AS $$ SELECT set_config('mediamirror.writer', 'mirror', true) $$;
REVOKE EXECUTE ON FUNCTION media_as_mirror() FROM PUBLIC;

-- As before, but that the setting is heeded of those alone who may execute media_as_mirror(): anybody can set a setting.
-- Who that is, session_user and the role taken on tell; current_user is the owner here.
CREATE OR REPLACE FUNCTION media_assets_deleted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    invoker   name    := CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END;
    by_mirror boolean := coalesce(current_setting('mediamirror.writer', true), '') = 'mirror'
        AND has_function_privilege(invoker, 'media_as_mirror()', 'EXECUTE');
BEGIN
    INSERT INTO media_purged AS p (cloud, asset_id, revision, was)
    SELECT cloud, asset_id, revision + 1, CASE WHEN by_mirror THEN NULL ELSE to_jsonb(d) END
    FROM deleted AS d ORDER BY cloud, asset_id
    ON CONFLICT (cloud, asset_id)
    DO UPDATE SET revision = greatest(p.revision, excluded.revision), was = excluded.was, purged_at = now();
    IF by_mirror THEN
        RETURN NULL;
    END IF;
    -- an answer would bring the row back before its file is gone; whoever cancels the deletion asks anew
    DELETE FROM media_refetch WHERE (cloud, asset_id) IN (SELECT cloud, asset_id FROM deleted);
    INSERT INTO media_outbox (cloud, subject, type, event_id, event_time, revision, about)
    SELECT cloud, asset_id, 'media.asset.purged', cloud || '/' || asset_id || '/' || revision + 1, now(), revision + 1,
           convert_to(jsonb_build_object('changed', jsonb_build_object(), 'cause', jsonb_build_object(
               'notification_type', 'sql', 'triggered_by', 'sql:' || session_user, 'topic', '', 'partition', -1, 'offset', -1
           ))::text, 'UTF8')
    FROM deleted ORDER BY cloud, asset_id;
    INSERT INTO media_operations (cloud, asset_id, kind, public_id, resource_type, type, expected_version, origin)
    SELECT cloud, asset_id, 'destroy', public_id, resource_type, type, version, 'sql'
    FROM deleted WHERE deleted_at IS NULL ORDER BY cloud, asset_id;
    PERFORM pg_notify('media_outbox', ''), pg_notify('media_operations', '');
    RETURN NULL;
END $$;

-- The sync log's days are made and dropped as its owner: a mirror that writes into it need not own it. Hence the bounds.
CREATE OR REPLACE FUNCTION media_sync_log_prepare(days integer) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    day   date;
BEGIN
    IF days IS NULL OR days NOT BETWEEN 0 AND 366 THEN
        RAISE EXCEPTION 'days to prepare are 0 to 366' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR day IN SELECT today + n FROM generate_series(0, days) AS n LOOP
        IF to_regclass(format('media_sync_log_%s', to_char(day, 'YYYYMMDD'))) IS NULL THEN
            PERFORM pg_advisory_xact_lock(hashtext('media_sync_log_prepare'));
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS media_sync_log_%s PARTITION OF media_sync_log FOR VALUES FROM (%L) TO (%L)',
                to_char(day, 'YYYYMMDD'), day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        END IF;
    END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION media_sync_log_prepare(integer) FROM PUBLIC;

CREATE OR REPLACE FUNCTION media_sync_log_expire(days integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '500ms' AS $$
DECLARE
    day     regclass;
    dropped integer := 0;
BEGIN
    IF days IS NULL OR days < 1 THEN
        RAISE EXCEPTION 'days to keep are 1 or more' USING ERRCODE = 'invalid_parameter_value';
    END IF;
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
REVOKE EXECUTE ON FUNCTION media_sync_log_expire(integer) FROM PUBLIC;

-- What runs as its owner finds the tables beside it, whatever a client's search_path is.
DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['media_assets_deleted()', 'media_sync_log_prepare(integer)', 'media_sync_log_expire(integer)'] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', one, current_schema());
    END LOOP;
END $$;

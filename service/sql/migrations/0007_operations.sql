-- What is to be done at Cloudinary, and deletions by SQL.

-- One operation on one asset. Those of an asset are done one after the other, in the order of their ids.
CREATE TABLE media_operations (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cloud            text        NOT NULL,
    asset_id         text,                  -- as in media_assets; of an upload, null until it is there
    kind             text        NOT NULL CHECK (kind IN (
        'destroy', 'rename', 'tags', 'context', 'metadata', 'display_name', 'folder', 'access', 'upload')),
    arguments        jsonb       NOT NULL DEFAULT '{}',  -- by kind (service/writeback/operations.py)
    public_id        text,                  -- what it was called when this was asked for; Cloudinary is asked what it is called now
    resource_type    text,
    type             text,
    expected_version bigint,                -- the content that the caller saw; null: whatever it is
    status           text        NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    attempts         integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    claims           integer     NOT NULL DEFAULT 0,     -- fences: whoever claimed it earlier has nothing to say any more
    next_try_at      timestamptz NOT NULL DEFAULT now(),
    lease_until      timestamptz,           -- while processing: when another worker may take it up
    origin           text        NOT NULL CHECK (origin IN ('cli', 'sql', 'api')),
    error            text,                  -- of the last try that failed
    result           jsonb       NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at       timestamptz,           -- by Cloudinary's clock, before the first call
    completed_at     timestamptz,           -- when it came to its end, whatever that was
    confirmed_at     timestamptz,           -- when Cloudinary's own notification of it was seen
    CHECK ((status = 'processing') = (lease_until IS NOT NULL)),
    CHECK ((status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)),
    CHECK (status <> 'failed' OR error IS NOT NULL),
    CHECK (confirmed_at IS NULL OR status = 'completed'),
    CHECK (kind = 'upload' OR asset_id IS NOT NULL),
    CHECK (kind <> 'upload' OR (public_id IS NOT NULL AND resource_type IS NOT NULL AND type IS NOT NULL))
);

CREATE INDEX media_operations_due ON media_operations (cloud, next_try_at, id) WHERE status IN ('pending', 'processing');
CREATE INDEX media_operations_asset ON media_operations (cloud, asset_id, id) WHERE status IN ('pending', 'processing');
CREATE INDEX media_operations_unconfirmed ON media_operations (cloud, asset_id) WHERE status = 'completed' AND confirmed_at IS NULL;
CREATE INDEX media_operations_ended ON media_operations (completed_at);

-- Few: what the write-back looks for again and again.
CREATE INDEX media_sync_log_failed ON media_sync_log (digest) WHERE outcome = 'failed';

-- What is left of rows that are gone. One that comes back goes on from its last revision, so that no event's id is used twice; and
-- one that was deleted by SQL goes on from what it was, so that it is what the log says.
CREATE TABLE media_purged (
    cloud     text        NOT NULL,
    asset_id  text        NOT NULL,
    revision  bigint      NOT NULL,
    was       jsonb,                       -- the row; null: the mirror itself has removed it
    purged_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cloud, asset_id)
);

-- What a deletion of rows means. By the mirror itself, which says so with the setting mediamirror.writer: only that their revisions
-- must not be forgotten. By anybody else: that the files are to go, too, and that subscribers are told.
-- Runs as its owner, so that whoever may delete rows needs no other rights.
CREATE FUNCTION media_assets_deleted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    by_mirror boolean := coalesce(current_setting('mediamirror.writer', true), '') = 'mirror';
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

-- Or else anybody could hang it on a table of their own, and have assets destroyed by what they put there.
REVOKE EXECUTE ON FUNCTION media_assets_deleted() FROM PUBLIC;

-- Its tables are those beside it, whatever a client's search_path is.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION media_assets_deleted() SET search_path = %I, pg_temp', current_schema());
END $$;

-- No row of a TRUNCATE is seen: neither would files go, nor revisions be kept.
CREATE FUNCTION media_assets_truncated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'media_assets can''t be truncated'
        USING HINT = 'DELETE removes rows and, at Cloudinary, their files; `mediamirror rebuild --swap` makes all rows what the log says.';
END $$;

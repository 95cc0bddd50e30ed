-- name: keep_the_superuser_apart
-- Of a folder of earlier days, whose only role was the superuser, by our role's name. Nobody renames himself.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE oid = 10 AND rolname = 'mediamirror') THEN
        CREATE ROLE mediamirror_renames SUPERUSER;
        SET SESSION AUTHORIZATION mediamirror_renames;
        ALTER ROLE mediamirror RENAME TO mediamirror_admin;
        SET SESSION AUTHORIZATION mediamirror_admin;
        DROP ROLE mediamirror_renames;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mediamirror') THEN
        CREATE ROLE mediamirror;
    END IF;
END
$$

-- name: set_password_of_the_superuser
ALTER ROLE mediamirror_admin PASSWORD '{password}'

-- name: set_password_of_the_owner
-- Of the role that owns the database, and nothing else.
ALTER ROLE mediamirror LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '{password}'

-- name: owner_of_the_database
SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'mediamirror'

-- name: create_database
CREATE DATABASE mediamirror OWNER mediamirror

-- name: hand_over
-- All that the superuser made in this database becomes our role's: REASSIGN OWNED refuses for a superuser that initdb made.
-- Indexes, row types and the sequences of columns follow their tables.
DO $$
DECLARE
    command text;
BEGIN
    SET LOCAL search_path = pg_catalog;  -- so that every name is said in full
    FOR command IN
        SELECT format('SCHEMA %I', nspname) FROM pg_namespace
        WHERE nspowner = 10 AND oid >= 16384 AND nspname NOT LIKE 'pg\_%'
        UNION ALL
        SELECT format('%s %s', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                                            WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, oid::regclass)
        FROM pg_class
        WHERE relowner = 10 AND oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relpersistence <> 't'
          AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                                                  AND deptype IN ('a', 'i', 'e') AND pg_class.relkind = 'S')
        UNION ALL
        SELECT format('ROUTINE %s', oid::regprocedure) FROM pg_proc
        WHERE proowner = 10 AND oid >= 16384
          AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
        UNION ALL
        SELECT format('TYPE %s', oid::regtype) FROM pg_type
        WHERE typowner = 10 AND oid >= 16384
          AND (typtype IN ('d', 'e', 'r')
               OR typtype = 'c' AND EXISTS (SELECT FROM pg_class WHERE oid = typrelid AND relkind = 'c'))
          AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_type'::regclass AND objid = pg_type.oid AND deptype = 'e')
    LOOP
        EXECUTE format('ALTER %s OWNER TO mediamirror', command);
    END LOOP;
    ALTER DATABASE mediamirror OWNER TO mediamirror;
END
$$

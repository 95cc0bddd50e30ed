-- name: here
-- Who and where we are. No schema: none of those that would be searched may be used.
SELECT current_user AS "user", current_database() AS database, current_schema() AS schema

-- name: known
-- Those of these roles that exist, and whether they are more than a group of rights.
SELECT rolname AS name, rolcanlogin OR rolsuper OR rolcreaterole OR rolbypassrls AS is_more FROM pg_roles
WHERE rolname = ANY ($1::text[])

-- name: lacking
-- Which of these rights a role ($1; null: the current user) does not have. What is not there is nobody's to have.
SELECT kind, name, privilege
FROM coalesce($1::name, current_user) AS who,
     unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS needed (kind, name, privilege, place)
WHERE NOT coalesce(
    CASE kind
        WHEN 'DATABASE' THEN has_database_privilege(who, current_database(), privilege)
        WHEN 'SCHEMA' THEN has_schema_privilege(who, current_schema(), privilege)
        WHEN 'FUNCTION' THEN has_function_privilege(who, to_regprocedure(name), privilege)
        ELSE has_table_privilege(who, to_regclass(name), privilege)
    END, false)
ORDER BY place

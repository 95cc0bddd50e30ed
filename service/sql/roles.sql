-- Who may do what: the rights of the group roles that `mediamirror migrate --with-roles` makes, each by what it grants on.
--
-- A new table, view or function gets its lines here, with the roles that use it; then `migrate --with-roles` again. Each grant
-- stands on one line, since service/rights.py reads them to tell a role what it lacks. :"mirror" and so on are the roles' names.
-- Not here, since nothing but their owner may: migrations, and `rebuild --swap`, which makes lost tables again.

GRANT CONNECT ON DATABASE :"database" TO :"mirror", :"relay", :"reconciler", :"writeback", :"reader", :"operator";
GRANT USAGE ON SCHEMA :"schema" TO :"mirror", :"relay", :"reconciler", :"writeback", :"reader", :"operator";
-- `verify` folds the log into a schema of its own
GRANT CREATE ON DATABASE :"database" TO :"operator";

GRANT SELECT ON media_migrations TO :"mirror", :"relay", :"reconciler", :"writeback", :"reader", :"operator";

GRANT SELECT ON media_assets TO :"mirror", :"reconciler", :"writeback", :"reader", :"operator";
GRANT INSERT, UPDATE, DELETE ON media_assets TO :"mirror", :"operator";
GRANT SELECT ON media_names TO :"reader", :"operator";
-- to delete rows of media_assets in silence: those that have become part of another
GRANT EXECUTE ON FUNCTION media_as_mirror() TO :"mirror", :"operator";
GRANT SELECT, INSERT, UPDATE, DELETE ON media_purged TO :"mirror", :"operator";
GRANT SELECT ON media_purged TO :"reader";

GRANT SELECT ON media_folder_events TO :"mirror", :"reconciler", :"reader", :"operator";
GRANT INSERT ON media_folder_events TO :"mirror", :"operator";
GRANT SELECT ON media_folders TO :"mirror", :"reader", :"operator";
GRANT INSERT, UPDATE, DELETE ON media_folders TO :"mirror", :"operator";

GRANT SELECT ON media_sync_log TO :"reconciler", :"writeback", :"reader", :"operator";
GRANT INSERT ON media_sync_log TO :"mirror", :"operator";
GRANT EXECUTE ON FUNCTION media_sync_log_prepare(integer) TO :"mirror", :"operator";
GRANT EXECUTE ON FUNCTION media_sync_log_expire(integer) TO :"mirror";

GRANT SELECT ON media_offsets TO :"mirror", :"reader", :"operator";
GRANT UPDATE ON media_offsets TO :"mirror", :"operator";
GRANT INSERT ON media_offsets TO :"mirror";

GRANT INSERT ON media_outbox TO :"mirror", :"operator";
GRANT SELECT ON media_outbox TO :"relay", :"reader", :"operator";
GRANT DELETE ON media_outbox TO :"relay";
-- what can't be sent is set aside, and brought back
GRANT INSERT ON media_outbox TO :"relay";
GRANT SELECT, INSERT, DELETE ON media_outbox_aside TO :"relay", :"operator";
GRANT UPDATE ON media_outbox_aside TO :"operator";
GRANT SELECT ON media_outbox_aside TO :"reader";

-- questions: asked by the mirror and by whoever gives a deletion up, answered by the reconciler
GRANT SELECT ON media_refetch TO :"mirror", :"reconciler", :"writeback", :"reader", :"operator";
GRANT INSERT, UPDATE ON media_refetch TO :"mirror", :"writeback", :"operator";
GRANT DELETE ON media_refetch TO :"reconciler";

GRANT SELECT ON media_operations TO :"reconciler", :"writeback", :"reader", :"operator";
GRANT UPDATE ON media_operations TO :"writeback", :"operator";
GRANT INSERT ON media_operations TO :"operator";
GRANT DELETE ON media_operations TO :"writeback";

GRANT SELECT ON media_sweeps TO :"reconciler", :"reader", :"operator";
GRANT INSERT, UPDATE, DELETE ON media_sweeps TO :"reconciler", :"operator";
GRANT SELECT ON media_sweep_seen TO :"reconciler", :"reader", :"operator";
GRANT INSERT, UPDATE, DELETE ON media_sweep_seen TO :"reconciler", :"operator";
GRANT SELECT, INSERT, DELETE ON media_sweep_marks TO :"reconciler", :"operator";
GRANT SELECT ON media_sweep_marks TO :"reader";
GRANT SELECT ON media_drift TO :"reconciler", :"reader", :"operator";
GRANT INSERT ON media_drift TO :"reconciler", :"operator";

-- the Admin API's hourly calls, of which each call takes one
GRANT SELECT ON media_budgets TO :"reconciler", :"writeback", :"reader", :"operator";
GRANT INSERT, UPDATE ON media_budgets TO :"reconciler", :"writeback", :"operator";
GRANT EXECUTE ON FUNCTION media_budget_take(text, double precision) TO :"reconciler", :"writeback", :"operator";

GRANT SELECT ON media_redrives TO :"reader", :"operator";
GRANT INSERT, UPDATE ON media_redrives TO :"operator";

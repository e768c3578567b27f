-- 0006 watchers
-- What: the users who are being watched at present, and the trigger on the conversations that notifies the watchers.
-- Why:  other processes see a change at once. Commits of transactions that have sent a notification are serialised in
--       the whole database, so notifications are sent only for users who are being watched. UNLOGGED, because the rows
--       are short-lived: watchers renew them every few seconds, and immediately after a crash.
--       Citus allows no triggers on its tables. If it is installed, no trigger is created, and watchers query every few
--       seconds.
-- Lock: SHARE ROW EXCLUSIVE on the conversations: writers wait for a moment, readers do not.

CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.{prefix}_watchers (
    user_id text NOT NULL,
    listener text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (user_id, listener)
);

DO $trigger$
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NULL AND NOT EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = '{schema}.{prefix}_conversations'::regclass AND tgname = '{prefix}_tell_watchers'
    ) THEN
        CREATE TRIGGER {prefix}_tell_watchers AFTER INSERT OR UPDATE OR DELETE ON {schema}.{prefix}_conversations
            FOR EACH ROW EXECUTE FUNCTION {schema}.{prefix}_tell_watchers();
    END IF;
END
$trigger$;

-- 0006 watchers
-- What: which users are watched at present, and the trigger on the conversations that notifies those who watch them.
-- Why:  a change is seen in other processes at once. A transaction that has sent a notification waits at its commit for
--       all others in the database that have; so only users who are watched cause any. UNLOGGED, because each watcher
--       renews its row every few seconds, and immediately after a crash.
--       Citus has no triggers: where it is installed none is created, and those who watch look every few seconds.
-- Lock: SHARE ROW EXCLUSIVE on the conversations: writers wait for a moment, readers don't.

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

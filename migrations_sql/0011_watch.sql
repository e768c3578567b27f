-- 0011 watch
-- What: who is watched at present, and a trigger on the conversations that notifies those who watch: look again.
-- Why:  a change is seen in other processes at once. The truth is what a look finds: a notification names no
--       conversation, only the user's key, as in 0010. A transaction that has sent one waits, at its commit, for all
--       others that have, in the whole database; so only users who are watched cause any. UNLOGGED, for whoever watches
--       says so again every few seconds, and after a crash at once.
--       Citus has no triggers: there is none made where it is installed, and who watches looks every few seconds.
-- Lock: SHARE ROW EXCLUSIVE on the conversations: writers wait for a moment, readers don't.

CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.{prefix}_watchers (
    user_id text NOT NULL,
    listener text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (user_id, listener)
);

-- With its owner's rights: whoever may write conversations need not be allowed to see who is watched.
CREATE OR REPLACE FUNCTION {schema}.{prefix}_tell_watchers() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $tell_watchers$
BEGIN
    -- One of the two is NULL where a conversation is new or gone. It has two users when it is given away.
    PERFORM pg_notify(
            'voltmem_' || left(encode(sha256(convert_to('{schema}.{prefix}', 'UTF8')), 'hex'), 16),
            left(encode(sha256(convert_to(w.user_id, 'UTF8')), 'hex'), 8)
        )
        FROM {schema}.{prefix}_watchers AS w
        WHERE w.user_id IN (OLD.user_id, NEW.user_id) AND w.until > statement_timestamp();
    RETURN NULL;
END
$tell_watchers$;

DO $trigger$
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NULL AND NOT EXISTS (
        SELECT FROM pg_trigger
        WHERE tgrelid = '{schema}.{prefix}_conversations'::regclass AND tgname = '{prefix}_tell_watchers'
    ) THEN
        CREATE TRIGGER {prefix}_tell_watchers AFTER INSERT OR UPDATE OR DELETE ON {schema}.{prefix}_conversations
            FOR EACH ROW EXECUTE FUNCTION {schema}.{prefix}_tell_watchers();
    END IF;
END
$trigger$;

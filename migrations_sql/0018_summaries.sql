-- 0018 summaries
-- What: the summaries of conversations, a column of the conversation that says whether it has any, and triggers that
--       delete those that are not true any more.
-- Why:  a window of messages begins with a summary of what is before it. Triggers, because whoever changes a message that
--       a summary stands for (a person, a branch, VoltAgent) puts the summary out of use, and must not wait for a lock of
--       the conversation. Citus allows no triggers on its tables; there the functions that change messages do it.
-- Lock: ACCESS EXCLUSIVE on the conversations for a moment, without a rewrite (no default). SHARE ROW EXCLUSIVE on the
--       messages for the triggers: writers wait for a moment.

-- A summary stands for the messages of the line from "first_at" to "last_at", both included: no other message has the
-- time of the last one. A summary of a summary has the first_at of that one. All that are here are true; the one with the
-- latest last_at is in use. "hash" is that of what it stands for. "format" and "payload": a framework's own form of it,
-- which only that framework reads; without a payload any window begins with "content".
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_summaries (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    id text NOT NULL,
    content text NOT NULL,
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    hash text NOT NULL,
    usage json,
    format text,
    payload json,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (conversation_id, id)
);

-- The newest that was stored, which may be gone. NULL: the conversation has never had one, so a window looks for none.
ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS summary_id text;

DO $triggers$
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NULL AND NOT EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = '{schema}.{prefix}_messages'::regclass AND tgname = '{prefix}_summary_update'
    ) THEN
        -- Not when the limit archives a message, or takes it back. The function compares, and not the condition: a trigger
        -- that names a column would keep VoltAgent from changing it.
        CREATE TRIGGER {prefix}_summary_update AFTER UPDATE ON {schema}.{prefix}_messages
            FOR EACH ROW WHEN (OLD.archived = NEW.archived)
            EXECUTE FUNCTION {schema}.{prefix}_note_changed_summary();
        -- By statement, as in 0015. The limit deletes messages while it adds.
        CREATE TRIGGER {prefix}_summary_delete AFTER DELETE ON {schema}.{prefix}_messages
            REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT
            WHEN (current_setting('voltmem.is_adding', true) IS DISTINCT FROM 'yes')
            EXECUTE FUNCTION {schema}.{prefix}_note_changed_summary();
        CREATE TRIGGER {prefix}_summary_truncate AFTER TRUNCATE ON {schema}.{prefix}_messages
            FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{prefix}_note_changed_summary();
    END IF;
END
$triggers$;

-- As in 0011.
REVOKE EXECUTE ON FUNCTION {schema}.{prefix}_note_changed_summary() FROM PUBLIC;

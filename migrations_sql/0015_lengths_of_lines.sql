-- 0015 lengths of lines
-- What: how many messages the line of a conversation has, and when its last one was stored, in the conversation's row;
--       and a table of the conversations whose lines were changed otherwise than by adding.
-- Why:  adding a message needs both. Looking them up costs more the longer the line is.
--       add_messages notifies watchers itself, once for a call, and has one more argument; the former one is dropped.
-- Lock: ACCESS EXCLUSIVE on the conversations for a moment, SHARE ROW EXCLUSIVE on the messages: writers wait.

-- NULL: not known. add_message and add_messages keep them; what they mean if the conversation is in changed_lines, too,
-- is decided by count_line.
ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS line_length bigint;
ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS line_end timestamptz;

-- Not a column of the conversation: another program that has changed messages would wait for its lock, and the holder of
-- the lock may be waiting for that program. No key, for the same reason: a row may be there twice.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_changed_lines (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS {prefix}_changed_lines_by_conversation
    ON {schema}.{prefix}_changed_lines (conversation_id);

-- Citus allows no triggers on its tables. There, lengths are not kept.
DO $triggers$
DECLARE
    unless_adding CONSTANT text := $when$
        WHEN (current_setting('voltmem.is_adding', true) IS DISTINCT FROM 'yes') $when$;
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NULL AND NOT EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = '{schema}.{prefix}_messages'::regclass AND tgname = '{prefix}_line_insert'
    ) THEN
        EXECUTE 'CREATE TRIGGER {prefix}_line_update
            AFTER UPDATE OF conversation_id, archived, aside, created_at ON {schema}.{prefix}_messages
            FOR EACH ROW' || unless_adding || 'EXECUTE FUNCTION {schema}.{prefix}_note_changed_line()';
        -- By statement, because a conversation that is deleted takes all of its messages with it.
        EXECUTE 'CREATE TRIGGER {prefix}_line_delete AFTER DELETE ON {schema}.{prefix}_messages
            REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT' || unless_adding || 'EXECUTE FUNCTION {schema}.{prefix}_note_changed_line()';
        CREATE TRIGGER {prefix}_line_truncate AFTER TRUNCATE ON {schema}.{prefix}_messages
            FOR EACH STATEMENT EXECUTE FUNCTION {schema}.{prefix}_note_changed_line();
        EXECUTE 'CREATE TRIGGER {prefix}_line_insert AFTER INSERT ON {schema}.{prefix}_messages
            FOR EACH ROW' || unless_adding || 'EXECUTE FUNCTION {schema}.{prefix}_note_changed_line()';

        DROP TRIGGER IF EXISTS {prefix}_tell_watchers ON {schema}.{prefix}_conversations;
        CREATE TRIGGER {prefix}_tell_watchers AFTER INSERT OR DELETE ON {schema}.{prefix}_conversations
            FOR EACH ROW EXECUTE FUNCTION {schema}.{prefix}_tell_watchers();
        EXECUTE 'CREATE TRIGGER {prefix}_tell_watchers_of_update AFTER UPDATE ON {schema}.{prefix}_conversations
            FOR EACH ROW' || unless_adding || 'EXECUTE FUNCTION {schema}.{prefix}_tell_watchers()';
    END IF;
END
$triggers$;

-- As in 0011.
REVOKE EXECUTE ON FUNCTION {schema}.{prefix}_note_changed_line() FROM PUBLIC;

DROP FUNCTION IF EXISTS {schema}.{prefix}_add_messages(
    text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[],
    bigint, boolean, boolean, text[], text[], text[], text[], boolean, text[], text[], text[], text[], text[],
    double precision
);

-- version 1
-- count_line: look up what the row of a conversation says about its line, where it is not known or not true any more.
-- The caller has locked the conversation, and stores what is_kept.
--
-- Arguments: the id of the conversation; whether its length is needed.
-- Returns the number of messages on the line (NULL: not needed), the time of the last one (NULL: it is empty), and
-- whether both may be stored: not on Citus, where no trigger notes changes.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_count_line(
    conversation text,
    needs_length boolean,
    OUT line_length bigint,
    OUT line_end timestamptz,
    OUT is_kept boolean
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_sort = off
SET jit = off
AS $count_line$
BEGIN
    PERFORM 1 FROM pg_catalog.pg_trigger AS t
        WHERE t.tgrelid = '{schema}.{prefix}_messages'::regclass AND t.tgname = '{prefix}_line_insert';
    is_kept := FOUND;
    IF is_kept THEN
        -- First, and not the rows of changes that are not committed yet: the next append counts those.
        DELETE FROM {schema}.{prefix}_changed_lines AS l WHERE l.ctid = ANY (ARRAY(
            SELECT noted.ctid FROM {schema}.{prefix}_changed_lines AS noted
            WHERE noted.conversation_id = conversation
            FOR UPDATE SKIP LOCKED
        ));
    END IF;
    SELECT m.created_at INTO line_end
        FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND NOT m.archived AND NOT m.aside
        ORDER BY m.created_at DESC, m.seq DESC LIMIT 1;
    IF needs_length THEN
        SELECT count(*) INTO line_length
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND NOT m.archived AND NOT m.aside;
    END IF;
END
$count_line$;

-- version 3
-- path_to_line: the messages from a message of a conversation up to the first one that is on the line, the branching
-- point. A message of the line itself is the only one.
--
-- A function with EXECUTE, because Citus needs the id of the conversation when it plans a recursion.
--
-- Arguments: the id of the conversation; the id of the message.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_path_to_line(conversation text, message text)
RETURNS TABLE (message_id text, is_aside boolean, created_at timestamptz, seq bigint)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
-- Sorting a conversation at each step looks cheap where messages are expected to be few.
SET enable_sort = off
SET jit = off
AS $path_to_line$
BEGIN
    SELECT m.message_id, m.aside, m.created_at, m.seq INTO message_id, is_aside, created_at, seq
        FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND m.message_id = message;
    IF NOT FOUND THEN
        RETURN;
    ELSIF NOT is_aside THEN
        RETURN NEXT;
        RETURN;
    END IF;
    -- UNION, not UNION ALL: parents may form a circle. In the order of the key, each step is one look-up. A join, or
    -- another index if the table was never analysed, would read the whole conversation for each.
    RETURN QUERY EXECUTE $path$
        WITH RECURSIVE path AS (
            SELECT m.message_id, m.parent_id, m.aside, m.created_at, m.seq
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = $1 AND m.message_id = $2
            UNION
            SELECT m.message_id, m.parent_id, m.aside, m.created_at, m.seq
            FROM path CROSS JOIN LATERAL (
                SELECT * FROM {schema}.{prefix}_messages AS each
                WHERE each.conversation_id = $1 AND each.message_id >= path.parent_id
                ORDER BY each.conversation_id, each.message_id LIMIT 1
            ) AS m
            WHERE path.aside AND m.message_id = path.parent_id
        )
        SELECT path.message_id, path.aside, path.created_at, path.seq FROM path
        $path$ USING conversation, message;
END
$path_to_line$;

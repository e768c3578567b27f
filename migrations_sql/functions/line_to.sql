-- version 3
-- line_to: the messages from a message of a conversation up to the first one of its branch, newest first.
--
-- A function with EXECUTE, because Citus needs the id of the conversation when it plans a recursion.
--
-- Arguments: the id of the conversation; the id of the message; the number of messages at most (NULL: all).

CREATE OR REPLACE FUNCTION {schema}.{prefix}_line_to(conversation text, message text, longest bigint)
RETURNS TABLE (step bigint, message_id text)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
-- Sorting a conversation at each step looks cheap where messages are expected to be few.
SET enable_sort = off
SET jit = off
AS $line_to$
BEGIN
    IF longest IS NULL THEN
        -- Imported parents may form a circle.
        SELECT count(*) INTO longest FROM {schema}.{prefix}_messages AS m WHERE m.conversation_id = conversation;
    END IF;
    -- In the order of the key, each step is one look-up, as in path_to_line.
    RETURN QUERY EXECUTE $line$
        WITH RECURSIVE line AS (
            SELECT 1::bigint AS step, m.message_id, m.parent_id
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = $1 AND m.message_id = $2 AND NOT m.archived
            UNION ALL
            SELECT line.step + 1, m.message_id, m.parent_id
            FROM line CROSS JOIN LATERAL (
                SELECT * FROM {schema}.{prefix}_messages AS each
                WHERE each.conversation_id = $1 AND each.message_id >= line.parent_id
                ORDER BY each.conversation_id, each.message_id LIMIT 1
            ) AS m
            WHERE m.message_id = line.parent_id AND NOT m.archived AND line.step < $3
        )
        SELECT line.step, line.message_id FROM line
        $line$ USING conversation, message, longest;
END
$line_to$;

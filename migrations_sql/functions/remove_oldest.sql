-- version 1
-- remove_oldest: delete or archive what the limit leaves no room for. Branches go with the line. The caller has locked
-- the conversation.
--
-- Arguments: the id of the conversation; the number of messages of its line to remove; whether to archive them.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_remove_oldest(conversation text, number bigint, archive boolean)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_sort = off
SET jit = off
AS $remove_oldest$
DECLARE
    ids text[] := '{}';
    newest_time timestamptz;
    newest_seq bigint;
    id text;
BEGIN
    -- Found in the order of the index, and changed by conditions of which any index has enough. By the conversation and
    -- the place alone, or the id alone, a plan without statistics may read the whole conversation. In loops, because with
    -- a generic plan Citus runs no subquery.
    FOR id, newest_time, newest_seq IN
        SELECT m.message_id, m.created_at, m.seq FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND NOT m.archived AND NOT m.aside
        ORDER BY m.created_at, m.seq LIMIT number
    LOOP
        ids := ids || id;
    END LOOP;
    FOR id IN
        SELECT m.message_id FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND NOT m.archived AND m.aside
            AND (m.created_at, m.seq) <= (newest_time, newest_seq)
        ORDER BY m.created_at, m.seq
    LOOP
        ids := ids || id;
    END LOOP;
    IF archive THEN
        UPDATE {schema}.{prefix}_messages AS m
            SET archived = true
            WHERE m.conversation_id = conversation AND m.message_id = ANY (ids)
                AND NOT m.archived AND m.aside = ANY ('{false,true}')
                AND (m.created_at, m.seq) <= (newest_time, newest_seq);
    ELSE
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = ANY (ids)
                AND NOT m.archived AND m.aside = ANY ('{false,true}')
                AND (m.created_at, m.seq) <= (newest_time, newest_seq);
    END IF;
END
$remove_oldest$;

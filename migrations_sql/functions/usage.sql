-- version 2
-- usage: count what a user has: conversations, messages, bytes of files.
--
-- All that takes space counts: conversations that are soft-deleted or archived and their messages, messages beyond the
-- storage limit that are kept, and those of other branches, and the chunks of uploads that are not complete yet.
--
-- EXECUTE, because Citus has no generic plan for statements that read all servers.
--
-- Arguments: the user; what to count. What is not counted is NULL.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_usage(
    of_user text,
    counts_conversations boolean,
    counts_messages boolean,
    counts_file_bytes boolean
) RETURNS TABLE (conversations bigint, messages bigint, file_bytes bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $usage$
BEGIN
    IF counts_conversations THEN
        EXECUTE $statement$
            SELECT count(*) FROM {schema}.{prefix}_conversations AS c WHERE c.user_id = $1
        $statement$ INTO conversations USING of_user;
    END IF;
    IF counts_messages THEN
        -- LATERAL, because a join of the two tables might read all messages.
        EXECUTE $statement$
            SELECT coalesce(sum(each.messages), 0)
            FROM {schema}.{prefix}_conversations AS c
            CROSS JOIN LATERAL (
                SELECT count(*) AS messages
                FROM {schema}.{prefix}_messages AS m
                WHERE m.conversation_id = c.id
            ) AS each
            WHERE c.user_id = $1
        $statement$ INTO messages USING of_user;
    END IF;
    IF counts_file_bytes THEN
        EXECUTE $statement$
            SELECT coalesce(sum(CASE WHEN f.id IS NOT NULL THEN f.size ELSE 262144 * (
                SELECT count(*) FROM {schema}.{prefix}_file_chunks AS k
                WHERE k.user_id = f.user_id AND k.upload = f.upload
            ) END), 0)
            FROM {schema}.{prefix}_files AS f
            WHERE f.user_id = $1
        $statement$ INTO file_bytes USING of_user;
    END IF;
    RETURN NEXT;
END
$usage$;

-- version 3
-- forget_derived: delete what was derived from messages of a conversation and is not deleted with their rows. Call it
-- before the messages are deleted. The caller has checked the owner.
--
-- This is the list of it: a table that gets to hold something made of messages, without a foreign key to them, has its
-- part here: what an answer said while it was written (answer_pieces) is left behind if a process dies at its end. Words, references to files and files without any go with the rows, and so do the summaries that stand for
-- one of the messages (note_changed_summary). So do the rows of tables that refer to the messages.
--
-- - Vectors of VoltAgent's, by the ids that it gives them.
-- - Steps of VoltAgent's that quote the messages: tool calls that are in them, texts that are theirs, and all steps of
--   the operation of which an answer goes.
--
-- A function, because a statement cannot name tables that may not exist.
--
-- Arguments: the conversation; the ids of the messages, NULL: all of them.
-- Returns the number of vectors and of steps that were deleted.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_forget_derived(conversation text, message_ids text[]) RETURNS TABLE (
    vectors bigint, steps bigint
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET jit = off
AS $forget_derived$
BEGIN
    DELETE FROM {schema}.{prefix}_answer_pieces AS p
        WHERE p.conversation_id = conversation AND (message_ids IS NULL OR p.answer_id = ANY (message_ids));
    vectors := 0;
    steps := 0;
    IF to_regclass('{schema}.voltagent_vector_vectors') IS NOT NULL THEN
        -- Other conversations may have the same ids: "msg_a_b_c" is of two.
        DELETE FROM {schema}.voltagent_vector_vectors AS v
            USING {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND (message_ids IS NULL OR m.message_id = ANY (message_ids))
                AND v.id = 'msg_' || conversation || '_' || m.message_id
                AND coalesce(v.metadata ->> 'conversationId', conversation) = conversation;
        GET DIAGNOSTICS vectors = ROW_COUNT;
    END IF;
    IF to_regclass('{schema}.{prefix}_steps') IS NOT NULL THEN
        -- VoltAgent's columns of the messages are read as JSON, because they may not be there.
        WITH gone AS (
            SELECT m.role, m.metadata ->> 'operationId' AS operation_id,
                CASE jsonb_typeof(to_jsonb(m) -> 'parts') WHEN 'array' THEN to_jsonb(m) -> 'parts' ELSE '[]' END AS parts
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND (message_ids IS NULL OR m.message_id = ANY (message_ids))
        ), said AS (
            SELECT part.value ->> 'toolCallId' AS call_id, btrim(part.value ->> 'text', E' \t\r\n') AS words
            FROM gone CROSS JOIN LATERAL jsonb_array_elements(gone.parts) AS part
        )
        DELETE FROM {schema}.{prefix}_steps AS s
            WHERE s.conversation_id = conversation AND (
                s.id IN (SELECT said.call_id FROM said)
                OR s.content IN (SELECT said.words FROM said)
                OR s.operation_id IN (SELECT gone.operation_id FROM gone WHERE gone.role <> 'user')
            );
        GET DIAGNOSTICS steps = ROW_COUNT;
    END IF;
    RETURN NEXT;
END
$forget_derived$;

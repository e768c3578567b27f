-- version 4
-- unlink_messages: let what follows some messages follow the messages before them, before they are deleted. The caller
-- has locked the conversation.
--
-- Arguments: the id of the conversation; the ids of the messages.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_unlink_messages(conversation text, message_ids text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $unlink_messages$
DECLARE
    gone record;
BEGIN
    -- Newest first: the parent of a message that goes may go, too.
    FOR gone IN
        SELECT m.message_id, m.parent_id, m.created_at, m.seq
        FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND m.message_id = ANY (message_ids)
        ORDER BY m.created_at DESC, m.seq DESC
    LOOP
        gone.parent_id := coalesce(
            gone.parent_id, {schema}.{prefix}_message_before(conversation, gone.created_at, gone.seq)
        );
        UPDATE {schema}.{prefix}_messages AS m
            SET parent_id = gone.parent_id
            WHERE m.conversation_id = conversation AND m.parent_id = gone.message_id;
    END LOOP;
END
$unlink_messages$;

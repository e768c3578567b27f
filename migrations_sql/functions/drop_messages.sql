-- version 1
-- drop_messages: delete messages of a conversation: some, those that follow one, or all.
--
-- A function, because it waits for whoever is writing in the conversation and must act on what was committed meanwhile.
-- In a single statement everything shares the snapshot taken before the wait.
--
-- Arguments:
--   conversation   its id
--   of_user        whose it must be; NULL: trusted code, no check
--   message_ids    delete these messages; NULL: see up_to
--   up_to          delete the messages that follow this one; NULL: delete all
--   storage_limit  with up_to: how many of the newest remaining messages are shown. Archived ones among them come back
--                  from the archive (on_limit="archive"). NULL: all
--
-- Returns one row: whose the conversation is; whether it is soft-deleted; with up_to, whether it has that message; and
-- how many messages were deleted, NULL where there is no such conversation.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_drop_messages(
    conversation text,
    of_user text,
    message_ids text[],
    up_to text,
    storage_limit bigint
) RETURNS TABLE (owner text, is_deleted boolean, has_message boolean, dropped bigint)
LANGUAGE plpgsql
-- By index, whatever the tables hold when a connection makes its plans.
SET enable_seqscan = off
AS $drop_messages$
DECLARE
    place_time timestamptz;
    place_seq bigint;
BEGIN
    SELECT c.user_id INTO owner
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
        FOR UPDATE;
    IF NOT FOUND THEN
        SELECT c.user_id, c.deleted_at IS NOT NULL AND (of_user IS NULL OR c.user_id = of_user) INTO owner, is_deleted
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = conversation;
        RETURN NEXT;
        RETURN;
    END IF;

    IF message_ids IS NOT NULL THEN
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = ANY(message_ids);
    ELSIF up_to IS NOT NULL THEN
        SELECT m.created_at, m.seq INTO place_time, place_seq
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = up_to;
        has_message := FOUND;
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND (m.created_at, m.seq) > (place_time, place_seq);
    ELSE
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation;
    END IF;
    GET DIAGNOSTICS dropped = ROW_COUNT;

    IF dropped > 0 THEN
        IF up_to IS NOT NULL AND EXISTS (
            SELECT FROM {schema}.{prefix}_messages AS m WHERE m.conversation_id = conversation AND m.archived
        ) THEN
            UPDATE {schema}.{prefix}_messages AS m
                SET archived = false
                WHERE m.conversation_id = conversation AND m.archived AND m.message_id IN (
                    SELECT newest.message_id FROM {schema}.{prefix}_messages AS newest
                    WHERE newest.conversation_id = conversation
                    ORDER BY newest.created_at DESC, newest.seq DESC LIMIT storage_limit
                );
        END IF;
        -- Write the row without changing it: the trigger then notifies those who watch.
        UPDATE {schema}.{prefix}_conversations AS c
            SET updated_at = c.updated_at
            WHERE c.id = conversation;
    END IF;
    RETURN NEXT;
END
$drop_messages$;

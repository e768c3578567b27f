-- version 5
-- choose_branch: move the head of a conversation's line to a message, or to the end of the message's branch.
--
-- A function for the same reason as drop_messages.
--
-- Arguments:
--   conversation   the id of the conversation
--   of_user        its required owner; NULL: trusted code, no check
--   message        the id of the message; '': before the first message
--   to_the_end     true: the head becomes the newest message that follows the message, unless the message is on the
--                  line already; false: the message becomes the head
--   storage_limit  the limit up to which archived messages are restored; NULL: all
--
-- Returns one row: the owner of the conversation; whether it is soft-deleted; whether it has that message; the new head
-- (NULL: an empty line).

CREATE OR REPLACE FUNCTION {schema}.{prefix}_choose_branch(
    conversation text,
    of_user text,
    message text,
    to_the_end boolean,
    storage_limit bigint
) RETURNS TABLE (owner text, is_deleted boolean, has_message boolean, head text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
-- Sorting a conversation at each step looks cheap where messages are expected to be few.
SET enable_sort = off
SET jit = off
AS $choose_branch$
DECLARE
    is_aside boolean;
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

    SELECT m.aside INTO is_aside
        FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND m.message_id = message;
    has_message := FOUND OR message = '';
    head := message;
    IF to_the_end AND is_aside THEN
        -- EXECUTE, as in path_to_line.
        EXECUTE $below$
        WITH RECURSIVE below AS (
            SELECT m.message_id, m.created_at, m.seq
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = $1 AND m.message_id = $2
            UNION
            SELECT m.message_id, m.created_at, m.seq
            FROM below CROSS JOIN LATERAL (
                SELECT * FROM {schema}.{prefix}_messages AS each
                WHERE each.conversation_id = $1
                    AND each.parent_id >= below.message_id AND each.parent_id <= below.message_id
                ORDER BY each.conversation_id, each.parent_id OFFSET 0  -- a look-up by the index, as in path_to_line
            ) AS m
        )
        SELECT below.message_id FROM below ORDER BY below.created_at DESC, below.seq DESC LIMIT 1
        $below$ INTO head USING conversation, message;
    END IF;
    IF has_message AND (is_aside OR NOT to_the_end) THEN
        PERFORM {schema}.{prefix}_move_head(conversation, head);
        PERFORM {schema}.{prefix}_restore_archived(conversation, storage_limit);
        -- Update the row without changing it, so that the trigger notifies the watchers.
        UPDATE {schema}.{prefix}_conversations AS c
            SET updated_at = c.updated_at
            WHERE c.id = conversation;
    END IF;
    SELECT m.message_id INTO head
        FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND NOT m.archived AND NOT m.aside
        ORDER BY m.created_at DESC, m.seq DESC LIMIT 1;
    RETURN NEXT;
END
$choose_branch$;

-- version 9
-- drop_messages: delete messages of a conversation: the given ones, those after a given one, or all.
--
-- A function, because it waits for concurrent writers of the conversation and must act on what they committed. All
-- parts of a single statement would share the snapshot taken before the wait.
--
-- Arguments:
--   conversation   the id of the conversation
--   of_user        the user whose messages are deleted: its owner, or, without up_to, another who wrote there; NULL: trusted
--                  code, no check
--   message_ids    delete these messages; NULL: see up_to. What followed one of them follows the message before it.
--   up_to          delete the messages after this one, in all branches that follow it; NULL: delete all. If it is off
--                  the line, its branch becomes the line first.
--   storage_limit  with up_to: the limit up to which archived messages are restored; NULL: all
--
-- In tables of VoltAgent 1 or 2, several users may have messages in the conversation: those of others stay. "user_id" is
-- that column of the messages if it is there, and the variable if it is not (use_column). Messages of 'default' are the
-- owner's.
--
-- Returns one row: the owner of the conversation; whether it is soft-deleted; with up_to, whether it has that message;
-- and the number of deleted messages, NULL if there is no such conversation.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_drop_messages(
    conversation text,
    of_user text,
    message_ids text[],
    up_to text,
    storage_limit bigint
) RETURNS TABLE (owner text, is_deleted boolean, has_message boolean, dropped bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Plans with index scans, independent of the statistics at the time when a connection makes them. A plan for the
-- arguments looks each message up in the list of those to delete; a generic one would compare each with each.
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
-- Sorting a conversation at each step looks cheap where messages are expected to be few.
SET enable_sort = off
SET jit = off
AS $drop_messages$
#variable_conflict use_column
DECLARE
    user_id text := 'default';
    lock_timeout CONSTANT text := current_setting('lock_timeout');
    place_time timestamptz;
    place_seq bigint;
    is_aside boolean;
    below_ids text[];
    is_distributed CONSTANT boolean := to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL;
BEGIN
    SELECT c.user_id INTO owner
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND c.deleted_at IS NULL AND (
            of_user IS NULL OR c.user_id = of_user OR up_to IS NULL AND of_user <> 'default' AND EXISTS (
                SELECT 1 FROM {schema}.{prefix}_messages AS m
                WHERE m.conversation_id = conversation AND (message_ids IS NULL OR m.message_id = ANY (message_ids))
                    AND user_id = of_user
            )
        )
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        SELECT c.user_id, c.deleted_at IS NOT NULL AND (of_user IS NULL OR c.user_id = of_user) INTO owner, is_deleted
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = conversation;
        RETURN NEXT;
        RETURN;
    END IF;

    -- In a deadlock with a transaction of VoltAgent's, this one gives up: see add_messages.
    PERFORM set_config('lock_timeout', CASE lock_timeout WHEN '0' THEN '400ms' ELSE lock_timeout END, true);
    IF message_ids IS NOT NULL THEN
        IF of_user IS NOT NULL THEN
            SELECT coalesce(array_agg(m.message_id), '{}') INTO message_ids
                FROM {schema}.{prefix}_messages AS m
                WHERE m.conversation_id = conversation AND m.message_id = ANY (message_ids)
                    AND (user_id = of_user OR user_id = 'default' AND owner = of_user);
        END IF;
        PERFORM 1 FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.parent_id = ANY (message_ids)
            LIMIT 1;
        IF FOUND THEN
            PERFORM {schema}.{prefix}_unlink_messages(conversation, message_ids);
        END IF;
        IF is_distributed THEN  -- otherwise a trigger does it
            DELETE FROM {schema}.{prefix}_summaries AS s
                WHERE s.conversation_id = conversation AND EXISTS (
                    SELECT 1 FROM {schema}.{prefix}_messages AS m
                    WHERE m.conversation_id = conversation AND m.message_id = ANY (message_ids)
                        AND m.created_at >= s.first_at AND m.created_at <= s.last_at
                );
        END IF;
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = ANY (message_ids);
    ELSIF up_to IS NOT NULL THEN
        SELECT m.created_at, m.seq, m.aside INTO place_time, place_seq, is_aside
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = up_to;
        has_message := FOUND;
        IF is_aside THEN
            PERFORM {schema}.{prefix}_move_head(conversation, up_to);
        END IF;
        WITH RECURSIVE below AS (
            SELECT m.message_id
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND (
                (NOT m.aside AND (m.created_at, m.seq) > (place_time, place_seq)) OR m.parent_id = up_to
            )
            UNION
            SELECT m.message_id
            FROM below CROSS JOIN LATERAL (
                SELECT * FROM {schema}.{prefix}_messages AS each
                WHERE each.conversation_id = conversation
                    AND each.parent_id >= below.message_id AND each.parent_id <= below.message_id
                ORDER BY each.conversation_id, each.parent_id OFFSET 0  -- a look-up by the index, as in move_head
            ) AS m
        )
        SELECT array_agg(below.message_id) INTO below_ids FROM below;
        -- Not with a join: after an ANALYZE of a table that was small, the planner would compare each with each.
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = ANY (below_ids)
                AND (of_user IS NULL OR user_id IN (of_user, 'default'));
    ELSE
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation
                AND (of_user IS NULL OR user_id = of_user OR user_id = 'default' AND owner = of_user);
    END IF;
    GET DIAGNOSTICS dropped = ROW_COUNT;

    IF dropped > 0 THEN
        IF up_to IS NOT NULL THEN
            PERFORM {schema}.{prefix}_restore_archived(conversation, storage_limit);
        END IF;
        IF is_distributed AND message_ids IS NULL THEN
            PERFORM {schema}.{prefix}_leave_summaries(conversation, place_time + interval '1 microsecond', true);
        END IF;
        -- Update the row without changing it, so that the trigger notifies the watchers.
        UPDATE {schema}.{prefix}_conversations AS c
            SET updated_at = c.updated_at
            WHERE c.id = conversation;
    END IF;
    PERFORM set_config('lock_timeout', lock_timeout, true);
    RETURN NEXT;
END
$drop_messages$;

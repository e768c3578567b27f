-- version 4
-- forget_messages: delete messages of a user in all conversations, or in one and its forks, soft-deleted ones too, with
-- what was derived from them, and find the versions of working memory that were written from them.
--
-- A function, because the conversations are locked first, in ascending order like every caller, and what concurrent
-- writers committed must be seen then. A fork locks what it copies: whoever waits for it has to look again, for the copy.
--
-- In tables of VoltAgent 1 or 2, a user may have messages in other users' conversations. "user_id" is as in drop_messages.
--
-- Arguments: the user; the ids of the messages; the conversation, with its forks and theirs; NULL: all.
-- Returns how many messages were deleted, in how many conversations; how many vectors and steps of VoltAgent's; and the
-- versions, as a JSON array of [conversation (null: the user's memory), version, whether it is the newest].

CREATE OR REPLACE FUNCTION {schema}.{prefix}_forget_messages(of_user text, message_ids text[], only_in text) RETURNS TABLE (
    messages bigint, conversations bigint, vectors bigint, steps bigint, memory text
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET jit = off
AS $forget_messages$
#variable_conflict use_column
DECLARE
    user_id text := 'default';
    guest_in text[];
    conversation text;
    owner text;
    own_ids text[];
    dropped_there bigint;
    derived record;
    of_conversations jsonb;
    is_gone boolean;
    within text[] := CASE WHEN only_in IS NOT NULL THEN ARRAY[only_in] END;
    forks text[];
    holders text[];
    locked text[] := '{}';
BEGIN
    LOOP
        forks := within;
        -- In steps: Citus runs no recursive query over several workers.
        WHILE forks IS NOT NULL LOOP
            SELECT array_agg(c.id) INTO forks
                FROM {schema}.{prefix}_conversations AS c
                WHERE c.user_id = of_user AND c.forked_from = ANY (forks) AND c.id <> ALL (within);
            within := within || forks;
        END LOOP;
        SELECT coalesce(array_agg(DISTINCT m.conversation_id), '{}') INTO guest_in
            FROM {schema}.{prefix}_messages AS m
            WHERE (within IS NULL OR m.conversation_id = ANY (within)) AND m.message_id = ANY (message_ids)
                AND user_id = of_user AND of_user <> 'default';
        SELECT array_agg(c.id ORDER BY c.id) INTO holders
            FROM {schema}.{prefix}_conversations AS c
            WHERE (c.user_id = of_user OR c.id = ANY (guest_in)) AND (within IS NULL OR c.id = ANY (within)) AND c.id <> ALL (locked) AND EXISTS (
                SELECT 1 FROM {schema}.{prefix}_messages AS m
                WHERE m.conversation_id = c.id AND m.message_id = ANY (message_ids)
            );
        EXIT WHEN holders IS NULL;
        FOREACH conversation IN ARRAY holders LOOP
            PERFORM 1 FROM {schema}.{prefix}_conversations AS c
                WHERE c.id = conversation AND (c.user_id = of_user OR c.id = ANY (guest_in))
                FOR NO KEY UPDATE;
        END LOOP;
        locked := locked || holders;
    END LOOP;
    messages := 0;
    conversations := 0;
    vectors := 0;
    steps := 0;
    FOREACH conversation IN ARRAY locked LOOP
        SELECT c.user_id, c.deleted_at IS NOT NULL INTO owner, is_gone
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = conversation AND (c.user_id = of_user OR c.id = ANY (guest_in));
        CONTINUE WHEN NOT FOUND;
        SELECT coalesce(array_agg(m.message_id), '{}') INTO own_ids
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = ANY (message_ids)
                AND (user_id = of_user OR user_id = 'default' AND owner = of_user);
        SELECT f.vectors, f.steps INTO derived FROM {schema}.{prefix}_forget_derived(conversation, own_ids) AS f;
        IF is_gone THEN
            -- drop_messages takes it for absent.
            PERFORM {schema}.{prefix}_unlink_messages(conversation, own_ids);
            IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN  -- otherwise a trigger does it
                DELETE FROM {schema}.{prefix}_summaries AS s
                    WHERE s.conversation_id = conversation AND EXISTS (
                        SELECT 1 FROM {schema}.{prefix}_messages AS m
                        WHERE m.conversation_id = conversation AND m.message_id = ANY (own_ids)
                            AND m.created_at >= s.first_at AND m.created_at <= s.last_at
                    );
            END IF;
            DELETE FROM {schema}.{prefix}_messages AS m
                WHERE m.conversation_id = conversation AND m.message_id = ANY (own_ids);
            GET DIAGNOSTICS dropped_there = ROW_COUNT;
        ELSE
            SELECT coalesce(d.dropped, 0) INTO dropped_there
                FROM {schema}.{prefix}_drop_messages(conversation, of_user, own_ids, NULL, NULL) AS d;
        END IF;
        -- A title that a model made may quote them. Models read the owner's messages only.
        UPDATE {schema}.{prefix}_conversations AS c
            SET title = NULL, title_is_automatic = false
            WHERE c.id = conversation AND c.title_is_automatic AND dropped_there > 0 AND owner = of_user;
        messages := messages + dropped_there;
        conversations := conversations + CASE WHEN dropped_there > 0 THEN 1 ELSE 0 END;
        vectors := vectors + derived.vectors;
        steps := steps + derived.steps;
    END LOOP;
    IF to_regclass('{schema}.voltagent_vector_vectors') IS NOT NULL THEN
        -- Those of messages that were deleted before, without them.
        DELETE FROM {schema}.voltagent_vector_vectors AS v
            WHERE v.metadata ->> 'userId' = of_user AND v.metadata ->> 'messageId' = ANY (message_ids)
                AND (within IS NULL OR v.metadata ->> 'conversationId' = ANY (within));
        GET DIAGNOSTICS dropped_there = ROW_COUNT;
        vectors := vectors + dropped_there;
    END IF;
    -- Two statements: on Citus, the two tables are not on the same server.
    SELECT jsonb_agg(jsonb_build_array(m.conversation_id, m.version, m.version = newest.version)
            ORDER BY m.conversation_id, m.version)
        INTO of_conversations
        FROM {schema}.{prefix}_conversations AS c
        JOIN {schema}.{prefix}_conversation_memory AS m ON m.conversation_id = c.id
        CROSS JOIN LATERAL (
            SELECT max(each.version) AS version FROM {schema}.{prefix}_conversation_memory AS each
            WHERE each.conversation_id = c.id
        ) AS newest
        WHERE c.user_id = of_user AND (within IS NULL OR c.id = ANY (within)) AND m.from_messages && message_ids;
    SELECT concat(coalesce(jsonb_agg(jsonb_build_array(NULL, m.version, m.version = newest.version) ORDER BY m.version), '[]')
            || coalesce(of_conversations, '[]'))
        INTO memory
        FROM {schema}.{prefix}_user_memory AS m
        CROSS JOIN LATERAL (
            SELECT max(each.version) AS version FROM {schema}.{prefix}_user_memory AS each
            WHERE each.user_id = of_user
        ) AS newest
        WHERE m.user_id = of_user AND m.from_messages && message_ids;
    RETURN NEXT;
END
$forget_messages$;

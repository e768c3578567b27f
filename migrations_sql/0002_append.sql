-- 0002 append
-- What: the one function that adds messages: one or many, to one conversation or to several.
-- Why:  a function, because in a single WITH statement everything shares the snapshot taken before the row lock
--       was waited for, and two writers at once would each miss the other's message and exceed the limit; in here
--       each statement sees what the lock's last holder committed. A loop, because for one message the set-based
--       form (unnest, joins, one DELETE for all) costs more than twice as much.
-- Lock: none on tables.
--
-- Arguments: arrays of equal length, an element a message, the messages of a conversation side by side, the
-- conversations in ascending order (all callers lock in the same order, so none waits for another in a circle).
-- A NULL user id is trusted code: no check of the owner. A NULL time is the moment at which the lock was got, so
-- that within a conversation the order is the order of commits. NULL as storage_limit keeps everything.
-- Returns: the number and the stored time of each message that was stored, in order. Messages for a conversation
-- that is missing, or another user's, are left out, and leave no trace.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_append(
    conversation_ids text[],
    user_ids text[],
    message_ids text[],
    roles text[],
    contents text[],
    contents_json text[],
    types text[],
    metadatas text[],
    created_ats timestamptz[],
    storage_limit bigint,
    archive boolean
) RETURNS TABLE (item integer, stored_at timestamptz)
LANGUAGE plpgsql
-- One plan for all conversations, by index: the plan for a very long one would read the whole table to find what
-- lies beyond its limit, and the first five calls of each connection would be planned anew.
SET plan_cache_mode = force_generic_plan
AS $append$
DECLARE
    first integer := 1;
    last integer;
    conversation text;
    owner text;
    activity timestamptz;
    accepted boolean;
    cutoff_time timestamptz;
    cutoff_seq bigint;
BEGIN
    WHILE first <= cardinality(conversation_ids) LOOP
        conversation := conversation_ids[first];
        last := first;
        WHILE conversation_ids[last + 1] = conversation LOOP
            last := last + 1;
        END LOOP;

        SELECT c.user_id INTO owner
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = conversation
            FOR UPDATE;
        activity := clock_timestamp();
        accepted := false;

        FOR position IN first .. last LOOP
            CONTINUE WHEN owner IS NULL OR user_ids[position] <> owner;
            INSERT INTO {schema}.{prefix}_messages AS m
                (conversation_id, message_id, role, content, content_json, type, metadata, created_at)
            VALUES
                (conversation, message_ids[position], roles[position], contents[position],
                 contents_json[position]::json, types[position], metadatas[position]::jsonb,
                 coalesce(created_ats[position], activity))
            ON CONFLICT (conversation_id, message_id) DO UPDATE SET
                role = excluded.role,
                content = excluded.content,
                content_json = excluded.content_json,
                type = excluded.type,
                metadata = excluded.metadata,
                created_at = CASE WHEN created_ats[position] IS NULL THEN m.created_at ELSE excluded.created_at END
            RETURNING m.created_at INTO stored_at;
            item := position;
            accepted := true;
            RETURN NEXT;
        END LOOP;

        IF accepted THEN
            UPDATE {schema}.{prefix}_conversations AS c
                SET updated_at = activity
                WHERE c.id = conversation;
            -- The newest message that is one too many; nothing is counted.
            SELECT m.created_at, m.seq INTO cutoff_time, cutoff_seq
                FROM {schema}.{prefix}_messages AS m
                WHERE storage_limit IS NOT NULL AND m.conversation_id = conversation AND NOT m.archived
                ORDER BY m.created_at DESC, m.seq DESC
                OFFSET storage_limit LIMIT 1;
            IF NOT FOUND THEN
                NULL;
            ELSIF archive THEN
                UPDATE {schema}.{prefix}_messages AS m
                    SET archived = true
                    WHERE m.conversation_id = conversation AND NOT m.archived
                        AND (m.created_at, m.seq) <= (cutoff_time, cutoff_seq);
            ELSE
                DELETE FROM {schema}.{prefix}_messages AS m
                    WHERE m.conversation_id = conversation AND NOT m.archived
                        AND (m.created_at, m.seq) <= (cutoff_time, cutoff_seq);
            END IF;
        END IF;

        first := last + 1;
    END LOOP;
END
$append$;

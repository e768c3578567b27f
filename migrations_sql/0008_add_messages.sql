-- 0008 add messages
-- What: a function that adds messages as 0002's does, and need not wait: with "patient" false it stores nothing of a
--       conversation that somebody has locked, and says so.
-- Why:  the messages of calls that come together are sent as one statement, and one conversation that is locked for
--       long must not keep the others.
-- Lock: none on tables.
--
-- Arguments: as in 0002, but the conversations in any order; patient: whether to wait for those that are locked.
-- Returns: as in 0002, and NULL as the time of each message whose conversation is locked.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_add_messages(
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
    archive boolean,
    patient boolean
) RETURNS TABLE (item integer, stored_at timestamptz)
LANGUAGE plpgsql
-- One plan for all conversations, by index: the plan for a very long one would read the whole table to find what
-- lies beyond its limit, and the first five calls of each connection would be planned anew.
SET plan_cache_mode = force_generic_plan
AS $add_messages$
DECLARE
    first integer := 1;
    last integer;
    conversation text;
    owner text;
    locked boolean;
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

        locked := false;
        IF patient THEN
            SELECT c.user_id INTO owner
                FROM {schema}.{prefix}_conversations AS c
                WHERE c.id = conversation
                FOR UPDATE;
        ELSE
            SELECT c.user_id INTO owner
                FROM {schema}.{prefix}_conversations AS c
                WHERE c.id = conversation
                FOR UPDATE SKIP LOCKED;
            IF NOT FOUND THEN
                locked := EXISTS (SELECT FROM {schema}.{prefix}_conversations AS c WHERE c.id = conversation);
            END IF;
        END IF;
        activity := clock_timestamp();
        accepted := false;
        PERFORM set_config('voltmem.user_id', owner, true);

        FOR position IN first .. last LOOP
            IF locked THEN
                item := position;
                stored_at := NULL;
                RETURN NEXT;
            END IF;
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
                parts = NULL,
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
$add_messages$;

-- Processes of earlier releases call this one, and may do so beside newer ones.
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
LANGUAGE sql
AS $append$
    SELECT * FROM {schema}.{prefix}_add_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, true);
$append$;

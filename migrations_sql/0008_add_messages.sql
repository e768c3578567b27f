-- 0008 add messages
-- What: a function that adds the messages of several calls as 0002's adds those of one, and need not wait: with
--       "patient" false it stores nothing of a conversation that somebody has locked, and says so.
-- Why:  calls that come together are sent as one statement. Each must have the outcome that it has alone, and one
--       conversation that is locked for long must not keep the others.
--       0004's function stays as it is, for processes of earlier releases.
-- Lock: none on tables.
--
-- Arguments: an element a call, those of a conversation side by side: conversation, user (NULL: trusted code), how many
-- messages. Then an element a message, all in one row; NULL instead of a column in which nobody has a value. Then as in
-- 0002, and patient: whether to wait for conversations that are locked. Numbers and times (ISO 8601, with their offset)
-- are text: asyncpg has a codec for text[], and looks up any other array type on every new connection.
-- Returns: as in 0002, and NULL as the time of each message whose conversation is locked.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_add_messages(
    conversation_ids text[],
    user_ids text[],
    sizes text[],
    message_ids text[],
    roles text[],
    contents text[],
    contents_json text[],
    types text[],
    metadatas text[],
    created_ats text[],
    storage_limit bigint,
    archive boolean,
    patient boolean
) RETURNS TABLE (item integer, stored_at timestamptz)
LANGUAGE plpgsql
-- One plan for all conversations, by index, whatever the tables hold when a connection makes it: the plan for a very
-- long conversation would read the whole table to find what lies beyond its limit; the plan made for tables that are
-- still empty would scan them, and be kept until the next ANALYZE.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_sort = off
AS $add_messages$
DECLARE
    last integer := 0;
    conversation text;
    owner text;
    locked boolean;
    touched boolean;
    activity timestamptz;
    accepted boolean;
    cutoff_time timestamptz;
    cutoff_seq bigint;
BEGIN
    FOR this IN 1 .. cardinality(conversation_ids) LOOP
        IF conversation IS DISTINCT FROM conversation_ids[this] THEN
            conversation := conversation_ids[this];
            locked := false;
            touched := false;
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
            PERFORM set_config('voltmem.user_id', owner, true);
        END IF;

        activity := clock_timestamp();
        accepted := owner IS NOT NULL AND (user_ids[this] IS NULL OR user_ids[this] = owner);
        FOR position IN last + 1 .. last + sizes[this]::integer LOOP
            IF accepted THEN
                INSERT INTO {schema}.{prefix}_messages AS m
                    (conversation_id, message_id, role, content, content_json, type, metadata, created_at)
                VALUES
                    (conversation, message_ids[position], roles[position], contents[position],
                     contents_json[position]::json, types[position], metadatas[position]::jsonb,
                     coalesce(created_ats[position]::timestamptz, activity))
                ON CONFLICT (conversation_id, message_id) DO UPDATE SET
                    role = excluded.role,
                    content = excluded.content,
                    content_json = excluded.content_json,
                    type = excluded.type,
                    metadata = excluded.metadata,
                    parts = NULL,
                    created_at = CASE WHEN created_ats[position] IS NULL THEN m.created_at ELSE excluded.created_at END
                RETURNING m.created_at INTO stored_at;
            ELSE
                stored_at := NULL;
            END IF;
            IF accepted OR locked THEN
                item := position;
                RETURN NEXT;
            END IF;
        END LOOP;
        last := last + sizes[this]::integer;

        IF accepted THEN
            touched := true;
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

        IF touched AND conversation_ids[this + 1] IS DISTINCT FROM conversation THEN
            UPDATE {schema}.{prefix}_conversations AS c
                SET updated_at = activity
                WHERE c.id = conversation;
        END IF;
    END LOOP;
END
$add_messages$;

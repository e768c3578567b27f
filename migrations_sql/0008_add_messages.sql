-- 0008 add messages
-- What: a function that adds the messages of several calls as 0002's adds those of one, and need not wait: with
--       "patient" false it stores nothing of a conversation that somebody has locked, and says so.
-- Why:  calls that come together are sent as one statement. Each must have the outcome that it has alone, and one
--       conversation that is locked for long must not keep the others.
-- Lock: none on tables.
--
-- Arguments: as in 0002, but the conversations in any order, and times as text in ISO 8601 with their offset: asyncpg
-- has a codec for text[], and looks up any other array type on every new connection. calls: of which call each
-- message is; a call's messages side by side, and the calls of a conversation. patient: whether to wait for
-- conversations that are locked.
-- Returns: as in 0002, and NULL as the time of each message whose conversation is locked.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_add_messages(
    calls text[],
    conversation_ids text[],
    user_ids text[],
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
    position integer := 1;
    total integer := cardinality(calls);
    this_call text;
    conversation text;
    owner text;
    locked boolean;
    touched boolean;
    activity timestamptz;
    accepted boolean;
    cutoff_time timestamptz;
    cutoff_seq bigint;
BEGIN
    WHILE position <= total LOOP
        IF conversation IS DISTINCT FROM conversation_ids[position] THEN
            conversation := conversation_ids[position];
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

        this_call := calls[position];
        activity := clock_timestamp();
        accepted := owner IS NOT NULL AND (user_ids[position] IS NULL OR user_ids[position] = owner);
        WHILE position <= total AND calls[position] = this_call LOOP
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
            position := position + 1;
        END LOOP;

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

        IF touched AND conversation_ids[position] IS DISTINCT FROM conversation THEN
            UPDATE {schema}.{prefix}_conversations AS c
                SET updated_at = activity
                WHERE c.id = conversation;
        END IF;
    END LOOP;
END
$add_messages$;

-- Processes of earlier releases call this one, and may do so beside newer ones. One call is one conversation there.
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
SET datestyle = 'ISO'
AS $append$
    SELECT * FROM {schema}.{prefix}_add_messages(
        $1, $1, $2, $3, $4, $5, $6, $7, $8, $9::text[], $10, $11, true
    );
$append$;

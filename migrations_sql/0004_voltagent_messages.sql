-- 0004 messages of VoltAgent 1 and 2
-- What: what VoltAgent's tables of those releases have and ours had not, and the other way round: "parts", the content
--       of a UIMessage, beside "content"; the function that adds messages, which empties "parts" when it replaces.
-- Why:  such tables can be read, written, and go on being written by VoltAgent. Where "parts" stands, it is the
--       content; VoltAgent writes it and we don't. VoltAgent 1 and 2 keep the user beside each message, too, and read
--       only what has it: there the column gets the owner of the conversation as its default. Elsewhere it must not
--       be made: VoltAgent 0.1 takes tables that have it for old ones, and rebuilds them.
-- Lock: ACCESS EXCLUSIVE on both tables, without a rewrite or a scan (nullable columns, no defaults).

ALTER TABLE {schema}.{prefix}_conversations ALTER COLUMN title DROP NOT NULL;

ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS content text;

ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS type text;

ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS parts jsonb;

DO $user_id$
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = '{schema}.{prefix}_messages'::regclass AND attname = 'user_id' AND NOT attisdropped
    ) THEN
        -- The setting is the append function's, for its own transaction; 'default' is VoltAgent's own default, which
        -- it turns into the conversation's user when it starts.
        ALTER TABLE {schema}.{prefix}_messages ALTER COLUMN user_id
            SET DEFAULT coalesce(nullif(current_setting('voltmem.user_id', true), ''), 'default');
    END IF;
END
$user_id$;

-- As in 0002, and: "parts" becomes NULL, and the owner is known to the default above.
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
        PERFORM set_config('voltmem.user_id', owner, true);

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
$append$;

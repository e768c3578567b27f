-- 0009 payloads
-- What: room for what agent frameworks keep in forms of their own: "payload" beside a message, which "format" names;
--       "parent_id", the message before it, where a conversation has branches; a table for what belongs to a
--       conversation as a whole. And a function that adds such messages, and makes a conversation that is missing.
-- Why:  a framework must get back, bit for bit, what it stored, while everybody else reads plain messages. json and not
--       jsonb, which would lose NUL and the order of keys.
--       0008's function stays as it is, for processes of the release before.
-- Lock: ACCESS EXCLUSIVE on the messages, without a rewrite or a scan (nullable columns, no defaults); SHARE for the
--       index, which reads the table once and finds nothing; SHARE ROW EXCLUSIVE on the
--       conversations for the foreign key.

ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS format text;

ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS payload json;

-- '' is the first of a branch; NULL, where there are none.
ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS parent_id text;

-- A message of a branch, whatever conversation it is in; none of those without branches.
CREATE INDEX IF NOT EXISTS {prefix}_messages_in_branches
    ON {schema}.{prefix}_messages (message_id) WHERE parent_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_payloads (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    format text NOT NULL,
    payload json NOT NULL,
    revision text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, format)
);

-- Arguments: as in 0008, and after the users, for each call, the resource of the conversation that it makes if there is
-- none (NULL: there must be one); after the times, format, payload and parent_id of each message.
-- Returns: as in 0008.
CREATE OR REPLACE FUNCTION {schema}.{prefix}_add_messages(
    conversation_ids text[],
    user_ids text[],
    resource_ids text[],
    sizes text[],
    message_ids text[],
    roles text[],
    contents text[],
    contents_json text[],
    types text[],
    metadatas text[],
    created_ats text[],
    formats text[],
    payloads text[],
    parent_ids text[],
    storage_limit bigint,
    archive boolean,
    patient boolean
) RETURNS TABLE (item integer, stored_at timestamptz)
LANGUAGE plpgsql
-- As in 0008: one plan for all conversations, by index, whatever the tables hold when a connection makes it.
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
    lock_timeout text;
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

        IF owner IS NULL AND NOT locked AND resource_ids[this] IS NOT NULL AND user_ids[this] IS NOT NULL THEN
            -- Somebody else may be making it, in a transaction that is still open.
            BEGIN
                IF NOT patient THEN
                    lock_timeout := current_setting('lock_timeout');
                    PERFORM set_config('lock_timeout', '10ms', true);
                END IF;
                INSERT INTO {schema}.{prefix}_conversations (id, resource_id, user_id)
                    VALUES (conversation, resource_ids[this], user_ids[this])
                    ON CONFLICT (id) DO NOTHING;
                SELECT c.user_id INTO owner
                    FROM {schema}.{prefix}_conversations AS c
                    WHERE c.id = conversation
                    FOR UPDATE;
                IF NOT patient THEN
                    PERFORM set_config('lock_timeout', lock_timeout, true);
                END IF;
                PERFORM set_config('voltmem.user_id', owner, true);
            EXCEPTION WHEN lock_not_available THEN
                locked := true;
            END;
        END IF;

        activity := clock_timestamp();
        accepted := owner IS NOT NULL AND (user_ids[this] IS NULL OR user_ids[this] = owner);
        FOR position IN last + 1 .. last + sizes[this]::integer LOOP
            IF accepted THEN
                INSERT INTO {schema}.{prefix}_messages AS m
                    (conversation_id, message_id, role, content, content_json, type, metadata, created_at,
                     format, payload, parent_id)
                VALUES
                    (conversation, message_ids[position], roles[position], contents[position],
                     contents_json[position]::json, types[position], metadatas[position]::jsonb,
                     coalesce(created_ats[position]::timestamptz, activity),
                     formats[position], payloads[position]::json, parent_ids[position])
                ON CONFLICT (conversation_id, message_id) DO UPDATE SET
                    role = excluded.role,
                    content = excluded.content,
                    content_json = excluded.content_json,
                    type = excluded.type,
                    metadata = excluded.metadata,
                    parts = NULL,
                    created_at = CASE WHEN created_ats[position] IS NULL THEN m.created_at ELSE excluded.created_at END,
                    format = excluded.format,
                    payload = excluded.payload,
                    parent_id = coalesce(excluded.parent_id, m.parent_id)
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

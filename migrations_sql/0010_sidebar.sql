-- 0010 sidebar
-- What: what a person does to a conversation in a sidebar (pins, archives, tags, reads, deletes it with a way back),
--       where one was forked from, and an index that lists them; the words of a message, for the search, and
--       an index of them; the function that adds messages stores them, and passes over deleted conversations.
-- Why:  none of it may reorder the list, so none of it is in updated_at. A deleted conversation looks absent to
--       everybody until it is restored or purged; a message for it finds none. The index of words holds nothing, and costs nothing,
--       until the search is turned on.
-- Lock: ACCESS EXCLUSIVE on both tables for the ADD COLUMNs, without a rewrite (constant defaults, and now(), which is
--       evaluated once); SHARE on each for its index: on the conversations for as long as building it takes, on the
--       messages for reading them once.

ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS pinned boolean NOT NULL DEFAULT false;

ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS archived boolean NOT NULL DEFAULT false;

ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS tags text[] NOT NULL DEFAULT '{}';

ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS read_at timestamptz DEFAULT now();

-- What was said before there were marks counts as read; nothing is written for it. NULL for those that are made from now
-- on: nothing of them is read.
ALTER TABLE {schema}.{prefix}_conversations ALTER COLUMN read_at DROP DEFAULT;

ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS deleted_at timestamptz;

-- Whether the title that stands is one that a model made: only such a one may a model replace.
ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS title_is_automatic boolean NOT NULL DEFAULT false;

ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS forked_from text;

ALTER TABLE {schema}.{prefix}_conversations ADD COLUMN IF NOT EXISTS forked_up_to text;

-- A user's list, and that of the archived ones: the pinned first, then by activity.
CREATE INDEX IF NOT EXISTS {prefix}_conversations_in_sidebar
    ON {schema}.{prefix}_conversations (user_id, archived, pinned, updated_at, id) WHERE deleted_at IS NULL;

-- Each word begins with its user's key, the first eight hexadecimal digits of the SHA-256 of the user's id.
ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS words tsvector;

CREATE INDEX IF NOT EXISTS {prefix}_messages_by_word
    ON {schema}.{prefix}_messages USING gin (words) WHERE words IS NOT NULL;

-- As in 0009, but for conversations that are deleted; after the parent_ids the words of each message, as a tsvector is
-- written, with E'\x01' where the user's key goes.
-- Returns: as in 0009, and the number of each call, below zero, that finds none because it was deleted.
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
    vectors text[],
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
    user_key text;
BEGIN
    FOR this IN 1 .. cardinality(conversation_ids) LOOP
        IF conversation IS DISTINCT FROM conversation_ids[this] THEN
            conversation := conversation_ids[this];
            locked := false;
            touched := false;
            IF patient THEN
                SELECT c.user_id INTO owner
                    FROM {schema}.{prefix}_conversations AS c
                    WHERE c.id = conversation AND c.deleted_at IS NULL
                    FOR UPDATE;
            ELSE
                SELECT c.user_id INTO owner
                    FROM {schema}.{prefix}_conversations AS c
                    WHERE c.id = conversation AND c.deleted_at IS NULL
                    FOR UPDATE SKIP LOCKED;
                IF NOT FOUND THEN
                    locked := EXISTS (
                        SELECT FROM {schema}.{prefix}_conversations AS c
                        WHERE c.id = conversation AND c.deleted_at IS NULL
                    );
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
                    WHERE c.id = conversation AND c.deleted_at IS NULL
                    FOR UPDATE;
                IF NOT patient THEN
                    PERFORM set_config('lock_timeout', lock_timeout, true);
                END IF;
                PERFORM set_config('voltmem.user_id', owner, true);
            EXCEPTION WHEN lock_not_available THEN
                locked := true;
            END;
        END IF;

        IF vectors IS NOT NULL AND owner IS NOT NULL THEN
            user_key := left(encode(sha256(convert_to(owner, 'UTF8')), 'hex'), 8);
        END IF;

        activity := clock_timestamp();
        accepted := owner IS NOT NULL AND (user_ids[this] IS NULL OR user_ids[this] = owner);
        FOR position IN last + 1 .. last + sizes[this]::integer LOOP
            IF accepted THEN
                INSERT INTO {schema}.{prefix}_messages AS m
                    (conversation_id, message_id, role, content, content_json, type, metadata, created_at,
                     format, payload, parent_id, words)
                VALUES
                    (conversation, message_ids[position], roles[position], contents[position],
                     contents_json[position]::json, types[position], metadatas[position]::jsonb,
                     coalesce(created_ats[position]::timestamptz, activity),
                     formats[position], payloads[position]::json, parent_ids[position],
                     replace(vectors[position], E'\x01', user_key)::tsvector)
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
                    parent_id = coalesce(excluded.parent_id, m.parent_id),
                    words = excluded.words
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
        ELSIF NOT locked AND EXISTS (
            SELECT FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = conversation AND c.deleted_at IS NOT NULL
                AND (user_ids[this] IS NULL OR c.user_id = user_ids[this])
        ) THEN
            item := -this;
            RETURN NEXT;
        END IF;

        IF touched AND conversation_ids[this + 1] IS DISTINCT FROM conversation THEN
            UPDATE {schema}.{prefix}_conversations AS c
                SET updated_at = activity
                WHERE c.id = conversation;
        END IF;
    END LOOP;
END
$add_messages$;

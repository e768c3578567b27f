-- version 1
-- add_messages: add messages, those of one call or of several, to one conversation or to several.
--
-- A function, because in a single WITH statement everything shares the snapshot taken before the row lock was waited
-- for: two writers at once would each miss the other's message, and the limit would be exceeded. In a function each
-- statement sees what the lock's last holder committed. A loop, because for one message the set-based form (unnest,
-- joins, one DELETE for all) costs more than twice as much.
-- Calls that arrive together are sent as one statement. Each call must end as it would alone, and one conversation that
-- is locked for long must not delay the others.
--
-- Arguments with one element a call. The calls of a conversation stand side by side, and the conversations in ascending
-- order: all callers lock in the same order, so there is no deadlock.
--   conversation_ids
--   user_ids       whose the conversation must be; NULL: trusted code, no check
--   resource_ids   the resource of the conversation that the call creates where there is none; NULL: there must be one
--   sizes          how many messages the call has
-- Arguments with one element a message; NULL in place of an array of NULLs.
--   message_ids, roles, contents, contents_json, types, metadatas, formats, payloads, parent_ids
--   created_ats    ISO 8601 with an offset; NULL: the time at which the lock was acquired, so that the order within a
--                  conversation is the order of commits
--   vectors        lexemes, as a tsvector is written, with E'\x01' in place of the user's key
-- sizes and created_ats are text because asyncpg has a codec for text[]; it looks up any other array type on each new
-- connection.
-- Arguments for all.
--   storage_limit  how many messages a conversation keeps; NULL: all
--   archive        archive what is beyond the limit; false: delete it
--   patient        wait for a conversation that is locked; false: store nothing in it
--
-- Returns a row for each stored message: its number, from 1, and its time. A message whose conversation is locked has a
-- row without a time. A call whose conversation was deleted has one row, with the number of the call below zero. Calls
-- for a conversation that is missing, or another user's, have no row and change nothing.

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
-- One plan for all conversations, by index, whatever the tables hold when a connection makes it: the plan for a very
-- long conversation would read the whole table to find what is beyond its limit; the plan made for tables that are
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
            -- Another transaction that is still open may be creating it.
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
            -- The newest message beyond the limit. Nothing is counted.
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

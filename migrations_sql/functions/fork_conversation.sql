-- version 6
-- fork_conversation: copy the line of a conversation, up to one of its messages, its working memory, and the
-- summaries of what is before that message.
--
-- A function, because a single statement would pass the rows of its parts to all workers of Citus. Here only the two that
-- have the conversation and its copy are asked.
--
-- Arguments: the conversation; the required owner, NULL: no check; the last message to copy, NULL: all; the id of the copy;
-- the storage limit.
-- Returns one row: the copy, whose id is NULL if there is none, and why:
--   is_found             false: the conversation is not the owner's, is deleted, or is locked
--   is_there, is_deleted if not found: it is locked, or it is soft-deleted
--   has_message          false: it has no such message
--   is_taken_by_deleted  a soft-deleted conversation of the same user has the id of the copy
--   copied               the number of messages

CREATE OR REPLACE FUNCTION {schema}.{prefix}_fork_conversation(
    source_id text,
    of_user text,
    up_to text,
    new_id text,
    storage_limit bigint
) RETURNS TABLE (
    is_found boolean,
    is_there boolean,
    is_deleted boolean,
    has_message boolean,
    is_taken_by_deleted boolean,
    copied bigint,
    id text,
    resource_id text,
    user_id text,
    title text,
    metadata text,
    created_at timestamptz,
    updated_at timestamptz
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $fork_conversation$
#variable_conflict use_column
DECLARE
    source record;
    place record;
    memory record;
    summary record;
    setting text;
BEGIN
    is_found := false;
    is_taken_by_deleted := false;
    has_message := true;
    copied := 0;
    -- Locked, so that no message is deleted, with its files, while it is copied.
    SELECT c.resource_id, c.user_id, c.title, c.title_is_automatic, c.metadata, c.tags, c.created_at INTO source
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = source_id AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
        FOR SHARE SKIP LOCKED;
    IF NOT FOUND THEN
        SELECT c.deleted_at IS NULL, c.deleted_at IS NOT NULL INTO is_there, is_deleted
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = source_id AND (of_user IS NULL OR c.user_id = of_user);
        RETURN NEXT;
        RETURN;
    END IF;
    is_found := true;
    IF up_to IS NULL THEN
        SELECT max(m.created_at) AS created_at, NULL::bigint AS seq INTO place
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = source_id;
    ELSE
        SELECT m.created_at, m.seq INTO place
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = source_id AND m.message_id = up_to AND NOT m.aside;
        has_message := FOUND;
    END IF;
    IF NOT has_message THEN
        RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO {schema}.{prefix}_conversations AS c
        (id, resource_id, user_id, title, title_is_automatic, metadata, tags, read_at, forked_from, forked_up_to,
         created_at, updated_at)
        VALUES (
            new_id, source.resource_id, source.user_id, source.title, source.title_is_automatic,
            coalesce(source.metadata, '{}'), source.tags, place.created_at, source_id, up_to,
            greatest(source.created_at, statement_timestamp()), greatest(source.created_at, statement_timestamp())
        )
        ON CONFLICT (id) DO NOTHING
        RETURNING c.id, c.resource_id, c.user_id, c.title, c.metadata::text, c.created_at, c.updated_at
        INTO id, resource_id, user_id, title, metadata, created_at, updated_at;
    IF NOT FOUND THEN
        PERFORM 1 FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = new_id AND c.user_id = source.user_id AND c.deleted_at IS NOT NULL;
        is_taken_by_deleted := FOUND;
        RETURN NEXT;
        RETURN;
    END IF;
    -- For tables that VoltAgent created, whose messages have a user_id.
    setting := set_config('voltmem.user_id', source.user_id, true);
    SELECT m.content, m.author, m.created_at, m.is_shown, m.from_messages INTO memory
        FROM {schema}.{prefix}_conversation_memory AS m
        WHERE m.conversation_id = source_id
        ORDER BY m.version DESC LIMIT 1;
    IF memory.content IS NOT NULL THEN
        INSERT INTO {schema}.{prefix}_conversation_memory
            (conversation_id, version, content, change, author, created_at, is_shown, from_messages)
            VALUES (
                new_id, 1, memory.content, 'fork', memory.author, memory.created_at, memory.is_shown,
                memory.from_messages
            );
    END IF;
    -- The sequence numbers the copies in the order of the SELECT. Archived messages are unarchived in the copy, up to the
    -- storage limit. "said" has the author where VoltAgent stores it; otherwise user_id is that of "nobody".
    -- EXECUTE, because Citus needs the values when it plans. What triggers note of other programs' messages is nothing here:
    -- the copy has no length and no summary yet.
    setting := set_config('voltmem.is_adding', 'yes', true);
    EXECUTE $copy$
        INSERT INTO {schema}.{prefix}_messages
            (conversation_id, message_id, created_at, archived, role, content, content_json, type, metadata, parts,
             format, payload, parent_id, words, file_ids, own_role, parts_hash, tokens)
        SELECT $2, m.message_id, m.created_at,
            m.archived AND coalesce(row_number() OVER newest_first > $3, false),
            m.role, m.content, m.content_json, m.type, m.metadata, m.parts,
            m.format, m.payload, m.parent_id, m.words, m.file_ids, m.own_role, m.parts_hash, m.tokens
        FROM (
            SELECT said.* FROM (SELECT NULL::text AS user_id) AS nobody CROSS JOIN LATERAL (
                SELECT *, CASE WHEN user_id <> 'default' THEN user_id END AS author FROM {schema}.{prefix}_messages
            ) AS said
        ) AS m
        WHERE m.conversation_id = $1 AND NOT m.aside AND (m.author IS NULL OR m.author = $4)
            AND ($5 IS NULL OR (m.created_at, m.seq) <= ($5, $6))
        WINDOW newest_first AS (ORDER BY m.created_at DESC, m.seq DESC)
        ORDER BY m.created_at, m.seq
        $copy$ USING source_id, new_id, storage_limit, source.user_id, CASE WHEN up_to IS NOT NULL THEN place.created_at END,
            place.seq;
    GET DIAGNOSTICS copied = ROW_COUNT;
    setting := set_config('voltmem.is_adding', '', true);
    -- The newest of each format.
    FOR summary IN
        SELECT DISTINCT ON (s.format) s.*
        FROM {schema}.{prefix}_summaries AS s
        WHERE s.conversation_id = source_id AND (up_to IS NULL OR s.last_at < place.created_at)
        ORDER BY s.format, s.last_at DESC
    LOOP
        INSERT INTO {schema}.{prefix}_summaries
            (conversation_id, id, content, first_at, last_at, hash, usage, format, payload, created_at)
            VALUES (
                new_id, summary.id, summary.content, summary.first_at, summary.last_at, summary.hash, summary.usage,
                summary.format, summary.payload, summary.created_at
            );
        UPDATE {schema}.{prefix}_conversations AS c SET summary_id = summary.id WHERE c.id = new_id;
    END LOOP;
    RETURN NEXT;
END
$fork_conversation$;

-- version 2
-- look_at_memory: return the working memory of a user, or of a conversation.
--
-- Where VoltAgent has a place for the text, which is the metadata of its users and of the conversations, that text is the
-- memory. If it is not that of the newest version, VoltAgent has changed it, and it becomes a version here, unless the
-- transaction is read-only. A version from before VoltAgent had the place stays the memory while the place is empty.
--
-- A function, because a statement cannot name a table that may not exist, and because each try needs a new snapshot.
--
-- Arguments: the user (NULL: any user's conversation); the conversation, or NULL for the user's memory.
-- Returns no row if there is no such conversation. version 0: there was never any. content NULL: there is none.
-- is_shared: VoltAgent has a place for it. is_stored: the content is that of the version.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_look_at_memory(of_user text, of_conversation text) RETURNS TABLE (
    version bigint, content text, author text, changed_at timestamptz, is_shared boolean, is_stored boolean
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = auto
SET enable_seqscan = off
SET jit = off
AS $look_at_memory$
DECLARE
    is_read_only CONSTANT boolean := current_setting('transaction_read_only') = 'on';
    is_shown boolean;
    theirs text;
    sources text[];
BEGIN
    IF of_conversation IS NULL THEN
        is_shared := to_regclass('{schema}.{prefix}_users') IS NOT NULL;
    ELSE
        PERFORM 1 FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = '{schema}.{prefix}_messages'::regclass AND a.attname = 'user_id' AND NOT a.attisdropped;
        is_shared := FOUND;
    END IF;
    LOOP
        -- Both texts in one snapshot: a writer of ours changes them together.
        IF of_conversation IS NOT NULL THEN
            SELECT m.version, m.content, m.author, m.created_at, m.is_shown,
                    CASE WHEN is_shared THEN nullif(c.metadata ->> 'workingMemory', '') END, m.from_messages
                INTO version, content, author, changed_at, is_shown, theirs, sources
                FROM {schema}.{prefix}_conversations AS c
                LEFT JOIN {schema}.{prefix}_conversation_memory AS m ON m.conversation_id = c.id AND m.version = (
                    SELECT max(newest.version) FROM {schema}.{prefix}_conversation_memory AS newest
                    WHERE newest.conversation_id = of_conversation
                )
                WHERE c.id = of_conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL;
            IF NOT FOUND THEN
                RETURN;
            END IF;
        ELSIF is_shared THEN
            SELECT m.version, m.content, m.author, m.created_at, m.is_shown, nullif(u.metadata ->> 'workingMemory', ''),
                    m.from_messages
                INTO version, content, author, changed_at, is_shown, theirs, sources
                FROM (SELECT 1) AS one
                LEFT JOIN {schema}.{prefix}_users AS u ON u.id = of_user
                LEFT JOIN {schema}.{prefix}_user_memory AS m ON m.user_id = of_user AND m.version = (
                    SELECT max(newest.version) FROM {schema}.{prefix}_user_memory AS newest
                    WHERE newest.user_id = of_user
                );
        ELSE
            SELECT m.version, m.content, m.author, m.created_at
                INTO version, content, author, changed_at
                FROM {schema}.{prefix}_user_memory AS m
                WHERE m.user_id = of_user
                ORDER BY m.version DESC LIMIT 1;
        END IF;
        version := coalesce(version, 0);
        is_stored := NOT is_shared OR content IS NOT DISTINCT FROM theirs OR theirs IS NULL AND NOT is_shown;
        EXIT WHEN is_stored;
        content := theirs;
        author := 'VoltAgent';
        changed_at := clock_timestamp();
        EXIT WHEN is_read_only;
        IF of_conversation IS NULL THEN
            INSERT INTO {schema}.{prefix}_user_memory
                (user_id, version, content, change, author, created_at, is_shown, from_messages)
                VALUES (of_user, version + 1, content, 'edit', author, changed_at, true, sources)
                ON CONFLICT DO NOTHING;
        ELSE
            INSERT INTO {schema}.{prefix}_conversation_memory
                (conversation_id, version, content, change, author, created_at, is_shown, from_messages)
                VALUES (of_conversation, version + 1, content, 'edit', author, changed_at, true, sources)
                ON CONFLICT DO NOTHING;
        END IF;
        -- Otherwise another session has just stored a version.
        IF FOUND THEN
            version := version + 1;
            is_stored := true;
            EXIT;
        END IF;
    END LOOP;
    RETURN NEXT;
END
$look_at_memory$;

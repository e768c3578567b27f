-- version 1
-- memory_versions: return the versions of a working memory, newest first.
--
-- A function, because what VoltAgent has changed becomes a version first, which only a later statement sees.
--
-- Arguments: as in look_at_memory; only versions before this one, or NULL; how many at most, or NULL.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_memory_versions(
    of_user text, of_conversation text, before_version bigint, at_most bigint
) RETURNS TABLE (
    version bigint, content text, change text, author text, created_at timestamptz, operation_id text,
    from_messages text[]
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $memory_versions$
BEGIN
    PERFORM 1 FROM {schema}.{prefix}_look_at_memory(of_user, of_conversation);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF of_conversation IS NULL THEN
        RETURN QUERY
            SELECT m.version, m.content, m.change, m.author, m.created_at, m.operation_id,
                coalesce(m.from_messages, '{}')
            FROM {schema}.{prefix}_user_memory AS m
            WHERE m.user_id = of_user AND (before_version IS NULL OR m.version < before_version)
            ORDER BY m.version DESC LIMIT at_most;
    ELSE
        RETURN QUERY
            SELECT m.version, m.content, m.change, m.author, m.created_at, m.operation_id,
                coalesce(m.from_messages, '{}')
            FROM {schema}.{prefix}_conversation_memory AS m
            WHERE m.conversation_id = of_conversation AND (before_version IS NULL OR m.version < before_version)
            ORDER BY m.version DESC LIMIT at_most;
    END IF;
END
$memory_versions$;

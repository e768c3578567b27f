-- version 1
-- tell_of_memory: notify the processes that watch the user whose working memory, or that of whose conversation, has a new
-- version. Its triggers: 0021_user_items.sql.
--
-- SECURITY DEFINER, because a role that writes memories may have no privilege to read the watchers.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_tell_of_memory() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $tell_of_memory$
DECLARE
    owner text;
BEGIN
    PERFORM 1 FROM {schema}.{prefix}_watchers AS w LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF TG_RELID = '{schema}.{prefix}_user_memory'::regclass THEN
        owner := NEW.user_id;
    ELSE
        SELECT c.user_id INTO owner FROM {schema}.{prefix}_conversations AS c WHERE c.id = NEW.conversation_id;
    END IF;
    -- The payload is that of notify_watchers() and a word, so that only those who know it look at memories.
    PERFORM pg_notify(
            'voltmem_' || left(encode(sha256(convert_to('{schema}.{prefix}', 'UTF8')), 'hex'), 16),
            left(encode(sha256(convert_to(w.user_id, 'UTF8')), 'hex'), 8) || ' memory'
        )
        FROM {schema}.{prefix}_watchers AS w
        WHERE w.user_id = owner AND w.until > statement_timestamp();
    RETURN NULL;
END
$tell_of_memory$;

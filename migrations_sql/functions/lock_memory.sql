-- version 1
-- lock_memory: lock the row in which VoltAgent has the working memory of a user, or of a conversation. A user without a
-- row gets one.
--
-- A function, because a statement cannot name a table that may not exist.
--
-- Arguments: as in look_at_memory. The caller has seen that VoltAgent has a place for the text.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_lock_memory(of_user text, of_conversation text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $lock_memory$
BEGIN
    IF of_conversation IS NOT NULL THEN
        PERFORM 1 FROM {schema}.{prefix}_conversations AS c WHERE c.id = of_conversation FOR NO KEY UPDATE;
    ELSE
        INSERT INTO {schema}.{prefix}_users (id, metadata, created_at, updated_at)
            VALUES (of_user, '{}', clock_timestamp(), clock_timestamp())
            ON CONFLICT (id) DO NOTHING;
        PERFORM 1 FROM {schema}.{prefix}_users AS u WHERE u.id = of_user FOR NO KEY UPDATE;
    END IF;
END
$lock_memory$;

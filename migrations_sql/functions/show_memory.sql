-- version 1
-- show_memory: write a working memory where VoltAgent reads it.
--
-- Other names in the metadata stay. The conversation's updated_at stays as well: its place in a sidebar is that of its
-- last message.
--
-- A function, because a statement cannot name a table that may not exist.
--
-- Arguments: as in look_at_memory; the text, NULL to remove it. The caller has locked the row.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_show_memory(of_user text, of_conversation text, shown text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $show_memory$
DECLARE
    member CONSTANT jsonb := CASE WHEN shown IS NULL THEN '{}' ELSE jsonb_build_object('workingMemory', shown) END;
BEGIN
    IF of_conversation IS NOT NULL THEN
        UPDATE {schema}.{prefix}_conversations AS c
            SET metadata = CASE jsonb_typeof(c.metadata) WHEN 'object' THEN c.metadata ELSE '{}' END
                - 'workingMemory'::text || member
            WHERE c.id = of_conversation;
    ELSE
        UPDATE {schema}.{prefix}_users AS u
            SET metadata = CASE jsonb_typeof(u.metadata) WHEN 'object' THEN u.metadata ELSE '{}' END
                - 'workingMemory'::text || member,
                updated_at = clock_timestamp()
            WHERE u.id = of_user;
    END IF;
END
$show_memory$;

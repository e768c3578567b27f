-- version 1
-- note_changed_line: note that the length of a line is not known any more, because messages were inserted, deleted or
-- moved otherwise than by adding. The next append counts the line again. Its triggers: 0015_lengths_of_lines.sql.
--
-- SECURITY DEFINER, because a role that writes messages may have no privilege to write this table.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_note_changed_line() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $note_changed_line$
DECLARE
    changed text[];
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        SELECT array_agg(c.id) INTO changed FROM {schema}.{prefix}_conversations AS c;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT g.conversation_id) INTO changed FROM gone AS g;
    ELSIF TG_OP = 'INSERT' THEN
        changed := ARRAY[NEW.conversation_id];
    ELSE
        changed := ARRAY[NEW.conversation_id, OLD.conversation_id];
    END IF;
    INSERT INTO {schema}.{prefix}_changed_lines (conversation_id)
        SELECT c.id FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = ANY (changed) AND (c.line_length IS NOT NULL OR c.line_end IS NOT NULL) AND NOT EXISTS (
            -- Locked, so that an append that counts now leaves the row; one that it is deleting does not count.
            SELECT 1 FROM {schema}.{prefix}_changed_lines AS l WHERE l.conversation_id = c.id FOR SHARE SKIP LOCKED
        );
    RETURN NULL;
END
$note_changed_line$;

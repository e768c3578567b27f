-- version 2
-- note_changed_summary: delete the summaries that stand for messages which were changed, moved or deleted, or that end
-- after a message which was inserted. Its triggers: 0018_summaries.sql, 0025_inserted_messages.sql.
--
-- SECURITY DEFINER, because another program's role that writes messages may have no privilege on the summaries.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_note_changed_summary() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $note_changed_summary$
DECLARE
    newest_id text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM {schema}.{prefix}_summaries;
    ELSIF TG_OP = 'DELETE' THEN
        LOOP
            -- Not those of a conversation that is being deleted, which takes its summaries with it.
            DELETE FROM {schema}.{prefix}_summaries AS s
                WHERE s.conversation_id = ANY (ARRAY(
                    SELECT DISTINCT g.conversation_id
                    FROM gone AS g JOIN {schema}.{prefix}_conversations AS c ON c.id = g.conversation_id
                    WHERE c.summary_id IS NOT NULL
                )) AND EXISTS (
                    SELECT 1 FROM gone AS g
                    WHERE g.conversation_id = s.conversation_id
                        AND g.created_at >= s.first_at AND g.created_at <= s.last_at
                );
            EXIT WHEN NOT FOUND;  -- as in leave_summaries
        END LOOP;
    ELSIF TG_OP = 'INSERT' THEN
        -- The lock that the foreign key takes: whoever is storing a summary is waited for.
        SELECT c.summary_id INTO newest_id
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = NEW.conversation_id
            FOR KEY SHARE;
        IF newest_id IS NOT NULL THEN
            PERFORM {schema}.{prefix}_leave_summaries(NEW.conversation_id, NEW.created_at, true);
        END IF;
    ELSIF (OLD.conversation_id, OLD.aside, OLD.created_at, OLD.role, OLD.own_role, OLD.type, OLD.content, OLD.format, OLD.parts,
            OLD.content_json::text, OLD.payload::text)
        IS DISTINCT FROM (NEW.conversation_id, NEW.aside, NEW.created_at, NEW.role, NEW.own_role, NEW.type, NEW.content,
            NEW.format, NEW.parts, NEW.content_json::text, NEW.payload::text)
    THEN
        -- A message that is stored again as it was changes nothing. One that leaves, joins or moves changes both places.
        PERFORM {schema}.{prefix}_leave_summaries(OLD.conversation_id, OLD.created_at, false);
        IF NOT NEW.aside AND (OLD.conversation_id, OLD.created_at, OLD.aside)
            IS DISTINCT FROM (NEW.conversation_id, NEW.created_at, NEW.aside)
        THEN
            PERFORM {schema}.{prefix}_leave_summaries(NEW.conversation_id, NEW.created_at, true);
        END IF;
    END IF;
    RETURN NULL;
END
$note_changed_summary$;

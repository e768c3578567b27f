-- version 3
-- message_before: the message of a conversation's line before a place; '' if there is none.
--
-- Arguments: the id of the conversation; the time and the "seq" of the place.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_message_before(
    conversation text,
    place_time timestamptz,
    place_seq bigint
) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_sort = off
SET jit = off
AS $message_before$
DECLARE
    id text;
BEGIN
    -- Archived messages are before all others. Apart, each part has the order of the index.
    FOR part IN 0 .. 1 LOOP
        SELECT m.message_id INTO id
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.archived = (part = 1) AND NOT m.aside
                AND (m.created_at, m.seq) < (place_time, place_seq)
            ORDER BY m.created_at DESC, m.seq DESC LIMIT 1;
        IF FOUND THEN
            RETURN id;
        END IF;
    END LOOP;
    RETURN '';
END
$message_before$;

-- version 2
-- move_head: end the line of a conversation with a message. The caller has locked the conversation.
--
-- The messages after the branching point leave the line: they get "aside". The messages from the branching point to the
-- new head join it. A message without a parent is always on the line, and follows the message before it; when it leaves
-- the line, it gets that message as its parent, so that its place in the branch remains known.
--
-- Arguments: the id of the conversation; the id of the new head ('': an empty line).
-- Returns whether there is such a message. Without one, nothing changes.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_move_head(conversation text, head text) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $move_head$
DECLARE
    joins text[];
    is_there boolean;
    place_time timestamptz;
    place_seq bigint;
BEGIN
    -- From the new head up to the first message that is on the line: the branching point. UNION, not UNION ALL: parents
    -- may form a circle.
    WITH RECURSIVE path AS (
        SELECT m.message_id, m.parent_id, m.aside, m.created_at, m.seq
        FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND m.message_id = head
        UNION
        SELECT m.message_id, m.parent_id, m.aside, m.created_at, m.seq
        FROM path CROSS JOIN LATERAL (
            -- With this order, each step is one look-up by the primary key. A join, or another index if the table was
            -- never analysed, would read the whole conversation for each.
            SELECT * FROM {schema}.{prefix}_messages AS each
            WHERE each.conversation_id = conversation AND each.message_id >= path.parent_id
            ORDER BY each.conversation_id, each.message_id LIMIT 1
        ) AS m
        WHERE path.aside AND m.message_id = path.parent_id
    )
    SELECT array_agg(path.message_id) FILTER (WHERE path.aside), count(*) > 0,
            coalesce(min(path.created_at) FILTER (WHERE NOT path.aside), '-infinity'),
            coalesce(min(path.seq) FILTER (WHERE NOT path.aside), 0)
        INTO joins, is_there, place_time, place_seq
        FROM path;
    IF NOT is_there AND head <> '' THEN
        RETURN false;
    END IF;

    UPDATE {schema}.{prefix}_messages AS m
        SET aside = true,
            parent_id = coalesce(m.parent_id, {schema}.{prefix}_message_before(conversation, m.created_at, m.seq))
        WHERE m.conversation_id = conversation AND m.archived = ANY ('{false,true}') AND NOT m.aside
            AND (m.created_at, m.seq) > (place_time, place_seq);
    UPDATE {schema}.{prefix}_messages AS m
        SET aside = false
        FROM unnest(joins) AS joining (message_id)
        WHERE m.conversation_id = conversation AND m.message_id = joining.message_id;
    RETURN true;
END
$move_head$;

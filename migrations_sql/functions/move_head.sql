-- version 6
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
-- As in drop_messages.
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET jit = off
AS $move_head$
DECLARE
    joins text[];
    is_there boolean;
    place_time timestamptz;
    place_seq bigint;
    first_parent text;
    befores jsonb;
BEGIN
    SELECT array_agg(path.message_id) FILTER (WHERE path.is_aside), count(*) > 0,
            coalesce(min(path.created_at) FILTER (WHERE NOT path.is_aside), '-infinity'),
            coalesce(min(path.seq) FILTER (WHERE NOT path.is_aside), 0)
        INTO joins, is_there, place_time, place_seq
        FROM {schema}.{prefix}_path_to_line(conversation, head) AS path;
    IF NOT is_there AND head <> '' THEN
        RETURN false;
    END IF;

    -- The message at the place, for the first that leaves; the others follow the one before them. Not message_before()
    -- for each: on Citus a worker runs the update, and a function that it calls cannot read the tables.
    first_parent := {schema}.{prefix}_message_before(conversation, place_time, place_seq + 1);
    -- Not with joins, as in drop_messages. The message before each of those that leave, by its id.
    SELECT jsonb_object_agg(leaving.message_id, leaving.previous_id) INTO befores
        FROM (
            SELECT each.message_id, lag(each.message_id) OVER (
                ORDER BY each.archived DESC, each.created_at, each.seq
            ) AS previous_id
            FROM {schema}.{prefix}_messages AS each
            WHERE each.conversation_id = conversation AND each.archived = ANY ('{false,true}') AND NOT each.aside
                AND (each.created_at, each.seq) > (place_time, place_seq)
        ) AS leaving;
    UPDATE {schema}.{prefix}_messages AS m
        SET aside = true,
            parent_id = coalesce(m.parent_id, befores ->> m.message_id, first_parent)
        WHERE m.conversation_id = conversation AND m.archived = ANY ('{false,true}') AND NOT m.aside
            AND (m.created_at, m.seq) > (place_time, place_seq);
    UPDATE {schema}.{prefix}_messages AS m
        SET aside = false
        WHERE m.conversation_id = conversation AND m.message_id = ANY (joins);
    IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN  -- otherwise a trigger does it
        PERFORM {schema}.{prefix}_leave_summaries(conversation, place_time + interval '1 microsecond', true);
    END IF;
    RETURN true;
END
$move_head$;

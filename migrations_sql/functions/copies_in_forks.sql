-- version 1
-- copies_in_forks: the messages of a user that recall() leaves out because they are shown elsewhere.
--
-- A fork has the messages of its original, with their ids, times and contents. Of such copies one stands for all: the one
-- that a model is shown anyway, else that of the original, else that of the newest fork. One that was edited in a fork is
-- no copy. Where the original of an original is deleted for good, no row says any more that the two belong together.
--
-- A function, because the statement of recall() would be too long to be kept prepared.
--
-- Arguments: the user; the only conversation that is read, NULL: all; the resource, NULL: any; the conversation and the
-- ids of the messages that a model is shown anyway, NULL: none.
-- Returns a row for each message that is shown anyway, and for each that another one stands for: the message, and as "turn"
-- the conversation of the other one; '' if that is shown anyway.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_copies_in_forks(
    of_user text,
    only_in text,
    of_resource text,
    shown_in text,
    shown_ids text[]
) RETURNS TABLE (conversation_id text, message_id text, turn text)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET jit = off
AS $copies_in_forks$
#variable_conflict use_column
DECLARE
    related text[];
BEGIN
    IF shown_in IS NOT NULL THEN
        RETURN QUERY SELECT shown_in, shown.id, '' FROM unnest(shown_ids) AS shown (id);
    END IF;
    SELECT array_agg(c.id) || array_agg(c.forked_from) INTO related
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.user_id = of_user AND c.forked_from IS NOT NULL AND only_in IS NULL;
    IF related IS NULL THEN
        RETURN;
    END IF;
    -- "said" has the author where VoltAgent stores it; otherwise user_id is that of "nobody".
    RETURN QUERY
        SELECT m.conversation_id, m.message_id, CASE WHEN m.is_shown THEN '' ELSE m.first END
        FROM (
            SELECT m.conversation_id, m.message_id, first_value(m.conversation_id) OVER copies AS first,
                first_value(m.is_shown) OVER copies AS is_shown
            FROM (
                SELECT said.*, c.begun_at, c.forked_from,
                    coalesce(said.conversation_id = shown_in AND said.message_id = ANY (shown_ids), false) AS is_shown
                FROM (SELECT NULL::text AS user_id) AS nobody
                CROSS JOIN (
                    SELECT c.id, c.created_at AS begun_at, c.forked_from
                    FROM {schema}.{prefix}_conversations AS c
                    WHERE c.id = ANY (related) AND c.user_id = of_user AND c.deleted_at IS NULL
                        AND c.resource_id = coalesce(of_resource, c.resource_id)
                ) AS c
                CROSS JOIN LATERAL (
                    SELECT m.conversation_id, m.message_id, m.created_at, m.content, m.parts, m.aside,
                        CASE WHEN user_id <> 'default' THEN user_id END AS author
                    FROM {schema}.{prefix}_messages AS m
                    WHERE m.conversation_id = c.id
                    ORDER BY m.conversation_id, m.message_id
                ) AS said
            ) AS m
            WHERE NOT m.aside AND coalesce(m.author, of_user) = of_user
            WINDOW copies AS (
                PARTITION BY m.message_id, m.created_at, m.content, m.parts
                ORDER BY m.is_shown DESC, m.forked_from IS NOT NULL, m.begun_at DESC, m.conversation_id
            )
        ) AS m
        WHERE m.conversation_id <> m.first;
END
$copies_in_forks$;

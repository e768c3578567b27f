-- version 4
-- answer_calls: put the results of tool calls into "parts" of the messages with the calls, for VoltAgent.
--
-- A UIMessage holds a call and its result in one part. Other frameworks store the result as a message of its own, often
-- after the message with the call. add_messages calls this only in tables that VoltAgent 1 or 2 uses, with the
-- conversation locked.
--
-- Arguments: the id of the conversation; a JSON object with the fields to set for each id of a call.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_answer_calls(conversation text, results text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $answer_calls$
DECLARE
    call_id text;
    outcome jsonb;
BEGIN
    FOR call_id, outcome IN SELECT key, value FROM jsonb_each(results::jsonb) LOOP
        UPDATE {schema}.{prefix}_messages AS m
            SET parts = answered.parts,
                -- What was out of date stays out of date.
                parts_hash = CASE WHEN m.parts_hash = encode(sha256(convert_to(m.parts::text, 'UTF8')), 'hex')
                    THEN encode(sha256(convert_to(answered.parts::text, 'UTF8')), 'hex') ELSE m.parts_hash END
            FROM (
                SELECT calling.message_id, jsonb_agg(
                    CASE WHEN part.value ->> 'toolCallId' = call_id THEN part.value || outcome ELSE part.value END
                    ORDER BY part.place
                ) AS parts
                FROM (
                    -- The newest message of the line with the call: a model may use an id again.
                    SELECT newest.message_id, newest.parts FROM {schema}.{prefix}_messages AS newest
                    WHERE newest.conversation_id = conversation AND NOT newest.archived AND NOT newest.aside
                        AND newest.parts @> jsonb_build_array(jsonb_build_object('toolCallId', call_id))
                    ORDER BY newest.created_at DESC, newest.seq DESC LIMIT 1
                ) AS calling, jsonb_array_elements(calling.parts) WITH ORDINALITY AS part (value, place)
                GROUP BY calling.message_id
            ) AS answered
            WHERE m.conversation_id = conversation AND m.message_id = answered.message_id;
    END LOOP;
END
$answer_calls$;

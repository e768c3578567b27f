-- version 2
-- leave_summaries: delete the summaries that stand for a message of a conversation, and those of them.
--
-- What only stands for messages before it stays true, and is in use then.
--
-- Arguments: the id of the conversation; the time of the message, NULL: of any; whether it is new. A new one may be older
-- than all that a summary stands for.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_leave_summaries(conversation text, moment timestamptz, is_new boolean)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $leave_summaries$
BEGIN
    -- A database that an upgrade has left half-way has no summaries yet.
    IF to_regclass('{schema}.{prefix}_summaries') IS NOT NULL THEN
        LOOP
            DELETE FROM {schema}.{prefix}_summaries AS s
                WHERE s.conversation_id = conversation
                    AND (moment IS NULL OR s.last_at >= moment AND (is_new OR s.first_at <= moment));
            -- Again: a summary that takes in one of those may have been stored while its lock was waited for.
            EXIT WHEN NOT FOUND;
        END LOOP;
    END IF;
END
$leave_summaries$;

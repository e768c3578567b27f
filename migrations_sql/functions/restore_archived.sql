-- version 5
-- restore_archived: take messages that the storage limit archived (on_limit="archive") back, up to the limit. The caller
-- has locked the conversation and made its line shorter.
--
-- Arguments: the id of the conversation; the limit (NULL: all).

CREATE OR REPLACE FUNCTION {schema}.{prefix}_restore_archived(conversation text, storage_limit bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $restore_archived$
DECLARE
    first_time timestamptz;
    first_seq bigint;
BEGIN
    PERFORM 1 FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND m.archived AND NOT m.aside
        LIMIT 1;
    IF FOUND AND storage_limit IS DISTINCT FROM 0 THEN
        -- The first message within the limit; NULLs: all are. Not with a join, as in drop_messages.
        SELECT newest.created_at, newest.seq INTO first_time, first_seq
            FROM {schema}.{prefix}_messages AS newest
            WHERE newest.conversation_id = conversation AND NOT newest.aside AND storage_limit > 0
            ORDER BY newest.created_at DESC, newest.seq DESC
            OFFSET storage_limit - 1 LIMIT 1;
        UPDATE {schema}.{prefix}_messages AS m
            SET archived = false
            WHERE m.conversation_id = conversation AND m.archived AND NOT m.aside
                AND (m.created_at, m.seq) >= (coalesce(first_time, '-infinity'), coalesce(first_seq, 0));
    END IF;
END
$restore_archived$;

-- version 4
-- restore_archived: take messages that the storage limit archived (on_limit="archive") back, up to the limit. The caller
-- has locked the conversation and made its line shorter.
--
-- Arguments: the id of the conversation; the limit (NULL: all).

CREATE OR REPLACE FUNCTION {schema}.{prefix}_restore_archived(conversation text, storage_limit bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- As in move_head.
SET plan_cache_mode = auto
SET enable_seqscan = off
SET jit = off
AS $restore_archived$
BEGIN
    PERFORM 1 FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND m.archived AND NOT m.aside
        LIMIT 1;
    IF FOUND THEN
        UPDATE {schema}.{prefix}_messages AS m
            SET archived = false
            WHERE m.conversation_id = conversation AND m.archived AND m.message_id IN (
                SELECT newest.message_id FROM {schema}.{prefix}_messages AS newest
                WHERE newest.conversation_id = conversation AND NOT newest.aside
                ORDER BY newest.created_at DESC, newest.seq DESC LIMIT storage_limit
            );
    END IF;
END
$restore_archived$;

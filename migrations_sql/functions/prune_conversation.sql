-- version 1
-- prune_conversation: delete a conversation that is old: neither it, nor a message or a version of its working memory, is
-- newer than a time.
--
-- A function, because it waits for whoever is writing in the conversation, and must look at what they have committed.
--
-- Arguments: the id of the conversation; its required owner, NULL: trusted code, no check; the age at which all is old.
-- Returns whether the conversation was deleted.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_prune_conversation(conversation text, of_user text, age interval)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $prune_conversation$
DECLARE
    cut CONSTANT timestamptz := statement_timestamp() - age;
BEGIN
    -- FOR UPDATE waits for the foreign keys of what is being inserted, too.
    PERFORM 1 FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
            AND c.updated_at < cut
        FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = conversation AND m.created_at >= cut
            AND m.archived = ANY ('{false,true}') AND m.aside = ANY ('{false,true}');
    IF FOUND THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM {schema}.{prefix}_conversation_memory AS m
        WHERE m.conversation_id = conversation AND m.created_at >= cut;
    IF FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM {schema}.{prefix}_conversations AS c WHERE c.id = conversation;
    RETURN true;
END
$prune_conversation$;

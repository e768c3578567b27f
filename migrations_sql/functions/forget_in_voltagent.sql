-- version 4
-- forget_in_voltagent: delete a user in VoltAgent's own tables, as far as they are there.
--
-- A function, because a statement cannot name tables and columns that may not exist.
--
-- Arguments: the user; the ids of the user's conversations, which are deleted by the caller, with their steps.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_forget_in_voltagent(of_user text, conversations text[]) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $forget_in_voltagent$
BEGIN
    IF EXISTS (
        SELECT 1 FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = '{schema}.{prefix}_messages'::regclass AND a.attname = 'user_id' AND NOT a.attisdropped
    ) THEN
        -- What the user wrote in other users' conversations. 'default' is a user that is not known yet.
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.user_id = of_user AND of_user <> 'default' AND m.conversation_id <> ALL (conversations);
    END IF;
    -- Working memory.
    IF to_regclass('{schema}.{prefix}_users') IS NOT NULL THEN
        DELETE FROM {schema}.{prefix}_users AS u WHERE u.id = of_user;
    END IF;
    IF to_regclass('{schema}.{prefix}_steps') IS NOT NULL THEN
        DELETE FROM {schema}.{prefix}_steps AS s
            WHERE s.user_id = of_user AND s.conversation_id <> ALL (conversations);
    END IF;
    IF to_regclass('{schema}.{prefix}_workflow_states') IS NOT NULL THEN
        DELETE FROM {schema}.{prefix}_workflow_states AS w
            WHERE w.user_id = of_user OR w.user_id IS NULL AND w.conversation_id = ANY (conversations);
    END IF;
    -- Workflows of VoltAgent 0.1 and 1.0. Steps and events are deleted with their workflow.
    IF to_regclass('{schema}.{prefix}_workflow_history') IS NOT NULL THEN
        DELETE FROM {schema}.{prefix}_workflow_history AS w
            WHERE w.user_id = of_user OR w.user_id IS NULL AND w.conversation_id = ANY (conversations);
    END IF;
    IF to_regclass('{schema}.voltagent_vector_vectors') IS NOT NULL THEN
        DELETE FROM {schema}.voltagent_vector_vectors AS v WHERE v.metadata ->> 'userId' = of_user;
    END IF;
    RETURN true;
END
$forget_in_voltagent$;

-- version 2
-- tell_watchers: notify the processes that watch the owner of a changed conversation. Its triggers:
-- 0015_lengths_of_lines.sql.
--
-- SECURITY DEFINER, because a role that writes conversations may have no privilege to read the watchers.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_tell_watchers() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $tell_watchers$
BEGIN
    -- OLD is NULL on INSERT, NEW is NULL on DELETE. Their users differ when the conversation gets another owner.
    PERFORM 1 FROM {schema}.{prefix}_watchers AS w WHERE w.user_id IN (OLD.user_id, NEW.user_id);
    IF FOUND THEN
        PERFORM {schema}.{prefix}_notify_watchers(ARRAY[OLD.user_id, NEW.user_id]);
    END IF;
    RETURN NULL;
END
$tell_watchers$;

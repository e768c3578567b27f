-- version 1
-- tell_watchers: notify the processes that watch the user of a conversation that changed. The trigger is in 0006_watchers.sql.
--
-- A notification names the user's key and no conversation: the listener then reads what changed.
-- SECURITY DEFINER, because a role that may write conversations need not be allowed to read who is watched.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_tell_watchers() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $tell_watchers$
BEGIN
    -- OLD is NULL for a new conversation, NEW for a deleted one. Their users differ when it is given to another user.
    PERFORM pg_notify(
            'voltmem_' || left(encode(sha256(convert_to('{schema}.{prefix}', 'UTF8')), 'hex'), 16),
            left(encode(sha256(convert_to(w.user_id, 'UTF8')), 'hex'), 8)
        )
        FROM {schema}.{prefix}_watchers AS w
        WHERE w.user_id IN (OLD.user_id, NEW.user_id) AND w.until > statement_timestamp();
    RETURN NULL;
END
$tell_watchers$;

-- version 1
-- tell_watchers: notify the processes that watch the owner of a changed conversation. Its trigger: 0006_watchers.sql.
--
-- The payload of a notification is the user's key, without the conversation: the listener queries what changed.
-- SECURITY DEFINER, because a role that writes conversations may have no privilege to read the watchers.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_tell_watchers() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $tell_watchers$
BEGIN
    -- OLD is NULL on INSERT, NEW is NULL on DELETE. Their users differ when the conversation gets another owner.
    PERFORM pg_notify(
            'voltmem_' || left(encode(sha256(convert_to('{schema}.{prefix}', 'UTF8')), 'hex'), 16),
            left(encode(sha256(convert_to(w.user_id, 'UTF8')), 'hex'), 8)
        )
        FROM {schema}.{prefix}_watchers AS w
        WHERE w.user_id IN (OLD.user_id, NEW.user_id) AND w.until > statement_timestamp();
    RETURN NULL;
END
$tell_watchers$;

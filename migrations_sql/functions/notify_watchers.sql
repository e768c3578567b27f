-- version 1
-- notify_watchers: notify the processes that watch these users. The payload of a notification is the user's key, without
-- the conversation: the listener queries what changed.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_notify_watchers(users text[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $notify_watchers$
BEGIN
    PERFORM pg_notify(
            'voltmem_' || left(encode(sha256(convert_to('{schema}.{prefix}', 'UTF8')), 'hex'), 16),
            left(encode(sha256(convert_to(w.user_id, 'UTF8')), 'hex'), 8)
        )
        FROM {schema}.{prefix}_watchers AS w
        WHERE w.user_id = ANY (users) AND w.until > statement_timestamp();
END
$notify_watchers$;

-- version 1
-- message_hash: the hash of what a message says, in all of its forms.
--
-- Arguments: the columns of the message.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_message_hash(
    role text, own_role text, type text, content text, content_json json, parts jsonb, format text, payload json
) RETURNS text
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $message_hash$
    SELECT encode(sha256(convert_to(json_build_array(
        role, own_role, type, content, content_json::text, parts::text, format, payload::text
    )::text, 'UTF8')), 'hex')
$message_hash$;

-- version 1
-- json_object_of: return the JSON object that a text is, or NULL if it is none.
--
-- A function, because only a block with an exception handler can try whether a text is JSON (before PostgreSQL 16).

CREATE OR REPLACE FUNCTION {schema}.{prefix}_json_object_of(given text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $json_object_of$
DECLARE
    document jsonb;
BEGIN
    IF given !~ '^\s*\{' THEN
        RETURN NULL;
    END IF;
    BEGIN
        document := given::jsonb;
    EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
        RETURN NULL;
    END;
    RETURN document;
END
$json_object_of$;

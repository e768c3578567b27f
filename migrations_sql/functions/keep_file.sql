-- version 3
-- keep_file: store the content of a file for a user, unless the user has it already, and keep it from being deleted
-- until the transaction ends. Its caller stores a message that refers to it.
--
-- Arguments: the user; the id of the file; its content in base64. Returns true.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_keep_file(of_user text, file_id text, content text) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $keep_file$
DECLARE
    bytes bytea;
BEGIN
    LOOP
        PERFORM 1 FROM {schema}.{prefix}_files AS f
            WHERE f.user_id = of_user AND f.id = file_id
            FOR KEY SHARE;
        EXIT WHEN FOUND;
        bytes := decode(content, 'base64');
        INSERT INTO {schema}.{prefix}_files (user_id, upload, id, size)
            VALUES (of_user, file_id, file_id, length(bytes))
            ON CONFLICT DO NOTHING;
        IF FOUND THEN
            FOR chunk IN 0 .. (length(bytes) - 1) / 262144 LOOP
                INSERT INTO {schema}.{prefix}_file_chunks (user_id, upload, number, bytes)
                    VALUES (of_user, file_id, chunk, substring(bytes FROM chunk * 262144 + 1 FOR 262144));
            END LOOP;
            EXIT;
        END IF;
    END LOOP;
    RETURN true;
END
$keep_file$;

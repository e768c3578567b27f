-- version 3
-- fill_in_files: put the contents of files back into the payload of a message, in base64.
--
-- A token stands for each, \u0076oltmem:file/ID, alone in a string or after ";base64,"; with "/url" at its end, for the
-- alphabet that is safe in URLs. No other text has it, because voltmem's JSON never escapes a "v", and in a backslash
-- that somebody typed there are two. A function, because a
-- payload may have several. A file that is missing, which is not deleted while a message refers to it, becomes "".
--
-- On Citus, a worker calls it, which must be allowed to read other servers. It does not see a file that the same
-- transaction has stored.
--
-- Arguments: the payload as text; the conversation of the message; the ids of the files that the message refers to.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_fill_in_files(payload text, conversation text, ids text[]) RETURNS text
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $fill_in_files$
DECLARE
    owner text;
    file_id text;
    of_upload text;
    token text;
    content text;
    before text;
BEGIN
    FOREACH file_id IN ARRAY ids LOOP
        token := E'\\u0076oltmem:file/' || file_id;
        IF position(token IN payload) > 0 THEN
            -- Not SET in the function's head: on PostgreSQL without Citus only a superuser may write it there.
            IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
                PERFORM set_config('citus.allow_nested_distributed_execution', 'on', true);
            END IF;
            -- One table in each, because Citus has no generic plan for a join.
            IF owner IS NULL THEN
                SELECT c.user_id INTO owner FROM {schema}.{prefix}_conversations AS c WHERE c.id = conversation;
            END IF;
            SELECT f.upload INTO of_upload FROM {schema}.{prefix}_files AS f
                WHERE f.user_id = owner AND f.id = file_id;
            SELECT coalesce(replace(encode(string_agg(k.bytes, '' ORDER BY k.number), 'base64'), E'\n', ''), '')
                INTO content
                FROM {schema}.{prefix}_file_chunks AS k
                WHERE k.user_id = owner AND k.upload = of_upload;
            FOREACH before IN ARRAY ARRAY['"', ','] LOOP
                payload := replace(payload, before || token || '"', before || content || '"');
                IF position(before || token || '/url"' IN payload) > 0 THEN
                    payload := replace(
                        payload, before || token || '/url"', before || translate(content, '+/', '-_') || '"'
                    );
                END IF;
            END LOOP;
        END IF;
    END LOOP;
    RETURN payload;
END
$fill_in_files$;

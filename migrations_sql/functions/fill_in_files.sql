-- version 1
-- fill_in_files: put the contents of files back into the payload of a message, in base64.
--
-- A token stands for each, \u0076oltmem:file/ID, alone in a string or after ";base64,"; with "/url" at its end, for the
-- alphabet that is safe in URLs. No other text has it, because voltmem's JSON never escapes a "v", and in a backslash
-- that somebody typed there are two. A function, because a
-- payload may have several. A file that is missing, which is not deleted while a message refers to it, becomes "".
--
-- Arguments: the payload as text; the conversation of the message; the ids of the files that the message refers to.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_fill_in_files(payload text, conversation text, ids text[]) RETURNS text
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $fill_in_files$
DECLARE
    file_id text;
    token text;
    content text;
    before text;
BEGIN
    FOREACH file_id IN ARRAY ids LOOP
        token := E'\\u0076oltmem:file/' || file_id;
        IF position(token IN payload) > 0 THEN
            SELECT coalesce(replace(encode(string_agg(k.bytes, '' ORDER BY k.number), 'base64'), E'\n', ''), '')
                INTO content
                FROM {schema}.{prefix}_conversations AS c
                JOIN {schema}.{prefix}_files AS f ON f.user_id = c.user_id
                JOIN {schema}.{prefix}_file_chunks AS k ON k.user_id = f.user_id AND k.upload = f.upload
                WHERE c.id = conversation AND f.id = file_id;
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

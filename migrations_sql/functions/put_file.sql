-- version 1
-- put_file: store a file of a user in one chunk, unless the user has its content already.
--
-- The same content again restarts the time in which the file waits for a message. The UPDATE locks the row, so that it is
-- not deleted before the commit.
-- A function, because the chunk belongs to the file's row only if that is new. With this condition, it would be an INSERT
-- of a SELECT, which Citus sends to all workers.
--
-- Arguments: the user; the name of the upload; the id of the file; its size and content; its time, NULL: now.
-- Returns one row: when the file was stored first, and whether it is new.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_put_file(
    of_user text,
    new_upload text,
    file_id text,
    file_size bigint,
    content bytea,
    created timestamptz,
    OUT created_at timestamptz,
    OUT is_new boolean
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $put_file$
#variable_conflict use_column
BEGIN
    is_new := false;
    LOOP
        UPDATE {schema}.{prefix}_files AS f
            SET pending_since = statement_timestamp()
            WHERE f.user_id = of_user AND f.id = file_id
            RETURNING f.created_at INTO created_at;
        EXIT WHEN FOUND;
        created_at := coalesce(created, statement_timestamp());
        INSERT INTO {schema}.{prefix}_files (user_id, upload, id, size, pending_since, created_at)
            VALUES (of_user, new_upload, file_id, file_size, statement_timestamp(), created_at)
            ON CONFLICT DO NOTHING;
        is_new := FOUND;
        IF is_new THEN
            INSERT INTO {schema}.{prefix}_file_chunks (user_id, upload, number, bytes)
                VALUES (of_user, new_upload, 0, content);
            EXIT;
        END IF;
    END LOOP;
END
$put_file$;

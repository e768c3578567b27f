-- version 3
-- copy_files: copy files to the user who is given a conversation, and delete those that the giver uses no more.
--
-- A file keeps its id, and the name of its bytes. What the recipient has already is not copied.
--
-- Arguments: the conversation; its owner; the recipient; the ids of the files to which its messages refer.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_copy_files(
    conversation text,
    giver text,
    recipient text,
    ids text[]
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Citus has no generic plan for INSERT … SELECT.
SET plan_cache_mode = auto
SET enable_seqscan = off
SET jit = off
AS $copy_files$
DECLARE
    file record;
BEGIN
    FOR file IN
        SELECT f.upload, f.id, f.size
        FROM {schema}.{prefix}_files AS f
        WHERE f.user_id = giver AND f.id = ANY (ids)
        ORDER BY f.id
        FOR KEY SHARE
    LOOP
        LOOP
            UPDATE {schema}.{prefix}_files AS f
                SET pending_since = NULL
                WHERE f.user_id = recipient AND f.id = file.id;
            EXIT WHEN FOUND;
            INSERT INTO {schema}.{prefix}_files (user_id, upload, id, size)
                VALUES (recipient, file.upload, file.id, file.size)
                ON CONFLICT DO NOTHING;
            IF FOUND THEN
                INSERT INTO {schema}.{prefix}_file_chunks (user_id, upload, number, bytes)
                    SELECT recipient, k.upload, k.number, k.bytes
                    FROM {schema}.{prefix}_file_chunks AS k
                    WHERE k.user_id = giver AND k.upload = file.upload;
                EXIT;
            END IF;
        END LOOP;
    END LOOP;
    UPDATE {schema}.{prefix}_file_references AS r
        SET user_id = recipient
        WHERE r.conversation_id = conversation;
    -- Without the triggers, as on Citus, the references are not known, and the giver keeps the files.
    PERFORM 1 FROM pg_catalog.pg_trigger AS t
        WHERE t.tgrelid = '{schema}.{prefix}_messages'::regclass
            AND t.tgfoid = '{schema}.{prefix}_refer_to_files'::regproc;
    IF FOUND THEN
        PERFORM {schema}.{prefix}_release_files(giver, ids, false);
    END IF;
END
$copy_files$;

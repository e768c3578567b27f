-- version 3
-- refer_to_files: keep the references from messages to files. Its triggers on the messages: 0011_files.sql.
--
-- A message refers to files of the conversation's owner. A file that is not there is no error, and gets no reference.
-- A file whose last reference goes is deleted before the commit (drop_unused_file).
-- SECURITY DEFINER, because another program's role that writes messages may have no privilege on the files.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_refer_to_files() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_sort = on
SET jit = off
AS $refer_to_files$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        -- A session that is deleting a file is waited for. The next statement sees the same content stored again.
        PERFORM 1 FROM {schema}.{prefix}_conversations AS c JOIN {schema}.{prefix}_files AS f ON f.user_id = c.user_id
            WHERE c.id = NEW.conversation_id AND f.id = ANY (NEW.file_ids)
            ORDER BY f.id
            FOR KEY SHARE OF f;
        -- FOR KEY SHARE: a session that will delete the file cannot before the commit.
        INSERT INTO {schema}.{prefix}_file_references (conversation_id, message_id, file_id, user_id)
            SELECT NEW.conversation_id, NEW.message_id, f.id, f.user_id
            FROM {schema}.{prefix}_conversations AS c JOIN {schema}.{prefix}_files AS f ON f.user_id = c.user_id
            WHERE c.id = NEW.conversation_id AND f.id = ANY (NEW.file_ids)
            ORDER BY f.id
            FOR KEY SHARE OF f
            ON CONFLICT DO NOTHING;
        UPDATE {schema}.{prefix}_files AS f
            SET pending_since = NULL
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = NEW.conversation_id AND f.user_id = c.user_id AND f.id = ANY (NEW.file_ids)
                AND f.pending_since IS NOT NULL AND EXISTS (
                    SELECT 1 FROM {schema}.{prefix}_file_references AS r
                    WHERE r.conversation_id = NEW.conversation_id AND r.message_id = NEW.message_id
                        AND r.user_id = f.user_id AND r.file_id = f.id
                );
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM {schema}.{prefix}_file_references AS r
            WHERE r.conversation_id = OLD.conversation_id AND r.message_id = OLD.message_id
                AND (TG_OP = 'DELETE' OR r.file_id <> ALL (coalesce(NEW.file_ids, '{}')));
    END IF;
    RETURN NULL;
END
$refer_to_files$;

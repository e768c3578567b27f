-- 0011 files
-- What: the files of users in chunks of 256 KiB, which messages refer to; the column "file_ids" of the messages, the ids
--       of the files that a message refers to; and the triggers that keep the references.
-- Why:  bytes are stored once, however many messages show them. Triggers on the messages, because whoever deletes a
--       message (a conversation, VoltAgent) deletes what nothing else refers to. A message without files fires none.
--       Citus allows no triggers on its tables. If it is installed, none is created, and files stay until they are
--       deleted one by one, or with their user.
--       The function add_messages has more arguments now; the former ones are dropped.
-- Lock: ACCESS EXCLUSIVE on the messages for a moment to add the column, without a rewrite. SHARE ROW EXCLUSIVE for the
--       triggers: writers wait for a moment, readers do not.

-- A row is written when an upload begins. "id" and "size" are NULL until the upload is complete; "upload" is the name of
-- the bytes, which does not change. "id" is the SHA-256 of the content in hexadecimal digits.
-- "pending_since" is the time of the last upload, until a message refers to the file. It protects the file for a while.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_files (
    user_id text NOT NULL,
    upload text NOT NULL,
    id text,
    size bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    pending_since timestamptz,
    PRIMARY KEY (user_id, upload),
    UNIQUE (user_id, id)
);

-- The sweep reads it: a few rows, whatever the number of files.
CREATE INDEX IF NOT EXISTS {prefix}_files_pending
    ON {schema}.{prefix}_files (user_id, pending_since) WHERE pending_since IS NOT NULL;

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_file_chunks (
    user_id text NOT NULL,
    upload text NOT NULL,
    number integer NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (user_id, upload, number),
    FOREIGN KEY (user_id, upload) REFERENCES {schema}.{prefix}_files (user_id, upload) ON DELETE CASCADE
);

-- Not compressed: pictures, sound and documents are already.
ALTER TABLE {schema}.{prefix}_file_chunks ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Without foreign keys: a trigger on the messages deletes their references. A key would cost a look here for each
-- message that is deleted, with files or without.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_file_references (
    conversation_id text NOT NULL,
    message_id text NOT NULL,
    file_id text NOT NULL,
    user_id text NOT NULL,
    PRIMARY KEY (conversation_id, message_id, file_id)
);

CREATE INDEX IF NOT EXISTS {prefix}_file_references_by_file
    ON {schema}.{prefix}_file_references (user_id, file_id);

ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS file_ids text[];

DO $triggers$
DECLARE
    event text;
    condition text;
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
        RETURN;
    END IF;
    FOR event, condition IN VALUES
        ('insert', 'NEW.file_ids IS NOT NULL'),
        -- Also without a change: a file may have been stored after the message that refers to it.
        ('update of file_ids', 'NEW.file_ids IS NOT NULL OR OLD.file_ids IS NOT NULL'),
        ('delete', 'OLD.file_ids IS NOT NULL')
    LOOP
        IF NOT EXISTS (
            SELECT 1 FROM pg_trigger
            WHERE tgrelid = '{schema}.{prefix}_messages'::regclass AND tgname = '{prefix}_files_' || split_part(event, ' ', 1)
        ) THEN
            EXECUTE format(
                'CREATE TRIGGER %I AFTER %s ON {schema}.{prefix}_messages FOR EACH ROW WHEN (%s) '
                'EXECUTE FUNCTION {schema}.{prefix}_refer_to_files()',
                '{prefix}_files_' || split_part(event, ' ', 1), event, condition
            );
        END IF;
    END LOOP;
    IF NOT EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = '{schema}.{prefix}_file_references'::regclass AND tgname = '{prefix}_files_unused'
    ) THEN
        CREATE CONSTRAINT TRIGGER {prefix}_files_unused AFTER DELETE ON {schema}.{prefix}_file_references
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.{prefix}_drop_unused_file();
    END IF;
END
$triggers$;

DROP FUNCTION IF EXISTS {schema}.{prefix}_add_messages(
    text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[],
    bigint, boolean, boolean
);

DROP FUNCTION IF EXISTS {schema}.{prefix}_add_messages(
    text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[],
    bigint, boolean, boolean, text[], text[], text[], text[], boolean
);

-- With the privilege, any role could attach a function that runs with its owner's rights to a table of its own, whose rows
-- would then count as ours. A trigger needs it only when it is created.
REVOKE EXECUTE ON FUNCTION
    {schema}.{prefix}_refer_to_files(), {schema}.{prefix}_drop_unused_file(), {schema}.{prefix}_tell_watchers()
    FROM PUBLIC;

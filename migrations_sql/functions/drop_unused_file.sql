-- version 2
-- drop_unused_file: delete a file whose last reference was deleted. Its trigger on the references: 0011_files.sql.
--
-- The trigger runs before the commit: a message that was deleted may have been replaced by another in the same
-- transaction, as an edited question is. A file that was uploaded again since stays for a while.
-- SECURITY DEFINER, because another program's role that deletes messages may have no privilege on the files.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_drop_unused_file() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $drop_unused_file$
BEGIN
    PERFORM {schema}.{prefix}_release_files(OLD.user_id, ARRAY[OLD.file_id], false);
    RETURN NULL;
END
$drop_unused_file$;

-- version 3
-- release_files: delete those of some files of a user to which no message refers.
--
-- The files are locked first, in the order of their ids. Of two transactions that remove the last two references, the
-- second waits for the first, and then sees that no reference is left. A file with "pending_since" was uploaded again
-- after its last reference was made, for a message that may follow.
--
-- Arguments: the user; the ids of the files; whether also to delete files with "pending_since".
-- Returns how many were deleted.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_release_files(of_user text, ids text[], also_pending boolean) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Citus sends a generic plan of two tables to all servers.
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET jit = off
AS $release_files$
DECLARE
    deleted bigint;
BEGIN
    PERFORM 1 FROM {schema}.{prefix}_files AS f
        WHERE f.user_id = of_user AND f.id = ANY (ids)
        ORDER BY f.id
        FOR UPDATE;
    DELETE FROM {schema}.{prefix}_files AS f
        WHERE f.user_id = of_user AND f.id = ANY (ids) AND (also_pending OR f.pending_since IS NULL)
            AND NOT EXISTS (
                SELECT 1 FROM {schema}.{prefix}_file_references AS r
                WHERE r.user_id = of_user AND r.file_id = f.id
            );
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END
$release_files$;

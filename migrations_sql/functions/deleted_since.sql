-- version 2
-- deleted_since: look whether a user was deleted while a run was under way. For statements that are about to create a
-- conversation.
--
-- A function, because each of its statements has a snapshot of its own. delete_user() records the user under the
-- exclusive form of this lock, and deletes in a later statement. So either the record is visible here, or the deletion
-- waits for the caller's transaction and sees the conversation.
--
-- Arguments: the hash of the user (see 0013); the seconds since the run began, at the time when the statement was sent.
-- Returns the time of the deletion, or NULL. A day is the longest that a deletion is looked for.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_deleted_since(of_user text, seconds double precision) RETURNS timestamptz
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $deleted_since$
DECLARE
    found timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(of_user, 0));
    SELECT d.deleted_at INTO found
        FROM {schema}.{prefix}_deleted_users AS d
        WHERE d.user_hash = of_user
            AND d.deleted_at > statement_timestamp() - make_interval(secs => least(seconds, 86400));
    RETURN found;
END
$deleted_since$;

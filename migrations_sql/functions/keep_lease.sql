-- version 2
-- keep_lease: let a lease last longer from now on, or end it.
--
-- A function, because the time must be read after waiting for another caller, and must be a value for Citus.
--
-- Arguments:
--   conversation, of_user  the id of the conversation; its owner
--   for_purpose            what the lease is for
--   held_token             the token that its holder has
--   seconds                how long it lasts from now; 0: it ends now
--
-- Returns whether its holder is asked to stop; no row if it is not held with this token any more, or of_user has no such
-- conversation.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_keep_lease(
    conversation text,
    of_user text,
    for_purpose text,
    held_token bigint,
    seconds double precision
) RETURNS TABLE (stop_requested boolean)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Citus needs the values when it plans; and it updates no rows by a time minus an interval.
SET plan_cache_mode = force_custom_plan
AS $keep_lease$
#variable_conflict use_column
DECLARE
    moment timestamptz;
    length interval := make_interval(secs => seconds);
BEGIN
    PERFORM 1 FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND c.user_id = of_user AND c.deleted_at IS NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM 1 FROM {schema}.{prefix}_leases AS l
        WHERE l.conversation_id = conversation AND l.purpose = for_purpose AND l.token = held_token
        FOR NO KEY UPDATE;
    moment := clock_timestamp();
    RETURN QUERY
        UPDATE {schema}.{prefix}_leases AS l
        SET until = moment + length, lasts = greatest(length, l.lasts)
        WHERE l.conversation_id = conversation AND l.purpose = for_purpose AND l.token = held_token
            AND l.until > moment AND l.until - moment < 2 * l.lasts
        RETURNING l.stop_requested;
END
$keep_lease$;

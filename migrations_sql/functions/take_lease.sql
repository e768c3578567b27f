-- version 3
-- take_lease: take a lease of a conversation, unless another holder has it.
--
-- A function, because who has it must be read after waiting for another caller.
--
-- Arguments:
--   conversation, of_user  the id of the conversation; its owner
--   for_purpose            what the lease is for
--   new_holder             who takes it, a text that no other call uses
--   seconds                how long it lasts
--
-- Returns one row: the owner of the conversation, NULL if of_user has none; and the lease that is held now. It was taken if
-- its holder is new_holder. A second call with the same holder returns the same token.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_take_lease(
    conversation text,
    of_user text,
    for_purpose text,
    new_holder text,
    seconds double precision
) RETURNS TABLE (owner text, holder text, token bigint, until timestamptz)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Citus needs the values when it plans; and it updates no rows by a time minus an interval.
SET plan_cache_mode = force_custom_plan
AS $take_lease$
#variable_conflict use_column
DECLARE
    moment timestamptz;
    length interval := make_interval(secs => seconds);
BEGIN
    SELECT c.user_id INTO owner
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND c.user_id = of_user AND c.deleted_at IS NULL
        FOR KEY SHARE;
    IF owner IS NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    INSERT INTO {schema}.{prefix}_leases (conversation_id, purpose, holder, token, until, lasts)
        -- Greater than the tokens that a conversation of the same id had before it was deleted.
        VALUES (
            conversation, for_purpose, '', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 'epoch', '0 s'
        )
        ON CONFLICT (conversation_id, purpose) DO NOTHING;
    -- A lease that is held is not waited for, and its holder may be in a long transaction.
    moment := clock_timestamp();
    PERFORM 1 FROM {schema}.{prefix}_leases AS l
        WHERE l.conversation_id = conversation AND l.purpose = for_purpose AND l.holder <> new_holder
            AND (l.until <= moment OR l.until - moment >= 2 * l.lasts)
        FOR UPDATE;
    moment := clock_timestamp();
    UPDATE {schema}.{prefix}_leases AS l
        SET holder = new_holder, token = l.token + 1, until = moment + length, lasts = length, stop_requested = false
        WHERE l.conversation_id = conversation AND l.purpose = for_purpose AND l.holder <> new_holder
            AND (l.until <= moment OR l.until - moment >= 2 * l.lasts);
    SELECT l.holder, l.token, l.until INTO holder, token, until
        FROM {schema}.{prefix}_leases AS l
        WHERE l.conversation_id = conversation AND l.purpose = for_purpose;
    RETURN NEXT;
END
$take_lease$;

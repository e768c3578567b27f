-- version 1
-- give_conversation: update a conversation, and make it another user's.
--
-- A function, because hand_over's lock must be kept until the owner changes. In a subquery of the UPDATE, Citus calls
-- hand_over outside of the transaction: a link that was created at the same time showed the new owner's conversation.
--
-- Arguments: the conversation; its required owner (NULL: trusted code, no check); the new user; before the value of each
-- other column, whether it was given; whether updated_at becomes now.
-- Returns one row: the conversation, whose id is NULL if the owner has none; then whether it is soft-deleted.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_give_conversation(
    conversation text,
    of_user text,
    recipient text,
    retitles boolean,
    new_title text,
    has_metadata boolean,
    new_metadata text,
    has_resource boolean,
    new_resource text,
    touches boolean
) RETURNS TABLE (
    is_deleted boolean,
    id text,
    resource_id text,
    user_id text,
    title text,
    metadata text,
    created_at timestamptz,
    updated_at timestamptz
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Citus cannot plan the UPDATE without the values.
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET jit = off
AS $give_conversation$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := statement_timestamp();
BEGIN
    PERFORM {schema}.{prefix}_hand_over(conversation, of_user, recipient);
    UPDATE {schema}.{prefix}_conversations AS c SET
        title = CASE WHEN retitles THEN new_title ELSE c.title END,
        title_is_automatic = c.title_is_automatic AND NOT retitles,
        metadata = CASE WHEN has_metadata THEN new_metadata::jsonb ELSE c.metadata END,
        resource_id = CASE WHEN has_resource THEN new_resource ELSE c.resource_id END,
        user_id = recipient,
        updated_at = CASE WHEN touches THEN greatest(c.updated_at, moment) ELSE c.updated_at END
        WHERE c.id = conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
        RETURNING false, c.id, c.resource_id, c.user_id, c.title, c.metadata::text, c.created_at, c.updated_at
        INTO is_deleted, id, resource_id, user_id, title, metadata, created_at, updated_at;
    IF NOT FOUND THEN
        PERFORM 1 FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NOT NULL;
        is_deleted := FOUND;
    END IF;
    RETURN NEXT;
END
$give_conversation$;

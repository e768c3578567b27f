-- version 1
-- ensure_conversation: return a conversation, and create it if there is none; or also give it a title.
--
-- A function, because it looks before it inserts. An INSERT of VALUES without a look waits for every transaction that has
-- changed the row that it meets. With a condition, it is an INSERT of a SELECT, which Citus sends to all workers.
--
-- Arguments
--   new_id, of_user              the conversation and its owner
--   new_resource                 its resource_id, if it is created; NULL: do not create it
--   new_title, new_metadata, created, updated  what it has, if it is created; NULL as a time: now
--   retitles                     whether one that is there gets the title
--   automatic                    whether the title is automatic: then it replaces no other
--   user_hash, seconds           as in deleted_since; NULL: it is created although the user was deleted
-- Returns one row. Its id is NULL if the user has no such conversation: then is_deleted is true if it is soft-deleted,
-- and user_deleted_at is when the user was deleted, if it was not created therefore.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_ensure_conversation(
    new_id text,
    of_user text,
    new_resource text,
    new_title text,
    new_metadata text,
    created timestamptz,
    updated timestamptz,
    retitles boolean DEFAULT false,
    automatic boolean DEFAULT false,
    user_hash text DEFAULT NULL,
    seconds double precision DEFAULT NULL
) RETURNS TABLE (
    id text,
    resource_id text,
    user_id text,
    title text,
    metadata text,
    created_at timestamptz,
    updated_at timestamptz,
    is_new boolean,
    is_deleted boolean,
    user_deleted_at timestamptz
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $ensure_conversation$
#variable_conflict use_column
BEGIN
    is_new := false;
    LOOP
        IF retitles AND NOT is_new THEN
            UPDATE {schema}.{prefix}_conversations AS c
                SET title = CASE WHEN automatic THEN coalesce(c.title, new_title) ELSE new_title END,
                    title_is_automatic = automatic AND (c.title IS NULL OR c.title_is_automatic)
                WHERE c.id = new_id AND c.user_id = of_user AND c.deleted_at IS NULL
                RETURNING c.id, c.resource_id, c.user_id, c.title, c.metadata::text, c.created_at, c.updated_at, false
                INTO id, resource_id, user_id, title, metadata, created_at, updated_at, is_deleted;
            EXIT WHEN FOUND;
        END IF;
        SELECT c.id, c.resource_id, c.user_id, c.title, c.metadata::text, c.created_at, c.updated_at,
                c.deleted_at IS NOT NULL
            INTO id, resource_id, user_id, title, metadata, created_at, updated_at, is_deleted
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = new_id;
        -- Another session has created it since the UPDATE.
        CONTINUE WHEN retitles AND NOT is_new AND user_id = of_user AND NOT is_deleted;
        EXIT WHEN FOUND OR new_resource IS NULL;
        IF user_hash IS NOT NULL THEN
            user_deleted_at := {schema}.{prefix}_deleted_since(user_hash, seconds);
            EXIT WHEN user_deleted_at IS NOT NULL;
        END IF;
        INSERT INTO {schema}.{prefix}_conversations
            (id, resource_id, user_id, title, title_is_automatic, metadata, created_at, updated_at)
            VALUES (
                new_id, new_resource, of_user, new_title, automatic, new_metadata::jsonb,
                coalesce(created, statement_timestamp()), coalesce(updated, created, statement_timestamp())
            )
            ON CONFLICT (id) DO NOTHING;
        is_new := FOUND;
    END LOOP;
    is_deleted := coalesce(is_deleted AND user_id = of_user, false);
    IF user_id IS DISTINCT FROM of_user OR is_deleted THEN
        id := NULL;
    END IF;
    RETURN NEXT;
END
$ensure_conversation$;

-- version 1
-- save_payload: store a framework's form of a conversation, or replace it; the first one creates the conversation.
--
-- A function, because a single statement with its conditions would pass the rows to all workers of Citus. Here only the
-- one that has the conversation is asked.
--
-- Arguments
--   conversation, of_user        the conversation and its owner
--   new_resource                 its resource_id, if it is created; NULL: do not create it
--   new_title, retitles          its title, and whether one that is there gets it
--   form, content, new_revision  the form's name, its JSON text, the caller's revision
--   expects, expected            whether the stored revision must be this one; NULL: there must be none yet
--   touches                      whether updated_at becomes now
--   user_hash, seconds           as in deleted_since
-- Returns one row: whether it was saved; and if not, why: the user was deleted; the conversation is another owner's, is
-- soft-deleted, has another revision, or has no owner: it does not exist, or another session has just created it.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_save_payload(
    conversation text,
    of_user text,
    new_resource text,
    new_title text,
    retitles boolean,
    form text,
    content text,
    new_revision text,
    expects boolean,
    expected text,
    touches boolean,
    user_hash text,
    seconds double precision,
    OUT saved boolean,
    OUT is_new boolean,
    OUT user_deleted_at timestamptz,
    OUT owner text,
    OUT is_deleted boolean
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $save_payload$
DECLARE
    -- A variable: Citus 13.2 crashes where a stable function is in a CASE of an UPDATE.
    moment CONSTANT timestamptz := statement_timestamp();
BEGIN
    saved := false;
    is_new := false;
    -- Concurrent calls wait for each other here. Another user's conversation is not locked.
    SELECT c.user_id, false INTO owner, is_deleted
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND c.user_id = of_user AND c.deleted_at IS NULL
        FOR UPDATE;
    IF NOT FOUND THEN
        SELECT c.user_id, c.deleted_at IS NOT NULL INTO owner, is_deleted
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = conversation;
        IF FOUND OR new_resource IS NULL OR expected IS NOT NULL THEN
            RETURN;
        END IF;
        user_deleted_at := {schema}.{prefix}_deleted_since(user_hash, seconds);
        IF user_deleted_at IS NOT NULL THEN
            RETURN;
        END IF;
        INSERT INTO {schema}.{prefix}_conversations
            (id, user_id, resource_id, title, metadata, created_at, updated_at)
            VALUES (conversation, of_user, new_resource, new_title, '{}', moment, moment)
            ON CONFLICT (id) DO NOTHING;
        is_new := FOUND;
        IF NOT is_new THEN
            RETURN;
        END IF;
    END IF;
    IF expected IS NOT NULL THEN
        UPDATE {schema}.{prefix}_payloads AS p
            SET payload = content::json, revision = new_revision, updated_at = moment
            WHERE p.conversation_id = conversation AND p.format = form AND p.revision = expected;
    ELSIF expects THEN
        INSERT INTO {schema}.{prefix}_payloads (conversation_id, format, payload, revision, updated_at)
            VALUES (conversation, form, content::json, new_revision, moment)
            ON CONFLICT (conversation_id, format) DO NOTHING;
    ELSE
        INSERT INTO {schema}.{prefix}_payloads (conversation_id, format, payload, revision, updated_at)
            VALUES (conversation, form, content::json, new_revision, moment)
            ON CONFLICT (conversation_id, format) DO UPDATE SET
                payload = excluded.payload, revision = excluded.revision, updated_at = excluded.updated_at;
    END IF;
    saved := FOUND;
    IF saved AND NOT is_new THEN
        -- Also without a change, so that watchers see one.
        UPDATE {schema}.{prefix}_conversations AS c SET
            title = CASE WHEN retitles THEN new_title ELSE c.title END,
            title_is_automatic = c.title_is_automatic AND NOT retitles,
            updated_at = CASE WHEN touches THEN greatest(c.updated_at, moment) ELSE c.updated_at END
            WHERE c.id = conversation;
    END IF;
END
$save_payload$;

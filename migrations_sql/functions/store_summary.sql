-- version 2
-- store_summary: store a summary of messages, unless they, or the summary that it takes in, are not what they were.
--
-- A function, because it waits for whoever is changing the conversation, or one of the messages, and must compare with
-- what they have committed. Whoever changes them later waits, and then deletes this summary: see note_changed_summary.
--
-- Arguments:
--   conversation, of_user  the id of the conversation; its owner
--   new_id, new_content, new_hash, new_usage, new_format, new_payload  what is stored
--   before_id              the summary that this one takes in, which is in use for this format; NULL: none
--   head_id                the system message that the conversation begins with, which is not summarised; NULL: none
--   first, last            the times of the first and the last message
--   message_ids, hashes    the messages after the summary before, in their order, and the hash of each (message_hash)
--   storage_limit, archive, limit_is_given  as in add_messages
--
-- Returns one row: the owner of the conversation, NULL if of_user has none; the time of the first message that the summary,
-- or the one before it, stands for; and when the summary was stored, NULL: it was not. A second call with the same id
-- changes nothing, and returns the same.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_store_summary(
    conversation text,
    of_user text,
    new_id text,
    new_content text,
    new_hash text,
    new_usage text,
    new_format text,
    new_payload text,
    before_id text,
    head_id text,
    first timestamptz,
    last timestamptz,
    message_ids text[],
    hashes text[],
    storage_limit bigint,
    archive boolean,
    limit_is_given boolean
) RETURNS TABLE (owner text, begins_at timestamptz, stored_at timestamptz)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Citus needs the values when it plans.
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET jit = off
AS $store_summary$
#variable_conflict use_column
DECLARE
    -- That column of the messages if VoltAgent has made it, as in drop_messages.
    user_id text := 'default';
    lock_timeout CONSTANT text := current_setting('lock_timeout');
    before record;
    found_ids text[];
    found_hashes text[];
    missing integer;
    length bigint;
    oldest timestamptz;
BEGIN
    -- FOR UPDATE, not FOR NO KEY UPDATE: it must wait for an INSERT of another program, as in hand_over.
    SELECT c.user_id INTO owner
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND c.user_id = of_user AND c.deleted_at IS NULL
        FOR UPDATE;
    SELECT s.first_at, s.created_at INTO begins_at, stored_at
        FROM {schema}.{prefix}_summaries AS s
        WHERE s.conversation_id = conversation AND s.id = new_id;
    IF owner IS NULL OR stored_at IS NOT NULL THEN
        RETURN NEXT;
        RETURN;
    END IF;
    IF to_regclass('pg_catalog.pg_dist_partition') IS NULL THEN  -- on Citus, other programs are not noticed
        -- In a deadlock with a transaction of VoltAgent's, this one gives up: see add_messages.
        PERFORM set_config('lock_timeout', CASE lock_timeout WHEN '0' THEN '400ms' ELSE lock_timeout END, true);
        PERFORM 1 FROM {schema}.{prefix}_summaries AS s
            WHERE s.conversation_id = conversation AND s.id = before_id
            FOR SHARE;
        PERFORM 1 FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = ANY (message_ids)
            ORDER BY m.created_at, m.seq
            FOR SHARE;
        PERFORM set_config('lock_timeout', lock_timeout, true);
    END IF;
    SELECT s.id, s.first_at, s.last_at INTO before
        FROM {schema}.{prefix}_summaries AS s
        WHERE s.conversation_id = conversation AND (s.format IS NULL OR s.format = new_format)
        ORDER BY s.last_at DESC LIMIT 1;
    IF before.id IS DISTINCT FROM before_id THEN
        RETURN NEXT;
        RETURN;
    END IF;

    SELECT array_agg(message_id ORDER BY created_at, seq),
            array_agg({schema}.{prefix}_message_hash(
                role, own_role, type, content, content_json, parts, format, payload
            ) ORDER BY created_at, seq)
        INTO found_ids, found_hashes
        FROM {schema}.{prefix}_messages
        WHERE conversation_id = conversation AND archived = ANY ('{false,true}') AND NOT aside
            AND user_id IN (of_user, 'default') AND message_id IS DISTINCT FROM head_id
            AND created_at > coalesce(before.last_at, '-infinity') AND created_at <= last;
    missing := cardinality(message_ids) - coalesce(cardinality(found_ids), 0);
    IF missing < 0 OR message_ids[missing + 1:] <> coalesce(found_ids, '{}')
        OR hashes[missing + 1:] <> coalesce(found_hashes, '{}')
    THEN
        RETURN NEXT;
        RETURN;
    END IF;
    IF missing > 0 THEN
        -- The first ones are gone. The limit has deleted them if there is no room for another message; otherwise somebody.
        SELECT count(*) INTO length
            FROM {schema}.{prefix}_messages
            WHERE conversation_id = conversation AND NOT archived AND NOT aside;
        PERFORM 1 FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = '{schema}.{prefix}_messages'::regclass AND a.attname = 'user_id' AND NOT a.attisdropped;
        IF archive OR storage_limit IS NULL OR length < storage_limit OR FOUND AND NOT limit_is_given THEN
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;

    begins_at := coalesce(before.first_at, first);
    stored_at := clock_timestamp();
    INSERT INTO {schema}.{prefix}_summaries
        (conversation_id, id, content, first_at, last_at, hash, usage, format, payload, created_at)
        VALUES (
            conversation, new_id, new_content, begins_at, last, new_hash, new_usage::json, new_format,
            new_payload::json, stored_at
        );
    UPDATE {schema}.{prefix}_conversations AS c SET summary_id = new_id WHERE c.id = conversation;

    -- Of the summaries that end before the oldest message, no change leaves any but the last in use.
    IF storage_limit IS NOT NULL AND NOT archive THEN
        SELECT min(created_at) INTO oldest FROM {schema}.{prefix}_messages WHERE conversation_id = conversation;
        SELECT max(s.last_at) INTO oldest
            FROM {schema}.{prefix}_summaries AS s
            WHERE s.conversation_id = conversation AND s.format IS NOT DISTINCT FROM new_format AND s.last_at < oldest;
        DELETE FROM {schema}.{prefix}_summaries AS s
            WHERE s.conversation_id = conversation AND s.format IS NOT DISTINCT FROM new_format AND s.last_at < oldest;
    END IF;
    RETURN NEXT;
END
$store_summary$;

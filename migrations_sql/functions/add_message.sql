-- version 2
-- add_message: add one message to a conversation that is there. What add_messages does for such a call, without its
-- arrays and loops, which cost more than the message. Everything else is left to add_messages, and everything on Citus.
--
-- Arguments: as in add_messages, one element of each array. Without a parent, a time, files, and without having been
-- stored before.
-- Returns what add_messages returns.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_add_message(
    of_conversation text,
    of_user text,
    of_resource text,
    new_id text,
    new_role text,
    new_content text,
    new_content_json text,
    new_type text,
    new_metadata text,
    new_format text,
    new_payload text,
    new_vector text,
    storage_limit bigint,
    archive boolean,
    patient boolean,
    limit_was_given boolean,
    user_hash text,
    began_at text,
    was_sent_at double precision,
    new_tokens text DEFAULT NULL
) RETURNS TABLE (item integer, stored_at timestamptz)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_sort = off
SET jit = off
AS $add_message$
DECLARE
    owner text;
    read_until timestamptz;
    length bigint;
    last_time timestamptz;
    is_kept boolean := true;
    is_new boolean;
    clock timestamptz;
    moment timestamptz;
    tick interval := interval '1 microsecond';
    setting text;
BEGIN
    -- Looked at in every call, because VoltAgent may add its columns at any time.
    PERFORM 1 FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = '{schema}.{prefix}_messages'::regclass AND a.attname = 'user_id' AND NOT a.attisdropped;
    -- On Citus, only the statements of add_messages were tried.
    IF NOT FOUND AND to_regclass('pg_catalog.pg_dist_partition') IS NULL THEN
        IF patient THEN
            PERFORM 1 FROM {schema}.{prefix}_conversations AS c
                WHERE c.id = of_conversation AND c.deleted_at IS NULL AND c.user_id = coalesce(of_user, c.user_id)
                FOR NO KEY UPDATE;
        END IF;
        SELECT c.user_id, c.read_at, c.line_length, c.line_end INTO owner, read_until, length, last_time
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = of_conversation AND c.deleted_at IS NULL AND c.user_id = coalesce(of_user, c.user_id)
            FOR NO KEY UPDATE SKIP LOCKED;
    END IF;
    IF owner IS NULL THEN
        RETURN QUERY SELECT added.item, added.stored_at FROM {schema}.{prefix}_add_messages(
            ARRAY[of_conversation], ARRAY[of_user], ARRAY[of_resource], ARRAY['1'], ARRAY[new_id], ARRAY[new_role],
            ARRAY[new_content], ARRAY[new_content_json], ARRAY[new_type], ARRAY[new_metadata], NULL, ARRAY[new_format],
            ARRAY[new_payload], NULL, CASE WHEN new_vector IS NOT NULL THEN ARRAY[new_vector] END, storage_limit, archive,
            patient, limit_is_given => limit_was_given, user_hashes => ARRAY[user_hash],
            began_ats => ARRAY[began_at], sent_at => was_sent_at,
            tokens => CASE WHEN new_tokens IS NOT NULL THEN ARRAY[new_tokens] END
        ) AS added;
        RETURN;
    END IF;

    setting := set_config('voltmem.is_adding', 'yes', true);
    -- It is not part of the statement that locked, whose snapshot is older than the lock.
    PERFORM 1 FROM {schema}.{prefix}_changed_lines AS l WHERE l.conversation_id = of_conversation;
    IF FOUND OR last_time IS NULL OR storage_limit IS NOT NULL AND length IS NULL THEN
        SELECT counted.line_length, counted.line_end, counted.is_kept INTO length, last_time, is_kept
            FROM {schema}.{prefix}_count_line(of_conversation, storage_limit IS NOT NULL) AS counted;
    END IF;
    clock := clock_timestamp();
    IF last_time >= '9999-12-31' THEN
        tick := interval '0';
    END IF;
    moment := greatest(
        clock, last_time + tick, CASE WHEN read_until < clock + interval '1 day' THEN read_until + tick END
    );
    IF new_vector IS NOT NULL THEN
        new_vector := replace(
            new_vector, E'\x01', left(encode(sha256(convert_to(owner, 'UTF8')), 'hex'), 8)
        );
    END IF;
    INSERT INTO {schema}.{prefix}_messages AS m
        (conversation_id, message_id, role, content, content_json, type, metadata, created_at, format, payload, words,
         tokens)
    VALUES
        (of_conversation, new_id, new_role, new_content, new_content_json::json, new_type, new_metadata::jsonb, moment,
         new_format, new_payload::json, new_vector::tsvector, new_tokens::integer)
    ON CONFLICT (conversation_id, message_id) DO UPDATE SET
        role = excluded.role,
        content = excluded.content,
        content_json = excluded.content_json,
        type = excluded.type,
        metadata = excluded.metadata,
        own_role = excluded.own_role,
        parts = excluded.parts,
        parts_hash = excluded.parts_hash,
        format = excluded.format,
        payload = excluded.payload,
        words = excluded.words,
        file_ids = excluded.file_ids,
        tokens = excluded.tokens
    RETURNING m.created_at, m.xmax = 0 INTO stored_at, is_new;
    item := 1;
    RETURN NEXT;

    IF is_new THEN
        length := length + 1;
    END IF;
    IF length > storage_limit THEN
        PERFORM {schema}.{prefix}_remove_oldest(of_conversation, length - storage_limit, archive);
        length := storage_limit;
        IF NOT archive THEN
            item := 0;
            RETURN NEXT;
        END IF;
    END IF;
    moment := greatest(moment, stored_at);
    -- Another program's message from the future moves those after it, and not the conversation.
    clock := least(moment, clock_timestamp());
    UPDATE {schema}.{prefix}_conversations AS c
        SET updated_at = greatest(c.updated_at, clock),
            line_length = CASE WHEN is_kept THEN length END,
            line_end = CASE WHEN is_kept THEN moment END
        WHERE c.id = of_conversation;
    PERFORM 1 FROM {schema}.{prefix}_watchers AS w WHERE w.user_id = owner;
    IF FOUND THEN
        PERFORM {schema}.{prefix}_notify_watchers(ARRAY[owner]);
    END IF;
    setting := set_config('voltmem.is_adding', '', true);
END
$add_message$;

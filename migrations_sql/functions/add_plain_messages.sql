-- version 2
-- add_plain_messages: the part of add_messages that stores many messages with few statements.
--
-- Arguments: as in add_messages. No message has a parent, a time or files, and none was stored before; no id is there twice
-- in a conversation.
-- Returns a row for each stored message, as add_messages does. Nothing is stored in a conversation that is missing, locked
-- or another user's. The row 0: the limit has deleted messages.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_add_plain_messages(
    conversation_ids text[],
    user_ids text[],
    sizes text[],
    message_ids text[],
    roles text[],
    contents text[],
    contents_json text[],
    types text[],
    metadatas text[],
    formats text[],
    payloads text[],
    vectors text[],
    storage_limit bigint,
    archive boolean,
    tokens text[] DEFAULT NULL
) RETURNS TABLE (item integer, stored_at timestamptz)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_sort = off
SET jit = off
AS $add_plain_messages$
DECLARE
    clock timestamptz := clock_timestamp();
    -- Of all calls: one element for each message.
    message integer := 0;
    conversations text[] := array_fill(NULL::text, ARRAY[cardinality(message_ids)]);
    moments timestamptz[] := array_fill(NULL::timestamptz, ARRAY[cardinality(message_ids)]);
    user_keys text[] := array_fill(NULL::text, ARRAY[cardinality(message_ids)]);
    -- Of those that are stored.
    stored integer[] := '{}';
    entries integer[] := '{}';
    stored_times timestamptz[];
    are_new boolean[];
    -- One element for each conversation.
    touched text[] := '{}';
    owners text[] := '{}';
    lengths bigint[] := '{}';
    ends timestamptz[] := '{}';
    are_kept boolean[] := '{}';
    held record;
    call integer := 1;
    entry integer := 0;
    length bigint;
    last_time timestamptz;
    is_kept boolean;
    moment timestamptz;
    tick interval;
    user_key text;
    was_deleted boolean := false;
BEGIN
    -- A subquery, so that each row is found by its key. The calls of a conversation are next to each other.
    FOR held IN
        SELECT given.call, c.*
        FROM unnest(conversation_ids, user_ids) WITH ORDINALITY AS given (conversation_id, user_id, call),
            LATERAL (
                SELECT c.id, c.user_id, c.read_at, c.line_length, c.line_end
                FROM {schema}.{prefix}_conversations AS c
                WHERE c.id = given.conversation_id AND c.deleted_at IS NULL
                    AND c.user_id = coalesce(given.user_id, c.user_id)
                FOR NO KEY UPDATE SKIP LOCKED
            ) AS c
        WHERE (given.conversation_id, given.user_id)
            IS DISTINCT FROM (conversation_ids[given.call - 1], user_ids[given.call - 1])
    LOOP
        WHILE call < held.call LOOP
            message := message + sizes[call]::integer;
            call := call + 1;
        END LOOP;
        IF entry = 0 OR touched[entry] <> held.id THEN
            entry := entry + 1;
            touched[entry] := held.id;
            owners[entry] := held.user_id;
            length := held.line_length;
            last_time := held.line_end;
            is_kept := true;
            -- It is not part of the statement that locked, whose snapshot is older than the lock.
            PERFORM 1 FROM {schema}.{prefix}_changed_lines AS l WHERE l.conversation_id = held.id;
            IF FOUND OR held.line_end IS NULL OR storage_limit IS NOT NULL AND held.line_length IS NULL THEN
                SELECT counted.line_length, counted.line_end, counted.is_kept
                    INTO length, last_time, is_kept
                    FROM {schema}.{prefix}_count_line(held.id, storage_limit IS NOT NULL) AS counted;
            END IF;
            lengths[entry] := length;
            are_kept[entry] := is_kept;
            tick := CASE WHEN last_time >= '9999-12-31' THEN interval '0' ELSE interval '1 microsecond' END;
            moment := greatest(
                clock, last_time + tick,
                CASE WHEN held.read_at < clock + interval '1 day' THEN held.read_at + tick END
            );
            IF vectors IS NOT NULL THEN
                user_key := left(encode(sha256(convert_to(held.user_id, 'UTF8')), 'hex'), 8);
            END IF;
        END IF;
        LOOP
            FOR number IN 1 .. sizes[call]::integer LOOP
                message := message + 1;
                conversations[message] := held.id;
                moments[message] := moment;
                user_keys[message] := user_key;
                stored := stored || message;
                entries := entries || entry;
                ends[entry] := moment;
                moment := moment + tick;
            END LOOP;
            lengths[entry] := lengths[entry] + sizes[call]::integer;
            call := call + 1;
            EXIT WHEN conversation_ids[call] IS DISTINCT FROM held.id OR user_ids[call] IS DISTINCT FROM user_ids[call - 1];
        END LOOP;
    END LOOP;

    WITH added AS (
        INSERT INTO {schema}.{prefix}_messages AS m
            (conversation_id, message_id, role, content, content_json, type, metadata, created_at, format, payload, words,
             tokens)
        SELECT given.conversation_id, given.message_id, given.role, given.content, given.content_json::json, given.type,
            given.metadata::jsonb, given.moment, given.format, given.payload::json,
            replace(given.vector, E'\x01', given.user_key)::tsvector, given.tokens::integer
        FROM unnest(
            conversations, message_ids, roles, contents, contents_json, types, metadatas, moments, formats, payloads,
            vectors, user_keys, tokens
        ) AS given (
            conversation_id, message_id, role, content, content_json, type, metadata, moment, format, payload, vector,
            user_key, tokens
        )
        WHERE given.moment IS NOT NULL
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
        RETURNING m.created_at, m.xmax = 0 AS is_new
    )
    -- In the order of the rows that were inserted.
    SELECT array_agg(added.created_at), array_agg(added.is_new) INTO stored_times, are_new FROM added;

    IF false = ANY (are_new) THEN
        FOR number IN 1 .. cardinality(stored) LOOP
            IF NOT are_new[number] THEN
                lengths[entries[number]] := lengths[entries[number]] - 1;
            END IF;
        END LOOP;
    END IF;
    FOR number IN 1 .. entry LOOP
        IF lengths[number] > storage_limit THEN
            PERFORM {schema}.{prefix}_remove_oldest(touched[number], lengths[number] - storage_limit, archive);
            lengths[number] := storage_limit;
            was_deleted := NOT archive;
        END IF;
    END LOOP;
    -- Another program's message from the future moves those after it, and not the conversation.
    clock := clock_timestamp();
    UPDATE {schema}.{prefix}_conversations AS c
        SET updated_at = greatest(c.updated_at, least(line.last_time, clock)),
            line_length = CASE WHEN line.is_kept THEN line.length END,
            line_end = CASE WHEN line.is_kept THEN line.last_time END
        FROM unnest(touched, lengths, ends, are_kept) AS line (conversation_id, length, last_time, is_kept)
        WHERE c.id = line.conversation_id;
    PERFORM 1 FROM {schema}.{prefix}_watchers AS w WHERE w.user_id = ANY (owners);
    IF FOUND THEN
        PERFORM {schema}.{prefix}_notify_watchers(owners);
    END IF;

    RETURN QUERY SELECT given.item, given.moment FROM unnest(stored, stored_times) AS given (item, moment);
    IF was_deleted THEN
        item := 0;
        stored_at := clock;
        RETURN NEXT;
    END IF;
END
$add_plain_messages$;

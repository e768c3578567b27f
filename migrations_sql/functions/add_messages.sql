-- version 11
-- add_messages: add the messages of one or more calls to one or more conversations.
--
-- A function, because all parts of a single WITH statement share the snapshot that was taken before it waited for the
-- row lock: each of two concurrent writers would miss the other's message, and the storage limit would be exceeded. In
-- a function each statement sees what the previous holder of the lock committed.
-- Plain messages are stored together, by add_plain_messages; what is left, one by one.
-- Concurrent calls are sent as one statement. Each call must have the result that it would have alone, and a
-- conversation that is locked for long must not delay the others.
--
-- Arguments with one element per call. The calls of a conversation are next to each other, and the conversations in
-- ascending order: all callers lock in the same order, so there is no deadlock.
--   conversation_ids
--   user_ids       the required owner of the conversation; NULL: trusted code, no check
--   resource_ids   the resource_id of the conversation that the call creates if it is missing; NULL: do not create it
--   sizes          the number of messages of the call
-- Arguments with one element per message; NULL instead of an array of NULLs.
--   message_ids, roles, contents, contents_json, types, metadatas, formats, payloads
--   parent_ids     the message that a new message follows, '': none, it is the first. If that is not the newest of the
--                  line, a branch begins: the messages after it are set aside. NULL, or a message that is missing: the
--                  newest of the line, and without one it is the first. A replaced message keeps its place.
--   created_ats    ISO 8601 with an offset; NULL: the time at which the lock was acquired, or a microsecond after that
--                  of the last message on the line and after read_at, if these are later, because the clock may step
--                  back: so the order within a conversation is the order of commits
--   vectors        the text form of a tsvector, with E'\x01' as the placeholder for the user's key in each lexeme
--   used_files     the ids of the files that the message refers to, separated by spaces; a trigger makes the references
-- sizes and created_ats are text because asyncpg has a codec for text[]; it looks up any other array type on each new
-- connection.
-- Arguments for all calls.
--   storage_limit  the number of messages that the line of a conversation keeps; NULL: all
--   archive        true: archive the messages beyond the limit; false: delete them
--   patient        true: wait for a locked conversation; false: store nothing in it
-- Arguments with one element per message, last because older versions do not have them.
--   known          not NULL: the message was stored before. It is replaced, never inserted: if it was deleted, nothing
--                  of its call is stored
--   ui_parts, speakers, results
--                  for VoltAgent 1 and 2: the parts of the UIMessage (JSON); its role, if it is another than ours; and
--                  the results of calls in earlier messages (see answer_calls). Used if these tables have its columns
--   used_files     the ids of the files that the message refers to, separated by spaces
-- Arguments for all calls.
--   limit_is_given false: the limit is a default, which does not apply to tables that VoltAgent 1 or 2 uses
--   kept_files, kept_contents  the ids and the contents, in base64, of files that are stored for the owner of each
--                  message that refers to them; NULL: none
-- Arguments with one element per call; NULL instead of an array of NULLs.
--   user_hashes    for a call that may create the conversation: the hash of the user (see 0013); NULL: do not look
--                  whether the user was deleted
--   began_ats      when the run of such a call began, in seconds by the caller's clock
-- Argument for all calls.
--   sent_at        when the statement was sent, by the same clock
--   are_plain      true: no message has a parent, a time, files, or was stored before, and no id is there twice in a
--                  conversation
-- Argument with one element per message; NULL instead of an array of NULLs.
--   tokens         how many tokens the message has for a model; NULL: not counted
--
-- Returns a row for each stored message: its number, from 1, and its time. For a message of a locked conversation, the
-- row has no time. For a call to a soft-deleted conversation, there is one row with the negative number of the call;
-- it has a time if the conversation was not created because the user was deleted then.
-- For a known message that was deleted, and for the id of another user's message in VoltAgent's tables, there is one row;
-- its number is negative, and counts after those of the calls. So it does for a message whose own time is more than a
-- day ahead of the clock; that row has a time, the clock's. Nothing of these calls is stored.
-- For a conversation that is missing or another user's, there is no row, and nothing changes. The row 0 with a time: the
-- limit has deleted messages. The row 0 without a time, alone: VoltAgent's columns are here and ui_parts was NULL, so
-- nothing was stored.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_add_messages(
    conversation_ids text[],
    user_ids text[],
    resource_ids text[],
    sizes text[],
    message_ids text[],
    roles text[],
    contents text[],
    contents_json text[],
    types text[],
    metadatas text[],
    created_ats text[],
    formats text[],
    payloads text[],
    parent_ids text[],
    vectors text[],
    storage_limit bigint,
    archive boolean,
    patient boolean,
    known text[] DEFAULT NULL,
    ui_parts text[] DEFAULT NULL,
    speakers text[] DEFAULT NULL,
    results text[] DEFAULT NULL,
    limit_is_given boolean DEFAULT true,
    used_files text[] DEFAULT NULL,
    kept_files text[] DEFAULT NULL,
    kept_contents text[] DEFAULT NULL,
    user_hashes text[] DEFAULT NULL,
    began_ats text[] DEFAULT NULL,
    sent_at double precision DEFAULT NULL,
    are_plain boolean DEFAULT false,
    tokens text[] DEFAULT NULL
) RETURNS TABLE (item integer, stored_at timestamptz)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- One generic plan with index scans, independent of the statistics. A plan made for a very long conversation would read
-- the whole table to find the messages beyond the limit. A plan made for empty tables would scan them, and the
-- connection would keep it until the next ANALYZE.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_sort = off
SET jit = off
AS $add_messages$
DECLARE
    last integer := 0;
    conversation text;
    owner text;
    locked boolean;
    touched boolean;
    entered boolean;
    last_time timestamptz;
    read_until timestamptz;
    clock timestamptz;
    activity timestamptz;
    tick interval;
    accepted boolean;
    gone integer;
    ahead integer;
    length bigint;
    is_kept boolean;
    is_new boolean;
    owners text[] := '{}';
    are_done boolean[] := '{}';
    setting text;
    lock_timeout CONSTANT text := current_setting('lock_timeout');
    user_key text;
    head text;
    parent text;
    earliest timestamptz;
    trimmed_at timestamptz;
    user_deleted_at timestamptz;
    -- Looked at in every call, because VoltAgent may add its columns at any time.
    beside_voltagent CONSTANT boolean := EXISTS (
        SELECT 1 FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = '{schema}.{prefix}_messages'::regclass AND a.attname = 'user_id' AND NOT a.attisdropped
    );
BEGIN
    IF NOT beside_voltagent THEN
        ui_parts := NULL;
        speakers := NULL;
    ELSIF ui_parts IS NULL THEN
        item := 0;
        RETURN NEXT;
        RETURN;
    ELSIF NOT limit_is_given THEN
        storage_limit := NULL;
    END IF;

    setting := set_config('voltmem.is_adding', 'yes', true);
    IF are_plain AND NOT beside_voltagent THEN
        -- Not on Citus, which has no triggers, and locks no rows of several servers in one statement.
        PERFORM 1 FROM pg_catalog.pg_trigger AS t
            WHERE t.tgrelid = '{schema}.{prefix}_messages'::regclass AND t.tgname = '{prefix}_line_insert';
        IF FOUND THEN
            IF patient THEN
                PERFORM 1 FROM {schema}.{prefix}_conversations AS c
                    WHERE c.id = conversation_ids[1] AND c.deleted_at IS NULL
                        AND c.user_id = coalesce(user_ids[1], c.user_id)
                    FOR NO KEY UPDATE;
            END IF;
            FOR item, stored_at IN SELECT plain.item, plain.stored_at FROM {schema}.{prefix}_add_plain_messages(
                conversation_ids, user_ids, sizes, message_ids, roles, contents, contents_json, types, metadatas, formats,
                payloads, vectors, storage_limit, archive, tokens
            ) AS plain LOOP
                IF item > 0 THEN
                    are_done[item] := true;
                END IF;
                RETURN NEXT;
            END LOOP;
        END IF;
    END IF;

    FOR this IN 1 .. cardinality(conversation_ids) LOOP
        IF are_done[last + 1] THEN
            last := last + sizes[this]::integer;
            CONTINUE;
        END IF;
        -- The lock of another user's conversation is not waited for. So each user of a conversation looks for it.
        IF conversation IS DISTINCT FROM conversation_ids[this]
            OR owner IS NULL AND NOT locked AND user_ids[this] IS DISTINCT FROM user_ids[this - 1]
        THEN
            conversation := conversation_ids[this];
            locked := false;
            touched := false;
            entered := false;
            activity := NULL;
            IF patient THEN
                SELECT c.user_id, c.read_at, c.line_length, c.line_end INTO owner, read_until, length, last_time
                    FROM {schema}.{prefix}_conversations AS c
                    WHERE c.id = conversation AND c.deleted_at IS NULL
                        AND c.user_id = coalesce(user_ids[this], c.user_id)
                    FOR NO KEY UPDATE;
            ELSE
                SELECT c.user_id, c.read_at, c.line_length, c.line_end INTO owner, read_until, length, last_time
                    FROM {schema}.{prefix}_conversations AS c
                    WHERE c.id = conversation AND c.deleted_at IS NULL
                        AND c.user_id = coalesce(user_ids[this], c.user_id)
                    FOR NO KEY UPDATE SKIP LOCKED;
                IF NOT FOUND THEN
                    -- PERFORM and FOUND, not EXISTS in an expression, which Citus cannot plan.
                    PERFORM 1 FROM {schema}.{prefix}_conversations AS c
                        WHERE c.id = conversation AND c.deleted_at IS NULL
                            AND c.user_id = coalesce(user_ids[this], c.user_id);
                    locked := FOUND;
                END IF;
            END IF;
        END IF;

        user_deleted_at := NULL;
        IF owner IS NULL AND NOT locked AND resource_ids[this] IS NOT NULL AND user_ids[this] IS NOT NULL THEN
            -- Another transaction may be creating the conversation, and INSERT waits until that one ends.
            BEGIN
                IF NOT patient THEN
                    PERFORM set_config('lock_timeout', '10ms', true);
                END IF;
                IF user_hashes[this] IS NOT NULL THEN
                    user_deleted_at := {schema}.{prefix}_deleted_since(
                        user_hashes[this], sent_at - began_ats[this]::double precision
                    );
                END IF;
                IF user_deleted_at IS NULL THEN
                    INSERT INTO {schema}.{prefix}_conversations
                        (id, resource_id, user_id, metadata, created_at, updated_at)
                        VALUES (
                            conversation, resource_ids[this], user_ids[this], '{}', clock_timestamp(), clock_timestamp()
                        )
                        ON CONFLICT (id) DO NOTHING;
                END IF;
                SELECT c.user_id, c.read_at, c.line_length, c.line_end INTO owner, read_until, length, last_time
                    FROM {schema}.{prefix}_conversations AS c
                    WHERE c.id = conversation AND c.deleted_at IS NULL
                        AND c.user_id = coalesce(user_ids[this], c.user_id)
                    FOR NO KEY UPDATE;
                IF NOT patient THEN
                    PERFORM set_config('lock_timeout', lock_timeout, true);
                END IF;
            EXCEPTION WHEN lock_not_available THEN
                locked := true;
            END;
        END IF;

        IF owner IS NOT NULL AND NOT entered THEN
            entered := true;
            owner := set_config('voltmem.user_id', owner, true);
            is_kept := true;
            IF last_time IS NOT NULL THEN
                PERFORM 1 FROM {schema}.{prefix}_changed_lines AS l WHERE l.conversation_id = conversation;
            END IF;
            IF last_time IS NULL OR FOUND OR storage_limit IS NOT NULL AND length IS NULL THEN
                SELECT counted.line_length, counted.line_end, counted.is_kept INTO length, last_time, is_kept
                    FROM {schema}.{prefix}_count_line(conversation, storage_limit IS NOT NULL) AS counted;
            END IF;
        END IF;

        IF vectors IS NOT NULL AND owner IS NOT NULL THEN
            user_key := left(encode(sha256(convert_to(owner, 'UTF8')), 'hex'), 8);
        END IF;

        IF beside_voltagent AND owner IS NOT NULL THEN
            -- VoltAgent's transactions lock messages without their conversation, in any order. In a deadlock with one,
            -- this transaction gives up, before deadlock_timeout (a second) may end VoltAgent's.
            PERFORM set_config('lock_timeout', CASE lock_timeout WHEN '0' THEN '400ms' ELSE lock_timeout END, true);
        END IF;

        -- Each message has a time of its own, because VoltAgent sorts by time alone, and a message is unread if it is
        -- later than read_at. At the end of Python's calendar the sequence decides. A read_at in the far future is
        -- somebody's way to say "all", not a time.
        clock := clock_timestamp();
        tick := CASE WHEN last_time >= '9999-12-31' THEN interval '0' ELSE interval '1 microsecond' END;
        activity := greatest(
            clock, activity + tick, last_time + tick,
            CASE WHEN read_until < clock + interval '1 day' THEN read_until + tick END
        );
        accepted := owner IS NOT NULL AND (user_ids[this] IS NULL OR user_ids[this] = owner);
        gone := NULL;
        ahead := NULL;
        IF accepted AND known IS NOT NULL THEN
            -- The lock of the conversation is held, so no message of it is deleted before the end.
            FOR given IN last + 1 .. last + sizes[this]::integer LOOP
                CONTINUE WHEN known[given] IS NULL;
                PERFORM 1 FROM {schema}.{prefix}_messages AS m
                    WHERE m.conversation_id = conversation AND m.message_id = message_ids[given];
                IF NOT FOUND THEN
                    accepted := false;
                    gone := given;
                    EXIT;
                END IF;
            END LOOP;
        END IF;
        IF accepted AND beside_voltagent THEN
            SELECT min(given) INTO gone
                FROM generate_series(last + 1, last + sizes[this]::integer) AS given
                JOIN {schema}.{prefix}_messages AS m
                    ON m.conversation_id = conversation AND m.message_id = message_ids[given]
                WHERE m.user_id NOT IN (owner, 'default');
            accepted := gone IS NULL;
        END IF;
        IF accepted AND created_ats IS NOT NULL THEN
            FOR position IN last + 1 .. last + sizes[this]::integer LOOP
                -- A message that is stored again, as an answer that grows, may have its time from a clock that was ahead.
                IF created_ats[position]::timestamptz > clock + interval '1 day' THEN
                    PERFORM 1 FROM {schema}.{prefix}_messages AS m
                        WHERE m.conversation_id = conversation AND m.message_id = message_ids[position]
                            AND m.created_at >= created_ats[position]::timestamptz;
                    IF NOT FOUND THEN
                        ahead := position;
                        accepted := false;
                        EXIT;
                    END IF;
                END IF;
            END LOOP;
        END IF;
        FOR position IN last + 1 .. last + sizes[this]::integer LOOP
            IF position > last + 1 THEN
                activity := activity + tick;
            END IF;
            parent := parent_ids[position];
            earliest := NULL;
            IF accepted AND parent IS NOT NULL THEN
                SELECT m.message_id INTO head
                    FROM {schema}.{prefix}_messages AS m
                    WHERE m.conversation_id = conversation AND NOT m.archived AND NOT m.aside
                    ORDER BY m.created_at DESC, m.seq DESC LIMIT 1;
                IF parent <> coalesce(head, '') THEN
                    PERFORM 1 FROM {schema}.{prefix}_messages AS m
                        WHERE m.conversation_id = conversation AND m.message_id = message_ids[position];
                    IF FOUND THEN
                        NULL;
                    ELSIF {schema}.{prefix}_move_head(conversation, parent) THEN
                        PERFORM {schema}.{prefix}_restore_archived(conversation, storage_limit);
                        length := NULL;
                        -- An aggregate, because an empty parent has no row.
                        SELECT greatest(activity, max(m.created_at) + tick) INTO activity
                            FROM {schema}.{prefix}_messages AS m
                            WHERE m.conversation_id = conversation AND m.message_id = parent;
                    ELSE
                        parent := coalesce(head, '');
                    END IF;
                END IF;
                IF created_ats[position] IS NOT NULL THEN
                    -- A message stands after its parent, whatever time it is given.
                    SELECT max(m.created_at) INTO earliest
                        FROM {schema}.{prefix}_messages AS m
                        WHERE m.conversation_id = conversation AND m.message_id = parent;
                END IF;
            END IF;
            IF accepted AND kept_files IS NOT NULL AND used_files[position] IS NOT NULL THEN
                PERFORM {schema}.{prefix}_keep_file(owner, kept.id, kept.content)
                    FROM unnest(kept_files, kept_contents) AS kept (id, content)
                    WHERE kept.id = ANY (string_to_array(used_files[position], ' '));
            END IF;
            IF accepted THEN
                INSERT INTO {schema}.{prefix}_messages AS m
                    (conversation_id, message_id, role, content, content_json, type, metadata, created_at,
                     format, payload, parent_id, words, own_role, parts, parts_hash, file_ids,
                     tokens)
                VALUES
                    (conversation, message_ids[position], coalesce(speakers[position], roles[position]),
                     contents[position], contents_json[position]::json, types[position], metadatas[position]::jsonb,
                     coalesce(greatest(created_ats[position]::timestamptz, earliest), activity),
                     formats[position], payloads[position]::json, parent,
                     replace(vectors[position], E'\x01', user_key)::tsvector,
                     CASE WHEN speakers[position] IS NOT NULL THEN roles[position] END, ui_parts[position]::jsonb,
                     encode(sha256(convert_to(ui_parts[position]::jsonb::text, 'UTF8')), 'hex'),
                     string_to_array(used_files[position], ' '), tokens[position]::integer)
                ON CONFLICT (conversation_id, message_id) DO UPDATE SET
                    role = excluded.role,
                    content = excluded.content,
                    content_json = excluded.content_json,
                    type = excluded.type,
                    metadata = excluded.metadata,
                    own_role = excluded.own_role,
                    parts = excluded.parts,
                    parts_hash = excluded.parts_hash,
                    created_at = CASE WHEN created_ats[position] IS NULL THEN m.created_at ELSE excluded.created_at END,
                    format = excluded.format,
                    payload = excluded.payload,
                    words = excluded.words,
                    file_ids = excluded.file_ids,
                    tokens = excluded.tokens
                RETURNING m.created_at, m.xmax = 0 INTO stored_at, is_new;
                activity := greatest(activity, stored_at);
                IF is_new AND created_ats[position] IS NOT NULL
                    -- Otherwise a trigger does it, if the message has changed.
                    OR NOT is_new AND to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL
                THEN
                    PERFORM {schema}.{prefix}_leave_summaries(conversation, stored_at, is_new);
                END IF;
                IF is_new THEN
                    length := length + 1;
                END IF;
                IF beside_voltagent THEN
                    -- The default of the column is VoltAgent's until a storage is opened.
                    UPDATE {schema}.{prefix}_messages AS m
                        SET user_id = owner
                        WHERE m.conversation_id = conversation AND m.message_id = message_ids[position]
                            AND m.user_id <> owner;
                    IF results[position] IS NOT NULL THEN
                        PERFORM {schema}.{prefix}_answer_calls(conversation, results[position]);
                    END IF;
                END IF;
            ELSE
                stored_at := NULL;
            END IF;
            IF accepted OR locked THEN
                item := position;
                RETURN NEXT;
            END IF;
        END LOOP;
        last := last + sizes[this]::integer;

        IF accepted THEN
            touched := true;
            IF storage_limit IS NOT NULL AND length IS NULL THEN
                length := (SELECT counted.line_length FROM {schema}.{prefix}_count_line(conversation, true) AS counted);
            END IF;
            IF length > storage_limit THEN
                PERFORM {schema}.{prefix}_remove_oldest(conversation, length - storage_limit, archive);
                length := storage_limit;
                IF NOT archive THEN
                    trimmed_at := activity;
                END IF;
            END IF;
        ELSIF gone IS NOT NULL OR ahead IS NOT NULL THEN
            item := -(cardinality(conversation_ids) + coalesce(gone, ahead));
            stored_at := CASE WHEN ahead IS NOT NULL THEN clock END;
            RETURN NEXT;
        ELSIF user_deleted_at IS NOT NULL THEN
            item := -this;
            stored_at := user_deleted_at;
            RETURN NEXT;
        ELSIF NOT locked THEN
            PERFORM 1 FROM {schema}.{prefix}_conversations AS c
                WHERE c.id = conversation AND c.deleted_at IS NOT NULL
                    AND (user_ids[this] IS NULL OR c.user_id = user_ids[this]);
            IF FOUND THEN
                item := -this;
                RETURN NEXT;
            END IF;
        END IF;

        IF touched AND conversation_ids[this + 1] IS DISTINCT FROM conversation THEN
            -- Another program's message from the future moves those after it, and not the conversation.
            clock := least(activity, clock_timestamp());
            UPDATE {schema}.{prefix}_conversations AS c
                SET updated_at = greatest(c.updated_at, clock),
                    line_length = CASE WHEN is_kept THEN length END,
                    line_end = CASE WHEN is_kept THEN activity END
                WHERE c.id = conversation;
            owners := owners || owner;
        END IF;
    END LOOP;
    IF owners <> '{}' THEN
        PERFORM 1 FROM {schema}.{prefix}_watchers AS w WHERE w.user_id = ANY (owners);
        IF FOUND THEN
            PERFORM {schema}.{prefix}_notify_watchers(owners);
        END IF;
    END IF;
    setting := set_config('voltmem.is_adding', '', true);
    IF beside_voltagent THEN
        PERFORM set_config('lock_timeout', lock_timeout, true);
    END IF;
    IF trimmed_at IS NOT NULL THEN
        item := 0;
        stored_at := trimmed_at;
        RETURN NEXT;
    END IF;
END
$add_messages$;

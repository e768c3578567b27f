-- version 2
-- change_memory: change the working memory of a user, or of a conversation: store a new version, if nothing refuses it.
--
-- A function, because each try needs a new snapshot: of two writers that store the same version, the second waits for the
-- first, and applies its change to the result.
--
-- Arguments:
--   of_user, of_conversation   as in look_at_memory
--   kind                       'set', 'append', 'merge' (RFC 7396), 'unite' (as VoltAgent does it), 'restore', 'delete', or
--                              'erase', which deletes the versions before it, too
--   given                      the text, the JSON, or the number of the version to restore
--   is_bare                    whether the text is a template that nobody has filled in
--   if_version                 the version that must be the newest; 0: there must be none; NULL: any
--   of_operation, hash         the caller's name for this write, and the hash of what it is
--   by_author                  who writes
--   most_bytes                 the bound of the text in UTF-8
--   user_hash, seconds         as in deleted_since, for a user who has none yet; NULL: it does not matter
--   sources                    the ids of the messages from which it was written; NULL: nobody says. They are added to
--                              those of the version before, the newest thousand; those of a 'set' replace them
--
-- Returns the outcome: 'done'; 'repeated', with the version that the operation made; or why nothing was stored, with the
-- newest version: 'conflict', 'other operation', 'absent', 'empty', 'template', 'JSON', 'no JSON', 'too large',
-- 'no version', 'no conversation', 'user deleted'.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_change_memory(
    of_user text,
    of_conversation text,
    kind text,
    given text,
    is_bare boolean,
    if_version bigint,
    of_operation text,
    hash text,
    by_author text,
    most_bytes bigint,
    user_hash text,
    seconds double precision,
    sources text[]
) RETURNS TABLE (outcome text, version bigint, content text, author text, changed_at timestamptz)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $change_memory$
DECLARE
    is_shared boolean;
    hash_of_operation text;
    changed text;
    document jsonb;
    beyond bigint;
    carried text[];
BEGIN
    IF of_conversation IS NULL THEN
        is_shared := to_regclass('{schema}.{prefix}_users') IS NOT NULL;
    ELSE
        PERFORM 1 FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid = '{schema}.{prefix}_messages'::regclass AND a.attname = 'user_id' AND NOT a.attisdropped;
        is_shared := FOUND;
        -- So that it is not deleted meanwhile, nor given to another user. Messages may be added.
        PERFORM 1 FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = of_conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
            FOR KEY SHARE;
        IF NOT FOUND THEN
            outcome := 'no conversation';
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    IF is_shared THEN
        PERFORM {schema}.{prefix}_lock_memory(of_user, of_conversation);
    END IF;
    LOOP
        IF of_conversation IS NULL THEN
            SELECT m.version, m.content, m.author, m.created_at, m.fingerprint
                INTO version, content, author, changed_at, hash_of_operation
                FROM {schema}.{prefix}_user_memory AS m
                WHERE m.user_id = of_user AND m.operation_id = of_operation;
        ELSE
            SELECT m.version, m.content, m.author, m.created_at, m.fingerprint
                INTO version, content, author, changed_at, hash_of_operation
                FROM {schema}.{prefix}_conversation_memory AS m
                WHERE m.conversation_id = of_conversation AND m.operation_id = of_operation;
        END IF;
        IF FOUND THEN
            outcome := CASE hash_of_operation WHEN hash THEN 'repeated' ELSE 'other operation' END;
            EXIT;
        END IF;

        SELECT seen.version, seen.content, seen.author, seen.changed_at
            INTO version, content, author, changed_at
            FROM {schema}.{prefix}_look_at_memory(of_user, of_conversation) AS seen;
        carried := NULL;
        IF if_version <> (CASE WHEN content IS NULL THEN 0 ELSE version END) THEN
            outcome := 'conflict';
        ELSIF version = 0 AND of_conversation IS NULL AND user_hash IS NOT NULL
                AND {schema}.{prefix}_deleted_since(user_hash, seconds) IS NOT NULL THEN
            outcome := 'user deleted';
        ELSIF kind = 'set' THEN
            changed := given;
            IF is_bare AND btrim(content, E' \t\r\n') <> btrim(given, E' \t\r\n') THEN
                outcome := 'template';
            END IF;
        ELSIF kind = 'append' THEN
            changed := concat(content || E'\n\n', given);
            IF {schema}.{prefix}_json_object_of(content) IS NOT NULL THEN
                outcome := 'JSON';
            END IF;
        ELSIF kind IN ('merge', 'unite') THEN
            document := {schema}.{prefix}_json_object_of(coalesce(content, '{}'));
            IF document IS NULL THEN
                outcome := 'no JSON';
            ELSE
                document := CASE kind
                    WHEN 'merge' THEN {schema}.{prefix}_merge_patch(document, given::jsonb)
                    ELSE {schema}.{prefix}_unite(document, given::jsonb)
                END;
                IF document = '{}' THEN
                    outcome := 'empty';
                END IF;
                -- Indented by two, as VoltAgent does it. Only whitespace is before what a line begins with.
                SELECT string_agg(
                        repeat(' ', (length(line.words) - length(ltrim(line.words))) / 2) || ltrim(line.words),
                        E'\n' ORDER BY line.place
                    )
                    INTO changed
                    FROM regexp_split_to_table(jsonb_pretty(document), E'\n') WITH ORDINALITY AS line (words, place);
            END IF;
        ELSIF kind = 'restore' THEN
            IF of_conversation IS NULL THEN
                SELECT m.content, m.from_messages INTO changed, carried
                    FROM {schema}.{prefix}_user_memory AS m
                    WHERE m.user_id = of_user AND m.version = given::bigint;
            ELSE
                SELECT m.content, m.from_messages INTO changed, carried
                    FROM {schema}.{prefix}_conversation_memory AS m
                    WHERE m.conversation_id = of_conversation AND m.version = given::bigint;
            END IF;
            IF changed IS NULL THEN
                outcome := 'no version';
            END IF;
        ELSIF content IS NULL AND (kind = 'delete' OR version = 0) THEN
            outcome := 'absent';
        END IF;
        IF outcome IS NULL AND octet_length(changed) > most_bytes THEN
            outcome := 'too large';
        END IF;
        EXIT WHEN outcome IS NOT NULL;

        IF kind IN ('append', 'merge', 'unite') OR kind = 'set' AND sources IS NULL THEN
            IF of_conversation IS NULL THEN
                SELECT m.from_messages INTO carried
                    FROM {schema}.{prefix}_user_memory AS m
                    WHERE m.user_id = of_user AND m.version = {prefix}_change_memory.version;
            ELSE
                SELECT m.from_messages INTO carried
                    FROM {schema}.{prefix}_conversation_memory AS m
                    WHERE m.conversation_id = of_conversation AND m.version = {prefix}_change_memory.version;
            END IF;
        END IF;
        IF kind NOT IN ('delete', 'erase') AND sources IS NOT NULL THEN
            carried := coalesce(carried, '{}') || ARRAY(
                SELECT given_id FROM unnest(sources) WITH ORDINALITY AS each (given_id, place)
                WHERE carried IS NULL OR given_id <> ALL (carried)
                ORDER BY place
            );
            carried := carried[greatest(cardinality(carried) - 999, 1):];
        END IF;
        changed_at := clock_timestamp();
        IF of_conversation IS NULL THEN
            INSERT INTO {schema}.{prefix}_user_memory
                (user_id, version, content, change, author, created_at, operation_id, fingerprint, is_shown,
                 from_messages)
                VALUES (of_user, version + 1, changed, kind, by_author, changed_at, of_operation, hash, is_shared,
                    carried)
                ON CONFLICT DO NOTHING;
        ELSE
            INSERT INTO {schema}.{prefix}_conversation_memory
                (conversation_id, version, content, change, author, created_at, operation_id, fingerprint, is_shown,
                 from_messages)
                VALUES (of_conversation, version + 1, changed, kind, by_author, changed_at, of_operation, hash, is_shared,
                    carried)
                ON CONFLICT DO NOTHING;
        END IF;
        IF FOUND THEN
            outcome := 'done';
            version := version + 1;
            content := changed;
            author := by_author;
            EXIT;
        END IF;
    END LOOP;
    IF outcome = 'done' THEN
        IF is_shared THEN
            PERFORM {schema}.{prefix}_show_memory(of_user, of_conversation, content);
        END IF;
        beyond := version - CASE kind WHEN 'erase' THEN 1 ELSE 100 END;
        IF of_conversation IS NULL THEN
            DELETE FROM {schema}.{prefix}_user_memory AS m
                WHERE m.user_id = of_user AND m.version <= beyond;
        ELSE
            DELETE FROM {schema}.{prefix}_conversation_memory AS m
                WHERE m.conversation_id = of_conversation AND m.version <= beyond;
        END IF;
    ELSIF outcome <> 'repeated' AND content IS NULL THEN
        version := 0;
    END IF;
    RETURN NEXT;
END
$change_memory$;

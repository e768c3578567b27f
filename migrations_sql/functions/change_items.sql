-- version 1
-- change_items: store and delete items of a user, all or none.
--
-- A function, because each step needs the result of the one before, and a snapshot of its own: of two writers that
-- expect the same version, the second waits for the first and sees that it came too late.
--
-- Arguments:
--   of_user                    the user
--   namespaces, keys           which items, in an order in which all callers lock them; a namespace as an array literal
--   given, words_of, lifetimes the value as JSON (NULL: delete the item), its words as a tsvector, and for how many
--                              seconds it is kept
--   new_version                the name of this write
--   if_version                 the version that each item must have; '': none may be there; NULL: whatever is there
--   of_operation, hash         the caller's name for this write, and the hash of what it is. It is known for 30 days
--   user_hash, seconds         as in deleted_since
--
-- Returns the outcome: 'done'; 'repeated', with the result that the operation had; or why nothing was changed: 'conflict',
-- 'other operation', 'user deleted'. Then the version that is stored now, NULL after a deletion; and whether the last of
-- the items was there before, if it was deleted or expected.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_change_items(
    of_user text,
    namespaces text[],
    keys text[],
    given text[],
    words_of text[],
    lifetimes text[],
    new_version text,
    if_version text,
    of_operation text,
    hash text,
    user_hash text,
    seconds double precision
) RETURNS TABLE (outcome text, version text, existed boolean)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $change_items$
DECLARE
    operations CONSTANT text[] := '{voltmem-operations}';
    moment timestamptz := clock_timestamp();
    kept double precision;
    ends timestamptz;
    place bigint;
    receipt jsonb;
BEGIN
    IF {schema}.{prefix}_deleted_since(user_hash, seconds) IS NOT NULL THEN
        outcome := 'user deleted';
        RETURN NEXT;
        RETURN;
    END IF;
    DELETE FROM {schema}.{prefix}_user_items AS i WHERE i.user_id = of_user AND i.expires_at <= moment;
    IF of_operation IS NOT NULL THEN
        INSERT INTO {schema}.{prefix}_user_items
            (user_id, namespace, key, value, version, created_at, updated_at, expires_at)
            VALUES (of_user, operations, of_operation, jsonb_build_object('fingerprint', hash), new_version, moment, moment,
                moment + interval '30 days')
            ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT i.value INTO receipt FROM {schema}.{prefix}_user_items AS i
                WHERE i.user_id = of_user AND i.namespace = operations AND i.key = of_operation;
            outcome := CASE receipt ->> 'fingerprint' WHEN hash THEN 'repeated' ELSE 'other operation' END;
            version := receipt ->> 'version';
            existed := (receipt ->> 'existed')::boolean;
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    FOR place IN 1 .. cardinality(keys) LOOP
        existed := coalesce(if_version, '') <> '';
        kept := lifetimes[place]::double precision;
        ends := moment + make_interval(secs => kept);
        IF given[place] IS NULL THEN
            DELETE FROM {schema}.{prefix}_user_items AS i
                WHERE i.user_id = of_user AND i.namespace = namespaces[place]::text[] AND i.key = keys[place]
                    AND (if_version IS NULL OR i.version = if_version);
            existed := FOUND;
            IF NOT FOUND AND if_version <> '' THEN
                outcome := 'conflict';
            ELSIF if_version = '' THEN
                PERFORM 1 FROM {schema}.{prefix}_user_items AS i
                    WHERE i.user_id = of_user AND i.namespace = namespaces[place]::text[] AND i.key = keys[place];
                IF FOUND THEN
                    outcome := 'conflict';
                END IF;
            END IF;
        ELSIF existed THEN
            UPDATE {schema}.{prefix}_user_items AS i
                SET value = given[place]::jsonb, version = new_version, words = words_of[place]::tsvector,
                    updated_at = moment, lifetime = kept, expires_at = ends
                WHERE i.user_id = of_user AND i.namespace = namespaces[place]::text[] AND i.key = keys[place]
                    AND i.version = if_version;
            IF NOT FOUND THEN
                outcome := 'conflict';
            END IF;
        ELSIF if_version = '' THEN
            INSERT INTO {schema}.{prefix}_user_items
                (user_id, namespace, key, value, version, words, created_at, updated_at, lifetime, expires_at)
                VALUES (of_user, namespaces[place]::text[], keys[place], given[place]::jsonb, new_version,
                    words_of[place]::tsvector, moment, moment, kept, ends)
                ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                outcome := 'conflict';
            END IF;
        ELSE
            INSERT INTO {schema}.{prefix}_user_items
                (user_id, namespace, key, value, version, words, created_at, updated_at, lifetime, expires_at)
                VALUES (of_user, namespaces[place]::text[], keys[place], given[place]::jsonb, new_version,
                    words_of[place]::tsvector, moment, moment, kept, ends)
                ON CONFLICT (user_id, namespace, key) DO UPDATE
                SET value = excluded.value, version = excluded.version, words = excluded.words,
                    updated_at = excluded.updated_at, lifetime = excluded.lifetime, expires_at = excluded.expires_at;
        END IF;
        EXIT WHEN outcome IS NOT NULL;
        version := CASE WHEN given[place] IS NOT NULL THEN new_version END;
    END LOOP;
    -- Only a write of one item expects a version, so a conflict has left nothing but the receipt.
    IF outcome = 'conflict' AND of_operation IS NOT NULL THEN
        DELETE FROM {schema}.{prefix}_user_items AS i
            WHERE i.user_id = of_user AND i.namespace = operations AND i.key = of_operation;
    ELSIF of_operation IS NOT NULL THEN
        UPDATE {schema}.{prefix}_user_items AS i
            SET value = i.value || jsonb_build_object('version', {prefix}_change_items.version, 'existed', existed)
            WHERE i.user_id = of_user AND i.namespace = operations AND i.key = of_operation;
    END IF;
    outcome := coalesce(outcome, 'done');
    RETURN NEXT;
END
$change_items$;

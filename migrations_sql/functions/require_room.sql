-- version 2
-- require_room: raise an error if users have more than their quotas. Statements of storages with quotas call it after
-- they have stored something.
--
-- The statement and this function see each other's rows: it is volatile. An advisory lock for each user, held until the
-- commit, makes it exact: of two writers, the second counts what the first has committed. The lock comes after all locks
-- of rows, and the users in ascending order, so two statements never wait for each other in a circle.
--
-- Messages are counted only if they must be. In quota_counts is what a user has at most, and what the statement has
-- stored is added to it. While that is within the quota, the user has room: deletions only make more. Otherwise, and an
-- hour after the last count, since other programs write too, the messages are counted.
--
-- Arguments:
--   users, conversation_ids  the users; where one is NULL, the owner of the conversation at the same place
--   conversations_quota, messages_quota, file_bytes_quota  the quotas; NULL: not looked at
--   stored      how much the statement has stored; 0: there is nothing to look at. Its value depends on all that the
--               statement stores, so that this function is called after that
--   coming      the bytes of a file that the statement stores, but not before this function is called
--   patient     false: raise VM002 if another transaction holds a user's lock for long
--   added       for each of the users, at most how many messages the statement has added; NULL: not known, so count
--
-- Returns true, or raises VM001, whose DETAIL is the name of the quota, its value, what there would be, and the user.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_require_room(
    users text[],
    conversation_ids text[],
    conversations_quota bigint,
    messages_quota bigint,
    file_bytes_quota bigint,
    stored bigint DEFAULT 1,
    coming bigint DEFAULT 0,
    patient boolean DEFAULT true,
    added text[] DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $require_room$
DECLARE
    of_user text;
    more bigint;
    moment timestamptz;
    counts boolean;
    used record;
    over record;
    lock_timeout CONSTANT text := current_setting('lock_timeout');
BEGIN
    IF stored = 0 OR coalesce(conversations_quota, messages_quota, file_bytes_quota) IS NULL THEN
        RETURN true;
    END IF;
    FOR of_user, more IN
        SELECT coalesce(given.user_id, c.user_id) AS user_id, sum(given.added::bigint)
        FROM unnest(users, conversation_ids, added) AS given (user_id, conversation_id, added)
        LEFT JOIN {schema}.{prefix}_conversations AS c ON given.user_id IS NULL AND c.id = given.conversation_id
        GROUP BY 1
        ORDER BY 1
    LOOP
        CONTINUE WHEN of_user IS NULL;
        BEGIN
            IF NOT patient THEN
                PERFORM set_config('lock_timeout', '50ms', true);
            END IF;
            PERFORM pg_advisory_xact_lock(hashtextextended('{schema}.{prefix}_quotas ' || of_user, 0));
            IF NOT patient THEN
                PERFORM set_config('lock_timeout', lock_timeout, true);
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            IF patient THEN
                RAISE;
            END IF;
            RAISE EXCEPTION 'another transaction holds the lock of a user''s quotas' USING ERRCODE = 'VM002';
        END;
        counts := messages_quota IS NOT NULL;
        IF counts AND more IS NOT NULL THEN
            moment := clock_timestamp();
            UPDATE {schema}.{prefix}_quota_counts AS q
                SET messages = q.messages + more
                WHERE q.user_id = of_user AND q.messages + more <= messages_quota
                    AND q.counted_at > moment - interval '1 hour' AND q.counted_at <= moment;
            counts := NOT FOUND;
        END IF;
        SELECT u.conversations, u.messages, u.file_bytes INTO used
            FROM {schema}.{prefix}_usage(
                of_user, conversations_quota IS NOT NULL, counts, file_bytes_quota IS NOT NULL
            ) AS u;
        SELECT named.quota, named.most, named.needed INTO over
            FROM (
                VALUES
                    (1, 'conversations', conversations_quota, used.conversations),
                    (2, 'messages', messages_quota, used.messages),
                    (3, 'file_bytes', file_bytes_quota, used.file_bytes + coming)
            ) AS named (place, quota, most, needed)
            WHERE named.needed > named.most
            ORDER BY named.place LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'a quota of voltmem is exceeded' USING
                ERRCODE = 'VM001',
                DETAIL = concat_ws(' ', over.quota, over.most, over.needed, of_user);
        END IF;
        IF counts THEN
            INSERT INTO {schema}.{prefix}_quota_counts AS q (user_id, messages, counted_at)
                VALUES (of_user, used.messages, clock_timestamp())
                ON CONFLICT (user_id) DO UPDATE SET messages = excluded.messages, counted_at = excluded.counted_at;
        END IF;
    END LOOP;
    RETURN true;
END
$require_room$;

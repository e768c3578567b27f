-- version 5
-- index_words: set the words of messages that are not indexed, or whose words are out of date.
--
-- A function for its lock_timeout: in a deadlock with a transaction of VoltAgent's, this one gives up, before
-- deadlock_timeout (a second) may end VoltAgent's.
--
-- Arguments with one element per message.
--   conversation_ids, message_ids
--   hashes           the hash of the "parts" that the words are from; NULL: there are none. A message that was replaced
--                    meanwhile is left out
--   vectors          see add_messages
--
-- "user_id" is VoltAgent's column of the messages if it is there, and the variable if it is not (use_column).
--
-- Returns how many were indexed.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_index_words(
    conversation_ids text[],
    message_ids text[],
    hashes text[],
    vectors text[]
) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '400ms'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $index_words$
#variable_conflict use_column
DECLARE
    user_id text := 'default';
    given record;
    author text;
    owner text;
    user_key text;
    indexed bigint := 0;
BEGIN
    -- One by one, because Citus refuses in an UPDATE what hashes a column.
    FOR given IN
        SELECT each.conversation_id, each.message_id, each.hash, each.vector
        FROM unnest(conversation_ids, message_ids, hashes, vectors)
            AS each (conversation_id, message_id, hash, vector)
    LOOP
        -- The lock keeps the parts as they are until the update.
        SELECT user_id INTO author
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = given.conversation_id AND m.message_id = given.message_id
                AND (m.words IS NULL OR ltrim(m.parts_hash, '=') IS DISTINCT FROM given.hash)
                AND encode(sha256(convert_to(m.parts::text, 'UTF8')), 'hex') IS NOT DISTINCT FROM given.hash
            FOR NO KEY UPDATE;
        CONTINUE WHEN NOT FOUND;
        SELECT c.user_id INTO owner
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = given.conversation_id;
        user_key := left(encode(sha256(convert_to(coalesce(nullif(author, 'default'), owner), 'UTF8')), 'hex'), 8);
        UPDATE {schema}.{prefix}_messages AS m
            SET words = replace(given.vector, E'\x01', user_key)::tsvector,
                -- '=': the parts are VoltAgent's.
                parts_hash = CASE WHEN m.parts_hash = given.hash THEN given.hash ELSE '=' || given.hash END
            WHERE m.conversation_id = given.conversation_id AND m.message_id = given.message_id;
        indexed := indexed + 1;
    END LOOP;
    RETURN indexed;
END
$index_words$;

-- version 3
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
AS $index_words$
#variable_conflict use_column
DECLARE
    user_id text := 'default';
    indexed bigint;
BEGIN
    UPDATE {schema}.{prefix}_messages AS m
        SET words = replace(
                given.vector, E'\x01',
                left(encode(sha256(convert_to(coalesce(nullif(user_id, 'default'), c.owner), 'UTF8')), 'hex'), 8)
            )::tsvector,
            -- '=': the parts are VoltAgent's.
            parts_hash = CASE WHEN m.parts_hash = given.hash THEN given.hash ELSE '=' || given.hash END
        FROM unnest(conversation_ids, message_ids, hashes, vectors)
            AS given (conversation_id, message_id, hash, vector),
            (SELECT id, user_id AS owner FROM {schema}.{prefix}_conversations) AS c
        WHERE m.conversation_id = given.conversation_id AND m.message_id = given.message_id
            AND c.id = given.conversation_id
            AND (m.words IS NULL OR ltrim(m.parts_hash, '=') IS DISTINCT FROM given.hash)
            AND encode(sha256(convert_to(m.parts::text, 'UTF8')), 'hex') IS NOT DISTINCT FROM given.hash;
    GET DIAGNOSTICS indexed = ROW_COUNT;
    RETURN indexed;
END
$index_words$;

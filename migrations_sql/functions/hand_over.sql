-- version 7
-- hand_over: prepare a conversation for another user. The caller changes user_id afterwards.
--
-- Each lexeme in "words" begins with the key of the user (0002_messages.sql), so "words" is rewritten. In tables of
-- VoltAgent 1 or 2, the owner's messages get the new user; those that another user wrote there stay that user's. The
-- shares are deleted, because the user who created them could no longer revoke them. The files to which the messages
-- refer are copied. Vectors get the key of the new user (migrations/vectors.py), where there are any. A function for the
-- same reason as drop_messages.
--
-- Arguments: the id of the conversation; its required owner (NULL: trusted code, no check); the new user.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_hand_over(conversation text, of_user text, recipient text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $hand_over$
DECLARE
    giver text;
    lock_timeout CONSTANT text := current_setting('lock_timeout');
    beside_voltagent CONSTANT boolean := EXISTS (
        SELECT 1 FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = '{schema}.{prefix}_messages'::regclass AND a.attname = 'user_id' AND NOT a.attisdropped
    );
    ids text[];
    has_vectors CONSTANT boolean := EXISTS (
        SELECT 1 FROM pg_catalog.pg_attribute AS a
        WHERE a.attrelid = to_regclass('{schema}.{prefix}_embeddings') AND a.attname = 'owner_key'
    );
BEGIN
    -- FOR UPDATE, not FOR NO KEY UPDATE: it must wait for a concurrent INSERT of a share, whose foreign key check locks
    -- the row FOR KEY SHARE; and for vectors that are being stored.
    SELECT c.user_id INTO giver
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
        FOR UPDATE;
    IF giver <> recipient THEN
        -- In a deadlock with a transaction of VoltAgent's, this one gives up: see add_messages.
        PERFORM set_config('lock_timeout', CASE lock_timeout WHEN '0' THEN '400ms' ELSE lock_timeout END, true);
        UPDATE {schema}.{prefix}_messages AS m
            SET words = replace(
                m.words::text,
                '''' || left(encode(sha256(convert_to(giver, 'UTF8')), 'hex'), 8),
                '''' || left(encode(sha256(convert_to(recipient, 'UTF8')), 'hex'), 8)
            )::tsvector
            WHERE m.conversation_id = conversation AND m.words IS NOT NULL;
        IF beside_voltagent THEN
            UPDATE {schema}.{prefix}_messages AS m
                SET user_id = recipient
                WHERE m.conversation_id = conversation AND m.user_id IN (giver, 'default');
        END IF;
        IF to_regclass('{schema}.{prefix}_steps') IS NOT NULL THEN
            UPDATE {schema}.{prefix}_steps AS s
                SET user_id = recipient
                WHERE s.conversation_id = conversation AND s.user_id = giver;
        END IF;
        IF has_vectors THEN
            UPDATE {schema}.{prefix}_embeddings AS e
                SET owner_key = left(encode(sha256(convert_to(recipient || E'\n' || e.model, 'UTF8')), 'hex'), 16)
                WHERE e.conversation_id = conversation;
        END IF;
        DELETE FROM {schema}.{prefix}_shares AS s
            WHERE s.conversation_id = conversation;
        SELECT array_agg(DISTINCT used.id) INTO ids
            FROM {schema}.{prefix}_messages AS m, unnest(m.file_ids) AS used (id)
            WHERE m.conversation_id = conversation AND m.file_ids IS NOT NULL;
        IF ids IS NOT NULL THEN
            PERFORM {schema}.{prefix}_copy_files(conversation, giver, recipient, ids);
        END IF;
        PERFORM set_config('lock_timeout', lock_timeout, true);
    END IF;
END
$hand_over$;

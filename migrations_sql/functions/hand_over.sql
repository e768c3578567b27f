-- version 1
-- hand_over: prepare a conversation for another user. The caller changes user_id afterwards.
--
-- Each lexeme in "words" begins with the key of the user (0002_messages.sql), so "words" is rewritten. The shares are
-- deleted, because the user who created them could no longer revoke them. A function for the same reason as
-- drop_messages.
--
-- Arguments: the id of the conversation; its required owner (NULL: trusted code, no check); the new user.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_hand_over(conversation text, of_user text, recipient text) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
AS $hand_over$
DECLARE
    giver text;
BEGIN
    -- FOR UPDATE, not FOR NO KEY UPDATE: it must wait for a concurrent INSERT of a share, whose foreign key check locks
    -- the row FOR KEY SHARE.
    SELECT c.user_id INTO giver
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
        FOR UPDATE;
    IF giver <> recipient THEN
        UPDATE {schema}.{prefix}_messages AS m
            SET words = replace(
                m.words::text,
                '''' || left(encode(sha256(convert_to(giver, 'UTF8')), 'hex'), 8),
                '''' || left(encode(sha256(convert_to(recipient, 'UTF8')), 'hex'), 8)
            )::tsvector
            WHERE m.conversation_id = conversation AND m.words IS NOT NULL;
        DELETE FROM {schema}.{prefix}_shares AS s
            WHERE s.conversation_id = conversation;
    END IF;
END
$hand_over$;

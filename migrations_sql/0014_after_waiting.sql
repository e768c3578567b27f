-- 0014 after waiting
-- What: functions that drop messages: some, those that follow one, all of a conversation, all of a user; and one that
--       makes a conversation ready to be another user's.
-- Why:  each waits for whoever is writing in the conversation, and must act on what that one left behind. In a single
--       statement everything shares the snapshot taken before the wait; in a function each statement takes a new one.
-- Lock: none on tables.

-- Arguments: the conversation, and whose it must be (NULL: trusted code); then which messages: these, if they are given;
-- else those that follow up_to, if it is; else all. storage_limit is for what stays when some follow up_to: the newest
-- so many are shown, and come back from where on_limit="archive" put them.
-- Returns: one row. "dropped" is NULL where there is no such conversation; "is_deleted", whether that is because it was
-- deleted; "owner", whose it is in any case.
CREATE OR REPLACE FUNCTION {schema}.{prefix}_drop_messages(
    conversation text,
    of_user text,
    message_ids text[],
    up_to text,
    storage_limit bigint
) RETURNS TABLE (owner text, is_deleted boolean, has_message boolean, dropped bigint)
LANGUAGE plpgsql
-- As in 0008: by index, whatever the tables hold when a connection makes its plans.
SET enable_seqscan = off
AS $drop_messages$
DECLARE
    place_time timestamptz;
    place_seq bigint;
BEGIN
    SELECT c.user_id INTO owner
        FROM {schema}.{prefix}_conversations AS c
        WHERE c.id = conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
        FOR UPDATE;
    IF NOT FOUND THEN
        SELECT c.user_id, c.deleted_at IS NOT NULL AND (of_user IS NULL OR c.user_id = of_user) INTO owner, is_deleted
            FROM {schema}.{prefix}_conversations AS c
            WHERE c.id = conversation;
        RETURN NEXT;
        RETURN;
    END IF;

    IF message_ids IS NOT NULL THEN
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = ANY(message_ids);
    ELSIF up_to IS NOT NULL THEN
        SELECT m.created_at, m.seq INTO place_time, place_seq
            FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = up_to;
        has_message := FOUND;
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation AND (m.created_at, m.seq) > (place_time, place_seq);
    ELSE
        DELETE FROM {schema}.{prefix}_messages AS m
            WHERE m.conversation_id = conversation;
    END IF;
    GET DIAGNOSTICS dropped = ROW_COUNT;

    IF dropped > 0 THEN
        IF up_to IS NOT NULL AND EXISTS (
            SELECT FROM {schema}.{prefix}_messages AS m WHERE m.conversation_id = conversation AND m.archived
        ) THEN
            UPDATE {schema}.{prefix}_messages AS m
                SET archived = false
                WHERE m.conversation_id = conversation AND m.archived AND m.message_id IN (
                    SELECT newest.message_id FROM {schema}.{prefix}_messages AS newest
                    WHERE newest.conversation_id = conversation
                    ORDER BY newest.created_at DESC, newest.seq DESC LIMIT storage_limit
                );
        END IF;
        -- The row is written, and stays as it is: whoever watches sees a change.
        UPDATE {schema}.{prefix}_conversations AS c
            SET updated_at = c.updated_at
            WHERE c.id = conversation;
    END IF;
    RETURN NEXT;
END
$drop_messages$;

-- Returns: how many. One conversation after the other, in the order in which everybody locks them.
CREATE OR REPLACE FUNCTION {schema}.{prefix}_drop_messages_of_user(of_user text) RETURNS bigint
LANGUAGE plpgsql
AS $drop_messages_of_user$
DECLARE
    conversation text;
    total bigint := 0;
BEGIN
    FOR conversation IN
        SELECT c.id FROM {schema}.{prefix}_conversations AS c
        WHERE c.user_id = of_user AND c.deleted_at IS NULL
        ORDER BY c.id
    LOOP
        SELECT total + coalesce(d.dropped, 0) INTO total
            FROM {schema}.{prefix}_drop_messages(conversation, of_user, NULL, NULL, NULL) AS d;
    END LOOP;
    RETURN total;
END
$drop_messages_of_user$;

-- Arguments: the conversation, whose it must be (NULL: trusted code), and who gets it; giving it is left to the caller.
-- The words of its messages begin with their user's key, as in 0010. The links to it end, for who made them can revoke
-- them no more.
CREATE OR REPLACE FUNCTION {schema}.{prefix}_hand_over(conversation text, of_user text, recipient text) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
AS $hand_over$
DECLARE
    giver text;
BEGIN
    -- FOR UPDATE, and no less: a link that is just being made has locked the key.
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

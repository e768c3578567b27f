-- version 3
-- drop_messages_of_user: delete all messages in all conversations of a user.
--
-- It locks the conversations one by one, in ascending order like every caller, so there is no deadlock. Soft-deleted
-- conversations keep their messages. Then it looks again: a fork that it waited for has made a copy.
--
-- Returns the number of deleted messages.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_drop_messages_of_user(of_user text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $drop_messages_of_user$
DECLARE
    conversation text;
    total bigint := 0;
    total_before bigint;
BEGIN
    LOOP
        total_before := total;
        FOR conversation IN
            SELECT c.id FROM {schema}.{prefix}_conversations AS c
            WHERE c.user_id = of_user AND c.deleted_at IS NULL AND EXISTS (
                SELECT 1 FROM {schema}.{prefix}_messages AS m WHERE m.conversation_id = c.id
            )
            ORDER BY c.id
        LOOP
            SELECT total + coalesce(d.dropped, 0) INTO total
                FROM {schema}.{prefix}_drop_messages(conversation, of_user, NULL, NULL, NULL) AS d;
        END LOOP;
        EXIT WHEN total = total_before;
    END LOOP;
    RETURN total;
END
$drop_messages_of_user$;

-- 0003 order of adopted messages
-- What: number the messages that VoltAgent stored with equal times in one conversation. The numbers in "seq" are
--       negative, so that they sort before later messages. All other messages keep 0.
-- Why:  VoltAgent's times have milliseconds, and all messages of a batch have the same time. Without the numbers, the
--       storage limit and the pages would have no order for such messages. They were inserted one after the other, so
--       the physical order of the rows (ctid) is their order. A file of its own, because the update takes long if there
--       are many messages, and the locks of another migration must not be held for that time.
-- Lock: only ROW EXCLUSIVE, so reads and writes continue.

UPDATE {schema}.{prefix}_messages AS m
SET seq = tied.place
FROM (
    SELECT
        conversation_id,
        message_id,
        row_number() OVER moment - count(*) OVER (PARTITION BY conversation_id, created_at) - 1 AS place,
        count(*) OVER (PARTITION BY conversation_id, created_at) AS size
    FROM {schema}.{prefix}_messages
    WHERE seq = 0
    WINDOW moment AS (PARTITION BY conversation_id, created_at ORDER BY ctid)
) AS tied
WHERE tied.size > 1 AND m.conversation_id = tied.conversation_id AND m.message_id = tied.message_id;

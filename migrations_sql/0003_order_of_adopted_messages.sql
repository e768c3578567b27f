-- 0003 order of adopted messages
-- What: messages that VoltAgent stored with the same time as another of their conversation get their place among those
--       in "seq", below zero: before all messages that come later. The others keep 0.
-- Why:  VoltAgent stamps milliseconds, and a whole batch with one time. Without a place the storage limit and the pages
--       cannot tell such messages apart. They were inserted one after the other, so the order of the rows is theirs.
--       A file of its own, because it takes long where there are many messages, and must hold no lock meanwhile.
-- Lock: none on tables but ROW EXCLUSIVE: reads and writes go on.

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

-- 0006 order of adopted messages
-- What: gives messages that VoltAgent stored before its tables were adopted, and that have the same time as another
--       of their conversation, their place among those in "seq": below zero, so that they stand before all that came
--       later. The others keep 0.
-- Why:  VoltAgent stamps milliseconds, a whole batch with one; without a place the storage limit and the pages could
--       not tell such messages apart. They were inserted one after the other, so where a row lies is its order.
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

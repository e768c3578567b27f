-- 0009 lines
-- What: in conversations that have branches already, set everything aside but the branch of the newest message.
-- Why:  until now every reader read all branches, one after the other. A file of its own, because the locks of another
--       migration must not be held while all messages with a parent are read.
-- Lock: only ROW EXCLUSIVE, so reads and writes continue.

-- A message without a parent follows the message before it.
WITH RECURSIVE branched AS (
    SELECT DISTINCT conversation_id
    FROM {schema}.{prefix}_messages
    WHERE parent_id IS NOT NULL
    GROUP BY conversation_id, parent_id
    HAVING count(*) > 1
), message AS (
    SELECT m.conversation_id, m.message_id, m.aside,
        coalesce(m.parent_id, lag(m.message_id) OVER in_order) AS parent_id,
        lead(m.message_id) OVER in_order IS NULL AS is_newest
    FROM {schema}.{prefix}_messages AS m JOIN branched USING (conversation_id)
    WINDOW in_order AS (PARTITION BY m.conversation_id ORDER BY m.created_at, m.seq)
), line AS (
    SELECT conversation_id, message_id, parent_id FROM message WHERE is_newest
    UNION
    SELECT m.conversation_id, m.message_id, m.parent_id
    FROM line JOIN message AS m ON m.conversation_id = line.conversation_id AND m.message_id = line.parent_id
)
UPDATE {schema}.{prefix}_messages AS m
SET aside = true, parent_id = coalesce(message.parent_id, '')
FROM message
WHERE m.conversation_id = message.conversation_id AND m.message_id = message.message_id AND NOT m.aside
    AND NOT EXISTS (SELECT 1 FROM message AS moved WHERE moved.aside AND moved.conversation_id = m.conversation_id)
    AND NOT EXISTS (
        SELECT 1 FROM line WHERE line.conversation_id = m.conversation_id AND line.message_id = m.message_id
    );

-- 0009 lines
-- What: in conversations that have branches already, set everything aside but the branch of the newest message.
-- Why:  until now every reader read all branches, one after the other. A file of its own, because the locks of another
--       migration must not be held while all messages with a parent are read.
-- Lock: only ROW EXCLUSIVE, so reads and writes continue.

WITH RECURSIVE branched AS (
    SELECT DISTINCT m.conversation_id
    FROM {schema}.{prefix}_messages AS m
    WHERE m.parent_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM {schema}.{prefix}_messages AS moved
        WHERE moved.conversation_id = m.conversation_id AND moved.archived = ANY ('{false,true}') AND moved.aside
    )
    GROUP BY m.conversation_id, m.parent_id
    HAVING count(*) > 1
), line AS (
    -- A message without a parent follows the message before it.
    SELECT newest.conversation_id, newest.message_id, coalesce(
        newest.parent_id, {schema}.{prefix}_message_before(newest.conversation_id, newest.created_at, newest.seq)
    ) AS parent_id
    FROM branched CROSS JOIN LATERAL (
        SELECT * FROM {schema}.{prefix}_messages AS m
        WHERE m.conversation_id = branched.conversation_id
        ORDER BY m.created_at DESC, m.seq DESC LIMIT 1
    ) AS newest
    UNION
    SELECT m.conversation_id, m.message_id, coalesce(
        m.parent_id, {schema}.{prefix}_message_before(m.conversation_id, m.created_at, m.seq)
    )
    FROM line CROSS JOIN LATERAL (
        SELECT * FROM {schema}.{prefix}_messages AS each  -- one look-up by the primary key, as in move_head
        WHERE each.conversation_id = line.conversation_id AND each.message_id >= line.parent_id
        ORDER BY each.conversation_id, each.message_id LIMIT 1
    ) AS m
    WHERE m.message_id = line.parent_id
)
UPDATE {schema}.{prefix}_messages AS m
SET aside = true,
    parent_id = coalesce(
        m.parent_id, {schema}.{prefix}_message_before(m.conversation_id, m.created_at, m.seq)
    )
FROM branched
WHERE m.conversation_id = branched.conversation_id AND NOT EXISTS (
        SELECT 1 FROM line WHERE line.conversation_id = m.conversation_id AND line.message_id = m.message_id
    );

-- 0012 users of runs
-- What: give the runs that name a conversation and no user the owner of that conversation.
-- Why:  what belongs to a user is decided by the user's id in the row. By the conversation's id, whoever made a
--       conversation with the id of a deleted one would inherit its runs.
-- Lock: only ROW EXCLUSIVE, so reads and writes continue.

UPDATE {schema}.{prefix}_agent_history AS e
SET userid = c.user_id
FROM {schema}.{prefix}_conversations AS c
WHERE e.userid IS NULL AND c.id = e.conversationid;

-- 0008 branches
-- What: the column "aside" of the messages: whether a message is off the line, that is, in a branch that is not chosen.
--       The index by which a line is read, in place of messages_in_order, and an index of the messages by parent.
-- Why:  branches that one front end or framework makes are branches for all. A reader of the line adds NOT aside, and
--       costs what it did, because the flag is a column of the index.
-- Lock: ACCESS EXCLUSIVE for a moment to add the column, without a rewrite (constant default). SHARE while the indexes
--       are built.

ALTER TABLE {schema}.{prefix}_messages
    ADD COLUMN IF NOT EXISTS aside boolean NOT NULL DEFAULT false;

CREATE INDEX IF NOT EXISTS {prefix}_messages_in_line
    ON {schema}.{prefix}_messages (conversation_id, archived, aside, created_at, seq);

DROP INDEX IF EXISTS {schema}.{prefix}_messages_in_order;

-- The messages that follow a message in different branches. Messages without branches are not in it.
CREATE INDEX IF NOT EXISTS {prefix}_messages_by_parent
    ON {schema}.{prefix}_messages (conversation_id, parent_id) WHERE parent_id IS NOT NULL;

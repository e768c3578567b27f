-- 0019 sources of working memory
-- What: a column that says from which messages the content of a version of a working memory came.
-- Why:  who forgets messages learns from it which memories to look at (forget_messages).
-- Lock: ACCESS EXCLUSIVE on both tables for a moment, without a rewrite (no default).

-- As the writers say, of this version and of those before it that it goes on from. NULL: nobody said.
ALTER TABLE {schema}.{prefix}_user_memory
    ADD COLUMN IF NOT EXISTS from_messages text[];

ALTER TABLE {schema}.{prefix}_conversation_memory
    ADD COLUMN IF NOT EXISTS from_messages text[];

-- Functions of 0017 in databases of unreleased versions. change_memory has one more argument.
DROP FUNCTION IF EXISTS {schema}.{prefix}_change_memory(
    text, text, text, text, boolean, bigint, text, text, text, bigint, text, double precision
);

DROP FUNCTION IF EXISTS {schema}.{prefix}_memory_history(text, text, bigint, bigint);

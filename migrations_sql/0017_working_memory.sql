-- 0017 working memory
-- What: the versions of the working memory of users and of conversations, a table each.
-- Why:  an agent writes down what it wants to know later. Versions, so that two writers lose nothing, a repeated call is
--       noticed, and what a model has overwritten can be restored. Two tables: the memory of a conversation is deleted with
--       it, whoever deletes it, and on Citus it is on the conversation's server.
-- Lock: SHARE ROW EXCLUSIVE on the conversations for a moment, for the foreign key.

-- The newest version is the memory. "content" NULL: it was deleted. "change" is what made the version. "operation_id" is
-- the caller's name for the write, and "fingerprint" the hash of what it was. "is_shown": VoltAgent has it, too; then it
-- is what VoltAgent's own place has, and another text there is an edit of VoltAgent's.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_user_memory (
    user_id text NOT NULL,
    version bigint NOT NULL,
    content text,
    change text NOT NULL,
    author text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    operation_id text,
    fingerprint text,
    is_shown boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, version),
    CONSTRAINT {prefix}_user_memory_operation UNIQUE (user_id, operation_id)
);

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_conversation_memory (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    version bigint NOT NULL,
    content text,
    change text NOT NULL,
    author text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    operation_id text,
    fingerprint text,
    is_shown boolean NOT NULL DEFAULT false,
    PRIMARY KEY (conversation_id, version),
    CONSTRAINT {prefix}_conversation_memory_operation UNIQUE (conversation_id, operation_id)
);

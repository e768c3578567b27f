-- 0005 shares
-- What: public, read-only links to conversations, each with the last message that it shows.
-- Why:  a reader with the token may read up to that message and no further. The position of the message is stored, too,
--       because the message may be deleted; and the newest "seq", because a message that is added later may have an
--       earlier time.
-- Lock: SHARE ROW EXCLUSIVE on the conversations for the foreign key, for a moment: the new table is empty.

-- The token alone is unique. The key includes conversation_id because Citus requires the distribution column in it.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_shares (
    token text NOT NULL,
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    up_to text,
    up_to_time timestamptz,
    up_to_seq bigint,
    newest_seq bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (token, conversation_id)
);

-- The shares of a conversation, which are deleted with it.
CREATE INDEX IF NOT EXISTS {prefix}_shares_by_conversation ON {schema}.{prefix}_shares (conversation_id);

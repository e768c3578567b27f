-- 0012 shares
-- What: a table of links to conversations for strangers, each with the last message that it shows.
-- Why:  who has the token may read so far and no further: the place is kept rather than looked up, for the message may
--       be deleted, and beside it the newest "seq", for a message that is added later may bear an earlier time.
-- Lock: SHARE ROW EXCLUSIVE on the conversations for the foreign key, for a moment: the new table is empty.

-- The token alone is unique; as every key this one holds the conversation, too.
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

-- A conversation's links, and those that go with it.
CREATE INDEX IF NOT EXISTS {prefix}_shares_by_conversation ON {schema}.{prefix}_shares (conversation_id);

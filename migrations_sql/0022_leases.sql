-- 0022 leases
-- What: who works on a conversation at the moment, such as the process that writes the answer.
-- Why:  take_lease() lets one process in, and what a process writes that has lost its lease changes nothing.
-- Lock: SHARE ROW EXCLUSIVE on the conversations for the foreign key, for a moment: the new table is empty.

-- A lease is held while clock_timestamp() is between until - 2 * lasts and until. Before that, the server's clock was set
-- back, and the lease would be held for too long.
-- The row stays when the lease ends, since the next token must be greater.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_leases (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    purpose text NOT NULL,
    holder text NOT NULL,
    token bigint NOT NULL,
    until timestamptz NOT NULL,
    lasts interval NOT NULL,
    stop_requested boolean NOT NULL DEFAULT false,
    PRIMARY KEY (conversation_id, purpose),
    -- Makes the token a part of the row's key. So FOR KEY SHARE, which confirm_lease() takes, keeps others from taking the
    -- lease until the end of the transaction, and does not keep its holder from renewing it.
    CONSTRAINT {prefix}_leases_token_key UNIQUE (conversation_id, purpose, token)
);

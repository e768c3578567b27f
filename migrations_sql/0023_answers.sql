-- 0023 answers
-- What: what became of the answer to a question in voltmem.chat, and what it has said so far while it is written.
-- Why:  every page and every process that looks at a conversation joins the answer that is written there.
-- Lock: SHARE ROW EXCLUSIVE on the conversations for the foreign keys, for a moment: the new tables are empty.

-- The last answer to each question. It is written while the lease for "answer" is held with this token. If the lease is
-- not held any more, and the status is still 'streaming', the process that wrote it has died.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_answers (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    question_id text NOT NULL,
    answer_id text NOT NULL,
    token bigint NOT NULL,
    status text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    -- JSON as text: what an answer that waits for approval needs to go on.
    state text,
    PRIMARY KEY (conversation_id, question_id)
);

-- Deleted when the answer is stored as a message. "parts" is JSON as text, since jsonb refuses some strings of models.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_answer_pieces (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    answer_id text NOT NULL,
    number integer NOT NULL,
    parts text NOT NULL,
    PRIMARY KEY (conversation_id, answer_id, number)
);

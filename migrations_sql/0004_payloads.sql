-- 0004 payloads
-- What: what an agent framework keeps of a conversation as a whole, in a form of its own that "format" names.
-- Why:  the framework must get back exactly what it stored, while everybody else reads plain conversations. The
--       revision tells whether somebody else has written meanwhile.
-- Lock: SHARE ROW EXCLUSIVE on the conversations for the foreign key, for a moment: the new table is empty.

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_payloads (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    format text NOT NULL,
    payload json NOT NULL,
    revision text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, format)
);

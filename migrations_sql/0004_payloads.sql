-- 0004 payloads
-- What: an agent framework's data about a whole conversation, in a format of its own; "format" is the format's name.
-- Why:  the framework must get back exactly what it stored, and other readers must get plain conversations. The
--       revision detects concurrent writes.
-- Lock: SHARE ROW EXCLUSIVE on the conversations for the foreign key, for a moment: the new table is empty.

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_payloads (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    format text NOT NULL,
    payload json NOT NULL,
    revision text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, format)
);

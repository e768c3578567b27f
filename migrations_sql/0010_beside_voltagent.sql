-- 0010 beside VoltAgent
-- What: the author's role, if VoltAgent's readers know no such role, and the hash of "parts" when voltmem last wrote or
--       read the row. "content" and "type" may be NULL, as VoltAgent has them: a message is then in "parts" alone.
-- Why:  VoltAgent 1 and 2 read "role" and "parts" of every message, and replace messages by their ids. If "parts" has
--       another hash than parts_hash, VoltAgent has replaced the message since, and what voltmem derived from it (words)
--       or stored beside it (content, payload, own_role) is out of date. NULL where VoltAgent's columns are not.
-- Lock: ACCESS EXCLUSIVE on the messages for the columns, without a rewrite (no default).

ALTER TABLE {schema}.{prefix}_messages
    -- For example 'tool', where "role" is 'assistant'.
    ADD COLUMN IF NOT EXISTS own_role text,
    ADD COLUMN IF NOT EXISTS parts_hash text,
    ALTER COLUMN content DROP NOT NULL,
    ALTER COLUMN type DROP NOT NULL;

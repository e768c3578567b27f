-- 0010 beside VoltAgent
-- What: the author's role, if VoltAgent's readers know no such role, and the hash of "parts" when voltmem last wrote or
--       read the row.
-- Why:  VoltAgent 1 and 2 read "role" and "parts" of every message, and replace messages by their ids. If voltmem wrote
--       "parts", parts_hash is its hash. If "parts" has another hash, VoltAgent has replaced the message since, and what
--       voltmem stored beside it (content, payload, own_role, words) is out of date. If VoltAgent wrote "parts" and
--       voltmem indexed its words, parts_hash is '=' and the hash of what was indexed.
-- Lock: ACCESS EXCLUSIVE on the messages for the columns, without a rewrite (no default).

ALTER TABLE {schema}.{prefix}_messages
    -- For example 'tool', where "role" is 'assistant'.
    ADD COLUMN IF NOT EXISTS own_role text,
    ADD COLUMN IF NOT EXISTS parts_hash text;

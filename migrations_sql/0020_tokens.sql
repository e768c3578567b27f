-- 0020 tokens of messages
-- What: how many tokens a message has for a model, by the estimate of the storage that stored it; NULL: not counted.
-- Why:  a window of tokens need not count them again, and reads no further than it needs.
--       The functions that add messages have one more argument; the former ones are dropped.
-- Lock: ACCESS EXCLUSIVE on the messages for a moment, without a rewrite.

ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS tokens integer;

DROP FUNCTION IF EXISTS {schema}.{prefix}_add_message(
    text, text, text, text, text, text, text, text, text, text, text, text, bigint, boolean, boolean, boolean, text, text,
    double precision
);
DROP FUNCTION IF EXISTS {schema}.{prefix}_add_plain_messages(
    text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], bigint, boolean
);
DROP FUNCTION IF EXISTS {schema}.{prefix}_add_messages(
    text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[],
    bigint, boolean, boolean, text[], text[], text[], text[], boolean, text[], text[], text[], text[], text[],
    double precision, boolean
);

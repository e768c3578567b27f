-- 0002 messages
-- What: the messages, with the columns of VoltAgent's releases; the order of messages with equal times; the archive;
--       the payload of an agent framework in its own format; the words for the search; the indexes.
-- Why:  IF NOT EXISTS everywhere, because tables that VoltAgent created are adopted as they are, and VoltAgent may
--       continue to write to them. json instead of jsonb where a value must be returned exactly as it was stored: jsonb
--       cannot hold NUL and does not keep the order of keys.
-- Lock: ACCESS EXCLUSIVE to add the columns, without a rewrite (constant defaults). SHARE while the indexes are built:
--       the first one holds all messages; the two partial ones only scan VoltAgent's messages, and hold none of them.
--       SHARE ROW EXCLUSIVE on the conversations for the foreign key of a new table.

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_messages (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    message_id text NOT NULL,
    role text NOT NULL,
    content text NOT NULL,
    type text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, message_id)
);

ALTER TABLE {schema}.{prefix}_messages
    -- VoltAgent 2's tables have neither of the two.
    ADD COLUMN IF NOT EXISTS content text,
    ADD COLUMN IF NOT EXISTS type text,
    -- Content that is not plain text; "content" then holds its plain-text form.
    ADD COLUMN IF NOT EXISTS content_json json,
    ADD COLUMN IF NOT EXISTS metadata jsonb,
    -- Whether the message is beyond the storage limit and was kept (on_limit="archive").
    ADD COLUMN IF NOT EXISTS archived boolean NOT NULL DEFAULT false,
    -- The order of messages with the same created_at. Existing rows get 0: a constant default needs no rewrite of the
    -- table, a sequence would.
    ADD COLUMN IF NOT EXISTS seq bigint NOT NULL DEFAULT 0,
    -- The content of a UIMessage that VoltAgent 1 or 2 stored. voltmem never writes it. If it is set, it is used
    -- instead of the content columns.
    ADD COLUMN IF NOT EXISTS parts jsonb,
    -- The name of an agent framework's own format, and the message in it.
    ADD COLUMN IF NOT EXISTS format text,
    ADD COLUMN IF NOT EXISTS payload json,
    -- The id of the previous message in a branch; '' for the first message of a branch; NULL without branches.
    ADD COLUMN IF NOT EXISTS parent_id text,
    -- For the search. Each lexeme begins with the user's key, the first eight hexadecimal digits of the SHA-256 of the
    -- user's id.
    ADD COLUMN IF NOT EXISTS words tsvector;

CREATE SEQUENCE IF NOT EXISTS {schema}.{prefix}_messages_seq OWNED BY {schema}.{prefix}_messages.seq;

ALTER TABLE {schema}.{prefix}_messages
    ALTER COLUMN seq SET DEFAULT nextval('{schema}.{prefix}_messages_seq');

-- VoltAgent 1 and 2 also store the user in each message, and read only messages with a user. In their tables the
-- default of the column becomes the owner of the conversation. In other tables the column must not be created:
-- VoltAgent 0.1 takes a table with this column for an old one and rebuilds it.
DO $user_id$
BEGIN
    IF EXISTS (
        SELECT 1 FROM pg_attribute
        WHERE attrelid = '{schema}.{prefix}_messages'::regclass AND attname = 'user_id' AND NOT attisdropped
    ) THEN
        -- add_messages sets voltmem.user_id for its transaction. 'default' is VoltAgent's own default; VoltAgent
        -- replaces it with the conversation's user when it starts.
        ALTER TABLE {schema}.{prefix}_messages ALTER COLUMN user_id
            SET DEFAULT coalesce(nullif(current_setting('voltmem.user_id', true), ''), 'default');
    END IF;
END
$user_id$;

-- A conversation's messages in order. A backward scan finds the newest message beyond the storage limit.
CREATE INDEX IF NOT EXISTS {prefix}_messages_in_order
    ON {schema}.{prefix}_messages (conversation_id, archived, created_at, seq);

-- The messages of branches in all conversations, by id.
CREATE INDEX IF NOT EXISTS {prefix}_messages_in_branches
    ON {schema}.{prefix}_messages (message_id) WHERE parent_id IS NOT NULL;

-- Empty until the search is turned on.
CREATE INDEX IF NOT EXISTS {prefix}_messages_by_word
    ON {schema}.{prefix}_messages USING gin (words) WHERE words IS NOT NULL;

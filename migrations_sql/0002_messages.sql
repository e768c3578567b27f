-- 0002 messages
-- What: messages, with the columns of VoltAgent's releases; the order among messages of the same time; the archive;
--       what an agent framework stores in a form of its own; the words for the search; the indexes.
-- Why:  IF NOT EXISTS everywhere: tables that VoltAgent made are adopted as they are, and VoltAgent may go on writing
--       to them. json instead of jsonb where a value must come back exactly: jsonb loses NUL and the order of keys.
-- Lock: ACCESS EXCLUSIVE for the columns, without a rewrite (constant defaults). SHARE for the indexes: as long as
--       building that of the order takes, and a scan for each of the two that hold none of VoltAgent's messages. SHARE
--       ROW EXCLUSIVE on the conversations for the foreign key of a new table.

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
    -- VoltAgent 2 has neither.
    ADD COLUMN IF NOT EXISTS content text,
    ADD COLUMN IF NOT EXISTS type text,
    -- Content that is not plain text; "content" then holds the text in it.
    ADD COLUMN IF NOT EXISTS content_json json,
    ADD COLUMN IF NOT EXISTS metadata jsonb,
    -- Beyond the storage limit and kept (on_limit="archive").
    ADD COLUMN IF NOT EXISTS archived boolean NOT NULL DEFAULT false,
    -- The order among messages of the same microsecond. 0 for the rows that are there already: a constant default needs
    -- no rewrite, a sequence would.
    ADD COLUMN IF NOT EXISTS seq bigint NOT NULL DEFAULT 0,
    -- The content of a UIMessage that VoltAgent 1 or 2 stored. voltmem never writes it; where it is set, it is the
    -- content.
    ADD COLUMN IF NOT EXISTS parts jsonb,
    -- What an agent framework keeps of the message, and the name of that form.
    ADD COLUMN IF NOT EXISTS format text,
    ADD COLUMN IF NOT EXISTS payload json,
    -- The message before it in a branch; '' for the first of a branch; NULL where there are no branches.
    ADD COLUMN IF NOT EXISTS parent_id text,
    -- For the search. Each lexeme begins with the user's key, the first eight hexadecimal digits of the SHA-256 of the
    -- user's id.
    ADD COLUMN IF NOT EXISTS words tsvector;

CREATE SEQUENCE IF NOT EXISTS {schema}.{prefix}_messages_seq OWNED BY {schema}.{prefix}_messages.seq;

ALTER TABLE {schema}.{prefix}_messages
    ALTER COLUMN seq SET DEFAULT nextval('{schema}.{prefix}_messages_seq');

-- VoltAgent 1 and 2 keep the user with each message as well, and read only messages that have it: there the column gets
-- the owner of the conversation as its default. Elsewhere the column must not be created: VoltAgent 0.1 takes tables
-- that have it for old ones, and rebuilds them.
DO $user_id$
BEGIN
    IF EXISTS (
        SELECT 1 FROM pg_attribute
        WHERE attrelid = '{schema}.{prefix}_messages'::regclass AND attname = 'user_id' AND NOT attisdropped
    ) THEN
        -- add_messages sets it for its transaction. 'default' is VoltAgent's own default, which VoltAgent replaces by
        -- the conversation's user when it starts.
        ALTER TABLE {schema}.{prefix}_messages ALTER COLUMN user_id
            SET DEFAULT coalesce(nullif(current_setting('voltmem.user_id', true), ''), 'default');
    END IF;
END
$user_id$;

-- A conversation's messages in their order. The storage limit is found by walking it from the newest end.
CREATE INDEX IF NOT EXISTS {prefix}_messages_in_order
    ON {schema}.{prefix}_messages (conversation_id, archived, created_at, seq);

-- The messages of branches, by id, whatever their conversation.
CREATE INDEX IF NOT EXISTS {prefix}_messages_in_branches
    ON {schema}.{prefix}_messages (message_id) WHERE parent_id IS NOT NULL;

-- Empty until the search is turned on.
CREATE INDEX IF NOT EXISTS {prefix}_messages_by_word
    ON {schema}.{prefix}_messages USING gin (words) WHERE words IS NOT NULL;

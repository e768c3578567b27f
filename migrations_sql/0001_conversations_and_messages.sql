-- 0001 conversations and messages
-- What: the two tables that everything else hangs on, with VoltAgent's columns and what voltmem adds to them.
-- Why:  IF NOT EXISTS and ADD COLUMN throughout, so that tables which VoltAgent made are adopted as they stand and
--       may go on being written by it. "seq" tells messages of the same microsecond apart; content that is not
--       plain text stands in "content_json", as json and not jsonb, which would lose NUL and the order of keys.
-- Lock: ACCESS EXCLUSIVE on both tables for the ADD COLUMNs, without a rewrite (constant defaults); SHARE on
--       each for its indexes, for as long as building them takes.

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_conversations (
    id text PRIMARY KEY,
    resource_id text NOT NULL,
    user_id text NOT NULL,
    title text,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_messages (
    conversation_id text NOT NULL REFERENCES {schema}.{prefix}_conversations (id) ON DELETE CASCADE,
    message_id text NOT NULL,
    role text NOT NULL,
    content text NOT NULL,
    type text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (conversation_id, message_id)
);

ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS content_json json;

ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS metadata jsonb;

-- Beyond the storage limit and kept (on_limit="archive").
ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS archived boolean NOT NULL DEFAULT false;

-- 0 for the rows that are there already: a constant default needs no rewrite, a sequence would.
ALTER TABLE {schema}.{prefix}_messages ADD COLUMN IF NOT EXISTS seq bigint NOT NULL DEFAULT 0;

CREATE SEQUENCE IF NOT EXISTS {schema}.{prefix}_messages_seq OWNED BY {schema}.{prefix}_messages.seq;

ALTER TABLE {schema}.{prefix}_messages
    ALTER COLUMN seq SET DEFAULT nextval('{schema}.{prefix}_messages_seq');

-- A user's sidebar, newest activity first.
CREATE INDEX IF NOT EXISTS {prefix}_conversations_by_user
    ON {schema}.{prefix}_conversations (user_id, updated_at, id);

-- The conversations of an agent or project, newest first.
CREATE INDEX IF NOT EXISTS {prefix}_conversations_by_resource
    ON {schema}.{prefix}_conversations (resource_id, created_at, id);

-- A conversation's messages in their order; the storage limit is found by walking it from the newest end.
CREATE INDEX IF NOT EXISTS {prefix}_messages_in_order
    ON {schema}.{prefix}_messages (conversation_id, archived, created_at, seq);

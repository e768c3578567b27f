-- 0001 conversations
-- What: the conversations, with VoltAgent's columns; the columns for a sidebar (pinned, archived, tags, read,
--       soft-deleted); the origin of a fork; the indexes for lists of conversations.
-- Why:  IF NOT EXISTS everywhere, because tables that VoltAgent created are adopted as they are, and VoltAgent may
--       continue to write to them. Pinning, archiving or reading must not reorder the list, so updated_at does not
--       change with them. A soft-deleted conversation looks absent until it is restored or purged.
-- Lock: ACCESS EXCLUSIVE to add the columns, without a rewrite: the defaults are constants, or now(), which is
--       evaluated once. SHARE while the indexes are built.

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_conversations (
    id text PRIMARY KEY,
    resource_id text NOT NULL,
    user_id text NOT NULL,
    title text,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- In VoltAgent 2's tables the title is NOT NULL.
ALTER TABLE {schema}.{prefix}_conversations ALTER COLUMN title DROP NOT NULL;

ALTER TABLE {schema}.{prefix}_conversations
    ADD COLUMN IF NOT EXISTS pinned boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS archived boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS tags text[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS read_at timestamptz DEFAULT now(),
    ADD COLUMN IF NOT EXISTS deleted_at timestamptz,
    -- Whether a model wrote the title. A model may replace only such a title.
    ADD COLUMN IF NOT EXISTS title_is_automatic boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS forked_from text,
    ADD COLUMN IF NOT EXISTS forked_up_to text;

-- With the default, existing conversations count as read, without a write to their rows. New conversations have NULL:
-- nothing in them has been read.
ALTER TABLE {schema}.{prefix}_conversations ALTER COLUMN read_at DROP DEFAULT;

-- The conversations of a user, deleted ones included, by activity.
CREATE INDEX IF NOT EXISTS {prefix}_conversations_by_user
    ON {schema}.{prefix}_conversations (user_id, updated_at, id);

-- The conversations of an agent or project, by age.
CREATE INDEX IF NOT EXISTS {prefix}_conversations_by_resource
    ON {schema}.{prefix}_conversations (resource_id, created_at, id);

-- A user's sidebar, and the list of archived conversations: pinned ones first, then by activity.
CREATE INDEX IF NOT EXISTS {prefix}_conversations_in_sidebar
    ON {schema}.{prefix}_conversations (user_id, archived, pinned, updated_at, id) WHERE deleted_at IS NULL;

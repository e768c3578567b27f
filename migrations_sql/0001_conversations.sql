-- 0001 conversations
-- What: conversations, with VoltAgent's columns; the marks of a sidebar (pinned, archived, tags, read, soft-deleted);
--       what a conversation was forked from; the indexes that lists of conversations walk.
-- Why:  IF NOT EXISTS everywhere: tables that VoltAgent made are adopted as they are, and VoltAgent may go on writing
--       to them. No mark may reorder the list, so none of them is in updated_at. A conversation that is soft-deleted
--       looks absent until it is restored or purged.
-- Lock: ACCESS EXCLUSIVE for the columns, without a rewrite: the defaults are constant, or now(), which is evaluated
--       once. SHARE for the indexes, as long as building them takes.

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_conversations (
    id text PRIMARY KEY,
    resource_id text NOT NULL,
    user_id text NOT NULL,
    title text,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- VoltAgent 2 demands a title.
ALTER TABLE {schema}.{prefix}_conversations ALTER COLUMN title DROP NOT NULL;

ALTER TABLE {schema}.{prefix}_conversations
    ADD COLUMN IF NOT EXISTS pinned boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS archived boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS tags text[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS read_at timestamptz DEFAULT now(),
    ADD COLUMN IF NOT EXISTS deleted_at timestamptz,
    -- A model made the title; only such a title may be replaced by a model.
    ADD COLUMN IF NOT EXISTS title_is_automatic boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS forked_from text,
    ADD COLUMN IF NOT EXISTS forked_up_to text;

-- With the default the conversations that are there already count as read, without a write to their rows. Those created
-- from now on have NULL: nothing in them has been read.
ALTER TABLE {schema}.{prefix}_conversations ALTER COLUMN read_at DROP DEFAULT;

-- The conversations of a user, deleted ones included, by activity.
CREATE INDEX IF NOT EXISTS {prefix}_conversations_by_user
    ON {schema}.{prefix}_conversations (user_id, updated_at, id);

-- The conversations of an agent or project, by age.
CREATE INDEX IF NOT EXISTS {prefix}_conversations_by_resource
    ON {schema}.{prefix}_conversations (resource_id, created_at, id);

-- A user's sidebar, and that of the archived conversations: pinned ones first, then by activity.
CREATE INDEX IF NOT EXISTS {prefix}_conversations_in_sidebar
    ON {schema}.{prefix}_conversations (user_id, archived, pinned, updated_at, id) WHERE deleted_at IS NULL;

-- 0021 items of users
-- What: a table of values under a namespace and a key, for the memories of frameworks; and triggers on the working memory
--       that notify watchers.
-- Why:  LangGraph's store and Pydantic AI's notebooks have many small values of a user, each found by its name. The
--       working memory is one text with a history, so its table has neither a key nor room for a history of each value.
--       Triggers, because a version is stored by whoever looks at what VoltAgent changed, too. Citus allows none: there,
--       watchers query every few seconds.
-- Lock: SHARE ROW EXCLUSIVE on the two tables of the working memory for a moment.

-- "version" is a name for the write that stored the value; no other write has it. "words" are those by which a search
-- finds it; NULL: none does. An item whose "expires_at" has passed is not there any more: the user's next write deletes
-- it. "lifetime" is its seconds from when it was last read or written.
-- In the order of bytes, the items below a namespace, and the keys that begin with a text, are a range of the key.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_user_items (
    user_id text NOT NULL,
    namespace text[] COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value jsonb NOT NULL,
    version text NOT NULL,
    words tsvector,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    lifetime double precision,
    expires_at timestamptz,
    PRIMARY KEY (user_id, namespace, key)
);

CREATE INDEX IF NOT EXISTS {prefix}_user_items_expiring
    ON {schema}.{prefix}_user_items (user_id, expires_at) WHERE expires_at IS NOT NULL;

DO $triggers$
BEGIN
    IF to_regclass('pg_catalog.pg_dist_partition') IS NULL AND NOT EXISTS (
        SELECT 1 FROM pg_trigger
        WHERE tgrelid = '{schema}.{prefix}_user_memory'::regclass AND tgname = '{prefix}_tell_of_memory'
    ) THEN
        CREATE TRIGGER {prefix}_tell_of_memory AFTER INSERT ON {schema}.{prefix}_user_memory
            FOR EACH ROW EXECUTE FUNCTION {schema}.{prefix}_tell_of_memory();
        CREATE TRIGGER {prefix}_tell_of_memory AFTER INSERT ON {schema}.{prefix}_conversation_memory
            FOR EACH ROW EXECUTE FUNCTION {schema}.{prefix}_tell_of_memory();
    END IF;
END
$triggers$;

REVOKE EXECUTE ON FUNCTION {schema}.{prefix}_tell_of_memory() FROM PUBLIC;

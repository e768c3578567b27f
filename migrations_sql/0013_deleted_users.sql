-- 0013 deleted users
-- What: the users that delete_user() has deleted within about a day, as hashes.
-- Why:  a run that was under way then stores nothing of the user afterwards, also if its conversation did not exist yet.
--       The function add_messages has more arguments now; the former ones are dropped.
-- Lock: none on tables that exist.

-- "user_hash" is the SHA-256 of the prefix and the user's id, in hexadecimal digits: who asked to be forgotten is not
-- named here. The next delete_user() deletes rows that are older than a day.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_deleted_users (
    user_hash text PRIMARY KEY,
    deleted_at timestamptz NOT NULL
);

DROP FUNCTION IF EXISTS {schema}.{prefix}_add_messages(
    text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[], text[],
    bigint, boolean, boolean, text[], text[], text[], text[], boolean, text[], text[], text[]
);

-- 0024 forks
-- What: an index of a user's forks.
-- Why:  recall() shows a message and its copies once. Where a user has no forks, it reads nothing for that.
-- Lock: SHARE on the conversations while the index is built.

CREATE INDEX IF NOT EXISTS {prefix}_conversations_forked
    ON {schema}.{prefix}_conversations (user_id, forked_from, id) WHERE forked_from IS NOT NULL;

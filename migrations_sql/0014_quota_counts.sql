-- 0014 quota counts
-- What: how many messages a user has at most, counted lately, for storages with a quota of messages.
-- Why:  require_room counted all messages of a user for each message that was added. It has one argument more now; the
--       former ones are dropped.
-- Lock: none on tables that exist.

-- "messages" is a bound, not a count: what was counted at "counted_at", and what storages with quotas have added since.
-- Messages that were deleted since are still in it; those that other programs have added are not. A row that is missing
-- costs one count, so it may be deleted at any time.
CREATE TABLE IF NOT EXISTS {schema}.{prefix}_quota_counts (
    user_id text PRIMARY KEY,
    messages bigint NOT NULL,
    counted_at timestamptz NOT NULL
);

DROP FUNCTION IF EXISTS {schema}.{prefix}_require_room(
    text[], text[], bigint, bigint, bigint, bigint, bigint, boolean
);

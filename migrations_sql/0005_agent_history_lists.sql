-- 0005 agent history lists
-- What: userid and conversationid where VoltAgent 0.1.0 made the table without them; "seq" for steps and timeline
--       events; "exact" on all three; the indexes that lists of entries walk.
-- Why:  steps have no time of their own to be put in order by, and the times of events tie. jsonb cannot hold NUL,
--       lone surrogates or all floats: "exact" keeps, by the name of its field, the JSON text of each field that the
--       jsonb beside it holds only a copy of, which VoltAgent can read.
-- Lock: ACCESS EXCLUSIVE on the three tables, briefly: for the ADD COLUMNs, without a rewrite (constant defaults),
--       and for the index that is dropped; SHARE on agent_history for its indexes, as long as building them takes.

ALTER TABLE {schema}.{prefix}_agent_history ADD COLUMN IF NOT EXISTS userid text;

ALTER TABLE {schema}.{prefix}_agent_history ADD COLUMN IF NOT EXISTS conversationid text;

ALTER TABLE {schema}.{prefix}_agent_history ADD COLUMN IF NOT EXISTS exact jsonb;

ALTER TABLE {schema}.{prefix}_agent_history_steps ADD COLUMN IF NOT EXISTS exact jsonb;

ALTER TABLE {schema}.{prefix}_agent_history_timeline_events ADD COLUMN IF NOT EXISTS exact jsonb;

-- 0 for the rows that are there already: a constant default needs no rewrite, a sequence would.
ALTER TABLE {schema}.{prefix}_agent_history_steps ADD COLUMN IF NOT EXISTS seq bigint NOT NULL DEFAULT 0;

CREATE SEQUENCE IF NOT EXISTS {schema}.{prefix}_history_steps_seq OWNED BY {schema}.{prefix}_agent_history_steps.seq;

ALTER TABLE {schema}.{prefix}_agent_history_steps
    ALTER COLUMN seq SET DEFAULT nextval('{schema}.{prefix}_history_steps_seq');

ALTER TABLE {schema}.{prefix}_agent_history_timeline_events ADD COLUMN IF NOT EXISTS seq bigint NOT NULL DEFAULT 0;

CREATE SEQUENCE IF NOT EXISTS {schema}.{prefix}_history_events_seq
    OWNED BY {schema}.{prefix}_agent_history_timeline_events.seq;

ALTER TABLE {schema}.{prefix}_agent_history_timeline_events
    ALTER COLUMN seq SET DEFAULT nextval('{schema}.{prefix}_history_events_seq');

-- The runs of an agent, newest first; replaces the index on agent_id alone.
CREATE INDEX IF NOT EXISTS {prefix}_history_by_agent_time
    ON {schema}.{prefix}_agent_history (agent_id, "timestamp", id);

DROP INDEX IF EXISTS {schema}.{prefix}_history_by_agent;

-- The runs for a user, newest first.
CREATE INDEX IF NOT EXISTS {prefix}_history_by_user
    ON {schema}.{prefix}_agent_history (userid, "timestamp", id);

-- The runs of a conversation, newest first.
CREATE INDEX IF NOT EXISTS {prefix}_history_by_conversation
    ON {schema}.{prefix}_agent_history (conversationid, "timestamp", id);

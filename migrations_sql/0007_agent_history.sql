-- 0007 agent history
-- What: the runs of agents, their steps and timeline events, with VoltAgent's columns (userid and conversationid are
--       VoltAgent's spelling; its release 0.1.0 lacks them); the order of steps and events; the indexes for lists of
--       runs.
-- Why:  the order needs "seq", because steps have no time and events may have equal times. jsonb cannot hold NUL, lone
--       surrogates or all floats. For a field with such a value, the jsonb column that VoltAgent reads has an
--       approximate copy, and "exact" maps the field's name to its exact JSON text.
-- Lock: ACCESS EXCLUSIVE on the three tables to add the columns, without a rewrite (constant defaults). SHARE while the
--       indexes are built.

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_agent_history (
    id text PRIMARY KEY,
    agent_id text NOT NULL,
    "timestamp" timestamptz NOT NULL DEFAULT now(),
    status text,
    input jsonb,
    output jsonb,
    usage jsonb,
    metadata jsonb
);

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_agent_history_steps (
    key text PRIMARY KEY,
    value jsonb NOT NULL,
    history_id text NOT NULL REFERENCES {schema}.{prefix}_agent_history (id) ON DELETE CASCADE,
    agent_id text NOT NULL
);

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_agent_history_timeline_events (
    id text PRIMARY KEY,
    history_id text NOT NULL REFERENCES {schema}.{prefix}_agent_history (id) ON DELETE CASCADE,
    agent_id text NOT NULL,
    event_type text NOT NULL,
    event_name text NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz,
    status text,
    status_message text,
    level text DEFAULT 'INFO',
    version text,
    parent_event_id text,
    tags jsonb,
    input jsonb,
    output jsonb,
    error jsonb,
    metadata jsonb
);

ALTER TABLE {schema}.{prefix}_agent_history
    ADD COLUMN IF NOT EXISTS userid text,
    ADD COLUMN IF NOT EXISTS conversationid text,
    ADD COLUMN IF NOT EXISTS exact jsonb;

-- Existing rows get seq 0: a constant default needs no rewrite of the table, a sequence would.
ALTER TABLE {schema}.{prefix}_agent_history_steps
    ADD COLUMN IF NOT EXISTS exact jsonb,
    ADD COLUMN IF NOT EXISTS seq bigint NOT NULL DEFAULT 0;

ALTER TABLE {schema}.{prefix}_agent_history_timeline_events
    ADD COLUMN IF NOT EXISTS exact jsonb,
    ADD COLUMN IF NOT EXISTS seq bigint NOT NULL DEFAULT 0;

CREATE SEQUENCE IF NOT EXISTS {schema}.{prefix}_history_steps_seq OWNED BY {schema}.{prefix}_agent_history_steps.seq;

ALTER TABLE {schema}.{prefix}_agent_history_steps
    ALTER COLUMN seq SET DEFAULT nextval('{schema}.{prefix}_history_steps_seq');

CREATE SEQUENCE IF NOT EXISTS {schema}.{prefix}_history_events_seq
    OWNED BY {schema}.{prefix}_agent_history_timeline_events.seq;

ALTER TABLE {schema}.{prefix}_agent_history_timeline_events
    ALTER COLUMN seq SET DEFAULT nextval('{schema}.{prefix}_history_events_seq');

-- The runs of an agent, by time.
CREATE INDEX IF NOT EXISTS {prefix}_history_by_agent_time
    ON {schema}.{prefix}_agent_history (agent_id, "timestamp", id);

-- The runs for a user, by time.
CREATE INDEX IF NOT EXISTS {prefix}_history_by_user
    ON {schema}.{prefix}_agent_history (userid, "timestamp", id);

-- The runs in a conversation, by time.
CREATE INDEX IF NOT EXISTS {prefix}_history_by_conversation
    ON {schema}.{prefix}_agent_history (conversationid, "timestamp", id);

-- The steps and the events of a run.
CREATE INDEX IF NOT EXISTS {prefix}_history_steps_by_entry
    ON {schema}.{prefix}_agent_history_steps (history_id);

CREATE INDEX IF NOT EXISTS {prefix}_history_events_by_entry
    ON {schema}.{prefix}_agent_history_timeline_events (history_id);

-- 0003 agent history
-- What: the three tables of an agent's runs, with VoltAgent's columns (userid and conversationid are its spelling).
-- Why:  a storage makes all its tables when it is opened, so that one role with CREATE is needed once.
-- Lock: none on tables that existed, but for SHARE on each while its indexes are built.

CREATE TABLE IF NOT EXISTS {schema}.{prefix}_agent_history (
    id text PRIMARY KEY,
    agent_id text NOT NULL,
    "timestamp" timestamptz NOT NULL DEFAULT now(),
    status text,
    input jsonb,
    output jsonb,
    usage jsonb,
    metadata jsonb,
    userid text,
    conversationid text
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

CREATE INDEX IF NOT EXISTS {prefix}_history_by_agent
    ON {schema}.{prefix}_agent_history (agent_id);

CREATE INDEX IF NOT EXISTS {prefix}_history_steps_by_entry
    ON {schema}.{prefix}_agent_history_steps (history_id);

CREATE INDEX IF NOT EXISTS {prefix}_history_events_by_entry
    ON {schema}.{prefix}_agent_history_timeline_events (history_id);

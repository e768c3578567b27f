"""PostgreSQL: pool, connections, notifications and schema, without the verbs about conversations."""

"""
VoltAgent's first tables made user-centric: how long it takes, and what it costs the client's memory.

    make bench ROWS=1000000

A conversation has fifty messages; in every hundredth a second user wrote, too. The server is the one of the tests
(VOLTMEM_TEST_DSN, or a throw-away one without fsync).
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time

import asyncpg

from voltmem import PostgresStorage
from voltmem.testing import drop_schema, server, temporary_schema_name

_OLD_TABLES = """
    CREATE SCHEMA {schema};
    CREATE TABLE {schema}.voltagent_memory_conversations (
        id text PRIMARY KEY,
        resource_id text NOT NULL,
        title text,
        metadata jsonb,
        created_at timestamptz NOT NULL DEFAULT timezone('utc'::text, now()),
        updated_at timestamptz NOT NULL DEFAULT timezone('utc'::text, now())
    );
    CREATE TABLE {schema}.voltagent_memory_messages (
        user_id text NOT NULL,
        conversation_id text NOT NULL
            REFERENCES {schema}.voltagent_memory_conversations (id) ON DELETE CASCADE,
        message_id text NOT NULL,
        role text NOT NULL,
        content text NOT NULL,
        type text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT timezone('utc'::text, now()),
        PRIMARY KEY (user_id, conversation_id, message_id)
    );
    INSERT INTO {schema}.voltagent_memory_conversations (id, resource_id, title, metadata)
    SELECT 'conversation-' || n, 'agent', 'Title ' || n, '{{}}' FROM generate_series(0, ({rows} - 1) / 50) AS n;
    INSERT INTO {schema}.voltagent_memory_messages
    SELECT CASE WHEN n / 50 % 100 = 0 AND n % 50 > 40 THEN 'other' ELSE 'user-' || n / 50 % 1000 END,
        'conversation-' || n / 50, 'message-' || n, 'user', repeat('some words ', 15), 'text',
        timestamptz '2025-01-01' + n * interval '1 millisecond'
    FROM generate_series(0, {rows} - 1) AS n;
    CREATE INDEX ON {schema}.voltagent_memory_messages (user_id, conversation_id, created_at);
    ANALYZE {schema}.voltagent_memory_conversations, {schema}.voltagent_memory_messages"""


def _peak_memory() -> float:
    """MiB, the most that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


async def measure(rows: int) -> None:
    """Make old tables of so many messages, migrate them, open them, restore them; print seconds and MiB."""
    dsn, schema = server().dsn, temporary_schema_name()
    connection = await asyncpg.connect(dsn)
    await connection.execute(_OLD_TABLES.format(schema=schema, rows=rows))
    print(f"{rows:,} messages on PostgreSQL {connection.get_server_version().major}, asyncpg {asyncpg.__version__}")
    storage = PostgresStorage(dsn, schema=schema)
    memory, started = _peak_memory(), time.perf_counter()

    def report(what: str) -> None:
        nonlocal started
        seconds = time.perf_counter() - started
        print(f"{what:<42} {seconds:6.1f} s   client memory +{_peak_memory() - memory:.1f} MiB")
        started = time.perf_counter()

    try:
        result = await storage.migrate_conversation_schema()
        if result.error is not None:
            raise result.error
        split = len(result.split_conversations)
        report(f"{result.migrated_count:,} conversations, {split:,} of them split off")
        await storage.upgrade_schema()
        report("all other migrations")
        await storage.migrate_conversation_schema(restore_from_backup=True)
        report("restored")
    finally:
        await storage.close()
        await connection.close()
        await drop_schema(schema)


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))

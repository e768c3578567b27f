"""Measure the conversion of VoltAgent's first tables to user-centric ones: its time, and the client's memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from tests.benchmarks._bench import Bench
from tests.benchmarks._measure import Side, Unit
from voltmem import PostgresStorage
from voltmem.testing import temporary_schema_name

Work: TypeAlias = Callable[[], Awaitable[object]]

# A conversation has fifty messages; every hundredth has messages of a second user, too.
OLD_TABLES = """
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
COPY_TABLES = """
    CREATE TABLE {schema}.conversations_copy AS TABLE {schema}.voltagent_memory_conversations;
    CREATE TABLE {schema}.messages_copy AS TABLE {schema}.voltagent_memory_messages"""


async def run(bench: Bench) -> None:
    """Measure it against copying the two tables, which its backup does."""
    schema = temporary_schema_name()

    async def make_old_tables() -> None:
        await bench.pool.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        await bench.pool.execute(OLD_TABLES.format(schema=schema, rows=bench.rows), timeout=3600)

    async def migrate() -> None:
        storage = PostgresStorage(bench.dsn, schema=schema, command_timeout=3600)
        result = await storage.migrate_conversation_schema()
        await storage.close()
        if result.error is not None:
            raise result.error

    async def copy() -> None:
        await bench.pool.execute(COPY_TABLES.format(schema=schema), timeout=3600)

    costs: tuple[tuple[Unit, Callable[[Work], Awaitable[Side]]], ...] = (("ms", milliseconds), ("KiB", kibibytes))
    for unit, cost in costs:
        await bench.compare(
            f"{bench.rows:,} messages made user-centric, backup included" + (", memory" if unit == "KiB" else ""),
            "copying both tables",
            unit,
            partial(cost, migrate),
            partial(cost, copy),
            before=make_old_tables,
            rounds=3,
        )
    await bench.pool.execute(f"DROP SCHEMA {schema} CASCADE")


async def milliseconds(call: Work) -> Side:
    """Return the time it takes, in milliseconds."""
    started = time.perf_counter()
    await call()
    return Side((time.perf_counter() - started) * 1000)


async def kibibytes(call: Work) -> Side:
    """Return the peak of its memory in this process."""
    tracemalloc.start()
    await call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Side(peak / 1024)

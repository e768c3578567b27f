"""The life of a storage: importing, opening and closing, round trips, memory."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from tempfile import TemporaryDirectory
from typing import Final, Protocol

import asyncpg

from tests.benchmarks._bench import CONNECTIONS, TEXT, Bench, nothing_to_reset
from tests.benchmarks._measure import Bound, Side, latency, throughput
from tests.proxy import Proxy
from voltmem import PostgresStorage
from voltmem._postgres.migrations.files import migrations
from voltmem._tables import Tables
from voltmem.testing import temporary_schema_name

MESSAGES: Final = 10_000
WORKERS: Final = 1_000
STORAGES: Final = 20


class Closable(Protocol):
    """A storage, or a pool."""

    async def close(self) -> None: ...


TIMED_IMPORT = "import time; started = time.perf_counter(); {}; print(time.perf_counter() - started)"


async def run(bench: Bench) -> None:
    """Run all measurements of this module."""
    await imports(bench)
    await opening(bench)
    await opening_an_empty_database(bench)
    await workers(bench)
    await round_trips_of_opening(bench)
    await round_trips_of_calls(bench)
    await memory_of_messages(bench)
    await memory_of_storages(bench)


async def imports(bench: Bench) -> None:
    """Measure the import in separate processes, with compiled bytecode, as for an installed package."""
    with TemporaryDirectory() as compiled:

        async def seconds(code: str) -> Side:
            program = [sys.executable, "-X", f"pycache_prefix={compiled}", "-c", TIMED_IMPORT.format(code)]
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            ran = await asyncio.to_thread(
                subprocess.run, program, env=environment, capture_output=True, text=True, check=True
            )
            return Side(float(ran.stdout) * 1000)

        await bench.compare(
            "import voltmem",
            "asyncpg, and pydantic's BaseModel",
            "ms",
            partial(seconds, "import voltmem"),
            partial(seconds, "import asyncpg; from pydantic import BaseModel"),
            bound=Bound("at most", 1.3),
        )


async def opening(bench: Bench) -> None:
    """Measure open() and close() on a current schema, without concurrency."""
    await bench.compare(
        "open and close, schema current",
        "a pool with one connection",
        "ms",
        partial(latency, partial(open_and_close, bench), 50),
        partial(latency, partial(connect_and_close, bench), 50),
    )


async def workers(bench: Bench) -> None:
    """Measure a thousand short-lived workers, twenty at a time."""
    await bench.compare(
        f"{WORKERS:,} workers open, ask and close, 20 at once",
        "a pool with one connection each",
        "a second",
        partial(throughput, partial(open_and_close, bench), WORKERS, 20),
        partial(throughput, partial(connect_and_close, bench), WORKERS, 20),
        rounds=5,
    )


async def open_and_close(bench: Bench, _: int) -> None:
    """Act as a short-lived worker with a storage."""
    tables = bench.ours
    async with PostgresStorage(bench.dsn, schema=tables.schema, table_prefix=tables.prefix) as storage:
        await storage.get_conversation("c0")


async def connect_and_close(bench: Bench, _: int) -> None:
    """Act as a short-lived worker with a pool."""
    async with asyncpg.create_pool(bench.dsn, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        await connection.fetchrow(f"SELECT * FROM {bench.ours.conversations} WHERE id = $1", "c0")


async def opening_an_empty_database(bench: Bench) -> None:
    """Measure the first open(), which creates all tables."""

    async def first_open(_: int) -> None:
        async with PostgresStorage(bench.dsn, schema=temporary_schema_name()):
            pass

    async def run_statements(_: int) -> None:
        tables = Tables(temporary_schema_name(), "voltagent_memory")
        connection = await asyncpg.connect(bench.dsn)
        async with connection.transaction():
            await connection.execute(f'CREATE SCHEMA "{tables.schema}"')
            for migration in migrations():
                for statement in migration.statements(tables):
                    await connection.execute(statement)
        await connection.close()

    async def drop_schemas() -> None:
        for name in await bench.pool.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'voltmem_test_%'"):
            await bench.pool.execute(f'DROP SCHEMA "{name[0]}" CASCADE')

    await bench.compare(
        "open and close, database empty",
        "its statements in one transaction",
        "ms",
        partial(latency, first_open, 5),
        partial(latency, run_statements, 5),
        before=drop_schemas,
        rounds=5,
    )
    await drop_schemas()


async def round_trips_of_opening(bench: Bench) -> None:
    """Count the round trips of open() on a current schema."""
    async with Proxy(bench.dsn) as proxy:

        async def connect() -> None:
            async with asyncpg.create_pool(proxy.dsn, min_size=1, max_size=1):
                pass

        async def open_storage() -> None:
            async with PostgresStorage(proxy.dsn, schema=bench.ours.schema, table_prefix=bench.ours.prefix):
                pass

        async def connect_and_one() -> Side:
            return Side((await counted(proxy, connect)).value + 1)

        await bench.compare(
            "round trips of open()",
            "of a pool with one connection, and one",
            "round trips",
            partial(counted, proxy, open_storage),
            connect_and_one,
            bound=Bound("at most", 1),
            rounds=3,
        )


async def round_trips_of_calls(bench: Bench) -> None:
    """Count the round trips of two calls on an open storage with prepared statements."""
    await bench.start_anew()
    async with (
        Proxy(bench.dsn) as proxy,
        PostgresStorage(
            proxy.dsn, schema=bench.ours.schema, table_prefix=bench.ours.prefix, max_connections=1
        ) as storage,
        asyncpg.create_pool(proxy.dsn, min_size=1, max_size=1, reset=nothing_to_reset) as pool,
    ):

        async def add_and_get() -> None:
            await storage.add_message({"role": "user", "content": TEXT}, "ada", "c0")
            await storage.get_messages("ada", "c0")

        async def two_statements() -> None:
            await pool.fetch("SELECT 1")
            await pool.fetch("SELECT 1")

        await bench.compare(
            "round trips of add_message and get_messages",
            "of two statements on one connection",
            "round trips",
            partial(counted, proxy, add_and_get),
            partial(counted, proxy, two_statements),
            bound=Bound("at most", 1),
            rounds=6,
        )


async def counted(proxy: Proxy, call: Callable[[], Awaitable[object]]) -> Side:
    """Return the number of round trips."""
    before = proxy.round_trips
    await call()
    return Side(proxy.round_trips - before)


async def memory_of_messages(bench: Bench) -> None:
    """Measure the memory that Python allocates for messages that were read."""
    await bench.start_anew()
    storage = bench.storage(storage_limit=None)
    await storage.add_messages([{"role": "user", "content": TEXT}] * MESSAGES, "ada", "c0")
    select = (
        "SELECT message_id, role, content, content_json, type, metadata, created_at "
        f"FROM {bench.ours.messages} WHERE conversation_id = 'c0'"
    )
    await bench.compare(
        f"memory of {MESSAGES:,} messages",
        "of their records",
        "KiB",
        partial(kept, partial(storage.get_messages, "ada", "c0", limit=None)),
        partial(kept, partial(bench.pool.fetch, select)),
        rounds=3,
    )


async def memory_of_storages(bench: Bench) -> None:
    """Measure the memory that Python allocates for an open storage with one connection."""

    async def storages() -> list[PostgresStorage]:
        made = [
            PostgresStorage(bench.dsn, schema=bench.ours.schema, table_prefix=bench.ours.prefix)
            for _ in range(STORAGES)
        ]
        for each in made:
            await each.open()
        return made

    async def pools() -> list[asyncpg.Pool[asyncpg.Record]]:
        return [await asyncpg.create_pool(bench.dsn, min_size=1, max_size=CONNECTIONS) for _ in range(STORAGES)]

    async def of_one(make: Callable[[], Awaitable[Sequence[Closable]]]) -> Side:
        made: list[Closable] = []

        async def make_all() -> None:
            made.extend(await make())

        all_of_them = await kept(make_all)
        for each in made:
            await each.close()
        return Side(all_of_them.value / STORAGES)

    await bench.compare(
        "memory of an open storage",
        "of a pool with one connection",
        "KiB",
        partial(of_one, storages),
        partial(of_one, pools),
        rounds=3,
    )


async def kept(make: Callable[[], Awaitable[object]]) -> Side:
    """Return the memory that Python has allocated after this has returned, while its result is referenced."""
    tracemalloc.start()
    made = await make()
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del made
    return Side(allocated / 1024)

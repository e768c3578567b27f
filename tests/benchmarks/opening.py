"""Importing voltmem; opening and closing a storage."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from functools import partial
from tempfile import TemporaryDirectory
from typing import Final

import asyncpg

from tests.benchmarks._bench import Bench
from tests.benchmarks._measure import Bound, Side
from voltmem import PostgresStorage
from voltmem._postgres.migrations.files import migrations
from voltmem._tables import Tables
from voltmem.testing import temporary_schema_name

WORKERS: Final = 1_000
TIMED_IMPORT: Final = "import time; started = time.perf_counter(); {}; print(time.perf_counter() - started)"


async def run(bench: Bench) -> None:
    """Run all measurements of this module."""
    await imports(bench)
    await opening(bench)
    await opening_an_empty_database(bench)
    await workers(bench)


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
            bound=Bound("at most", 1.2),
        )


async def opening(bench: Bench) -> None:
    """Measure open() and close() on a current schema, without concurrency."""
    await bench.compare(
        "open and close, schema current",
        "a pool with one connection",
        "ms",
        bench.latency(partial(open_and_close, bench), 50),
        bench.latency(partial(connect_and_close, bench), 50),
    )


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
        bench.latency(first_open, 5),
        bench.latency(run_statements, 5),
        bound=Bound("at most", 1.2),
        before=drop_schemas,
        rounds=5,
    )
    await drop_schemas()


async def workers(bench: Bench) -> None:
    """Measure a thousand short-lived workers, twenty at a time."""
    await bench.compare(
        f"{WORKERS:,} workers open, ask and close, 20 at once",
        "a pool with one connection each",
        "a second",
        bench.throughput(partial(open_and_close, bench), WORKERS, 20),
        bench.throughput(partial(connect_and_close, bench), WORKERS, 20),
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

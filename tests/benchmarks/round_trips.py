"""Round trips, counted by a proxy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import asyncpg

from tests.benchmarks._bench import TEXT, Bench, nothing_to_reset
from tests.benchmarks._measure import Bound, Side
from tests.proxy import Proxy
from voltmem import PostgresStorage


async def run(bench: Bench) -> None:
    """Run all measurements of this module."""
    await of_opening(bench)
    await of_calls(bench)


async def of_opening(bench: Bench) -> None:
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


async def of_calls(bench: Bench) -> None:
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

"""Memory that Python allocates for messages, and for open storages."""

from __future__ import annotations

import tracemalloc
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol

import asyncpg

from tests.benchmarks._bench import CONNECTIONS, TEXT, Bench
from tests.benchmarks._measure import Bound, Side
from voltmem import PostgresStorage

MESSAGES: Final = 10_000
STORAGES: Final = 20


class Closable(Protocol):
    """A storage, or a pool."""

    async def close(self) -> None: ...


async def run(bench: Bench) -> None:
    """Run all measurements of this module."""
    await of_messages(bench)
    await of_storages(bench)


async def of_messages(bench: Bench) -> None:
    """Measure the memory that Python allocates for messages that were read."""
    await bench.start_anew()
    storage = bench.storage(storage_limit=None)
    await storage.add_messages([{"role": "user", "content": TEXT}] * bench.count(MESSAGES), "ada", "c0")
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
        bound=Bound("at most", 1.2),
        rounds=3,
    )


async def of_storages(bench: Bench) -> None:
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

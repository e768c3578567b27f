"""The list of a user's conversations, among many conversations and among few."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from itertools import pairwise
from statistics import median
from typing import Final

from tests.benchmarks._bench import TEXT, Bench
from tests.benchmarks._measure import Bound, Measure, Side
from voltmem import PostgresStorage
from voltmem._areas.conversations import ROWS_PER_FETCH
from voltmem._tables import Tables

SMALL: Final = 10_000
OF_ONE_USER: Final = 500
PAGE: Final = 20
PAGES: Final = 500
# Two users with five hundred pages: one of short pages, one of those that `async for` fetches.
READER: Final = "reader"
WALKER: Final = "walker"


async def run(bench: Bench) -> None:
    """Run all measurements of this module."""
    small, large = Tables("bench", "small"), bench.ours
    with bench.working("conversations are made"):
        for tables, rows in ((small, bench.count(SMALL)), (large, bench.rows)):
            await fill(bench, tables, rows)
            await add_conversations(bench, tables, READER, bench.count(PAGES) * PAGE)
            await say(bench, tables)
        await add_conversations(bench, large, WALKER, bench.count(PAGES) * ROWS_PER_FETCH)
        await bench.pool.execute(f"VACUUM ANALYZE {large.conversations}", timeout=3600)
    await first_page(bench, large, small)
    await late_page(bench, large, small)
    await walk(bench, large)


async def fill(bench: Bench, tables: Tables, rows: int, of_one_user: int = OF_ONE_USER) -> None:
    """Replace all rows with so many conversations, *of_one_user* of each user, without messages."""
    await bench.storage(tables).open()
    filled = (tables.conversations, tables.conversation_memory, tables.changed_lines, tables.messages)
    beside = (tables.payloads, tables.shares, tables.summaries, tables.leases, tables.answers, tables.answer_pieces)
    await bench.pool.execute(f"TRUNCATE {', '.join((*filled, *beside))} CASCADE")
    await bench.pool.execute(
        f"""
        INSERT INTO {tables.conversations} (id, resource_id, user_id, title, created_at, updated_at)
        SELECT 'conversation-' || n, 'agent', 'user-' || n % $2, 'What was said in number ' || n, moment, moment
        FROM generate_series(1, $1) AS n, LATERAL (VALUES (timestamptz '2025-01-01' + n * interval '1 s')) AS t (moment)
        """,
        rows,
        max(1, rows // of_one_user),
        timeout=3600,
    )
    await bench.pool.execute(f"VACUUM ANALYZE {tables.conversations}", timeout=3600)


async def add_conversations(bench: Bench, tables: Tables, user: str, count: int) -> None:
    """Add the conversations of one user, in one statement."""
    await bench.pool.execute(
        f"""
        INSERT INTO {tables.conversations} (id, resource_id, user_id, title)
        SELECT $1 || '-' || n, 'agent', $1, 'What was said in number ' || n FROM generate_series(1, $2) AS n""",
        user,
        count,
        timeout=3600,
    )


async def say(bench: Bench, tables: Tables) -> None:
    """Add one message to each conversation, for its preview."""
    await bench.pool.execute(
        f"INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type, created_at) "
        f"SELECT id, 'm', 'user', $1, 'text', updated_at FROM {tables.conversations}",
        TEXT,
        timeout=3600,
    )
    await bench.pool.execute(f"VACUUM ANALYZE {tables.conversations}, {tables.messages}", timeout=3600)


def in_small(bench: Bench) -> int:
    """Return how many conversations are in the small tables: of many users, and the reader's."""
    return bench.count(SMALL) + bench.count(PAGES) * PAGE


async def first_page(bench: Bench, large: Tables, small: Tables) -> None:
    """Measure the first page with previews, for the same users among many conversations and among few."""
    users = max(1, bench.count(SMALL) // OF_ONE_USER)

    def page(tables: Tables) -> Measure:
        storage = bench.storage(tables)

        def first(number: int) -> Awaitable[object]:
            return storage.list_conversations(f"user-{number % users}", limit=PAGE)

        return bench.latency(first, 500)

    await bench.compare(
        f"first page of {PAGE} with previews, {bench.rows:,} conversations",
        f"the same, {in_small(bench):,}",
        "ms",
        page(large),
        page(small),
        bound=Bound("at most", 1.1),
    )


async def late_page(bench: Bench, large: Tables, small: Tables) -> None:
    """Measure the five hundredth page with previews, for a user with as many."""
    pages = bench.count(PAGES)

    async def page(tables: Tables) -> Measure:
        storage = bench.storage(tables)
        before = await storage.list_conversations(READER, limit=PAGE * (pages - 1), preview=False)

        def late(_: int) -> Awaitable[object]:
            return storage.list_conversations(READER, limit=PAGE, after=before.next_cursor)

        return bench.latency(late, 500)

    await bench.compare(
        f"page {pages} of {PAGE} with previews, {bench.rows:,} conversations",
        f"the same, {in_small(bench):,}",
        "ms",
        await page(large),
        await page(small),
        bound=Bound("at most", 1.1),
    )


async def walk(bench: Bench, tables: Tables) -> None:
    """Measure the last pages of five hundred against the first ones."""
    pages = bench.count(PAGES)
    storage = bench.storage(tables)

    async def last() -> Side:
        return Side(median((await page_times(storage, pages))[-10:]))

    async def first() -> Side:
        return Side(median(await page_times(storage, 10)))

    await bench.compare(
        f"page {pages} through async for", "the first pages", "ms", last, first, bound=Bound("at most", 1.2)
    )


async def page_times(storage: PostgresStorage, pages: int) -> list[float]:
    """Return the milliseconds of each page, with its conversations."""
    moments = [time.perf_counter()]
    number = 0
    async for _ in storage.get_user_conversations(WALKER).limit(pages * ROWS_PER_FETCH):
        number += 1
        if number % ROWS_PER_FETCH == 0:
            moments.append(time.perf_counter())
    assert len(moments) == pages + 1
    return [(later - earlier) * 1000 for earlier, later in pairwise(moments)]

"""Reading a conversation and the sidebar, the latter also among many conversations."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Final

from tests.benchmarks._bench import Bench
from tests.benchmarks._measure import Bound, Side, latency
from voltmem import PostgresStorage
from voltmem._areas.conversations import ROWS_PER_FETCH
from voltmem._areas.queries import MessageQuery
from voltmem._tables import Tables

MESSAGES: Final = 100
SMALL: Final = 10_000
OF_ONE_USER: Final = 500
PAGES: Final = 500
PROLIFIC: Final = "the user of five hundred pages"


async def run(bench: Bench) -> None:
    """Run all measurements of this module."""
    await messages(bench)
    small, large = Tables("bench", "small"), bench.ours
    with bench.working(f"{SMALL:,} and {bench.rows:,} conversations are made"):
        await fill(bench, small, SMALL)
        await fill(bench, large, bench.rows)
    await pages(bench, large, small)
    await walk(bench, large)


async def messages(bench: Bench) -> None:
    """Measure get_messages."""
    await bench.start_anew(MESSAGES)
    storage = bench.storage()
    by_hand = (
        "SELECT message_id, role, content, content_json, type, metadata, created_at "
        f"FROM {bench.ours.messages} WHERE conversation_id = $1 AND NOT archived "
        f"ORDER BY created_at DESC, seq DESC LIMIT {MESSAGES}"
    )
    same, _ = MessageQuery("c0", "ada", limit=MESSAGES, newest_first=True).sql(bench.ours)

    def get(number: int) -> Awaitable[object]:
        return storage.get_messages("ada", f"c{number}")

    def fetch(number: int) -> Awaitable[object]:
        return bench.pool.fetch(by_hand, f"c{number}")

    def fetch_same(number: int) -> Awaitable[object]:
        return bench.pool.fetch(same, f"c{number}", f"c{number}", "ada", MESSAGES)

    for yardstick, raw in (("fetch of the same rows", fetch), ("fetch with the same statement", fetch_same)):
        await bench.compare(
            f"get_messages of {MESSAGES}",
            yardstick,
            "ms",
            partial(latency, get, 500),
            partial(latency, raw, 500),
            bound=Bound("at most", 1.3),
        )


async def fill(bench: Bench, tables: Tables, rows: int) -> None:
    """Replace all rows with *count* conversations, OF_ONE_USER of each user, in one statement."""
    await bench.storage(tables).open()
    filled = (tables.conversations, tables.messages, tables.payloads, tables.shares)
    await bench.pool.execute(f"TRUNCATE {', '.join(filled)}")
    await bench.pool.execute(
        f"""
        INSERT INTO {tables.conversations} (id, resource_id, user_id, title, created_at, updated_at)
        SELECT 'conversation-' || n, 'agent', 'user-' || n % $2, 'What was said in number ' || n, moment, moment
        FROM generate_series(1, $1) AS n, LATERAL (VALUES (timestamptz '2025-01-01' + n * interval '1 s')) AS t (moment)
        """,
        rows,
        max(1, rows // OF_ONE_USER),
        timeout=3600,
    )
    await bench.pool.execute(f"VACUUM ANALYZE {tables.conversations}", timeout=3600)


async def pages(bench: Bench, large: Tables, small: Tables) -> None:
    """Measure the first page of the sidebar, for the same users among many conversations and among few."""
    users = SMALL // OF_ONE_USER

    def page(storage: PostgresStorage, number: int) -> Awaitable[object]:
        return storage.get_paginated_user_conversations(f"user-{number % users}", page_size=20)

    await bench.compare(
        f"first sidebar page at {bench.rows:,} conversations",
        f"the same at {SMALL:,}",
        "ms",
        partial(latency, partial(page, bench.storage(large)), 500),
        partial(latency, partial(page, bench.storage(small)), 500),
        bound=Bound("at most", 1.2),
    )


async def walk(bench: Bench, tables: Tables) -> None:
    """Measure the last pages of five hundred against the first ones."""
    with bench.working(f"{PAGES} pages for one user are made"):
        await bench.pool.execute(
            f"""
            INSERT INTO {tables.conversations} (id, resource_id, user_id, title)
            SELECT 'of-one-' || n, 'agent', $1, 'What was said in number ' || n FROM generate_series(1, $2) AS n""",
            PROLIFIC,
            PAGES * ROWS_PER_FETCH,
            timeout=3600,
        )
        await bench.pool.execute(f"VACUUM ANALYZE {tables.conversations}", timeout=3600)
    times: list[float] = []

    async def last() -> Side:
        times[:] = await page_times(bench.storage(tables))
        return Side(median(times[-10:]))

    async def first() -> Side:
        return Side(median(await page_times(bench.storage(tables), 10)))

    await bench.compare(
        f"page {PAGES} through async for", "the first pages", "ms", last, first, bound=Bound("at most", 1.2)
    )


async def page_times(storage: PostgresStorage, pages: int = PAGES) -> list[float]:
    """Return the milliseconds of each page, with its conversations."""
    moments = [time.perf_counter()]
    number = 0
    async for _ in storage.get_user_conversations(PROLIFIC).limit(pages * ROWS_PER_FETCH):
        number += 1
        if number % ROWS_PER_FETCH == 0:
            moments.append(time.perf_counter())
    assert len(moments) == pages + 1
    return [(later - earlier) * 1000 for earlier, later in pairwise(moments)]

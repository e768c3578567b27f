"""Adding a message to short and to long conversations: the length must not matter, whatever the limit."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from tests.benchmarks._bench import TEXT, Bench
from tests.benchmarks._measure import Bound, Measure
from voltmem._tables import Tables

SHORT: Final = 10
LENGTHS: Final = (1_000, 100_000)
NO_LIMIT_IN_REACH: Final = 10_000_000
# Calls of a turn go round these, so that those to a short conversation leave it short.
OF_EACH: Final = 10
CALLS: Final = 100


async def run(bench: Bench) -> None:
    """Measure add_message alone by the length of the conversation."""
    await bench.start_anew()
    longer = [bench.count(length) for length in LENGTHS]
    with bench.working(f"conversations of up to {longer[-1]:,} messages are made"):
        for length in (SHORT, *longer):
            await make(bench, bench.ours, length)
    for limit_is_reached in (False, True):
        for length in longer:
            limit = "the limit reached" if limit_is_reached else f"storage_limit={NO_LIMIT_IN_REACH:,}"
            await bench.compare(
                f"add_message alone, {length:,} messages, {limit}",
                f"the same, {SHORT} messages",
                "ms",
                adding(bench, length, limit_is_reached=limit_is_reached),
                adding(bench, SHORT, limit_is_reached=limit_is_reached),
                bound=Bound("at most", 1.1),
                adds=1,
            )


async def make(bench: Bench, tables: Tables, length: int) -> None:
    """Make conversations of this length."""
    await bench.pool.execute(
        f"INSERT INTO {tables.conversations} (id, resource_id, user_id) "
        "SELECT $1 || '-' || n, 'agent', 'ada' FROM generate_series(1, $2) AS n",
        str(length),
        OF_EACH,
    )
    await bench.pool.execute(
        f"INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type) "
        "SELECT $1 || '-' || c, 'old-' || n, 'user', $4, 'text' "
        "FROM generate_series(1, $2) AS c, generate_series(1, $3) AS n",
        str(length),
        OF_EACH,
        length,
        TEXT,
        timeout=3600,
    )
    await bench.pool.execute(f"VACUUM ANALYZE {tables.conversations}, {tables.messages}", timeout=3600)


def adding(bench: Bench, length: int, *, limit_is_reached: bool) -> Measure:
    """Return a turn of calls to the conversations of this length, whose limit is far away, or reached."""
    storage = bench.storage(storage_limit=length if limit_is_reached else NO_LIMIT_IN_REACH)

    def add(number: int) -> Awaitable[object]:
        return storage.add_message({"role": "user", "content": TEXT}, "ada", f"{length}-{number % OF_EACH + 1}")

    return bench.latency(add, CALLS)

"""Adding messages: one caller, many callers, batches. Everything is synced to disk."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from itertools import count
from typing import Final

from tests.benchmarks._bench import STORAGE_LIMIT, TEXT, Bench
from tests.benchmarks._measure import Before, Bound, Call
from voltmem._tables import Tables

# How many callers at once, with the aim.
CALLERS: Final = {1: None, 8: None, 64: Bound("at least", 2.5), 256: Bound("at least", 3)}
CALLS_AT_ONCE: Final = 8_000
BATCH: Final = 50

_numbers = count()


def new_id() -> str:
    """Return an id that no other message has."""
    return f"m{next(_numbers)}"


def insert(tables: Tables) -> str:
    """The smallest statement that stores a message."""
    return (
        f"INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type) "
        "VALUES ($1, $2, 'user', $3, 'text')"
    )


def by_hand(tables: Tables) -> str:
    """The statements of add_message as written by hand: touch the conversation, insert or replace, prune."""
    return f"""
        WITH touched AS (
            UPDATE {tables.conversations} SET updated_at = clock_timestamp()
            WHERE id = $1 AND user_id = $4
            RETURNING id
        ), added AS (
            INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type)
            SELECT id, $2, 'user', $3, 'text' FROM touched
            ON CONFLICT (conversation_id, message_id)
                DO UPDATE SET role = excluded.role, content = excluded.content, type = excluded.type
            RETURNING created_at
        ), pruned AS (
            DELETE FROM {tables.messages}
            WHERE conversation_id = $1 AND NOT archived AND (created_at, seq) <= (
                SELECT created_at, seq FROM {tables.messages}
                WHERE conversation_id = $1 AND NOT archived
                ORDER BY created_at DESC, seq DESC
                OFFSET {STORAGE_LIMIT - 1} LIMIT 1)
        )
        SELECT created_at FROM added"""


def insert_many(tables: Tables) -> str:
    """The smallest statement that stores several messages of a conversation."""
    return (
        f"INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type) "
        "SELECT $1, id, 'user', content, 'text' FROM unnest($2::text[], $3::text[]) AS new (id, content)"
    )


async def run(bench: Bench) -> None:
    """Run all measurements except the one on a slower disk."""
    await alone(bench)
    await alone_with_the_limit_reached(bench)
    for callers, bound in CALLERS.items():
        await many(bench, callers, f"{callers} at once, 1,000 conversations", bound=bound)
    full = partial(bench.start_anew, STORAGE_LIMIT)
    await many(bench, 64, "64 at once, 1,000 conversations, the limit reached", before=full)
    await many(bench, 64, "64 at once, one hot conversation", hot=True, bound=Bound("at least", 1.9))
    await batches(bench)


async def on_a_slower_disk(bench: Bench) -> None:
    """Measure many callers with a flush that takes a millisecond longer, as on most disks of a cloud."""
    for callers in (64, 256):
        await many(bench, callers, f"{callers} at once, each flush 1 ms slower")


def conversation(bench: Bench, number: int) -> str:
    """Return the id of the conversation for a call: each call uses another one."""
    return f"c{number * 7 % bench.conversations}"


def adding(bench: Bench) -> Call:
    """Return voltmem's side: add_message."""
    storage = bench.storage()
    return lambda number: storage.add_message({"role": "user", "content": TEXT}, "ada", conversation(bench, number))


def inserting(bench: Bench) -> Call:
    """Return the yardstick's side: a single INSERT."""
    sql = insert(bench.yardstick)
    return lambda number: bench.pool.execute(sql, conversation(bench, number), new_id(), TEXT)


def by_hand_in(bench: Bench) -> Call:
    """Return the yardstick's side: one statement with the same effect."""
    sql = by_hand(bench.yardstick)
    return lambda number: bench.pool.fetchval(sql, conversation(bench, number), new_id(), TEXT, "ada")


async def alone(bench: Bench) -> None:
    """Measure add_message by one caller, against each of the two hand-written statements."""
    ours, bare = adding(bench), inserting(bench)
    compare = partial(bench.compare, unit="ms", adds=1, before=bench.start_anew)
    await compare(
        "add_message alone",
        "one statement by hand",
        ours=bench.latency(ours, 500),
        theirs=bench.latency(by_hand_in(bench), 500),
        bound=Bound("at most", 1.15),
    )
    await compare(
        "add_message alone",
        "a bare INSERT",
        ours=bench.latency(ours, 500),
        theirs=bench.latency(bare, 500),
        bound=Bound("at most", 1.5),
    )
    await compare(
        "add_message alone, 99th percentile",
        "a bare INSERT, 99th percentile",
        ours=bench.latency(ours, 2_000, percentile=99),
        theirs=bench.latency(bare, 2_000, percentile=99),
        bound=Bound("at most", 2),
    )


async def alone_with_the_limit_reached(bench: Bench) -> None:
    """Measure add_message by one caller, where each message removes another one."""
    await bench.compare(
        "add_message alone, the limit reached",
        "one statement by hand",
        "ms",
        bench.latency(adding(bench), 500),
        bench.latency(by_hand_in(bench), 500),
        adds=1,
        before=partial(bench.start_anew, STORAGE_LIMIT),
    )


async def many(
    bench: Bench,
    callers: int,
    what: str,
    *,
    hot: bool = False,
    bound: Bound | None = None,
    before: Before | None = None,
) -> None:
    """Measure the calls per second of many callers on one pool; hot: all for one conversation."""
    ours, theirs = adding(bench), inserting(bench)
    calls = CALLS_AT_ONCE if callers > 1 else 1_000
    await bench.compare(
        f"add_message, {what}",
        "bare INSERTs on the pool",
        "a second",
        bench.throughput((lambda _: ours(0)) if hot else ours, calls, callers),
        bench.throughput((lambda _: theirs(0)) if hot else theirs, calls, callers),
        bound=bound,
        adds=1,
        before=before or bench.start_anew,
    )


async def batches(bench: Bench) -> None:
    """Measure add_messages."""
    storage = bench.storage()
    messages: list[dict[str, object]] = [{"role": "user", "content": TEXT}] * BATCH
    texts = [TEXT] * BATCH

    def add(number: int) -> Awaitable[object]:
        return storage.add_messages(messages, "ada", f"c{number}")

    def bare(number: int) -> Awaitable[object]:
        return bench.pool.execute(insert_many(bench.yardstick), f"c{number}", [new_id() for _ in texts], texts)

    await bench.compare(
        f"add_messages of {BATCH}",
        "one bare INSERT … SELECT unnest",
        "ms",
        bench.latency(add, 100),
        bench.latency(bare, 100),
        bound=Bound("at most", 1.4),
        adds=BATCH,
        before=bench.start_anew,
    )

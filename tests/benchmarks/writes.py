"""
Adding messages:

one caller, many callers, batches, and the import of real dialogues. Everything is synced to disk.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any, Final

from tests.benchmarks._bench import CONVERSATIONS, STORAGE_LIMIT, TEXT, Bench
from tests.benchmarks._measure import Bound, Call, Side, latency, throughput
from tests.dialogues import HAS_REAL, REAL
from voltmem._tables import Tables

CALLERS: Final = (1, 8, 64, 256)
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
    for callers in CALLERS:
        await many(bench, callers, f"{callers} at once, 1,000 conversations")
    full = partial(bench.start_anew, STORAGE_LIMIT)
    await many(bench, 64, "64 at once, 1,000 conversations, the limit reached", before=full)
    await many(bench, 64, "64 at once, one hot conversation", hot=True)
    await batches(bench)
    await imported(bench)


async def on_a_slower_disk(bench: Bench) -> None:
    """Measure many callers with a flush that takes a millisecond longer, as on most disks of a cloud."""
    for callers in (64, 256):
        await many(bench, callers, f"{callers} at once, each flush 1 ms slower")


def conversation(number: int) -> str:
    """Return the id of the conversation for a call: each call uses another one."""
    return f"c{number * 7 % CONVERSATIONS}"


def adding(bench: Bench) -> Call:
    """Return voltmem's side: add_message."""
    storage = bench.storage()
    return lambda number: storage.add_message({"role": "user", "content": TEXT}, "ada", conversation(number))


def inserting(bench: Bench) -> Call:
    """Return the yardstick's side: a single INSERT."""
    sql = insert(bench.yardstick)
    return lambda number: bench.pool.execute(sql, conversation(number), new_id(), TEXT)


async def alone(bench: Bench) -> None:
    """Measure add_message by one caller, against each of the two hand-written statements."""

    def hand(number: int) -> Awaitable[object]:
        return bench.pool.fetchval(by_hand(bench.yardstick), conversation(number), new_id(), TEXT, "ada")

    compare = partial(bench.compare, unit="ms", ours=partial(latency, adding(bench), 500))
    by_hand_alone = partial(compare, yardstick="one statement by hand", theirs=partial(latency, hand, 500))
    await by_hand_alone("add_message alone", bound=Bound("at most", 1.15), before=bench.start_anew)
    await compare(
        "add_message alone",
        "a bare INSERT",
        theirs=partial(latency, inserting(bench), 500),
        bound=Bound("at most", 1.6),
        before=bench.start_anew,
    )
    full = partial(bench.start_anew, STORAGE_LIMIT)
    await by_hand_alone("add_message alone, the limit reached", before=full)


async def many(
    bench: Bench,
    callers: int,
    what: str,
    *,
    hot: bool = False,
    before: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Measure the calls per second of many callers on one pool; hot: all for one conversation."""
    ours, theirs = adding(bench), inserting(bench)
    calls = CALLS_AT_ONCE if callers > 1 else 1_000
    await bench.compare(
        f"add_message, {what}",
        "bare INSERTs on the pool",
        "a second",
        partial(throughput, (lambda _: ours(0)) if hot else ours, calls, callers),
        partial(throughput, (lambda _: theirs(0)) if hot else theirs, calls, callers),
        bound=Bound("at least", 2.5) if what == "64 at once, 1,000 conversations" else None,
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
        partial(latency, add, 100),
        partial(latency, bare, 100),
        bound=Bound("at most", 1.3),
        before=bench.start_anew,
    )


async def imported(bench: Bench) -> None:
    """Measure the import of the real dialogues, if they are beside the checkout."""
    if not HAS_REAL:
        bench.progress.console.print("the real dialogues are not beside the checkout: no row for importing them")
        return
    talks = list(REAL)
    storage = bench.storage(storage_limit=None)

    async def add(number: int) -> None:
        talk = talks[number]
        await storage.ensure_conversation({"id": talk["id"], "user_id": "ada"})
        await storage.add_messages(talk["messages"], "ada", talk["id"])

    async def copy() -> Side:
        started, cpu = time.perf_counter(), time.process_time()
        await copy_all(bench, talks)
        seconds = time.perf_counter() - started
        return Side(len(talks) / seconds, (time.process_time() - cpu) / len(talks) * 1000)

    await bench.compare(
        f"{len(talks):,} real dialogues imported, 16 at once",
        "two COPYs",
        "a second",
        partial(throughput, add, len(talks), 16),
        copy,
        before=bench.start_anew,
        rounds=5,
    )


async def copy_all(bench: Bench, talks: list[dict[str, Any]]) -> None:
    """Store the same dialogues with one COPY for each table, without checks."""
    conversations = [(talk["id"], "agent", "ada") for talk in talks]
    messages = [
        (talk["id"], new_id(), message["role"], *contents(message["content"]), message["type"])
        for talk in talks
        for message in talk["messages"]
    ]
    schema, prefix = bench.yardstick.schema, bench.yardstick.prefix
    async with bench.pool.acquire() as connection, connection.transaction():
        await connection.copy_records_to_table(
            f"{prefix}_conversations",
            schema_name=schema,
            columns=["id", "resource_id", "user_id"],
            records=conversations,
        )
        await connection.copy_records_to_table(
            f"{prefix}_messages",
            schema_name=schema,
            columns=["conversation_id", "message_id", "role", "content", "content_json", "type"],
            records=messages,
        )


def contents(content: object) -> tuple[str, str | None]:
    """Return the values of the two columns of a content."""
    return (content, None) if isinstance(content, str) else ("", json.dumps(content))

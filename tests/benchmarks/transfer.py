"""Whole users and dialogues: the import of real ones, and the export of all that a user has."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any, Final

from tests.benchmarks._bench import Bench
from tests.benchmarks._measure import Bound, Side, throughput
from tests.benchmarks.writes import new_id
from tests.dialogues import HAS_REAL, REAL

MESSAGES: Final = 100


async def run(bench: Bench) -> None:
    """Run all measurements of this module."""
    await imported(bench)
    await exported(bench)


async def imported(bench: Bench) -> None:
    """Measure the import of the real dialogues, if they are beside the checkout."""
    if not HAS_REAL:
        bench.progress.console.print("the real dialogues are not beside the checkout: no row for importing them")
        return
    talks = list(REAL)
    talks = talks[: bench.count(len(talks))]
    storage = bench.storage(storage_limit=None)

    async def add(number: int) -> None:
        talk = talks[number]
        await storage.ensure_conversation({"id": talk["id"], "user_id": "ada"})
        await storage.add_messages(talk["messages"], "ada", talk["id"])

    async def copy() -> Side:
        started = time.perf_counter()
        await copy_all(bench, talks)
        return Side(len(talks) / (time.perf_counter() - started), len(talks))

    await bench.compare(
        f"{len(talks):,} real dialogues imported, 16 at once",
        "two COPYs",
        "a second",
        partial(throughput, add, len(talks), 16),
        copy,
        bound=Bound("at least", 0.5),
        adds=sum(len(talk["messages"]) for talk in talks) / len(talks),
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


async def exported(bench: Bench) -> None:
    """Measure the export of a user with a thousand conversations, against a COPY of the messages."""
    await bench.start_anew(MESSAGES)
    storage, messages = bench.storage(), MESSAGES * bench.conversations

    async def export() -> Side:
        started = time.perf_counter()
        async for _ in storage.export_user("ada"):
            pass
        return Side(messages / (time.perf_counter() - started), messages)

    async def copy() -> Side:
        started = time.perf_counter()
        async with bench.pool.acquire() as connection:
            await connection.copy_from_query(f"SELECT * FROM {bench.ours.messages}", output=ignored)
        return Side(messages / (time.perf_counter() - started), messages)

    await bench.compare(
        f"export of {messages:,} messages",
        "COPY out of the same rows",
        "a second",
        export,
        copy,
        bound=Bound("at least", 0.4),
        rounds=5,
    )


async def ignored(_: bytes) -> None:
    """Take a piece of a COPY, as a file would."""

"""Reading a conversation: its messages, and windows for a model."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from tests.benchmarks._bench import Bench
from tests.benchmarks._measure import Bound
from voltmem._areas.queries import MessageQuery

MESSAGES: Final = 100
WINDOW: Final = 20


async def run(bench: Bench) -> None:
    """Run all measurements of this module."""
    await bench.start_anew(MESSAGES)
    await messages(bench)
    await windows(bench)


async def messages(bench: Bench) -> None:
    """Measure get_messages, against a statement by hand and against its own, sent raw."""
    storage = bench.storage()
    by_hand = (
        "SELECT message_id, role, content, content_json, type, metadata, created_at "
        f"FROM {bench.ours.messages} WHERE conversation_id = $1 AND NOT archived "
        f"ORDER BY created_at DESC, seq DESC LIMIT {MESSAGES}"
    )
    same = [
        MessageQuery(f"c{number}", "ada", limit=MESSAGES, newest_first=True).sql(bench.ours)
        for number in range(bench.conversations)
    ]

    def get(number: int) -> Awaitable[object]:
        return storage.get_messages("ada", f"c{number}")

    def fetch(number: int) -> Awaitable[object]:
        return bench.pool.fetch(by_hand, f"c{number}")

    def fetch_same(number: int) -> Awaitable[object]:
        sql, arguments = same[number]
        return bench.pool.fetch(sql, *arguments)

    raw = {
        "fetch of the same rows": (fetch, Bound("at most", 1.3)),
        "fetch with the same statement": (fetch_same, Bound("at most", 1.25)),
    }
    for yardstick, (call, bound) in raw.items():
        await bench.compare(
            f"get_messages of {MESSAGES}",
            yardstick,
            "ms",
            bench.latency(get, 500),
            bench.latency(call, 500),
            bound=bound,
        )


async def windows(bench: Bench) -> None:
    """Measure an agent's windows, against reading as many messages. A turn is a question and its answer."""
    storage = bench.storage()

    def by_limit(number: int) -> Awaitable[object]:
        return storage.conversation("ada", f"c{number}").messages(limit=WINDOW)

    def by_turns(number: int) -> Awaitable[object]:
        return storage.conversation("ada", f"c{number}").messages(turns=WINDOW // 2)

    def get(number: int) -> Awaitable[object]:
        return storage.get_messages("ada", f"c{number}", limit=WINDOW)

    for argument, call in ((f"limit={WINDOW}", by_limit), (f"turns={WINDOW // 2}", by_turns)):
        await bench.compare(
            f"memory.messages({argument})",
            f"get_messages of {WINDOW}",
            "ms",
            bench.latency(call, 500),
            bench.latency(get, 500),
            bound=Bound("at most", 1.15),
        )

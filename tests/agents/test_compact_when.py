"""A memory that summarises its conversation by itself, beside the turns."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast, get_args

import pytest

from tests.agents.talk import answers, asks, says
from tests.conftest import MakeStorage
from voltmem import CompactWhen, ConversationMemory, InvalidOptionError, Message, PostgresStorage
from voltmem._areas.background import Background
from voltmem.options import OnLimit


async def summarise(messages: list[Message], before: str | None) -> str:
    return f"{before or ''}{len(messages)} messages."


async def turn(memory: ConversationMemory, *messages: dict[str, Any]) -> None:
    await memory.add(says("user", "words " * 20))
    await memory.add_turn([*messages, says("assistant", "words " * 20)])


async def types(memory: ConversationMemory) -> list[str]:
    return [message.type for message in await memory.messages()]


def background(storage: PostgresStorage) -> Background:
    return cast(Background, storage._background)


@pytest.mark.parametrize(
    ("condition", "turns"), [({"messages": 5}, 3), ({"tokens": 150}, 4), ({"when": lambda found: len(found) > 5}, 3)]
)
async def test_compact_when_summarises_after_an_answer(
    storage: PostgresStorage, condition: dict[str, Any], turns: int
) -> None:
    """The answer with which a condition holds begins a summary, and no message before it."""
    rule = CompactWhen(summarise, keep_turns=1, **condition)
    memory = storage.for_user("ada").conversation("c1", compact_when=rule)
    for _ in range(turns - 1):
        await turn(memory)
        await background(storage).wait()
    await memory.add(says("user"))
    await memory.add_turn([asks("a"), answers("a")])
    await background(storage).wait()
    assert "summary" not in await types(memory)

    await ConversationMemory.of(memory).add(says("assistant", "words " * 20))
    await background(storage).wait()

    first, *_ = await memory.messages()
    assert f"{2 * (turns - 1)} messages." in first.text


async def test_compact_when_summarises_before_the_limit_deletes(make_storage: MakeStorage, migrated: str) -> None:
    """A condition that never holds does not let the limit delete what no summary knows; an archive needs no haste."""
    for on_limit in get_args(OnLimit):
        storage = make_storage(storage_limit=12, on_limit=on_limit)
        given: list[str] = []

        def remember(messages: list[Message], before: str | None, given: list[str] = given) -> str:
            given.extend(message.id for message in messages)
            return "so far"

        memory = storage.conversation("ada", on_limit, compact_when=CompactWhen(remember, messages=500, keep_turns=2))
        for number in range(12):
            await turn(memory)
            await background(storage).wait()
            assert len(given) >= 2 * number + 2 - 12 or on_limit == "archive"
        assert ("summary" in await types(memory)) == (on_limit == "delete")


async def test_compact_when_keeps_no_turn_waiting(storage: PostgresStorage) -> None:
    """While a summary is made, messages are added and read as before; one is made at a time."""
    may_end, begun = asyncio.Event(), asyncio.Queue[int]()

    async def slow(messages: list[Message], before: str | None) -> str:
        begun.put_nowait(len(messages))
        await may_end.wait()
        return "done"

    rule = CompactWhen(slow, messages=2, keep_turns=1)
    memory, other = (storage.conversation("ada", id, compact_when=rule) for id in ("c1", "c2"))
    for _ in range(3):
        await turn(memory)
    await turn(storage.conversation("ada", "c1", compact_when=rule))
    await turn(other)
    await turn(other)
    for _ in range(2):
        await begun.get()
    assert "summary" not in await types(memory)

    may_end.set()
    await background(storage).wait()

    assert begun.empty()
    assert [(await types(each))[0] for each in (memory, other)] == ["summary", "summary"]


async def test_close_ends_compactions(storage: PostgresStorage) -> None:
    """close() cancels a summary that is being made, which leaves the window as it was."""
    begun = asyncio.Event()

    async def endless(messages: list[Message], before: str | None) -> str:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    memory = storage.conversation("ada", "c1", compact_when=CompactWhen(endless, messages=2, keep_turns=1))
    await turn(memory)
    await turn(memory)
    await begun.wait()

    await storage.close()

    assert not background(storage)._tasks
    await storage.open()
    assert "summary" not in await types(memory)


async def test_a_failed_compaction_is_logged_once(storage: PostgresStorage, caplog: pytest.LogCaptureFixture) -> None:
    """What fails at each turn is one warning, until it works again; no call raises it."""
    fails = True

    def summarise(messages: list[Message], _: str | None) -> str:
        if fails:
            raise ValueError("no credit")
        return "done"

    memory = storage.conversation("ada", "c1", compact_when=CompactWhen(summarise, messages=2, keep_turns=1))
    with caplog.at_level(logging.WARNING, "voltmem"):
        for _ in range(4):
            await turn(memory)
            await background(storage).wait()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "no credit" in caplog.text
        fails = False
        await turn(memory)
        await background(storage).wait()
        assert (await types(memory))[0] == "summary"
        fails = True
        await turn(memory)
        await turn(memory)
        await background(storage).wait()
    assert len(caplog.records) == 2


async def test_compact_when_is_checked(storage: PostgresStorage) -> None:
    """A rule that cannot work is refused when it is made, and one of a transaction's handle with it."""
    for wrong in ({}, {"tokens": -1}, {"messages": 1.5}, {"tokens": 1, "keep_turns": 0}, {"when": 7}, {"count": "x"}):
        with pytest.raises(InvalidOptionError, match="compact_when"):
            CompactWhen(summarise, **cast(dict[str, Any], wrong))
    with pytest.raises(InvalidOptionError, match="compact_when"):
        CompactWhen(cast(Any, "text"), tokens=1)
    with pytest.raises(InvalidOptionError, match="CompactWhen"):
        storage.conversation("ada", compact_when=cast(Any, summarise))
    async with storage.transaction() as tx:
        with pytest.raises(InvalidOptionError, match="transaction"):
            tx.conversation("ada", compact_when=CompactWhen(summarise, tokens=1))

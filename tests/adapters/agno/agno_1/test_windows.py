"""An agent of Agno 1 whose model is shown windows: a summary, what was recalled, and the messages since."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.adapters.agno.agno_1.sessions import PREFIX, agent
from tests.adapters.agno.fakes import FakeModel
from voltmem import CompactWhen, Message, PostgresStorage, sync
from voltmem.adapters.agno import VoltMemStorage


async def summarise(messages: list[Message], before: str | None) -> str:
    return f"They spoke of {len(messages)} things."


async def compacted(storage: Any) -> None:
    await storage._background.wait()


@pytest.mark.parametrize("way", ["run", "arun", "stream", "astream"])
async def test_a_model_is_shown_the_window_of_the_session(
    dsn: str, schema: str, plain: PostgresStorage, way: str
) -> None:
    """show_windows() puts the summary and what was recalled in the place of Agno's history; nothing of it is stored."""
    blocking = sync.PostgresStorage(dsn, schema=schema, table_prefix=PREFIX, storage_limit=None, search=True)
    rule, model = CompactWhen(summarise, messages=3, keep_turns=1), FakeModel()
    with VoltMemStorage(storage=blocking, user_id="ada", compact_when=rule, recall=True) as store:
        store.create()
        for name in ("ada", "bob"):
            text = f"I bought a {name} coat."
            await asyncio.to_thread(blocking.conversation(name, f"of {name}").add, {"role": "user", "content": text})
        for number in range(3):
            model = FakeModel()
            helper = agent(store, model, add_history_to_messages=number != 1)
            store.keep_inputs(helper)
            store.show_windows(helper)
            question = f"Which coat? {number}"
            if way == "run":
                await asyncio.to_thread(helper.run, question)
            elif way == "arun":
                await helper.arun(question)
            elif way == "stream":
                await asyncio.to_thread(list, helper.run(question, stream=True))
            else:
                [each async for each in await helper.arun(question, stream=True)]
            await asyncio.to_thread(blocking.run, compacted)
    await asyncio.to_thread(blocking.close)

    summary, quote, *others = model.calls[-1]
    assert "They spoke of 2 things." in summary[1]
    assert "a ada coat" in quote[1]
    assert "bob" not in str(model.calls)
    assert [(role, is_history) for role, _, is_history in others] == [
        ("user", True),
        ("assistant", True),
        ("user", False),
    ]
    assert [each.role for each in await plain.get_messages("ada", "s1")] == ["user", "assistant"] * 3

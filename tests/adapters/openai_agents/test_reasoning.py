"""A run of OpenAI Agents gets no item that needs a reasoning which is not there."""

from __future__ import annotations

from typing import Final

import pytest
from agents import Runner
from agents.testing import ScriptedModel, assistant_message

from tests.adapters.openai_agents.runs import (
    CONFIG,
    agent,
    assistant,
    items,
    reasoning,
    user,
    without_id,
)
from voltmem import PostgresStorage
from voltmem.adapters.openai_agents import VoltMemSession

COMPUTER: Final = items(
    user("A coat?"),
    reasoning(1),
    {"type": "computer_call", "id": "cu_1", "call_id": "k1", "pending_safety_checks": [], "status": "completed"},
    {"type": "computer_call_output", "call_id": "k1", "output": {"type": "computer_screenshot"}},
    reasoning(2),
    assistant("Yes.", id="msg_1"),
)


@pytest.mark.parametrize(("limit", "begin"), [(6, 0), (5, 1), (4, 4), (3, 4), (2, 4)])
async def test_a_run_gets_no_call_that_needs_its_id_without_its_reasoning(
    storage: PostgresStorage, limit: int, begin: int
) -> None:
    """A limit within a response leaves such a call out together with its result."""
    await VoltMemSession("c1", storage, user_id="ada").add_items(COMPUTER)
    session = VoltMemSession("c1", storage, user_id="ada", session_settings={"limit": limit})
    model = ScriptedModel([[assistant_message("Yes.")]])

    await Runner.run(agent(model), "Sure?", session=session, run_config=CONFIG)

    assert model.calls[0].input == [*COMPUTER[begin:], user("Sure?")]


@pytest.mark.parametrize("deleted", [0, 1])
async def test_a_run_gets_no_half_of_a_reasoning_and_its_answer(
    session: VoltMemSession, storage: PostgresStorage, deleted: int
) -> None:
    """If somebody has deleted one of them, the other is left out, or is sent without its id."""
    answer = assistant("Yes.", id="msg_1")
    await session.add_items(items(user("A coat?"), reasoning(1), answer))
    ids = await session.item_ids(2)
    await storage.delete_messages([ids[deleted]], "ada", "c1")

    assert await session.get_items() == items(user("A coat?"), *([] if deleted else [without_id(answer)]))


async def test_a_run_gets_no_reasoning_of_an_answer_that_was_edited(
    session: VoltMemSession, storage: PostgresStorage
) -> None:
    """What somebody has written in place of the answer does not follow from its reasoning."""
    await session.add_items(items(user("A coat?"), reasoning(1), assistant("Yes.", id="msg_1")))
    (id,) = await session.item_ids(1)
    await storage.add_message({"id": id, "role": "assistant", "content": "No."}, "ada", "c1")

    assert await session.get_items() == items(user("A coat?"), {"role": "assistant", "content": "No."})

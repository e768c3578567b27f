"""Agents of LangChain that keep a working memory."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from tests.adapters.langchain.scripted import C1, agent, scripted, stored_texts, user_input
from tests.adapters.memories import INJECTED, assert_quoted
from voltmem import EventLoopError, PostgresStorage, sync
from voltmem.adapters.langchain import VoltMemWorkingMemory


@dataclass
class SignedIn:
    user_id: str


class Place(BaseModel):
    city: str


def writing(content: object) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": "update_working_memory", "args": {"content": content}, "id": "k1"}])


def others(request: list[BaseMessage]) -> list[str]:
    """Return the texts of the messages that are not the system's."""
    return [str(message.text) for message in request if message.type != "system"]


async def test_an_agent_keeps_what_it_writes_down(storage: PostgresStorage) -> None:
    """What one run writes, the next run's model is shown as a user's message, and the conversation has none of it."""
    kept = VoltMemWorkingMemory(lambda context: storage.working_memory(context.user_id, author="guide"))
    model = scripted(writing("- likes tea"), "Noted.", "Tea.", "Hello.")
    of_ada = agent(model, storage, then=[kept], context_schema=SignedIn, system_prompt="Be brief.")
    of_bob: Any = create_agent(model, middleware=[kept], context_schema=SignedIn)

    await of_ada.ainvoke(user_input("I like tea."), C1, context=SignedIn("ada"))
    state = await of_ada.ainvoke(user_input("What do I like?"), C1, context=SignedIn("ada"))
    await of_bob.ainvoke(user_input("Hello"), context=SignedIn("bob"))

    _, _, second, last = model.requests
    assert second[1].type == "human"
    assert_quoted(str(second[1].text), "- likes tea")
    assert str(second[0].text).startswith("Be brief.\n\nYou have a working memory of this user")
    assert others(last) == ["Hello"]  # another user's
    assert "<working_memory version" not in str(state["messages"])
    assert "<working_memory version" not in str(await stored_texts(storage))
    [found] = await storage.working_memory("ada").history()
    question, *_ = await storage.get_messages("ada", "c1")
    assert (found.author, found.from_messages) == ("guide", [question.id])


async def test_an_injected_instruction_stays_quoted_data(storage: PostgresStorage) -> None:
    """What was written down is not in the system message, and cannot end its quotation."""
    memory = storage.working_memory("ada")
    await memory.append(INJECTED)
    model = scripted("Hello.")

    await create_agent(model, middleware=[VoltMemWorkingMemory(memory)]).ainvoke(user_input("Hello"))

    assert_quoted(others(model.requests[0])[0], INJECTED)
    assert "eve@" not in str(model.requests[0][0].text)


async def test_a_repeated_call_changes_nothing(storage: PostgresStorage) -> None:
    """When a graph runs the tools of a checkpoint again, their writes are not applied again."""
    memory = storage.working_memory("ada")
    model = scripted(writing("- likes tea"), "Noted.", "Noted.")
    run: Any = create_agent(model, middleware=[VoltMemWorkingMemory(memory)], checkpointer=InMemorySaver())
    await run.ainvoke(user_input("Tea."), C1)
    [before_the_tools] = [state.config async for state in run.aget_state_history(C1) if state.next == ("tools",)]

    state = await run.ainvoke(None, before_the_tools)

    assert "updated (version: 1)" in state["messages"][-2].text
    assert [each.content for each in await memory.history()] == ["- likes tea"]


async def test_calls_of_other_answers_with_the_same_id_are_none_of_them_lost(storage: PostgresStorage) -> None:
    """A model may give its calls the same ids in each answer: each is a write of its own, also in another run."""
    memory = storage.working_memory("ada", schema=Place)
    model = scripted(*(writing({"city": city}) for city in ("Oslo", "Rome", "Oslo")), "Noted.")
    again = scripted(writing({"city": "Rome"}), "Noted.", writing({"city": "Oslo"}), "Noted.")

    for script, runs in ((model, 1), (again, 2)):
        for _ in range(runs):
            await create_agent(script, middleware=[VoltMemWorkingMemory(memory)]).ainvoke(user_input("I move."))

    values = [json.loads(str(each.content))["city"] for each in await memory.history()]
    assert values == ["Oslo", "Rome", "Oslo", "Rome", "Oslo"]


async def test_the_memory_stands_after_a_summary(storage: PostgresStorage) -> None:
    """The system's messages stay together at the beginning of a request: Claude takes them nowhere else."""
    memory = storage.working_memory("ada")
    await memory.append("- likes tea")
    model = scripted("Hello.")
    summary: Any = {"messages": [SystemMessage("They spoke of tea."), *user_input("Hello")["messages"]]}

    await create_agent(model, middleware=[VoltMemWorkingMemory(memory)], system_prompt="Be brief.").ainvoke(summary)

    assert [message.type for message in model.requests[0]] == ["system", "system", "human", "human"]
    assert_quoted(others(model.requests[0])[0], "- likes tea")


async def test_an_asynchronous_memory_does_not_serve_invoke(storage: PostgresStorage) -> None:
    """invoke() with the handle of an asynchronous storage raises EventLoopError, and says what to do."""
    run: Any = create_agent(scripted("Hello."), middleware=[VoltMemWorkingMemory(storage.working_memory("ada"))])

    with pytest.raises(EventLoopError, match="ainvoke"):
        run.invoke(user_input("Hello"))


def test_a_blocking_memory_serves_both_ways(dsn: str, migrated: str) -> None:
    """The handle of a blocking storage serves invoke() and ainvoke()."""
    with sync.PostgresStorage(dsn, schema=migrated) as blocking:
        kept = VoltMemWorkingMemory(blocking.working_memory("ada"))
        model = scripted(writing("- likes tea"), "Noted.", writing("- likes coffee"), "Noted.")
        run: Any = create_agent(model, middleware=[kept])
        run.invoke(user_input("Tea."))
        asyncio.run(run.ainvoke(user_input("Coffee.")))
        found = blocking.working_memory("ada").get()

    assert_quoted(others(model.requests[2])[0], "- likes tea")
    assert found is not None
    assert found.content == "- likes tea\n\n- likes coffee"

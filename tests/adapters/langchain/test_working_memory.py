"""Agents of LangChain that keep a working memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage

from tests.adapters.langchain.scripted import C1, agent, scripted, stored_texts, user_input
from tests.adapters.memories import INJECTED, assert_quoted
from voltmem import EventLoopError, PostgresStorage, sync
from voltmem.adapters.langchain import VoltMemWorkingMemory


@dataclass
class SignedIn:
    user_id: str


def writing(content: str) -> AIMessage:
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
    """A tool call with the same id and arguments is applied once; another call with that id is a call of its own."""
    memory = storage.working_memory("ada")
    model = scripted(writing("- likes tea"), writing("- likes tea"), writing("- likes coffee"), "Noted.")

    await create_agent(model, middleware=[VoltMemWorkingMemory(memory)]).ainvoke(user_input("Tea."))

    assert [each.content for each in await memory.history()] == ["- likes tea\n\n- likes coffee", "- likes tea"]


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

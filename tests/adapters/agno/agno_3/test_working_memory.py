"""Agents of Agno that keep a working memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from agno.agent import Agent
from agno.models.response import ModelResponse
from pydantic import BaseModel

from tests.adapters.agno.fakes import FakeModel
from tests.adapters.memories import INJECTED, assert_quoted
from voltmem import PostgresStorage, sync
from voltmem.adapters.agno import VoltMemDb, VoltMemWorkingMemory


class Place(BaseModel):
    city: str


@dataclass
class Moving(FakeModel):
    """A model that writes one city after the other, and gives each call the same id."""

    cities: list[str] = field(default_factory=list)

    def reply(self, messages: Sequence[Any]) -> ModelResponse:
        if not self.cities:
            return ModelResponse(role="assistant", content="Noted.")
        arguments = json.dumps({"content": {"city": self.cities.pop(0)}})
        function = {"name": "update_working_memory", "arguments": arguments}
        return ModelResponse(role="assistant", tool_calls=[{"id": "call_0", "type": "function", "function": function}])


def writing(content: str) -> str:
    return f"TOOL:update_working_memory {json.dumps({'content': content})}"


def results(model: FakeModel, call: int = -1) -> list[str]:
    """Return the results of tools in a request."""
    return [content for role, content, _ in model.calls[call] if role == "tool"]


async def test_an_agent_keeps_what_it_writes_down(plain: PostgresStorage, db: VoltMemDb) -> None:
    """What one run writes, the next run's model reads; another user's is never seen, nor in the system message."""
    kept = VoltMemWorkingMemory(lambda run: plain.working_memory(run.user_id, author="guide"))
    model = FakeModel()
    agent = Agent(model=model, db=db, tools=[kept])

    await agent.arun(writing("- likes tea"), user_id="ada", session_id="c1")
    await agent.arun("TOOL:get_working_memory", user_id="ada", session_id="c2")
    [result] = results(model)
    await agent.arun("TOOL:get_working_memory", user_id="bob", session_id="c3")

    assert_quoted(result, "- likes tea")
    assert results(model) == ["There is no working memory yet (version: 0)."]  # another user's
    prompts = [str(content) for request in model.calls for role, content, _ in request if role == "system"]
    assert "Read it with get_working_memory before you answer" in prompts[0]
    assert "tea" not in "".join(prompts)
    found = await plain.working_memory("ada").get()
    assert found is not None
    assert found.author == "guide"


async def test_an_injected_instruction_stays_quoted_data(plain: PostgresStorage) -> None:
    """What was written down cannot end its quotation."""
    memory = plain.working_memory("ada")
    await memory.append(INJECTED)
    model = FakeModel()

    await Agent(model=model, tools=[VoltMemWorkingMemory(memory)]).arun("TOOL:get_working_memory")

    [result] = results(model)
    assert_quoted(result, INJECTED)


@pytest.mark.parametrize("names_the_answer", [True, False])
async def test_a_repeated_call_changes_nothing(plain: PostgresStorage, names_the_answer: bool) -> None:
    """When a hook makes a tool call again, its write is not applied again, in older releases of Agno 2 neither."""
    memory = plain.working_memory("ada")

    async def twice(function_call: Any, arguments: dict[str, Any], run_context: Any) -> Any:
        if not names_the_answer:
            run_context.messages = None
        await function_call(**arguments)
        return await function_call(**arguments)

    agent = Agent(model=FakeModel(), tools=[VoltMemWorkingMemory(memory)], tool_hooks=[twice])
    await agent.arun(writing("- likes tea"))

    assert [each.content for each in await memory.history()] == ["- likes tea"]


async def test_calls_of_other_answers_with_the_same_id_are_none_of_them_lost(plain: PostgresStorage) -> None:
    """A model may give its calls the same ids in each answer: each is a write of its own, also in another run."""
    memory = plain.working_memory("ada", schema=Place)

    for cities in (["Oslo", "Rome", "Oslo"], ["Rome"], ["Oslo"]):
        model = Moving(cities=[*cities])
        await Agent(model=model, tools=[VoltMemWorkingMemory(memory)]).arun("I move.")

    values = [json.loads(str(each.content))["city"] for each in await memory.history()]
    assert values == ["Oslo", "Rome", "Oslo", "Rome", "Oslo"]


def test_a_blocking_memory_serves_run(dsn: str, migrated: str) -> None:
    """The handle of a blocking storage serves run(), and that of an asynchronous one says what to do."""
    with sync.PostgresStorage(dsn, schema=migrated) as blocking:
        memory = blocking.working_memory("ada")
        Agent(model=FakeModel(), tools=[VoltMemWorkingMemory(memory)]).run(writing("- likes tea"))
        found = memory.get()
        model = FakeModel()
        wrong = VoltMemWorkingMemory(blocking.asynchronous.working_memory("ada"))
        Agent(model=model, tools=[wrong]).run(writing("- likes coffee"))

    assert found is not None
    assert found.content == "- likes tea"
    assert "call arun()" in results(model)[0]

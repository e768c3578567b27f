"""Agents of the OpenAI Agents SDK that keep a working memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from agents import Agent, RunConfig, Runner
from agents.testing import ScriptedModel, assistant_message, function_call
from pydantic import BaseModel

from tests.adapters.memories import INJECTED, assert_quoted
from voltmem import PostgresStorage
from voltmem.adapters.openai_agents import VoltMemSession, VoltMemWorkingMemory


@dataclass
class SignedIn:
    user_id: str


class Place(BaseModel):
    city: str


def writing(content: object) -> Any:
    return function_call("update_working_memory", json.dumps({"content": content}), call_id="k1")


def keeping(memory: VoltMemWorkingMemory) -> RunConfig:
    return RunConfig(tracing_disabled=True, call_model_input_filter=memory)


async def test_an_agent_keeps_what_it_writes_down(storage: PostgresStorage) -> None:
    """What one run writes, the next run's model is shown as a user's message, and the session stores none of it."""
    memory = VoltMemWorkingMemory(lambda context: storage.working_memory(context.user_id, author="guide"))
    answers = [[writing("- likes tea")], *([assistant_message(text)] for text in ("Noted.", "Tea.", "Hello."))]
    model = ScriptedModel(answers)
    agent = Agent[SignedIn](name="guide", instructions="Be brief.", model=model, tools=memory.tools)
    session = VoltMemSession("c1", storage, user_id="ada")

    for user_id, text in (("ada", "I like tea."), ("ada", "What do I like?")):
        await Runner.run(agent, text, session=session, context=SignedIn(user_id), run_config=keeping(memory))
    await Runner.run(agent, "Hello", context=SignedIn("bob"), run_config=keeping(memory))

    first, _, second, others = model.calls
    assert "working_memory version" not in str(first.input)
    shown = second.input[0]
    assert isinstance(shown, dict)
    assert shown.get("role") == "user"
    assert_quoted(str(shown.get("content")), "- likes tea")
    assert str(second.system_instructions).startswith("Be brief.\n\nYou have a working memory of this user")
    assert [tool.name for tool in second.tools] == ["get_working_memory", "update_working_memory"]
    assert "tea" not in str(others.input)  # another user's
    assert "working_memory version" not in str(await session.get_items())
    found = await storage.working_memory("ada").get()
    assert found is not None
    assert found.author == "guide"


async def test_an_injected_instruction_stays_quoted_data(storage: PostgresStorage) -> None:
    """What was written down is in no instruction, and cannot end its quotation; an agent without the tools has none."""
    handle = storage.working_memory("ada")
    await handle.append(INJECTED)
    memory = VoltMemWorkingMemory(handle)
    model = ScriptedModel([[assistant_message("Hello.")], [assistant_message("Hello.")]])

    for tools in (memory.tools, []):
        agent = Agent(name="guide", instructions="Be brief.", model=model, tools=tools)
        await Runner.run(agent, "Hello", run_config=keeping(memory))

    shown, without = model.calls
    assert isinstance(shown.input[0], dict)
    assert_quoted(str(shown.input[0].get("content")), INJECTED)
    assert "eve@" not in str(shown.system_instructions)
    assert "working_memory" not in f"{without.input} {without.system_instructions}"


async def test_calls_of_other_runs_with_the_same_id_are_none_of_them_lost(storage: PostgresStorage) -> None:
    """A model may give its calls the same ids in each run: each is a write of its own. In one run, the SDK refuses."""
    handle = storage.working_memory("ada", schema=Place)
    memory = VoltMemWorkingMemory(handle, may_clear=True)

    for city in ("Oslo", "Rome", "Oslo"):
        again = [writing({"city": city})]  # which the SDK drops
        model = ScriptedModel([[writing({"city": city})], again, [assistant_message("Noted.")]])
        agent = Agent(name="guide", model=model, tools=memory.tools)
        await Runner.run(agent, "I move.", run_config=keeping(memory))

    values = [json.loads(str(each.content))["city"] for each in await handle.history()]
    assert values == ["Oslo", "Rome", "Oslo"]
    assert [tool.name for tool in memory.tools][2:] == ["clear_working_memory"]


async def test_the_memory_stands_after_a_summary(storage: PostgresStorage) -> None:
    """The system's items stay together at the beginning of a request: some models take them nowhere else."""
    handle = storage.working_memory("ada")
    await handle.append("- likes tea")
    memory = VoltMemWorkingMemory(handle)
    model = ScriptedModel([[assistant_message("Hello.")]])
    items: list[Any] = [{"role": role, "content": "x"} for role in ("system", "developer", "user")]

    await Runner.run(Agent(name="guide", model=model, tools=memory.tools), items, run_config=keeping(memory))

    given: Any = model.calls[0].input
    assert [item["role"] for item in given] == ["system", "developer", "user", "user"]
    assert_quoted(given[2]["content"], "- likes tea")

"""Agents of Pydantic AI that keep a working memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, SystemPromptPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.adapters.memories import INJECTED, assert_quoted
from tests.adapters.pydantic_ai.histories import answered, called
from voltmem import InvalidInputError, PostgresStorage
from voltmem.adapters.pydantic_ai import VoltMemWorkingMemory


@dataclass
class SignedIn:
    user_id: str


class Scripted:
    """A model that answers by its script, and records its requests."""

    def __init__(self, *answers: ModelResponse) -> None:
        self.answers = list(answers)
        self.requests: list[list[ModelMessage]] = []
        self.infos: list[AgentInfo] = []

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.requests.append(messages)
        self.infos.append(info)
        return self.answers.pop(0)


class Place(BaseModel):
    city: str


def writing(content: object) -> ModelResponse:
    return called("k1", "update_working_memory", {"content": content})


def part(name: str) -> SystemPromptPart | UserPromptPart:
    return SystemPromptPart(name) if name == "S" else UserPromptPart(name)


def prompts(messages: Sequence[ModelMessage]) -> list[str]:
    parts = [part for message in messages if isinstance(message, ModelRequest) for part in message.parts]
    return [str(part.content) for part in parts if isinstance(part, UserPromptPart)]


async def test_an_agent_keeps_what_it_writes_down(storage: PostgresStorage) -> None:
    """What one run writes, the next run's model is shown as a user's part, and no message of a result has it."""
    kept = VoltMemWorkingMemory(lambda deps: storage.working_memory(deps.user_id, author="guide"))
    model = Scripted(writing("- likes tea"), answered("Noted."), answered("Tea."), answered("Hello."))
    agent = Agent(FunctionModel(model), deps_type=SignedIn, system_prompt="Be brief.", capabilities=[kept])

    await agent.run("I like tea.", deps=SignedIn("ada"))
    second = await agent.run("What do I like?", deps=SignedIn("ada"))
    await agent.run("Hello", deps=SignedIn("bob"))

    shown, question = prompts(model.requests[2])
    assert_quoted(shown, "- likes tea")
    assert question == "What do I like?"
    assert isinstance(model.requests[2][0].parts[0], SystemPromptPart)
    assert prompts(second.all_messages()) == ["What do I like?"]
    assert prompts(model.requests[3]) == ["Hello"]  # another user's
    assert [tool.name for tool in model.infos[0].function_tools] == ["get_working_memory", "update_working_memory"]
    found = await storage.working_memory("ada").get()
    assert found is not None
    assert found.author == "guide"


async def test_an_injected_instruction_stays_quoted_data(storage: PostgresStorage) -> None:
    """What was written down is in no instruction, and cannot end its quotation."""
    memory = storage.working_memory("ada")
    await memory.append(INJECTED)
    model = Scripted(answered("Hello."))

    await Agent(FunctionModel(model), capabilities=[VoltMemWorkingMemory(memory)]).run("Hello")

    [shown] = [each for each in prompts(model.requests[0]) if "<working_memory" in each]  # one is Pydantic AI's own
    assert_quoted(shown, INJECTED)
    assert "working memory of this user" in str(model.infos[0].instructions)
    assert "eve@" not in str(model.infos[0].instructions)


async def test_a_repeated_call_changes_nothing(storage: PostgresStorage) -> None:
    """When a run is made again under its id, as durable execution does, its writes are not applied again."""
    memory = storage.working_memory("ada")

    for _ in range(2):
        model = FunctionModel(Scripted(writing("- likes tea"), answered("Noted.")))
        await Agent(model, capabilities=[VoltMemWorkingMemory(memory)]).run("Tea.", run_id="r1")

    assert [each.content for each in await memory.history()] == ["- likes tea"]


async def test_calls_of_other_answers_with_the_same_id_are_none_of_them_lost(storage: PostgresStorage) -> None:
    """A model may give its calls the same ids in each answer: each is a write of its own, also in another run."""
    memory = storage.working_memory("ada", schema=Place)

    for cities in (("Oslo", "Rome", "Oslo"), ("Rome",), ("Oslo",)):
        model = FunctionModel(Scripted(*(writing({"city": city}) for city in cities), answered("Noted.")))
        await Agent(model, capabilities=[VoltMemWorkingMemory(memory)]).run("I move.")

    values = [json.loads(str(each.content))["city"] for each in await memory.history()]
    assert values == ["Oslo", "Rome", "Oslo", "Rome", "Oslo"]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (["S", "S", "U"], ["S S M U Q"]),
        (["S S U", "A"], ["S S M U", "A", "Q"]),
        (["S", "A"], ["S M", "A", "Q"]),
        (["A"], ["M", "A", "Q"]),
    ],
)
async def test_the_memory_stands_after_a_summary(
    storage: PostgresStorage, history: list[str], expected: list[str]
) -> None:
    """The system's parts stay together at the beginning of a request: some models take them nowhere else."""
    memory = storage.working_memory("ada")
    await memory.append("- likes tea")
    model = Scripted(answered("Hello."))
    made = [answered("A") if each == "A" else ModelRequest([part(name) for name in each.split()]) for each in history]

    await Agent(FunctionModel(model), capabilities=[VoltMemWorkingMemory(memory)]).run("Q", message_history=made)

    shown = [
        ["M" if "<working" in str(part) else str(getattr(part, "content", "")) for part in each.parts]
        for each in model.requests[0]
    ]
    assert [" ".join(each) for each in shown] == expected


@pytest.mark.parametrize("wrong", [None, "ada", lambda _: "ada"])
async def test_what_is_no_memory_is_refused(wrong: Any) -> None:
    """What is neither a handle nor a function that returns one is refused."""
    with pytest.raises(InvalidInputError, match=r"handle of storage\.working_memory"):
        await Agent(FunctionModel(Scripted()), capabilities=[VoltMemWorkingMemory(wrong)]).run("Hello")


async def test_an_agent_that_only_reads_has_no_tool_that_writes(storage: PostgresStorage) -> None:
    """With read_only, the model can only read, and is not told to write."""
    model = Scripted(answered("Hello."))
    kept = VoltMemWorkingMemory(storage.working_memory("ada"), read_only=True)

    await Agent(FunctionModel(model), capabilities=[kept]).run("Hello")

    assert [tool.name for tool in model.infos[0].function_tools] == ["get_working_memory"]
    assert "Write down" not in str(model.infos[0].instructions)

"""Agents of Pydantic AI that keep a working memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
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


def writing(content: str, id: str = "k1") -> ModelResponse:
    return called(id, "update_working_memory", {"content": content})


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
    """A tool call with the same id and arguments is applied once; another call with that id is a call of its own."""
    memory = storage.working_memory("ada")
    again = [writing("- likes tea"), writing("- likes tea"), writing("- likes coffee"), answered("Noted.")]

    await Agent(FunctionModel(Scripted(*again)), capabilities=[VoltMemWorkingMemory(memory)]).run("Tea.")

    assert [each.content for each in await memory.history()] == ["- likes tea\n\n- likes coffee", "- likes tea"]


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

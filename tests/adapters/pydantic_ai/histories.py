"""Shared by the tests of Pydantic AI: histories, and agents with a scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel

from voltmem import PostgresStorage


def asked(text: str) -> ModelRequest:
    return ModelRequest([UserPromptPart(text)])


def answered(text: str) -> ModelResponse:
    return ModelResponse([TextPart(text)])


def called(id: str, name: str = "weather", args: dict[str, Any] | str | None = None) -> ModelResponse:
    return ModelResponse([ToolCallPart(name, {"city": "Oslo"} if args is None else args, id)])


def returned(id: str, content: object = "rain", name: str = "weather") -> ModelRequest:
    return ModelRequest([ToolReturnPart(name, content, id)])


def turns(count: int, *, first: int = 0) -> list[ModelMessage]:
    """Return *count* turns of four messages, each with a tool call."""
    return [
        message
        for n in range(first, first + count)
        for message in (asked(f"question {n}"), called(f"call{n}"), returned(f"call{n}"), answered(f"answer {n}"))
    ]


def words(messages: Sequence[ModelMessage]) -> list[str]:
    """Return the texts and the names of the tools, one word for each part."""
    return [" ".join(_word(part) for part in message.parts) for message in messages]


def _word(part: Any) -> str:
    return str(part.tool_name) if hasattr(part, "tool_name") else str(part.content)


class Echo:
    """A model that calls the tool, if there is one, and answers with the number of messages that it received."""

    def __init__(self) -> None:
        self.requests: list[list[ModelMessage]] = []

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        self.requests.append(messages)
        last = messages[-1].parts[-1]
        if info.function_tools and isinstance(last, UserPromptPart):
            return ModelResponse([ToolCallPart(info.function_tools[0].name, {"city": "Oslo"}, f"call{len(messages)}")])
        return answered(f"{len(messages)} messages")

    async def stream(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        self.requests.append(messages)
        yield f"{len(messages)} messages"


def agent_of(model: Echo, *, with_tool: bool = False) -> Agent[None, str]:
    agent = Agent(FunctionModel(model), instructions="Be brief.")
    if with_tool:

        @agent.tool_plain
        def weather(city: str) -> str:
            """Return the weather."""
            return f"rain in {city}"

    return agent


BEGUN: list[dict[str, Any]] = [
    {"id": "m1", "role": "system", "content": "Be kind."},
    {
        "id": "m2",
        "role": "user",
        "content": [{"type": "text", "text": "A coat?"}, {"type": "image", "url": "https://x.test/a.png"}],
    },
    {
        "id": "m3",
        "role": "assistant",
        "type": "tool-call",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool-call", "toolCallId": "call1", "toolName": "weather", "args": {"city": "Oslo"}},
        ],
    },
    {
        "id": "m4",
        "role": "tool",
        "type": "tool-result",
        "content": [{"type": "tool-result", "toolCallId": "call1", "toolName": "weather", "result": {"sky": "rain"}}],
    },
    {"id": "m5", "role": "assistant", "content": "Yes."},
]


async def begin_elsewhere(storage: PostgresStorage) -> None:
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Coats"})
    await storage.add_messages(BEGUN, "ada", "c1")

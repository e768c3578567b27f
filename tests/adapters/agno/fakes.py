"""Shared by the tests of both of Agno's protocols: a model with a script."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

os.environ["AGNO_TELEMETRY"] = os.environ["AGNO_MONITOR"] = "false"

from agno.models.base import Model
from agno.models.response import ModelResponse

Script: TypeAlias = Callable[[Sequence[Any]], dict[str, Any]]


def echo(messages: Sequence[Any]) -> dict[str, Any]:
    """Answer "TOOL:<name> <json>" with a tool call, and other messages with what the model received."""
    last = messages[-1]
    text = last.content if isinstance(last.content, str) else str(last.content)
    if last.role == "user" and text.startswith("TOOL:"):
        name, _, arguments = text[5:].partition(" ")
        return {"tool": (name, json.loads(arguments or "{}"))}
    if last.role == "tool":
        return {"content": f"tool said: {text}"}
    seen = [each.content for each in messages if each.role == "user"]
    return {"content": f"seen={len(seen)} last={seen[-1] if seen else None}"}


@dataclass
class FakeModel(Model):
    """A model that answers by its script and records its requests."""

    id: str = "fake"
    name: str | None = "Fake"
    provider: str | None = "Fake"
    script: Script = echo
    calls: list[list[tuple[str, Any, bool]]] = field(default_factory=list)
    """The messages of each request: role, content, whether it is history."""

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def reply(self, messages: Sequence[Any]) -> ModelResponse:
        self.calls.append([(each.role, each.content, bool(each.from_history)) for each in messages])
        reply = self.script(messages)
        response = ModelResponse(role="assistant", content=reply.get("content"))
        if "tool" in reply:
            name, arguments = reply["tool"]
            function = {"name": name, "arguments": json.dumps(arguments)}
            response.tool_calls = [{"id": f"call_{len(self.calls)}", "type": "function", "function": function}]
        return response

    def invoke(self, messages: Any, **_: Any) -> Any:
        return self.reply(messages)

    async def ainvoke(self, messages: Any, **_: Any) -> Any:
        return self.reply(messages)

    def invoke_stream(self, messages: Any, **_: Any) -> Iterator[Any]:
        yield self.reply(messages)

    async def ainvoke_stream(self, messages: Any, **_: Any) -> AsyncIterator[Any]:
        yield self.reply(messages)

    def parse_provider_response(self, response: Any, **_: Any) -> Any:
        return response

    def parse_provider_response_delta(self, response: Any) -> Any:
        return response

    def _parse_provider_response(self, response: Any, **_: Any) -> Any:
        return response

    def _parse_provider_response_delta(self, response: Any) -> Any:
        return response

    def history(self, call: int = -1) -> list[tuple[str, Any]]:
        """Return the messages of earlier runs in a request: role and content."""
        return [(role, content) for role, content, is_history in self.calls[call] if is_history]

    def user_texts(self, call: int = -1) -> list[str]:
        """Return the contents of the user messages in a request."""
        return [content for role, content, _ in self.calls[call] if role == "user"]

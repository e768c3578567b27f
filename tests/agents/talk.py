"""Helpers for the tests of a memory: short calls that make messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.said import written
from voltmem import ConversationMemory
from voltmem.parts import ToolCall, ToolResult

Fields = dict[str, Any]


def says(role: str, text: str = "words", **fields: object) -> Fields:
    return {"role": role, "content": text, **fields}


def asks(*ids: str) -> Fields:
    return {"role": "assistant", "content": [written(ToolCall(id, "search", {})) for id in ids], "type": "tool-call"}


def answers(*ids: str) -> Fields:
    parts = [written(ToolResult(id, "found", "search")) for id in ids]
    return {"role": "tool", "content": parts, "type": "tool-result"}


Verb = Callable[[ConversationMemory], Awaitable[object]]

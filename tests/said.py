"""What messages say, for tests: their calls, their results, and the plain parts of both."""

from __future__ import annotations

from typing import cast

from voltmem.parts import Part, Readable, ToolCall, ToolResult, parts, plain
from voltmem.parts._types import JsonObject


def tool_calls(message: Readable) -> list[ToolCall]:
    return [part for part in parts(message) if isinstance(part, ToolCall)]


def tool_results(message: Readable) -> list[ToolResult]:
    return [part for part in parts(message) if isinstance(part, ToolResult)]


def written(part: Part) -> JsonObject:
    """Return the plain part."""
    (found,) = cast("list[JsonObject]", plain.write([part]))
    return found


def text_part(text: str) -> JsonObject:
    return {"type": "text", "text": text}

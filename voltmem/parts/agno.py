"""
Agno: the messages of a run, and the first message's row, which holds the rest of the run as well.

https://docs.agno.com
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from voltmem.parts._types import (
    JsonObject,
    Part,
    Reasoning,
    Text,
    ToolResult,
    file,
    inline,
    object_of,
    objects,
    string,
)
from voltmem.parts.openai_chat import calls

FAMILY: Final = "agno"

_MEDIA: Final[Mapping[str, str]] = {"images": "image", "audio": "audio", "videos": "video", "files": ""}
_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "model", "tool"})


def is_message(value: JsonObject) -> bool:
    """Return whether Message.to_dict() wrote it."""
    return string(value, "role") in _ROLES and {"from_history", "stop_after_tool_call"} <= value.keys()


def of_row(payload: JsonObject) -> JsonObject:
    """Return the message of a row; the first of a run has it beside the run."""
    return object_of(payload, "message") if "run" in payload and "rows" in payload else payload


def read(message: JsonObject, blocks: Callable[[JsonObject], list[Part]]) -> list[Part]:
    """Return the parts of a message; *blocks* reads those of its content that a provider's form has."""
    content, role = message.get("content"), message.get("role")
    if role in ("tool", "function"):
        # Some models of Agno answer several calls in one message.
        return [_result(each) for each in objects(message.get("tool_calls")) or [message]]
    thought = string(message, "reasoning_content")
    found: list[Part] = [Reasoning(thought)] if thought else []
    if isinstance(content, str):
        found += [Text(content)] if content else []
    for block in [content] if isinstance(content, dict) else objects(content):
        found += blocks(block)
    for key, kind in _MEDIA.items():
        found += [_media(each, kind) for each in objects(message.get(key))]
    return [*found, *calls(message)]


def _result(given: JsonObject) -> Part:
    failed = given.get("tool_call_error") is True
    name = string(given, "tool_name", "name")
    return ToolResult(string(given, "tool_call_id"), given.get("content"), name, "failed" if failed else "answered")


def _media(given: JsonObject, kind: str) -> Part:
    media_type = string(given, "mime_type") or (kind if kind else "")
    name, id = string(given, "filename", "name"), string(given, "id")
    if url := string(given, "url"):
        return replace(file(url, media_type, name), id=id)
    found = inline(string(given, "content"), media_type, name)
    return found if given.get("content") else replace(found, id=id)

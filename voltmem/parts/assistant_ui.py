"""
assistant-ui's own form, of its LocalRuntime: parts in ``content``, a tool's call and result in one part, attachments.

https://www.assistant-ui.com/docs/runtimes/custom/local
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from voltmem.parts._types import (
    BlockReader,
    File,
    JsonObject,
    Other,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    arguments,
    file,
    object_of,
    objects,
    string,
)

FAMILY: Final = "aui/"
FORMAT: Final = "aui/v0"

_ADDRESSES: Final = ("http:", "https:", "data:", "blob:", "voltmem:")


def _text(part: JsonObject) -> list[Part] | None:
    return [Text(string(part, "text"))] if isinstance(part.get("text"), str) else None


def _reasoning(part: JsonObject) -> list[Part] | None:
    return [Reasoning(string(part, "text"))]


def _source(part: JsonObject) -> list[Part] | None:
    if "sourceType" not in part:
        return None
    return [Source(string(part, "url"), string(part, "title"), string(part, "id"), string(part, "mediaType"))]


def _call(part: JsonObject) -> list[Part] | None:
    if "argsText" not in part and "result" not in part and "approval" not in part:
        return None
    call_id, name = string(part, "toolCallId"), string(part, "toolName")
    given = part.get("args")
    if given is None or given == {}:
        given = arguments(string(part, "argsText")) or {}
    approval = object_of(part, "approval")
    if approval.get("approved") is False:
        reason = approval.get("reason")
        return [ToolCall(call_id, name, given, "denied"), ToolResult(call_id, reason, name, "denied")]
    if "result" not in part:
        waiting = (bool(approval) and "approved" not in approval) or "interrupt" in part
        return [ToolCall(call_id, name, given, "waiting" if waiting else "running")]
    failed = part.get("isError") is True
    value: JsonValue = part["result"]
    state: Final = "failed" if failed else "answered"
    return [ToolCall(call_id, name, given, state), ToolResult(call_id, value, name, state)]


def _image(part: JsonObject) -> list[Part] | None:
    address = part.get("image")
    if not isinstance(address, str) or "mimeType" in part or "mediaType" in part:  # which is the AI SDK's
        return None
    return [file(address, "image", string(part, "filename"))]


def _file(part: JsonObject) -> list[Part] | None:
    data, media_type, name = part.get("data"), string(part, "mimeType"), string(part, "filename")
    if not isinstance(data, str) or "mimeType" not in part:
        return None
    return [file(data, media_type, name) if data.startswith(_ADDRESSES) else File(media_type, name, data=data)]


def _audio(part: JsonObject) -> list[Part] | None:
    audio = part.get("audio")
    if not isinstance(audio, dict):
        return None
    media_type, data = f"audio/{string(audio, 'format') or 'wav'}", string(audio, "data")
    return [file(data, media_type) if data.startswith(_ADDRESSES) else File(media_type, data=data)]


BLOCKS: Final[Mapping[str, BlockReader]] = {
    "text": _text,
    "reasoning": _reasoning,
    "source": _source,
    "tool-call": _call,
    "image": _image,
    "file": _file,
    "audio": _audio,
}


def read(message: JsonObject) -> list[Part]:
    """Return the parts of a message, with those of its attachments."""
    content = message.get("content")
    if isinstance(content, str):
        return [Text(content)]
    found: list[Part] = []
    blocks = [
        *objects(content),
        *(each for one in objects(message.get("attachments")) for each in objects(one.get("content"))),
    ]
    for block in blocks:
        reader = BLOCKS.get(string(block, "type"))
        found += (reader(block) if reader else None) or [Other(string(block, "type"), block)]
    return found

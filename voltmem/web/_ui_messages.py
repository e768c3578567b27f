"""
Converting messages to the Vercel AI SDK's UIMessages, and back.

A UIMessage that a front end stored comes back unchanged. The parts of a UIMessage change with the SDK's releases, so
only those that other readers understand are converted. A message from another writer is converted: text, reasoning,
files, and tool calls with their results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from pydantic import JsonValue

from voltmem._parts import ToolCall, ToolResult, call_part, result_part, text_part, tool_calls, tool_results
from voltmem._values import JsonObject
from voltmem.models import NativeMessage

FAMILY: Final = "ai-sdk/"
FORMAT: Final = "ai-sdk/v7"

_NOT_SAID: Final = frozenset(
    {"tool-call", "tool_call", "tool_use", "function_call", "tool-result", "tool_result", "function_call_output"}
)
_REASONING: Final = frozenset({"reasoning", "thinking"})
# Calls without a result so far, by id.
_Waiting: TypeAlias = dict[str, JsonObject]


# --- from stored values -------------------------------------------------------------------------------------------


def ui_messages(messages: Iterable[NativeMessage]) -> list[JsonObject]:
    """Convert messages to UIMessages. A tool result joins the part of its call; it is no message of its own."""
    found: list[JsonObject] = []
    waiting: _Waiting = {}
    for message in messages:
        if is_own(message) and isinstance(message.payload, dict):
            found.append({"id": message.id, **message.payload})
            continue
        parts: list[JsonValue] = [*_said(message), *_tools(message, waiting)]
        if parts:
            found.append({"id": message.id, "role": _role(message), **_metadata(message), "parts": parts})
    return found


def is_own(message: NativeMessage) -> bool:
    """Whether a front end with any release of the AI SDK stored the message."""
    return (message.format or "").startswith(FAMILY)


def _role(message: NativeMessage) -> str:
    if message.role == "user":
        return "user"
    return "system" if message.role in ("system", "developer") else "assistant"


def _metadata(message: NativeMessage) -> JsonObject:
    return {"metadata": message.metadata} if message.metadata else {}


def _said(message: NativeMessage) -> Iterator[JsonObject]:
    content = message.content
    if isinstance(content, list):
        yield from (said for part in content if (said := _said_in(part)) is not None)
    elif not tool_results(message) and not tool_calls(message) and message.text:
        yield text_part(message.text)


def _said_in(part: JsonValue) -> JsonObject | None:
    if isinstance(part, str):
        return text_part(part)
    if not isinstance(part, dict):
        return None
    type, text, url = part.get("type"), part.get("text", part.get("thinking")), part.get("url")
    if type in _NOT_SAID:
        return None
    if isinstance(text, str):
        return {"type": "reasoning", "text": text} if type in _REASONING else text_part(text)
    if type == "file" and isinstance(url, str) and isinstance(part.get("mediaType"), str):
        return part
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return {"type": "file", "mediaType": "image", "url": url} if isinstance(url, str) else None


def _tools(message: NativeMessage, waiting: _Waiting) -> Iterator[JsonObject]:
    for number, call in enumerate(tool_calls(message)):
        part = _tool(call.id or f"{message.id}:{number}", call.name, call.args)
        waiting[str(part["toolCallId"])] = part
        yield part
    for number, result in enumerate(tool_results(message)):
        # A result without a call id belongs to the oldest open call.
        key = result.id or next(iter(waiting), "")
        if key in waiting:
            waiting.pop(key).update(_answer(result))
        else:
            yield _tool(result.id or f"{message.id}:{number}", result.name, None) | _answer(result)


def _tool(id: str, name: str, input: JsonValue) -> JsonObject:
    kind: JsonObject = {"type": f"tool-{name}"} if name else {"type": "dynamic-tool", "toolName": ""}
    return {**kind, "toolCallId": id, "state": "input-available", "input": input}


def _answer(result: ToolResult) -> JsonObject:
    return {"state": "output-available", "output": result.result}


# --- to stored values ---------------------------------------------------------------------------------------------


def native_message(id: str, payload: JsonObject, *, format: str, parent_id: str | None = None) -> NativeMessage:
    """
    Convert a front end's message for storage: the plain message, and the front end's own form as its payload.

    Raises:
        InvalidInputError: The message cannot be stored.
    """
    plain = _plain(payload)
    return NativeMessage.of(
        {
            "id": id,
            "role": _text(payload, "role") or "assistant",
            "content": plain,
            "format": format,
            "payload": {name: value for name, value in payload.items() if name != "id"},
            "parent_id": parent_id,
        }
    )


def _plain(payload: JsonObject) -> JsonValue:
    """Return what other readers see: a text, or parts. Reasoning is left out."""
    given = payload.get("parts", payload.get("content"))
    if not isinstance(given, list):
        return given if isinstance(given, str) else ""
    parts = [plain for part in given if isinstance(part, dict) for plain in _plain_parts(part)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return list(parts) if parts else ""


def _plain_parts(part: JsonObject) -> Iterator[JsonObject]:
    type = _text(part, "type")
    if type == "text":
        yield text_part(_text(part, "text"))
    elif type == "file":
        yield part
    elif type == "dynamic-tool" or type.startswith("tool-"):
        name = _text(part, "toolName") if type == "dynamic-tool" else type.removeprefix("tool-")
        call_id, state = _text(part, "toolCallId"), part.get("state")
        yield call_part(ToolCall(call_id, name, part.get("input")))
        if state in ("output-available", "output-error"):
            result = part.get("output") if state == "output-available" else part.get("errorText")
            yield result_part(ToolResult(call_id, name, result))


def _text(values: JsonObject, name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""

"""
The plain form, which every reader of the database understands: text, or a list of parts as VoltAgent stores them.

It is derived from a message's parts where a message is stored in a framework's own form as well. Bytes and signatures
stay in that form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from voltmem._values import is_storable
from voltmem.parts import openai_chat
from voltmem.parts._types import (
    BASE64_URL,
    FILE_URL,
    JSON,
    STEP,
    File,
    JsonObject,
    Other,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    string,
)
from voltmem.parts.ai_sdk import APPROVAL_REQUEST, APPROVAL_RESPONSE, TOOL_CALL, TOOL_RESULT

# A tool's message may have a person's approval, which is no result.
_APPROVALS: Final = frozenset({APPROVAL_REQUEST, APPROVAL_RESPONSE, "mcp_approval_response"})
_TOOLS: Final = ("tool", "function")
_IDS: Final = ("toolCallId", "tool_call_id", "tool_use_id", "call_id")

# Objects are not text, but their strings and numbers are, without what is for programs.
_FOR_PROGRAMS: Final = frozenset({"type", "id", "toolCallId", "tool_call_id", "tool_use_id", "call_id"})
# A longer string without a space is no text that a person reads: bytes in base64, a token.
_LONGEST_WORD: Final = 1000
# The fields of blocks that have bytes in base64, and those that say of which media type they are.
_BYTES: Final = frozenset({"data", "base64"})
_MEDIA_TYPES: Final = ("mimeType", "mime_type", "mediaType", "media_type")


def read(
    role: str,
    type: str,
    content: JsonValue,
    metadata: Mapping[str, JsonValue],
    blocks: Callable[[JsonObject], list[Part]],
) -> list[Part]:
    """Return the parts of a plain message; *blocks* reads an object in the content."""
    if type in ("reasoning", "thinking") and isinstance(content, str):
        return [Reasoning(content)]
    found = _content(role, content, blocks)
    if type == "text" and isinstance(content, str) and not metadata and role not in _TOOLS:  # nearly every message
        return found
    has_result = any(isinstance(part, ToolResult) or is_approval(part) for part in found)
    if not has_result and (role in _TOOLS or type == TOOL_RESULT):
        return [ToolResult(string(metadata, *_IDS), content, string(metadata, "toolName", "name"))]
    has_call = any(isinstance(part, ToolCall) for part in found)
    if not has_call:  # calls in the content may be repeated in the metadata
        beside = openai_chat.calls(metadata) if "tool_calls" in metadata else []
        if not beside and type == TOOL_CALL:
            return [ToolCall("", "", None)]
        found += beside
    return found


def is_approval(part: Part) -> bool:
    """Return whether it is a request for a person's approval of a call, or a yes; a no is a result."""
    return isinstance(part, Other) and part.type in _APPROVALS


def _content(role: str, content: JsonValue, blocks: Callable[[JsonObject], list[Part]]) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)] if content else []
    if isinstance(content, list):
        found: list[Part] = []
        for each in content:
            if isinstance(each, str):
                found.append(Text(each))
            else:
                found += blocks(each) if isinstance(each, dict) else [Other(JSON, each)]
        return found
    if not isinstance(content, dict):
        return [] if content is None else [Other(JSON, content)]
    if "tool_calls" in content or "function_call" in content:
        return openai_chat.read({**content, "role": "assistant"})
    if role in _TOOLS and "type" not in content and string(content, *_IDS):
        value = next((content[key] for key in ("result", "output", "content") if key in content), None)
        return [ToolResult(string(content, *_IDS), value, string(content, "toolName", "name"))]
    return blocks(content)


# --- the way back ---------------------------------------------------------------------------------------------------


def derive(role: str, parts: Sequence[Part], *, with_reasoning: bool = False) -> tuple[str, JsonValue]:
    """Return the type and the content of the plain message that says these parts."""
    content = write(parts, with_reasoning=with_reasoning)
    calls = {part.id for part in parts if isinstance(part, ToolCall)}
    results = {part.call_id for part in parts if isinstance(part, ToolResult)}
    says = any(isinstance(part, Text | File | Source) for part in parts)
    if calls - results or (calls and not says):
        return TOOL_CALL, content
    if results and not calls and not (role == "user" and says):
        return TOOL_RESULT, content
    if not says and any(isinstance(part, Reasoning) for part in parts):
        return "reasoning", content
    others = [part.type for part in parts if isinstance(part, Other) and part.type not in (STEP, JSON)]
    if says or not others:
        return "text", content
    return others[0] if is_storable(others[0]) else "item", content


def derive_beside(role: str, parts: Iterable[Part]) -> tuple[str, JsonValue]:
    """Return the same, beside the framework's own form: without the bytes in tools' results, which that form has."""
    kept = [replace(each, value=without_bytes(each.value)) if isinstance(each, ToolResult) else each for each in parts]
    return derive(role, kept)


def write(parts: Iterable[Part], *, with_reasoning: bool = False) -> JsonValue:
    """
    Return the content: a string if there is only text, else a list.

    *with_reasoning*: for a message that has no other form; otherwise reasoning is written where there is nothing else.
    """
    parts = list(parts)
    written: list[JsonValue] = _written(parts, with_reasoning=with_reasoning) or _written(parts, with_reasoning=True)
    if not written:
        written = [{"type": each.type} for each in parts if isinstance(each, Other) and each.type not in (STEP, JSON)]
    match written:
        case []:
            found = [each.value for each in parts if isinstance(each, Other) and each.type == JSON]
            return found[0] if len(found) == 1 else found or ""
        case [{"type": "text", "text": str(text)}]:
            return text
        case _:
            return written


def _written(parts: Sequence[Part], *, with_reasoning: bool) -> list[JsonValue]:
    shown = parts if with_reasoning else [each for each in parts if not isinstance(each, Reasoning)]
    return [written for each in shown if (written := _write(each)) is not None]


def _write(part: Part) -> JsonObject | None:
    if isinstance(part, Text | Reasoning):
        return {"type": "text" if isinstance(part, Text) else "reasoning", "text": part.text}
    if isinstance(part, ToolCall):
        call: JsonObject = {"type": TOOL_CALL, "toolCallId": part.id, "toolName": part.name, "args": part.arguments}
        call = {**call, "dynamic": True} if part.is_dynamic else call
        return {**call, "state": "waiting"} if part.state == "waiting" else call
    if isinstance(part, ToolResult):
        result: JsonObject = {
            "type": TOOL_RESULT,
            "toolCallId": part.call_id,
            "toolName": part.name,
            "result": part.value,
        }
        return result if part.state == "answered" else {**result, "isError": True, "state": part.state}
    if isinstance(part, File):
        named: JsonObject = {"mediaType": part.media_type, "filename": part.name, "url": part.url, "id": part.id}
        return {"type": "file", **{key: value for key, value in named.items() if value}}
    if isinstance(part, Source):
        kind = "source-url" if part.url else "source-document"
        told: JsonObject = {"sourceId": part.id, "url": part.url, "title": part.title, "mediaType": part.media_type}
        return {"type": kind, **{key: value for key, value in told.items() if value}}
    return None


def without_bytes(value: JsonValue) -> JsonValue:
    """Return a tool's result without the bytes of files."""
    if isinstance(value, str):
        return "" if BASE64_URL.match(value) else value
    if isinstance(value, list):
        return [without_bytes(each) for each in value]
    if not isinstance(value, dict):
        return value
    bytes = _bytes_of(value)
    return {name: without_bytes(each) for name, each in value.items() if name not in bytes}


def bytes_in(value: JsonValue) -> Iterator[str]:
    """Yield the bytes of files in a tool's result: what without_bytes() leaves out."""
    if isinstance(value, str):
        if BASE64_URL.match(value):
            yield value
    elif isinstance(value, list):
        for each in value:
            yield from bytes_in(each)
    elif isinstance(value, dict):
        bytes = _bytes_of(value)
        for name, each in value.items():
            yield from (str(each),) if name in bytes else bytes_in(each)


def _bytes_of(block: JsonObject) -> set[str]:
    """Return the names of the fields of a block that have bytes in base64."""
    return block.keys() & _BYTES if any(name in block for name in _MEDIA_TYPES) else set()


def has_only_results(content: object) -> bool:
    """Return whether a message's content is a list of tools' results, as in Anthropic's form and ModelMessages."""
    if not isinstance(content, list) or not content:
        return False
    return all(isinstance(block, dict) and block.get("type") in (TOOL_RESULT, "tool_result") for block in content)


# --- the text -------------------------------------------------------------------------------------------------------


def text(parts: Iterable[Part]) -> str:
    """
    Return what a person reads: the texts, one a line; without any, the strings of results and of other JSON.

    Reasoning, calls, files and sources are no text.
    """
    parts = list(parts)
    texts = [part.text for part in parts if isinstance(part, Text)]
    if texts:
        return "\n".join(texts)
    values = [
        part.value for part in parts if isinstance(part, ToolResult) or (isinstance(part, Other) and part.type == JSON)
    ]
    return "\n".join(leaf for value in values for leaf in _leaves(value))


def as_text(part: Part) -> Part:
    """Return JSON that is no part of a form as the text that a person reads in it, any other part as it is."""
    if not isinstance(part, Other) or part.type != JSON:
        return part
    return Text("\n".join(_leaves(part.value)))


def _leaves(value: JsonValue) -> Iterator[str]:
    if isinstance(value, dict):
        value = [item for key, item in value.items() if key not in _FOR_PROGRAMS]
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str):
        is_text = len(value) <= _LONGEST_WORD or any(map(str.isspace, value[:_LONGEST_WORD]))
        if is_text and not value.startswith(FILE_URL) and not BASE64_URL.match(value):
            yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)

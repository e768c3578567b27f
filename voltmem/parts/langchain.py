"""
LangChain: messages as message_to_dict() writes them, and LangChain's own content blocks.

https://docs.langchain.com/oss/python/langchain/messages
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from voltmem.parts._types import (
    BlockReader,
    File,
    JsonObject,
    Other,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    arguments,
    file,
    inline,
    objects,
    string,
)

FORMAT: Final = "langchain"

# The fields of a file in the AI SDK's and assistant-ui's forms, which use the same types.
_OF_OTHERS: Final = frozenset({"mediaType", "mimeType"})
_KINDS: Final = frozenset({"human", "ai", "system", "tool", "function", "chat", "developer"})


def is_message(value: JsonObject) -> bool:
    """Return whether message_to_dict() or model_dump() wrote it."""
    return string(value, "type") in _KINDS and (isinstance(value.get("data"), dict) or _is_dump(value))


def _is_dump(value: JsonObject) -> bool:
    return "content" in value and "role" not in value and isinstance(value.get("additional_kwargs"), dict)


def as_stored(message: JsonObject) -> JsonObject:
    """Return what message_to_dict() writes, of what model_dump() has written."""
    return {"type": message.get("type"), "data": message} if _is_dump(message) else message


def role(message: JsonObject) -> str:
    """Return who speaks."""
    kind = string(message, "type")
    data = message.get("data")
    if kind == "chat" and isinstance(data, dict):
        return string(data, "role") or "user"
    return {"human": "user", "ai": "assistant", "function": "tool"}.get(kind, kind)


def _reasoning(block: JsonObject) -> list[Part] | None:
    return [Reasoning(string(block, "reasoning"))] if "reasoning" in block else None


def _media(block: JsonObject) -> list[Part] | None:
    if not _OF_OTHERS.isdisjoint(block):
        return None
    kind, name = string(block, "type"), string(block, "filename", "name")
    media_type = string(block, "mime_type") or (kind if kind in ("image", "audio", "video") else "")
    if data := string(block, "base64"):
        return [inline(data, media_type, name)]
    # Until version 1.0 a source_type says which field has it.
    if block.get("source_type") == "base64":
        return [inline(string(block, "data"), media_type, name)]
    if url := string(block, "url"):
        return [file(url, media_type, name)]
    if id := string(block, "file_id") or (string(block, "id") if block.get("source_type") == "id" else ""):
        return [File(media_type, name, id=id)]
    return None


def _plain_text(block: JsonObject) -> list[Part] | None:
    return [File(string(block, "mime_type") or "text/plain", string(block, "title")), Text(string(block, "text"))]


def _call(block: JsonObject) -> list[Part] | None:
    executed = block.get("type") == "server_tool_call"
    given = arguments(block.get("args", block.get("input")))
    return [ToolCall(string(block, "id"), string(block, "name"), given, provider_executed=executed)]


def _result(block: JsonObject) -> list[Part] | None:
    failed = block.get("status") == "error"
    return [ToolResult(string(block, "tool_call_id"), block.get("output"), state="failed" if failed else "answered")]


BLOCKS: Final[Mapping[str, BlockReader]] = {
    "reasoning": _reasoning,
    "image": _media,
    "audio": _media,
    "video": _media,
    "file": _media,
    "text-plain": _plain_text,
    "tool_call": _call,
    "tool_call_chunk": _call,
    "invalid_tool_call": _call,
    "server_tool_call": _call,
    "server_tool_result": _result,
}


def read(message: JsonObject, blocks: Callable[[JsonObject], list[Part]]) -> list[Part]:
    """Return the parts of a message; *blocks* reads those of its content that a provider's form has."""
    data = message.get("data")
    if not isinstance(data, dict):
        return []
    content = data.get("content")
    said: list[Part] = [Text(content)] if isinstance(content, str) and content else []
    if message.get("type") in ("tool", "function"):
        failed = data.get("status") == "error"
        state: Final = "failed" if failed else "answered"
        return [ToolResult(string(data, "tool_call_id"), content, string(data, "name"), state)]
    if isinstance(content, list):
        for block in content:
            said += [Text(block)] if isinstance(block, str) else blocks(block) if isinstance(block, dict) else []
    called = [*objects(data.get("tool_calls")), *objects(data.get("invalid_tool_calls"))]
    if called:  # the content of some providers repeats them, in the provider's form
        said = [part for part in said if not isinstance(part, ToolCall) or part.provider_executed]
    return [*said, *(each for one in called for each in _call(one) or [Other("tool_call", one)])]

"""
Google's Gemini API: a content has parts, and each part one field: text, a function's call or response, data, a file.

https://ai.google.dev/api/caching#Content
"""

from __future__ import annotations

from typing import Final

from voltmem.parts._types import (
    JsonObject,
    Other,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    file,
    inline,
    object_of,
    objects,
    string,
)

FORMAT: Final = "gemini"
PROVIDER: Final = "google"

_CODE: Final = "code_execution"
FIELDS: Final = frozenset(
    {"text", "inlineData", "inline_data", "fileData", "file_data", "functionCall", "function_call", "functionResponse"}
    | {"function_response", "executableCode", "executable_code", "codeExecutionResult", "code_execution_result"}
)


def is_message(value: JsonObject) -> bool:
    """Return whether it is a content: its parts have no type, but one of Gemini's fields."""
    parts = value.get("parts")
    if value.get("role", "user") not in ("user", "model", "function", "tool", "system") or not isinstance(parts, list):
        return False
    return bool(parts) and all(isinstance(part, dict) and "type" not in part and FIELDS & part.keys() for part in parts)


def role(content: JsonObject) -> str:
    """Return who speaks: what only has responses of functions is a tool's."""
    parts = objects(content.get("parts"))
    if parts and all(object_of(part, "functionResponse", "function_response") for part in parts):
        return "tool"
    given = string(content, "role") or "user"
    return {"model": "assistant", "function": "tool"}.get(given, given)


def read(content: JsonObject) -> list[Part]:
    """Return the parts of a content."""
    return [each for part in objects(content.get("parts")) for each in _read(part)]


def _read(part: JsonObject) -> list[Part]:
    signature = string(part, "thoughtSignature", "thought_signature")
    if isinstance(text := part.get("text"), str):
        opaque: JsonObject = {"thought_signature": signature} if signature else {}
        return [Reasoning(text, PROVIDER, opaque) if part.get("thought") is True else Text(text)]
    if call := object_of(part, "functionCall", "function_call"):
        thought: list[Part] = [Reasoning("", PROVIDER, {"thought_signature": signature})] if signature else []
        return [*thought, ToolCall(string(call, "id"), string(call, "name"), object_of(call, "args"))]
    if response := object_of(part, "functionResponse", "function_response"):
        given = object_of(response, "response")
        failed = set(given) == {"error"}
        value = (
            given.get("error")
            if failed
            else given.get("result", given.get("output", given))
            if len(given) == 1
            else given
        )
        return [ToolResult(string(response, "id"), value, string(response, "name"), "failed" if failed else "answered")]
    if code := object_of(part, "executableCode", "executable_code"):
        return [ToolCall(string(code, "id"), _CODE, code, provider_executed=True)]
    if ended := object_of(part, "codeExecutionResult", "code_execution_result"):
        failed = string(ended, "outcome") not in ("OUTCOME_OK", "")
        value = string(ended, "output")
        return [ToolResult(string(ended, "id"), value, _CODE, "failed" if failed else "answered")]
    if data := object_of(part, "inlineData", "inline_data"):
        name = string(data, "displayName", "display_name")
        return [inline(string(data, "data"), string(data, "mimeType", "mime_type"), name)]
    if there := object_of(part, "fileData", "file_data"):
        name, url = string(there, "displayName", "display_name"), string(there, "fileUri", "file_uri")
        return [file(url, string(there, "mimeType", "mime_type"), name)]
    return [Other(next(iter(part), ""), part)]

"""
Pydantic AI: a ModelRequest or a ModelResponse as ModelMessagesTypeAdapter writes it.

https://ai.pydantic.dev/message-history/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from pydantic import JsonValue

from voltmem.parts import anthropic, gemini, openai_chat
from voltmem.parts._types import (
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
    json_text,
    known_by,
    object_of,
    objects,
    string,
)

FORMAT: Final = "pydantic-ai"

_REFUSED: Final = (
    "Your previous response failed the application's validation "
    "(this is automated feedback, not a message from the user):"
)
_CALLS: Final = frozenset({"tool-call", "builtin-tool-call", "native-tool-call"})
_RETURNS: Final = frozenset({"tool-return", "builtin-tool-return", "native-tool-return"})
_OUTCOMES: Final = {"failed": "failed", "error": "failed", "retried": "failed", "denied": "denied"}
_FEEDBACK: Final = frozenset({"retry-feedback", "retry-prompt"})  # the latter is that of older releases
_KINDS: Final = {"image-url": "image", "audio-url": "audio", "video-url": "video", "document-url": ""}
# Their names for a provider whose reasoning only this provider reads.
_PROVIDERS: Final = {"google-gla": "google", "google-vertex": "google", "azure": "openai"}


def is_message(value: JsonObject) -> bool:
    """Return whether it is a request or a response."""
    return value.get("kind") in ("request", "response") and isinstance(value.get("parts"), list)


def role(message: JsonObject) -> str:
    """Return who speaks: the model, the user, or else the tools, or else what checks the output, or else the system."""
    if message.get("kind") == "response":
        return "assistant"
    kinds = {string(part, "part_kind") for part in objects(message.get("parts"))}
    if not kinds.isdisjoint(_RETURNS):
        return "tool"
    if "user-prompt" in kinds:
        return "user"
    if any(_is_of_tool(part) for part in objects(message.get("parts"))):
        return "tool"
    # Neither the user's nor the system's words: they may quote what the model has said.
    return "system" if kinds.isdisjoint(_FEEDBACK) else "validator"


def _is_of_tool(part: JsonObject) -> bool:
    return part.get("part_kind") == "retry-prompt" and bool(string(part, "tool_name"))


def read(message: JsonObject) -> list[Part]:
    """Return the parts of a message. Instructions are no parts: nobody says them."""
    parts = objects(message.get("parts"))
    if role(message) == "system":
        prompts = [string(part, "content") for part in parts if part.get("part_kind") == "system-prompt"]
        return [Text("\n\n".join(prompts))] if prompts else [each for part in parts for each in _read(part)]
    # Beside what a user or a tool says, the system's words are nobody's.
    return [each for part in parts if part.get("part_kind") != "system-prompt" for each in _read(part)]


def _read(part: JsonObject) -> Iterator[Part]:
    kind, content, call_id, name = (
        string(part, "part_kind"),
        part.get("content"),
        string(part, "tool_call_id"),
        string(part, "tool_name"),
    )
    if kind == "text" and isinstance(content, str):
        yield Text(content)
    elif kind == "speech":
        yield Text(string(part, "transcript"))
    elif kind == "user-prompt":
        for item in content if isinstance(content, list) else [content]:
            yield from said(item)
    elif kind == "thinking":
        provider = string(part, "provider_name")
        maker = _PROVIDERS.get(provider, provider)
        yield Reasoning(content if isinstance(content, str) else "", maker, _opaque(part, maker))
    elif kind in _CALLS:
        yield ToolCall(call_id, name, arguments(part.get("args")), provider_executed=kind != "tool-call")
    elif kind in _RETURNS:
        outcome = _OUTCOMES.get(string(part, "outcome"))
        yield ToolResult(
            call_id, content, name, "denied" if outcome == "denied" else "failed" if outcome else "answered"
        )
    elif _is_of_tool(part):
        yield ToolResult(call_id, content, name, "failed")
    elif kind in _FEEDBACK:
        yield Text(_feedback(content))
    elif kind == "file":
        yield from said(content)
    else:
        yield Other(kind, part)


def _opaque(part: JsonObject, provider: str) -> JsonObject:
    """Return what the provider wants back, by its own names: all of them are the signature here."""
    signature = part.get("signature")
    if provider == openai_chat.PROVIDER:
        given: JsonObject = {"id": part.get("id"), "encrypted_content": signature}
    elif provider == anthropic.PROVIDER and part.get("id") == "redacted_thinking":
        given = {"data": signature}
    elif provider == gemini.PROVIDER:
        given = {"thought_signature": signature}
    else:
        given = {"signature": signature}
    return {name: value for name, value in given.items() if value is not None}


def _feedback(content: JsonValue) -> str:
    """Return why the output of the model was refused, in the frame in which the framework shows it to the model."""
    tag = "retry_feedback" if isinstance(content, str) else "validation_errors"
    errors = [{name: value for name, value in error.items() if name != "ctx"} for error in objects(content)]
    shown = content if isinstance(content, str) else json_text([*errors])
    return f"{_REFUSED}\n<pyai:{tag}>\n{shown}\n</pyai:{tag}>"


def said(item: JsonValue) -> Iterator[Part]:
    """Yield the parts of what a user says, or of an item in a tool's result."""
    if isinstance(item, str):
        yield Text(item)
    elif isinstance(item, dict):
        kind = string(item, "kind")
        media_type, id = string(item, "media_type"), string(item, "identifier")
        name = string(object_of(item, "vendor_metadata"), "filename")
        if isinstance(text := item.get("content"), str):
            yield Text(text)
        elif kind == "binary":
            found = inline(string(item, "data"), media_type, name)
            # Its bytes are in URL-safe base64; everybody else reads the standard alphabet.
            yield replace(found, data=found.data.replace("-", "+").replace("_", "/"))
        elif kind in _KINDS:
            yield file(string(item, "url"), media_type or _KINDS[kind], name)
        elif kind == "uploaded-file":
            maker = _PROVIDERS.get(string(item, "provider_name"), string(item, "provider_name"))
            yield known_by(maker, string(item, "file_id") or id, File(media_type, name))
        else:
            yield Other(kind, item)

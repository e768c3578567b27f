"""
Readers of other programs' files for import_conversations(): ChatGPT's export, and messages in OpenAI's form.

No database is involved. Details of an unexpected shape are left out; anything else is an InvalidInputError that says
where it is. A file is in memory as a whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, TypeAlias, cast

from pydantic import JsonValue

from voltmem._areas.transfer.models import ImportedConversation
from voltmem._values import (
    MAX_ID_BYTES,
    JsonObject,
    check_id,
    check_time,
    is_storable,
    json_value,
    jsonb_copy,
    short_repr,
    storable_text,
    strip_bom,
)
from voltmem.errors import InvalidInputError
from voltmem.models import Message
from voltmem.parts import ToolCall, ToolResult, openai_chat, plain
from voltmem.parts._types import objects
from voltmem.parts.ai_sdk import TOOL_CALL, TOOL_RESULT

__all__ = ["from_chatgpt", "from_openai"]

Json: TypeAlias = Mapping[str, object]

# --- ChatGPT ------------------------------------------------------------------------------------------------------

# Content types that ChatGPT does not show: its notes about the user, and its reasoning.
_HIDDEN: Final = frozenset({"user_editable_context", "model_editable_context", "thoughts", "reasoning_recap"})
# The fields with the text in content types other than lists of parts.
_TEXTS: Final = ("text", "result", "content", "output_str")


def from_chatgpt(
    export: str | bytes | Sequence[object] | Json, *, resource_id: str = "chatgpt"
) -> Iterator[ImportedConversation]:
    """
    Read ChatGPT's export of a user's data. Yields its conversations.

    Args:
        export: The content of conversations.json: JSON text, or the parsed value.
        resource_id: The agent or project of the conversations from now on.

    Raises:
        InvalidInputError: The value is not such an export.

    Of each conversation the branch that ChatGPT shows is read, from the first message to the current one. Edited and
    regenerated messages of other branches are left out; metadata counts them as "messages_left_out". So is what ChatGPT
    hides: system messages, custom instructions, its reasoning. What the assistant sent to a tool becomes a tool call,
    and the tool's answer becomes its result. Pictures and sounds are not in that file; a text such as
    "[image: file-service://…]" replaces them. A message older than the one before it gets the time of that one, so that
    the order stays.
    """
    check_id(resource_id=resource_id)
    found = _parsed(export) if isinstance(export, str | bytes) else export
    conversations = [found] if isinstance(found, Mapping) else found
    if not isinstance(conversations, Sequence) or isinstance(conversations, str | bytes):
        raise InvalidInputError(
            f"ChatGPT's conversations.json must be a list of conversations, not {short_repr(export)}"
        )
    for place, conversation in enumerate(conversations):
        if not isinstance(conversation, Mapping) or not isinstance(conversation.get("mapping"), Mapping):
            raise InvalidInputError(
                f"conversation {place} of the list has no mapping: pass conversations.json of ChatGPT's export as it is"
            )
        yield _chatgpt_conversation(conversation, resource_id)


def _chatgpt_conversation(conversation: Json, resource_id: str) -> ImportedConversation:
    nodes = {id: node for id, node in _object(conversation, "mapping").items() if isinstance(node, Mapping)}
    branch = _branch(nodes, conversation.get("current_node"))
    said = {id: message for id, node in nodes.items() if _says(message := _object(node, "message"))}
    messages = list(_chatgpt_messages((id, said[id]) for id in branch if id in said))
    kept = {name: conversation.get(name) for name in ("default_model_slug", "gizmo_id")}
    metadata = {"source": "chatgpt", **kept, "messages_left_out": len(said) - len(messages) or None}
    return _conversation(
        id=_id(conversation.get("conversation_id")) or _id(conversation.get("id")),
        resource_id=resource_id,
        title=conversation.get("title"),
        metadata={name: value for name, value in metadata.items() if value is not None},
        created_at=_time(conversation.get("create_time")),
        updated_at=_time(conversation.get("update_time")),
        archived=conversation.get("is_archived") is True,
        pinned=conversation.get("is_starred") is True,
        messages=messages,
    )


def _branch(nodes: Mapping[str, Json], current: object) -> list[str]:
    """Return the ids from the root to the current node; without one, to the newest leaf."""
    if not isinstance(current, str) or current not in nodes:
        parents = {parent for node in nodes.values() if isinstance(parent := node.get("parent"), str)}
        times = {id: _seconds(_object(node, "message").get("create_time")) for id, node in nodes.items()}
        current = max([id for id in nodes if id not in parents] or nodes, key=times.__getitem__, default=None)
    branch: dict[str, None] = {}
    while isinstance(current, str) and current in nodes and current not in branch:
        branch[current] = None
        current = nodes[current].get("parent")
    return list(branch)[::-1]


def _says(message: Json) -> bool:
    """Return whether ChatGPT shows the message and it is not empty."""
    content = _object(message, "content")
    is_marked = _object(message, "metadata").get("is_visually_hidden_from_conversation") is True
    is_hidden = is_marked or _role(message) == "system" or content.get("content_type") in _HIDDEN
    return not is_hidden and bool(_chatgpt_text(content).strip())


def _chatgpt_messages(branch: Iterable[tuple[str, Json]]) -> Iterator[Message]:
    before: datetime | None = None
    call: ToolCall | None = None  # without a result so far
    for id, message in branch:
        text = _chatgpt_text(_object(message, "content"))
        role, recipient = _role(message), message.get("recipient")
        time = _time(message.get("create_time"))
        before = max(filter(None, (time, before)), default=None)
        values: dict[str, object] = {"role": role, "content": text}
        if role == "assistant" and isinstance(recipient, str) and recipient not in ("", "all"):
            call = ToolCall(id, recipient, _arguments(text))
            values |= {"type": TOOL_CALL, "content": plain.write([call])}
        elif role == "tool":
            # Only one of several results can belong to the call; the others name just their tool.
            answered, call = call or ToolCall("", "", None), None
            name = _object(message, "author").get("name")
            result = ToolResult(answered.id, text, name if isinstance(name, str) else answered.name)
            values |= {"type": TOOL_RESULT, "content": plain.write([result])}
        model = _object(message, "metadata").get("model_slug")
        yield _message(values, {} if model is None else {"model": model}, id=_id(id), created_at=before)


def _chatgpt_text(content: Json) -> str:
    parts = content.get("parts")
    if isinstance(parts, Sequence) and not isinstance(parts, str):
        return "\n".join(filter(None, map(_chatgpt_part, parts)))
    return next((text for name in _TEXTS if isinstance(text := content.get(name), str)), "")


def _chatgpt_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return ""
    if isinstance(text := part.get("text"), str):
        return text
    kind = next((kind for kind in ("image", "audio", "video") if kind in str(part.get("content_type"))), "file")
    pointer = part.get("asset_pointer") or part.get("audio_asset_pointer")
    place = pointer.get("asset_pointer") if isinstance(pointer, Mapping) else pointer
    return f"[{kind}: {place}]" if isinstance(place, str) else f"[{kind}]"


def _role(message: Json) -> str:
    role = _object(message, "author").get("role")
    return role if isinstance(role, str) and role and is_storable(role) else "unknown"


# --- OpenAI -------------------------------------------------------------------------------------------------------


def from_openai(
    source: str | bytes | Json | Iterable[object], *, resource_id: str = "default"
) -> Iterator[ImportedConversation]:
    """
    Read messages in OpenAI's form. Yields conversations.

    Args:
        source: A list of messages, which is one conversation; or several: lists, or objects with "messages" and
            optionally "id" and "title", as in files for fine-tuning. Values, JSON, or lines of JSON; an open file is
            read line by line.
        resource_id: The agent or project of the conversations.

    Raises:
        InvalidInputError: The source has something else; the message says where.

    Tool calls and results are converted from the form of chat messages (tool_calls, tool_call_id) and from that of
    responses (function_call, function_call_output). Content, a text or a list of parts, stays as it is; other fields of
    a message or a conversation go into its metadata. This form has no times; the order is kept.
    """
    check_id(resource_id=resource_id)
    for place, value in enumerate(_openai_values(source)):
        found = _parsed(value) if isinstance(value, str | bytes) else value
        about = dict(found) if isinstance(found, Mapping) else {"messages": found}
        messages = about.pop("messages", None)
        if not isinstance(messages, Iterable) or isinstance(messages, str | bytes | Mapping):
            raise InvalidInputError(f"conversation {place} must have a list of messages, and is {short_repr(found)}")
        yield _conversation(
            id=_id(about.pop("id", None)),
            resource_id=resource_id,
            title=about.pop("title", None),
            metadata=about,
            messages=list(_openai_messages(messages, place)),
        )


def _openai_values(source: object) -> Iterator[object]:
    """Yield each conversation, as JSON text or as a value."""
    if isinstance(source, str | bytes):
        # Not splitlines(): a JSON string may contain other characters that it takes for line ends.
        found: list[str] | list[bytes] = source.split("\n") if isinstance(source, str) else source.split(b"\n")
        lines = [line for line in found if not _is_blank(line)]
        source = lines if len(lines) > 1 and _is_json(lines[0]) else _parsed(source)
    if isinstance(source, Mapping):
        yield source
    elif not isinstance(source, Iterable):
        raise InvalidInputError(
            f"messages in OpenAI's form must be a list, or an object with messages, not {short_repr(source)}"
        )
    elif isinstance(source, Sequence) and source and _is_openai_message(source[0]):
        yield source
    else:
        yield from (value for value in source if not (isinstance(value, str | bytes) and _is_blank(value)))


def _is_blank(line: str | bytes) -> bool:
    return not strip_bom(line).strip()


def _is_json(text: str | bytes) -> bool:
    with suppress(InvalidInputError):
        _parsed(text)
        return True
    return False


def _is_openai_message(value: object) -> bool:
    return isinstance(value, Mapping) and "messages" not in value and ("role" in value or "type" in value)


def _openai_messages(messages: Iterable[object], place: int) -> Iterator[Message]:
    names: dict[str, str] = {}  # of the called tools, by call id
    for number, message in enumerate(messages):
        where = f"message {number} of conversation {place}"
        if not isinstance(message, Mapping):
            raise InvalidInputError(f"{where} must be an object, not {short_repr(message)}")
        more = cast(JsonObject, json_value(dict(message), where))
        kind, role, content = more.pop("type", None), more.pop("role", None), more.pop("content", None)
        calls = _openai_calls(more, kind, number)
        names |= {call.id: call.name for call in calls}
        if calls:
            said: JsonValue = (
                [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
            )
            written = cast(list[JsonValue], plain.write(calls))
            parts: list[JsonValue] = [*(said if isinstance(said, list) else [said]), *written]
            values: dict[str, object] = {"role": "assistant", "type": TOOL_CALL, "content": parts}
        elif role in ("tool", "function") or kind == "function_call_output":
            id = more.pop("tool_call_id", None) or more.pop("call_id", None) or next(reversed(names), "")
            name = more.pop("name", None) or names.get(str(id), "")
            result = ToolResult(str(id), more.pop("output", content), str(name))
            values = {"role": "tool", "type": TOOL_RESULT, "content": plain.write([result])}
        elif isinstance(role, str):
            values = {"role": role, "content": content}
        else:
            raise InvalidInputError(f"{where} needs a role that is a string, and is {short_repr(message)}")
        yield _message(values, more)


def _openai_calls(message: JsonObject, kind: JsonValue, number: int) -> list[ToolCall]:
    """Remove the tool calls from a message and return them. A call without an id gets one."""
    legacy = message.pop("function_call", None)
    listed: JsonValue = message.pop("tool_calls", None)
    if kind == "function_call":
        listed = [{name: message.pop(name, None) for name in ("call_id", "name", "arguments")}]
    elif legacy is not None:
        listed = [{"function": legacy}]
    found = [openai_chat.call(call) for call in objects(listed)]
    return [replace(call, id=call.id or f"call-{number}-{place}") for place, call in enumerate(found)]


# --- shapes -------------------------------------------------------------------------------------------------------


def _parsed(text: str | bytes) -> object:
    try:
        value: object = json.loads(strip_bom(text))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"the text is not JSON: {error}") from error
    return value


def _conversation(metadata: Json, title: object, **values: object) -> ImportedConversation:
    name = storable_text(title) if isinstance(title, str) else ""
    fields = {**values, "title": name or None, "metadata": _metadata(metadata)}
    return ImportedConversation.of(fields)


def _message(values: dict[str, object], metadata: Json, **more: object) -> Message:
    return Message.of({**values, **more, "metadata": _metadata(metadata)})


def _metadata(values: Json) -> JsonValue:
    return jsonb_copy(json_value({name: value for name, value in values.items() if value is not None}, "metadata"))


def _object(values: Json, name: str) -> Json:
    value = values.get(name)
    return value if isinstance(value, Mapping) else {}


def _id(value: object) -> str | None:
    """Return the value if it is a valid id, else None."""
    fits = isinstance(value, str) and value and is_storable(value) and len(value.encode()) <= MAX_ID_BYTES
    return str(value) if fits else None


def _time(value: object) -> datetime | None:
    """Return the time for a number of seconds or a text; None if it is not a time."""
    with suppress(ValueError, OverflowError, OSError):
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        else:
            time = datetime.fromtimestamp(_seconds(value), UTC)
        check_time("time", time)
        return time
    return None


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else -math.inf


def _arguments(text: str) -> JsonValue:
    """Return the arguments of a tool call: the JSON object in the text, else the text."""
    with suppress(InvalidInputError):
        value = _parsed(text)
        if isinstance(value, dict):
            return json_value(value, "arguments")
    return text

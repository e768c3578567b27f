"""
Conversations from the files of others, for import_conversations(): ChatGPT's export, and lists in OpenAI's form.

Nothing here knows a database. What is of an unexpected shape is left out, where it is a detail, or else an
InvalidInputError that says where it stands. A file is in memory as a whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, TypeAlias, cast

from pydantic import JsonValue

from voltmem._areas.transfer.models import ImportedConversation
from voltmem._parts import TOOL_CALL, TOOL_RESULT, ToolCall, ToolResult, call_part, result_part, text_part, tool_calls
from voltmem._values import (
    MAX_ID_BYTES,
    JsonObject,
    check_id,
    check_time,
    is_storable,
    json_value,
    jsonb_copy,
    plain_text,
    shown,
    without_mark,
)
from voltmem.errors import InvalidInputError
from voltmem.models import Message

Json: TypeAlias = Mapping[str, object]

# --- ChatGPT ------------------------------------------------------------------------------------------------------

# What ChatGPT itself shows nobody: what it knows of its user, and how it thought.
_HIDDEN: Final = frozenset({"user_editable_context", "model_editable_context", "thoughts", "reasoning_recap"})
# Where content types other than lists of parts have their text.
_TEXTS: Final = ("text", "result", "content", "output_str")


def from_chatgpt(
    export: str | bytes | Sequence[object] | Json, *, resource_id: str = "chatgpt"
) -> Iterator[ImportedConversation]:
    """
    Yield the conversations of ChatGPT's export of a user's data.

    Args:
        export: What stands in conversations.json, as JSON text or as what that says.
        resource_id: The agent or project that they are with from now on.

    Raises:
        InvalidInputError: It is no such export.

    Of each conversation, the branch that ChatGPT shows: from the first message to its current one. What was edited or
    asked again besides is not imported; metadata counts it as "messages_left_out". Nor is what ChatGPT hides: system
    messages, what it was told of its user, how it thought. What the assistant said to a tool is a tool call, what came
    back its result. Pictures and sounds are not in that file; a text like "[image: file-service://…]" stands in their
    place. A message that is older than the one before it gets that one's time, so the order stays.
    """
    check_id(resource_id=resource_id)
    found = _parsed(export) if isinstance(export, str | bytes) else export
    conversations = [found] if isinstance(found, Mapping) else found
    if not isinstance(conversations, Sequence) or isinstance(conversations, str | bytes):
        raise InvalidInputError(f"ChatGPT's conversations.json is a list of conversations, not {shown(export)}")
    for place, conversation in enumerate(conversations):
        if not isinstance(conversation, Mapping) or not isinstance(conversation.get("mapping"), Mapping):
            raise InvalidInputError(f"conversation {place} of the list is none of ChatGPT's: it has no mapping")
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
    """Return the ids from the root to the current node; where there is none, to the newest that nothing follows."""
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
    """Whether ChatGPT shows the message, and there is something in it."""
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
            values |= {"type": TOOL_CALL, "content": [call_part(call)]}
        elif role == "tool":
            # Of several results only one can be the call's; the others say whose they are by their tool alone.
            answered, call = call or ToolCall("", "", None), None
            name = _object(message, "author").get("name")
            result = ToolResult(answered.id, name if isinstance(name, str) else answered.name, text)
            values |= {"type": TOOL_RESULT, "content": [result_part(result)]}
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
    Yield the conversations of messages in OpenAI's form.

    Args:
        source: A list of messages, which is one conversation; or many: lists, or objects with "messages" and perhaps
            "id" and "title", as files for fine-tuning have them. As values, as JSON, or as lines of JSON; an open
            file is read line by line.
        resource_id: The agent or project that they are with.

    Raises:
        InvalidInputError: There is something else in it; it says where.

    Tool calls and their results become those of voltmem, in the form of chat messages (tool_calls, tool_call_id) and
    in that of responses (function_call, function_call_output). Content is text or a list of parts, kept as it is; what
    else a message or a conversation says is in its metadata. There are no times in this form: the order is kept.
    """
    check_id(resource_id=resource_id)
    for place, value in enumerate(_openai_values(source)):
        found = _parsed(value) if isinstance(value, str | bytes) else value
        about = dict(found) if isinstance(found, Mapping) else {"messages": found}
        messages = about.pop("messages", None)
        if not isinstance(messages, Iterable) or isinstance(messages, str | bytes | Mapping):
            raise InvalidInputError(f"conversation {place} has no list of messages: {shown(found)}")
        yield _conversation(
            id=_id(about.pop("id", None)),
            resource_id=resource_id,
            title=about.pop("title", None),
            metadata=about,
            messages=list(_openai_messages(messages, place)),
        )


def _openai_values(source: object) -> Iterator[object]:
    """Yield each conversation, still as JSON or not."""
    if isinstance(source, str | bytes):
        # Not splitlines(): a string of JSON may hold what else ends lines for that.
        found: list[str] | list[bytes] = source.split("\n") if isinstance(source, str) else source.split(b"\n")
        lines = [line for line in found if not _is_blank(line)]
        source = lines if len(lines) > 1 and _is_json(lines[0]) else _parsed(source)
    if isinstance(source, Mapping):
        yield source
    elif not isinstance(source, Iterable):
        raise InvalidInputError(
            f"messages in OpenAI's form are a list, or an object with messages, not {shown(source)}"
        )
    elif isinstance(source, Sequence) and source and _is_openai_message(source[0]):
        yield source
    else:
        yield from (value for value in source if not (isinstance(value, str | bytes) and _is_blank(value)))


def _is_blank(line: str | bytes) -> bool:
    return not without_mark(line).strip()


def _is_json(text: str | bytes) -> bool:
    with suppress(InvalidInputError):
        _parsed(text)
        return True
    return False


def _is_openai_message(value: object) -> bool:
    return isinstance(value, Mapping) and "messages" not in value and ("role" in value or "type" in value)


def _openai_messages(messages: Iterable[object], place: int) -> Iterator[Message]:
    names: dict[str, str] = {}  # of the tools that were called
    for number, message in enumerate(messages):
        where = f"message {number} of conversation {place}"
        if not isinstance(message, Mapping):
            raise InvalidInputError(f"{where} is {shown(message)}")
        more = cast(JsonObject, json_value(dict(message), where))
        kind, role, content = more.pop("type", None), more.pop("role", None), more.pop("content", None)
        calls = _openai_calls(more, kind, number)
        names |= {call.id: call.name for call in calls}
        if calls:
            said: JsonValue = [text_part(content)] if isinstance(content, str) and content else content or []
            parts: list[JsonValue] = [*(said if isinstance(said, list) else [said]), *map(call_part, calls)]
            values: dict[str, object] = {"role": "assistant", "type": TOOL_CALL, "content": parts}
        elif role in ("tool", "function") or kind == "function_call_output":
            id = more.pop("tool_call_id", None) or more.pop("call_id", None) or next(reversed(names), "")
            name = more.pop("name", None) or names.get(str(id), "")
            result = ToolResult(str(id), str(name), more.pop("output", content))
            values = {"role": "tool", "type": TOOL_RESULT, "content": [result_part(result)]}
        elif isinstance(role, str):
            values = {"role": role, "content": content}
        else:
            raise InvalidInputError(f"{where} has no role: {shown(message)}")
        yield _message(values, more)


def _openai_calls(message: JsonObject, kind: JsonValue, number: int) -> list[ToolCall]:
    """Return the tool calls of a message, and take them out of it; those without an id get one."""
    legacy, listed = message.pop("function_call", None), message.pop("tool_calls", None)
    if kind == "function_call":
        listed = [{name: message.pop(name, None) for name in ("call_id", "name", "arguments")}]
    elif legacy is not None:
        listed = [{"function": legacy}]
    found = [_with_function(call) for call in listed if isinstance(call, dict)] if isinstance(listed, list) else []
    calls = tool_calls(Message(role="assistant", content={"tool_calls": list(found)}))
    return [ToolCall(call.id or f"call-{number}-{place}", call.name, call.args) for place, call in enumerate(calls)]


def _with_function(call: Mapping[str, JsonValue]) -> JsonObject:
    """Return a call whose name stands where those of functions have it: other kinds have it under their own name."""
    kind = call.get("type")
    return {**call, "function": call[kind]} if isinstance(kind, str) and kind in call else dict(call)


# --- shapes -------------------------------------------------------------------------------------------------------


def _parsed(text: str | bytes) -> object:
    try:
        value: object = json.loads(without_mark(text))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"no JSON: {error}") from error
    return value


def _conversation(metadata: Json, title: object, **values: object) -> ImportedConversation:
    name = plain_text(title) if isinstance(title, str) else ""
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
    """Return what can be an id, or None."""
    fits = isinstance(value, str) and value and is_storable(value) and len(value.encode()) <= MAX_ID_BYTES
    return str(value) if fits else None


def _time(value: object) -> datetime | None:
    """Return the time that so many seconds, or a text, stand for; None for what is none."""
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
    """Return what a tool was called with: an object, if it is one, else the text."""
    with suppress(InvalidInputError):
        value = _parsed(text)
        if isinstance(value, dict):
            return json_value(value, "arguments")
    return text

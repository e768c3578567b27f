"""
assistant-ui's own form, of its LocalRuntime: parts in ``content``, a tool's call and result in one part, attachments.

https://www.assistant-ui.com/docs/runtimes/custom/local
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from voltmem.parts import ai_sdk
from voltmem.parts._front_ends import ABANDONED, late_outcomes, why_abandoned, with_own_ids
from voltmem.parts._steps import ReadableT, Settled, native_of
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
    inline,
    json_text,
    made_id,
    object_of,
    objects,
    readable,
    string,
)

FAMILY: Final = "aui/"
FORMAT: Final = "aui/v0"


def is_message(value: JsonObject) -> bool:
    """Return whether it is a message of assistant-ui: its status is an object, which is a string in other forms."""
    content, status, attachments = value.get("content"), value.get("status"), value.get("attachments")
    if value.get("role") not in ("system", "user", "assistant") or not isinstance(content, list):
        return False
    if "parts" in value or not all(isinstance(part, dict) and string(part, "type") for part in content):
        return False
    if status is not None:
        return isinstance(status, dict) and bool(string(status, "type"))
    return isinstance(attachments, list) and all(
        isinstance(each, dict) and isinstance(each.get("content"), list) for each in attachments
    )


def _text(part: JsonObject) -> list[Part] | None:
    return [Text(string(part, "text"))] if isinstance(part.get("text"), str) else None


def _source(part: JsonObject) -> list[Part] | None:
    if "sourceType" not in part:
        return None
    return [Source(string(part, "url"), string(part, "title"), string(part, "id"), string(part, "mediaType"))]


def _arguments(part: JsonObject) -> JsonValue:
    return part.get("args") or arguments(string(part, "argsText")) or {}


def _call(part: JsonObject) -> list[Part] | None:
    if "argsText" not in part and "result" not in part and "approval" not in part:
        return None
    call_id, name = string(part, "toolCallId"), string(part, "toolName")
    given = _arguments(part)
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
    return [inline(data, media_type, name)]


def _audio(part: JsonObject) -> list[Part] | None:
    audio = part.get("audio")
    if not isinstance(audio, dict):
        return None
    media_type, data = f"audio/{string(audio, 'format') or 'wav'}", string(audio, "data")
    return [inline(data, media_type)]


def _data(part: JsonObject) -> list[Part] | None:
    name = string(part, "name")
    if not name or "data" not in part:
        return None
    return [Other(f"data-{name}", {"type": f"data-{name}", "data": part["data"]})]


BLOCKS: Final[Mapping[str, BlockReader]] = {
    "text": _text,
    "reasoning": ai_sdk.BLOCKS["reasoning"],
    "source": _source,
    "tool-call": _call,
    "image": _image,
    "file": _file,
    "audio": _audio,
    "data": _data,
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


# --- the way back ---------------------------------------------------------------------------------------------------

_COMPLETE: Final[JsonObject] = {"type": "complete", "reason": "unknown"}
# assistant-ui drops an image of an assistant at any other address.
_SHOWN: Final = ("https:", "data:image/")


def write(settled: Sequence[Settled[ReadableT]]) -> list[JsonObject]:
    """
    Return the messages in assistant-ui's own form, each with its id.

    One that was stored as such is returned as it was, with results that came later.
    """
    found: list[JsonObject] = []
    for each in settled:
        if (payload := _payload(each)) is not None:
            found.append({"id": each.message.id, **_with_metadata(_with_results(payload, each), each)})
        elif content := _written(each):
            found.append({"id": each.message.id, **_message(each, content)})
    return with_own_ids(found, "content")


def without_defaults(message: JsonObject) -> JsonObject:
    """
    Return a message to be compared: without its time, and without what is empty.

    assistant-ui adds the default values of its version to a message that it loads, and the arguments of calls as text.
    """
    content: list[JsonValue] = [
        _filled(part | {"args": _arguments(part), "argsText": ""} if part.get("type") == "tool-call" else part)
        for part in objects(message.get("content"))
    ]
    metadata = _filled(object_of(message, "metadata"))
    return _filled({**message, "createdAt": None, "content": content, "metadata": metadata})


def metadata_of(message: JsonObject) -> JsonObject:
    """Return the application's metadata in a message."""
    return object_of(object_of(message, "metadata"), "custom")


def _filled(values: JsonObject) -> JsonObject:
    return {name: value for name, value in values.items() if value is not None and value not in ("", [], {})}


def _payload(settled: Settled[ReadableT]) -> JsonObject | None:
    format, payload = native_of(settled.message)
    return payload if (format or "").startswith(FAMILY) and isinstance(payload, dict) else None


def _with_metadata(payload: JsonObject, settled: Settled[ReadableT]) -> JsonObject:
    """Return the payload with the message's metadata, which may have got fields since, such as feedback."""
    custom = metadata_of(payload)
    found = {**custom, **settled.message.metadata}
    return payload if found == custom else {**payload, "metadata": {**object_of(payload, "metadata"), "custom": found}}


def _with_results(payload: JsonObject, settled: Settled[ReadableT]) -> JsonObject:
    """Return the payload; a call gets the result that another message has, or an error if it will never have one."""
    late = late_outcomes(settled, _outcome, _abandoned)
    content = payload.get("content")
    if isinstance(content, str):  # its decoder takes a list only
        return {**payload, "content": [{"type": "text", "text": content}]}
    if not late or not isinstance(content, list):
        return payload
    filled: list[JsonValue] = [
        {**part, **late[string(part, "toolCallId")]}
        if isinstance(part, dict) and string(part, "toolCallId") in late
        else part
        for part in content
    ]
    return {**payload, "content": filled}


def _message(settled: Settled[ReadableT], content: list[JsonValue]) -> JsonObject:
    role = ai_sdk.role(settled)
    created_at = getattr(settled.message, "created_at", None)
    when: JsonObject = {"createdAt": created_at.isoformat()} if isinstance(created_at, datetime) else {}
    status: JsonObject = {"status": _COMPLETE} if role == "assistant" else {}
    return {"role": role, "content": content, **status, "metadata": {"custom": settled.message.metadata}, **when}


def _written(settled: Settled[ReadableT]) -> list[JsonValue]:
    """Return the parts, of those that a message of this role can have."""
    role = ai_sdk.role(settled)
    if role == "system":
        text = "\n".join(part.text for part in settled.parts if isinstance(part, Text))
        return [{"type": "text", "text": text}] if text.strip() else []
    written: list[JsonObject | None] = []
    for place, part in enumerate(settled.parts):
        if role == "assistant" and isinstance(part, ToolCall):
            written.append(_written_call(part, settled.results.get(place), why_abandoned(settled, place)))
        elif role == "assistant" or not isinstance(part, Reasoning | Source):
            written.append(_written_part(part, role))
    for number, result in enumerate(settled.orphans):
        id = result.call_id or made_id(f"{settled.message.id}:{number}")
        written.append(_written_call(ToolCall(id, result.name, None), replace(result, call_id=id)))
    return [part for part in written if part is not None]


def _written_part(part: Part, role: str) -> JsonObject | None:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text} if part.text.strip() else None
    if isinstance(part, Reasoning):
        return {"type": "reasoning", "text": part.text, **ai_sdk.made_by(part)} if part.text.strip() else None
    if isinstance(part, File):
        return _written_file(part, role)
    if isinstance(part, Source):
        if part.url:
            titled: JsonObject = {"title": part.title} if part.title else {}
            return {"type": "source", "sourceType": "url", "id": part.id or part.url, "url": part.url, **titled}
        media_type = part.media_type or "application/octet-stream"
        document: JsonObject = {"id": part.id, "title": part.title, "mediaType": media_type}
        return {"type": "source", "sourceType": "document", **document}
    if isinstance(part, Other) and part.type.startswith("data-") and isinstance(part.value, dict):
        return {"type": "data", "name": part.type.removeprefix("data-"), "data": part.value.get("data")}
    return None


def _written_file(part: File, role: str) -> JsonObject:
    named: JsonObject = {"filename": part.name} if part.name else {}
    if not part.address:
        return {"type": "data", "name": "file", "data": {"mediaType": part.media_type, "id": part.id, **named}}
    if part.media_type.partition("/")[0] == "image" and (role == "user" or part.address.startswith(_SHOWN)):
        return {"type": "image", "image": part.address, **named}
    return {"type": "file", "data": part.url or part.data, "mimeType": ai_sdk.media_type(part), **named}


def _written_call(call: ToolCall, result: ToolResult | None, why: str = ABANDONED) -> JsonObject:
    """Return the part of a call; *why*: of one that is abandoned, why it has no result."""
    is_object = isinstance(call.arguments, dict)
    args: JsonObject = {"args": call.arguments} if is_object else {}
    text = call.arguments if isinstance(call.arguments, str) else json_text(call.arguments or {})
    written: JsonObject = {
        "type": "tool-call",
        "toolCallId": call.id,
        "toolName": call.name or "tool",
        **args,
        "argsText": text,
    }
    if result is not None:
        return {**written, **_outcome(result)}
    if call.state == "waiting":
        return {**written, "approval": {"id": call.id}}
    return {**written, **_abandoned(why)} if call.state == "abandoned" else written


def _abandoned(why: str) -> JsonObject:
    return {"result": why, "isError": True}


def _outcome(result: ToolResult) -> JsonObject:
    """Return the fields that the part of a call gets with its result."""
    if result.state == "answered":
        return {"result": result.value}
    if result.state == "failed":
        return {"result": result.value, "isError": True}
    reason: JsonObject = {} if result.value is None else {"reason": readable(result.value)}
    denied: JsonObject = {"id": result.call_id, "approved": False, **reason}
    return {"result": {"error": reason.get("reason", "Denied")}, "isError": True, "approval": denied}

"""
The Vercel AI SDK: the UIMessages of versions 5 to 7, those of version 4, and the parts of its ModelMessages.

VoltAgent stores these too: version 0.1 the parts of ModelMessages, 1.0 and later those of UIMessages.
https://ai-sdk.dev/docs/reference/ai-sdk-core/ui-message
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from mimetypes import guess_type
from typing import Final

from pydantic import JsonValue

from voltmem._values import is_storable, json_value
from voltmem.errors import InvalidInputError
from voltmem.parts._front_ends import ABANDONED, late_outcomes, why_abandoned, with_own_ids
from voltmem.parts._steps import ReadableT, Settled, native_of
from voltmem.parts._types import (
    STEP,
    BlockReader,
    CallState,
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
    made_id,
    object_of,
    objects,
    readable,
    string,
)

FAMILY: Final = "ai-sdk/"
FORMAT: Final = "ai-sdk/v7"

TOOL_CALL: Final = "tool-call"
TOOL_RESULT: Final = "tool-result"
APPROVAL_REQUEST: Final = "tool-approval-request"
APPROVAL_RESPONSE: Final = "tool-approval-response"
DYNAMIC: Final = "dynamic-tool"
_TOOL: Final = "tool-"

# The providers whose names are the keys of a part's providerMetadata.
_PROVIDERS: Final = {
    "anthropic": "anthropic",
    "openai": "openai",
    "azure": "openai",
    "google": "google",
    "vertex": "google",
}

# Its names for what a provider wants back with its reasoning, by the provider's own names.
_OPAQUE: Final[Mapping[str, Mapping[str, str]]] = {
    "anthropic": {"signature": "signature", "data": "redactedData"},
    "openai": {"id": "itemId", "encrypted_content": "reasoningEncryptedContent"},
    "google": {"thought_signature": "thoughtSignature"},
}

# What the output of a tool is in a ModelMessage.
_OUTPUTS: Final = frozenset({"text", "json", "error-text", "error-json", "content", "execution-denied"})

# What a tool call of each state is; those with a result have one.
_STATES: Final[Mapping[str, CallState]] = {
    "input-streaming": "running",
    "input-available": "running",
    "approval-requested": "waiting",
    "approval-responded": "running",
    "output-available": "answered",
    "output-error": "failed",
    "output-denied": "denied",
    "partial-call": "running",  # version 4
    "call": "running",
    "result": "answered",
}


def is_message(value: JsonObject) -> bool:
    """Return whether it is a UIMessage of any version."""
    parts = value.get("parts")
    if value.get("role") not in ("system", "user", "assistant") or not isinstance(parts, list):
        return False
    return all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in parts)


def _text(block: JsonObject) -> list[Part] | None:
    return [Text(string(block, "text"))] if isinstance(block.get("text"), str) else None


def _reasoning(block: JsonObject) -> list[Part] | None:
    text = string(block, "text", "reasoning")
    metadata = object_of(block, "providerMetadata", "providerOptions")
    key = next((each for each in metadata if each in _PROVIDERS), "")
    provider, given = _PROVIDERS.get(key, ""), object_of(metadata, key)
    named = _OPAQUE.get(provider, {})
    return [Reasoning(text, provider, {ours: given[theirs] for ours, theirs in named.items() if given.get(theirs)})]


def made_by(part: Reasoning) -> JsonObject:
    """Return the field that says who has made the reasoning, with what the provider wants back."""
    named = _OPAQUE.get(part.provider, {})
    given: JsonObject = {theirs: part.opaque[ours] for ours, theirs in named.items() if ours in part.opaque}
    return {"providerMetadata": {part.provider: given}} if given else {}


def _file(block: JsonObject) -> list[Part] | None:
    media_type = string(block, "mediaType", "mimeType")
    name = string(block, "filename", "name")
    address = string(block, "url")
    given = block.get("data", block.get("image"))
    if not address and isinstance(given, dict):  # ModelMessages of version 7 say what the data is
        address, given = string(given, "url"), given.get("data")
    data = given if isinstance(given, str) else ""
    media_type = media_type or ("image" if string(block, "type").startswith("image") else "")
    if not (address or data or media_type or name):
        return None
    return [file(address, media_type, name) if address else inline(data, media_type, name)]


def _source(block: JsonObject) -> list[Part] | None:
    id, title = string(block, "sourceId", "id"), string(block, "title", "filename")
    return [Source(string(block, "url"), title, id, string(block, "mediaType"))]


def _old_source(block: JsonObject) -> list[Part] | None:
    source = block.get("source")
    if isinstance(source, dict):
        return _source(source)
    return _source(block) if "url" in block else None


def _call(block: JsonObject) -> list[Part] | None:
    call_id, name = string(block, "toolCallId", "id"), string(block, "toolName", "name")
    given = block.get("input", block.get("args"))
    state: CallState = "waiting" if block.get("state") == "waiting" else "running"
    executed, is_dynamic = block.get("providerExecuted") is True, block.get("dynamic") is True
    call = ToolCall(call_id, name, given, state, executed, is_dynamic)
    if "result" not in block:
        return [call]
    failed = block.get("isError") is True  # assistant-ui has both in one part
    return [call, ToolResult(call_id, block["result"], name, "failed" if failed else "answered")]


def _result(block: JsonObject) -> list[Part] | None:
    call_id, name, output = string(block, "toolCallId"), string(block, "toolName", "name"), block.get("output")
    if "result" in block or not isinstance(output, dict) or "type" not in output:
        value = block.get("result", output if "output" in block else block.get("content"))
        state = string(block, "state")
        if state in ("failed", "denied"):
            return [ToolResult(call_id, value, name, "denied" if state == "denied" else "failed")]
        return [ToolResult(call_id, value, name, "failed" if block.get("isError") is True else "answered")]
    kind = output["type"]
    if kind == "execution-denied":
        return [ToolResult(call_id, output.get("reason"), name, "denied")]
    return [
        ToolResult(call_id, output.get("value"), name, "failed" if kind in ("error-text", "error-json") else "answered")
    ]


def _invocation(block: JsonObject) -> list[Part] | None:
    return read_tool(object_of(block, "toolInvocation"))


def read_tool(part: JsonObject) -> list[Part]:
    """Return the call, and the result if there is one, of a tool's part of a UIMessage."""
    type, call_id = string(part, "type"), string(part, "toolCallId")
    name = string(part, "toolName") or (type.removeprefix(_TOOL) if type.startswith(_TOOL) else "")
    given = part.get("input", part.get("rawInput", part.get("args")))
    state, approval = string(part, "state"), object_of(part, "approval")
    executed = part.get("providerExecuted") is True
    found = _STATES.get(state, "running")
    if _is_denial(part):
        found = "denied"
    given = arguments(given) if "rawInput" in part else given
    call = ToolCall(call_id, name, given, found, executed, is_dynamic=type == DYNAMIC)
    if found == "answered":
        result = _voltagents_result(part, call_id, name) or ToolResult(
            call_id, part.get("output", part.get("result")), name
        )
        return [replace(call, state=result.state), result]
    if found == "failed":
        return [call, ToolResult(call_id, part.get("errorText"), name, "failed")]
    if found == "denied":
        return [call, ToolResult(call_id, approval.get("reason"), name, "denied")]
    return [call]


def _voltagents_result(part: JsonObject, call_id: str, name: str) -> ToolResult | None:
    """
    Return the result in a part that an agent of VoltAgent stored; None: it is another's.

    VoltAgent 1 and 2 keep the output of the ModelMessage, which says what the value is, and what a tool has thrown is a
    value as well. They always say who has executed the tool, as useChat does for a provider's tools only.
    """
    output = part.get("output")
    if not isinstance(part.get("providerExecuted"), bool) or not isinstance(output, dict):
        return None
    if output.get("type") not in _OUTPUTS or not output.keys() <= {"type", "value", "reason", "providerOptions"}:
        return None
    value = output.get("value")
    if isinstance(value, dict) and value.get("error") is True and value.get("toolCallId") == call_id:
        return ToolResult(call_id, string(value, "message", "name"), name, "failed")
    found = _result({"toolCallId": call_id, "toolName": name, "output": output}) or []
    return next((each for each in found if isinstance(each, ToolResult)), None)


def _approval_response(block: JsonObject) -> list[Part] | None:
    """Read the answer to a request, of which it has the id only: a no is the result of the call."""
    if block.get("approved") is False:
        return [ToolResult(string(block, "approvalId"), block.get("reason"), state="denied")]
    return [Other(APPROVAL_RESPONSE, block)]


def _step(block: JsonObject) -> list[Part] | None:
    return [Other(STEP)]


BLOCKS: Final[Mapping[str, BlockReader]] = {
    "text": _text,
    "reasoning": _reasoning,
    "redacted-reasoning": lambda _: [Reasoning("")],
    "file": _file,
    "image": _file,
    "media": _file,  # in the output of a tool; version 6 calls it by what it has
    "file-data": _file,
    "file-url": _file,
    "image-data": _file,
    "image-url": _file,
    "source-url": _source,
    "source-document": _source,
    "source": _old_source,
    TOOL_CALL: _call,
    TOOL_RESULT: _result,
    "tool-invocation": _invocation,
    APPROVAL_REQUEST: lambda block: [Other(APPROVAL_REQUEST, block)],
    APPROVAL_RESPONSE: _approval_response,
    DYNAMIC: lambda block: read_tool(block),
    STEP: _step,
}


def is_tool(block: JsonObject) -> bool:
    """Return whether a block of another type is a tool's: tool-NAME, with an id or a state."""
    return string(block, "type").startswith(_TOOL) and ("toolCallId" in block or "state" in block)


def read(message: JsonObject) -> list[Part]:
    """Return the parts of a UIMessage."""
    parts = message.get("parts")
    found: list[Part] = []
    for block in objects(parts):
        type = string(block, "type")
        if type in BLOCKS:
            found += BLOCKS[type](block) or [Other(type, block)]
        else:
            found += read_tool(block) if is_tool(block) else [Other(type, block)]
    if not isinstance(parts, list):
        found += _of_version_4(message)
    return [*found, *_attachments(message)]


def _attachments(message: JsonObject) -> list[File]:
    """Return the files that version 4 has beside the parts."""
    attached = objects(message.get("experimental_attachments"))
    return [file(string(each, "url"), string(each, "contentType"), string(each, "name")) for each in attached]


def _of_version_4(message: JsonObject) -> list[Part]:
    content = string(message, "content")
    thought = string(message, "reasoning")
    invocations: list[JsonValue] = [*objects(message.get("toolInvocations"))]
    found: list[Part] = [Reasoning(thought)] if thought else []
    for each in objects(invocations):
        found += read_tool(each)
    return [*found, Text(content)] if content else found


def metadata(message: JsonObject) -> JsonObject:
    """Return the metadata of a UIMessage, which is the stored message's; {} if it is no object that jsonb can store."""
    found = object_of(message, "metadata")
    try:
        return {name: json_value(value, name, for_jsonb=True) for name, value in found.items() if is_storable(name)}
    except InvalidInputError:
        return {}  # it stays in the payload


# --- the way back ---------------------------------------------------------------------------------------------------

_NOTHING: Final[JsonObject] = {"type": "text", "text": ""}

TEXTS_PATH: Final = '$[*] ? (@.type == "text").text ? (@.type() == "string")'
"""The SQL/JSON path to the texts in the parts of a UIMessage, for the database."""


def write(settled: Sequence[Settled[ReadableT]]) -> list[JsonObject]:
    """Return the UIMessages. One that was stored as such is returned as it was, with results that came later."""
    found: list[JsonObject] = []
    for each in settled:
        if (payload := _payload(each)) is not None:
            shown = _with_metadata(_with_results(payload, each), each)
            shown = shown if each is settled[-1] else _with_denials(shown)
            # Of the messages without parts, the AI SDK accepts an answer only.
            says: JsonObject = {} if shown["parts"] or shown.get("role") == "assistant" else {"parts": [_NOTHING]}
            found.append({"id": each.message.id, **shown, **says})
        elif parts := _written(each):
            metadata: JsonObject = {"metadata": each.message.metadata} if each.message.metadata else {}
            found.append({"id": each.message.id, "role": role(each), **metadata, "parts": parts})
    return with_own_ids(found, "parts")


def _with_metadata(payload: JsonObject, settled: Settled[ReadableT]) -> JsonObject:
    """Return the payload with the message's metadata, which may have changed since, such as by feedback."""
    found = settled.message.metadata
    return {**payload, "metadata": found} if found and payload.get("metadata") != found else payload


def write_parts(settled: Settled[ReadableT]) -> list[JsonValue]:
    """Return the parts of the UIMessage of one message; [] if it says nothing by itself."""
    payload = _payload(settled)
    parts = None if payload is None else _with_results(payload, settled).get("parts")
    return parts if isinstance(parts, list) else _written(settled)


def _payload(settled: Settled[ReadableT]) -> JsonObject | None:
    """Return the UIMessage as which the message was stored; None: it was not."""
    format, payload = native_of(settled.message)
    # Those of version 4, and broken ones, have no parts.
    if (
        not (format or "").startswith(FAMILY)
        or not isinstance(payload, dict)
        or not isinstance(payload.get("parts"), list)
    ):
        return None
    return _of_version_5(payload)


def _of_version_5(payload: JsonObject) -> JsonObject:
    """Return a UIMessage with the parts of version 4 as version 5 has them, which refuses the old ones."""
    attached = [_written_part(each) for each in _attachments(payload)]
    parts = [each for part in objects(payload["parts"]) for each in _part_of_version_5(part)]
    shown: list[JsonValue] = [*parts, *(each for each in attached if each is not None)]
    return payload if shown == payload["parts"] else {**payload, "parts": shown}


def _part_of_version_5(part: JsonObject) -> list[JsonObject]:
    type = string(part, "type")
    is_old = (
        (type == "tool-invocation" and "toolCallId" in object_of(part, "toolInvocation"))
        or (type == "source" and "source" in part)
        or (type == "reasoning" and "reasoning" in part and "text" not in part)
        or (type == "file" and "mimeType" in part and "data" in part and "url" not in part)
    )
    said = BLOCKS[type](part) if is_old else None
    if not said:
        return [part]
    if isinstance(said[0], ToolCall):
        return [_written_call(said[0], next((each for each in said if isinstance(each, ToolResult)), None))]
    return [written for written in map(_written_part, said) if written is not None]


def role(settled: Settled[ReadableT]) -> str:
    """Return the role: a tool's results without their calls are the assistant's, what is said beside is the user's."""
    if settled.speaker != "tool":
        return settled.speaker
    return "assistant" if settled.orphans else "user"


def _with_results(payload: JsonObject, settled: Settled[ReadableT]) -> JsonObject:
    """Return the payload; a call gets the result that another message has, or an error if it will never have one."""
    late = late_outcomes(settled, outcome, _abandoned)
    parts = payload.get("parts")
    if not late or not isinstance(parts, list):
        return payload
    filled: list[JsonValue] = [
        _ended(part, late[string(part, "toolCallId")])
        if isinstance(part, dict) and string(part, "toolCallId") in late
        else part
        for part in parts
    ]
    return {**payload, "parts": filled}


def _with_denials(payload: JsonObject) -> JsonObject:
    """Return the payload; a denial that was not sent on before the next message is as if it had been."""
    parts = payload.get("parts")
    assert isinstance(parts, list)
    ended: list[JsonValue] = [
        {**part, "state": "output-denied"} if isinstance(part, dict) and _is_denial(part) else part for part in parts
    ]
    return payload if ended == parts else {**payload, "parts": ended}


def _is_denial(part: JsonObject) -> bool:
    return part.get("state") == "approval-responded" and object_of(part, "approval").get("approved") is False


def _ended(part: JsonObject, outcome: JsonObject) -> JsonObject:
    """Return a tool's part with its outcome, and without an approval that was never given."""
    given = object_of(part, "approval").get("approved") is not None
    kept = part if given else {name: value for name, value in part.items() if name != "approval"}
    return {**kept, **outcome}


def _written(settled: Settled[ReadableT]) -> list[JsonValue]:
    found: list[JsonValue] = []
    if len(settled.parts) == 1 and isinstance(said := settled.parts[0], Text) and not settled.orphans:
        return [{"type": "text", "text": said.text}]  # nearly every message
    for place, part in enumerate(settled.parts):
        if isinstance(part, ToolCall):
            found.append(_written_call(part, settled.results.get(place), why_abandoned(settled, place)))
        elif (written := _written_part(part)) is not None:
            found.append(written)
    for number, result in enumerate(settled.orphans):
        id = result.call_id or made_id(f"{settled.message.id}:{number}")
        found.append(_written_call(ToolCall(id, result.name, None), replace(result, call_id=id)))
    return found if any(isinstance(part, dict) and part.get("type") != STEP for part in found) else []


def _written_part(part: Part) -> JsonObject | None:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Reasoning):
        who = made_by(part)
        return {"type": "reasoning", "text": part.text, **who} if part.text or who else None
    if isinstance(part, File):
        named: JsonObject = {"filename": part.name} if part.name else {}
        if not part.address:
            return {"type": "data-file", "data": {"mediaType": part.media_type, "id": part.id, **named}}
        return {"type": "file", "mediaType": media_type(part), "url": part.address, **named}
    if isinstance(part, Source):
        title: JsonObject = {"title": part.title} if part.title else {}
        if part.url:
            return {"type": "source-url", "sourceId": part.id or part.url, "url": part.url, **title}
        kind = part.media_type or "application/octet-stream"
        return {"type": "source-document", "sourceId": part.id, "mediaType": kind, "title": part.title}
    if isinstance(part, Other):
        if part.type == STEP:
            return {"type": STEP}
        return part.value if part.type.startswith("data-") and isinstance(part.value, dict) else None
    return None


def media_type(part: File) -> str:
    """Return the media type of a file; one that the message does not say is guessed from the name."""
    guessed = part.media_type or guess_type(part.name or part.url.partition("?")[0])[0]
    return guessed or "application/octet-stream"


def _written_call(call: ToolCall, result: ToolResult | None, why: str = ABANDONED) -> JsonObject:
    """Return the part of a call; *why*: of one that is abandoned, why it has no result."""
    # The AI SDK 5 knows a denial of a static tool only.
    is_dynamic = (call.is_dynamic or not call.name) and not (result is not None and result.state == "denied")
    name = call.name or "tool"
    kind: JsonObject = {"type": DYNAMIC, "toolName": name} if is_dynamic else {"type": _TOOL + name}
    executed: JsonObject = {"providerExecuted": True} if call.provider_executed else {}
    written: JsonObject = {
        **kind,
        "toolCallId": call.id,
        "state": "input-available",
        "input": call.arguments,
        **executed,
    }
    if result is not None:
        return {**written, **outcome(result)}
    if call.state == "waiting":
        return {**written, "state": "approval-requested", "approval": {"id": call.id}}
    if call.state == "abandoned":
        return {**written, **_abandoned(why)}
    return written


def _abandoned(why: str) -> JsonObject:
    return {"state": "output-error", "errorText": why}


def outcome(result: ToolResult) -> JsonObject:
    """Return the fields that a tool's part gets with the result of its call."""
    if result.state == "answered":
        return {"state": "output-available", "output": result.value}
    if result.state == "failed":
        return {"state": "output-error", "errorText": readable(result.value)}
    reason: JsonObject = {} if result.value is None else {"reason": readable(result.value)}
    return {"state": "output-denied", "approval": {"id": result.call_id, "approved": False, **reason}}

"""
OpenAI's Responses API, and the OpenAI Agents SDK, which stores its items: each item is a message of its own.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from voltmem.parts._items import (
    APPROVAL_REQUEST,
    APPROVAL_RESPONSE,
    CALLS,
    CUSTOM,
    HOSTED,
    ITEMS,
    LEFT_OUT,
    OF_TOOLS,
    RESULTS,
    ROLES,
    SETTINGS,
    TOOLS,
    complete,
    is_hosted_search,
    with_approvals,
    without,
)
from voltmem.parts._providers import (
    CallIds,
    arguments_object,
    custom_input,
    file_id,
    image_address,
    image_detail,
    is_fetched,
    is_medium,
    legal_name,
    named_file,
    references,
    result_parts,
    result_text,
    spoken,
)
from voltmem.parts._steps import ReadableT, Settled, is_blank, native_of
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
    known_by,
    objects,
    string,
    traced,
)

FORMAT: Final = "openai-responses"
PROVIDER: Final = "openai"


def is_message(value: JsonObject) -> bool:
    """Return whether it is an item: without a role, or a message with an item's fields."""
    kind = string(value, "type") or ("message" if "status" in value or "phase" in value else "")
    if "role" not in value or (kind == TOOLS and "tools" in value):
        return kind in ITEMS and kind != "message"
    return kind == "message" and not {"status", "phase", "type"}.isdisjoint(value) and "parts" not in value


def role(item: JsonObject) -> str:
    """Return who speaks in an item; what has no role is the model's, a tool's, or the application's."""
    given, type = string(item, "role"), string(item, "type")
    if given in ROLES:
        return given
    return "tool" if type in OF_TOOLS else "developer" if type in SETTINGS else "assistant"


def _text(block: JsonObject) -> list[Part] | None:
    if not isinstance(block.get("text"), str):
        return None
    cited = [
        Source(string(each, "url"), string(each, "title", "filename"), string(each, "file_id"))
        for each in objects(block.get("annotations"))
    ]
    return [Text(string(block, "text")), *(each for each in cited if each.url or each.id)]


def _refusal(block: JsonObject) -> list[Part] | None:
    return [Text(string(block, "refusal"))]


def _image(block: JsonObject) -> list[Part] | None:
    url, id = string(block, "image_url"), string(block, "file_id")
    return [known_by(PROVIDER, id, file(url, "image"))] if url or id else None


def _file(block: JsonObject) -> list[Part] | None:
    given = string(block, "file_data", "file_url")
    return [known_by(PROVIDER, string(block, "file_id"), inline(given, "", string(block, "filename")))]


def _audio(block: JsonObject) -> list[Part] | None:
    audio = block.get("input_audio")
    if not isinstance(audio, dict):
        return None
    return [inline(string(audio, "data"), f"audio/{string(audio, 'format') or 'wav'}")]


BLOCKS: Final[Mapping[str, BlockReader]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": traced(FORMAT, _image),
    "input_file": _file,
    "input_audio": _audio,
}


def _message(item: JsonObject) -> list[Part]:
    content = item.get("content")
    if isinstance(content, str):
        return [Text(content)] if content else []
    found: list[Part] = []
    for block in objects(content):
        reader = BLOCKS.get(string(block, "type"))
        found += (reader(block) if reader else None) or [Other(string(block, "type"), block)]
    return found


def _reasoning(item: JsonObject) -> list[Part]:
    texts = [string(each, "text") for each in (*objects(item.get("summary")), *objects(item.get("content")))]
    opaque: JsonObject = {key: item[key] for key in ("id", "summary", "encrypted_content") if item.get(key) is not None}
    return [Reasoning("\n".join(filter(None, texts)), PROVIDER, opaque)]


def _call(item: JsonObject) -> list[Part]:
    kind = string(item, "type")
    written = item.get(CALLS[kind])
    if is_hosted_search(item):
        return [ToolCall("", kind, written, provider_executed=True)]  # the result is for the call before it
    read = arguments(written) if kind == "function_call" else written
    is_custom = kind == CUSTOM
    return [ToolCall(string(item, "call_id", "id"), string(item, "name") or kind, read, is_custom=is_custom)]


def _result(item: JsonObject) -> list[Part]:
    value = item.get("tools" if item.get("type") == "tool_search_output" else "output")
    failed = item.get("status") in ("failed", "incomplete")
    call_id = "" if is_hosted_search(item) else string(item, "call_id", "id")
    return [ToolResult(call_id, value, state="failed" if failed else "answered")]


def _hosted(item: JsonObject) -> list[Part]:
    kind = string(item, "type")
    given, answer = HOSTED[kind]
    # What a person has approved is the call that was asked for.
    id, name = string(item, "approval_request_id", "id"), string(item, "name") or kind
    read = arguments(item.get(given)) if kind == "mcp_call" else item.get(given)
    named: JsonObject = read if isinstance(read, dict) else {} if read is None else {given: read}
    call = ToolCall(id, name, named, provider_executed=True)
    if kind == "image_generation_call":
        data = string(item, "result")
        return [call, ToolResult(id, None, name), *([File("image/png", data=data)] if data else [])]
    error = item.get("error")
    if error is not None or item.get("status") == "failed":
        return [call, ToolResult(id, error, name, "failed")]
    return [call, ToolResult(id, item.get(answer), name)]


def _approval(item: JsonObject) -> list[Part]:
    return [ToolCall(string(item, "id"), string(item, "name"), arguments(item.get("arguments")), "waiting", True)]


def _approval_response(item: JsonObject) -> list[Part]:
    if item.get("approve") is False:
        return [ToolResult(string(item, "approval_request_id"), item.get("reason"), state="denied")]
    return [Other(APPROVAL_RESPONSE, item)]


_ITEMS: Final[Mapping[str, Callable[[JsonObject], list[Part]]]] = {
    "message": _message,
    "reasoning": _reasoning,
    **dict.fromkeys(CALLS, _call),
    **dict.fromkeys(RESULTS, _result),
    **dict.fromkeys(HOSTED, _hosted),
    APPROVAL_REQUEST: _approval,
    APPROVAL_RESPONSE: _approval_response,
}


def read(item: JsonObject) -> list[Part]:
    """Return the parts of an item."""
    kind = string(item, "type") or ("message" if "role" in item else "item")
    reader = _ITEMS.get(kind)
    return reader(item) if reader else [Other(kind, item)]


def _in_list(item: JsonObject) -> list[Part] | None:
    """Read an item in the content of a message, where some applications store it."""
    return read(item)


ITEM_BLOCKS: Final[Mapping[str, BlockReader]] = dict.fromkeys([*CALLS, *RESULTS, *HOSTED], _in_list)


# --- the way back ---------------------------------------------------------------------------------------------------

LONGEST_ID: Final = 64
FORMATS: Final = frozenset({FORMAT, "openai-agents"})


def write(settled: Sequence[Settled[ReadableT]], *, keep_all: bool = False) -> list[JsonObject]:
    """
    Return the items of the messages. One that was stored as an item is returned as it was, if its reasoning is there.

    A call without a result and a result without a call are left out, because the API refuses them; *keep_all* keeps
    them, for somebody who leaves them out.
    """
    ids = CallIds(LONGEST_ID)
    found: list[JsonObject] = []
    for each in settled:
        payload = item_of(each.message)
        if all(map(is_blank, each.parts)) and each.speaker == "user" and not keep_all:
            continue
        if payload is not None and not references(payload):  # a stored file that is not there is named below
            # The place of an item that is left out stays until the reasoning before it is left out as well.
            legal = _legal(payload, each, ids)
            found.append(payload if keep_all else legal if each.is_whole else {LEFT_OUT: True})
        else:
            if keep_all:
                found += [_written_result(ids, result) for result in each.orphans if result.call_id]
            found += _items(each, ids, keep_all=keep_all)
    return found if keep_all else complete(with_approvals(found))


def _legal(item: JsonObject, settled: Settled[ReadableT], ids: CallIds) -> JsonObject:
    """Return the item, with a legal id of its call and a legal name of its tool. Other providers' may be neither."""
    wanted: JsonObject = {}
    for part in [] if is_hosted_search(item) else settled.parts:
        if isinstance(part, ToolCall) and (string(item, "type") not in CALLS or ids.may_keep(part)):
            ids.keep(part)
        elif isinstance(part, ToolCall):
            wanted |= {"call_id": ids.legal(part), "name": legal_name(part.name)}
        elif isinstance(part, ToolResult):
            wanted["call_id"] = ids.last(part.call_id)
    changed = {name: value for name, value in wanted.items() if name in item and item[name] != value}
    return {**item, **changed} if changed else item


def item_of(message: object) -> JsonObject | None:
    """Return the item as which the message was stored; None: it was not."""
    format, payload = native_of(message)
    return payload if format in FORMATS and isinstance(payload, dict) else None


def _items(settled: Settled[ReadableT], ids: CallIds, *, keep_all: bool) -> Iterator[JsonObject]:
    role = settled.message.role if settled.message.role == "developer" else settled.speaker
    said: list[Part] = []
    for place, part in enumerate(settled.parts):
        if not isinstance(part, ToolCall | ToolResult):
            said += [] if is_blank(part) else [part]
        elif isinstance(part, ToolResult) or place in settled.results or (keep_all and part.name):
            yield from _said(role, said)
            said = []
            yield _written_call(ids, part) if isinstance(part, ToolCall) else _written_result(ids, part)
    yield from _said(role, said)


def _written_call(ids: CallIds, call: ToolCall) -> JsonObject:
    named: JsonObject = {"call_id": ids.legal(call), "name": legal_name(call.name)}
    if call.is_custom:
        return {"type": CUSTOM, **named, "input": custom_input(call)}
    written = call.arguments if isinstance(call.arguments, str) else json_text(arguments_object(call))
    return {"type": "function_call", **named, "arguments": written}


def _written_result(ids: CallIds, result: ToolResult) -> JsonObject:
    shown = result_parts(result)
    blocks = [_block(part) for part in shown]
    has_files = any(isinstance(part, File) for part in shown)
    output: JsonValue = [block for block in blocks if block] if has_files else result_text(result)
    id = ids.last(result.call_id)
    type = f"{CUSTOM}_output" if ids.is_custom(id) else "function_call_output"
    return {"type": type, "call_id": id, "output": output}


def _said(role: str, parts: Sequence[Part]) -> Iterator[JsonObject]:
    """Yield OpenAI's own reasoning, and a message with what is said."""
    yield from _thought(parts)
    role = "user" if role == "tool" else role
    blocks = [block for part in parts if (block := _block(part)) is not None]
    if role != "user" or all(block["type"] == "input_text" for block in blocks):  # only a user's message has files
        if text := spoken(parts):
            yield {"role": role, "content": text}
    elif blocks:
        yield {"role": role, "content": list(blocks)}


def _thought(parts: Sequence[Part]) -> Iterator[JsonObject]:
    """
    Yield OpenAI's own reasoning. Some frameworks make several parts of an item, each with the item's id.

    The id itself is left out. With it, the API demands the item that followed, by its id, which a part does not have.
    """
    found: dict[str | int, JsonObject] = {}
    for place, part in enumerate(parts):
        if not isinstance(part, Reasoning) or part.provider != PROVIDER:
            continue
        written: list[JsonValue] = [{"type": "summary_text", "text": part.text}] if part.text else []
        key = string(part.opaque, "id") or place
        item = found.get(key, {"type": "reasoning", "summary": []})
        before = item["summary"] if isinstance(item["summary"], list) else []
        found[key] = {**item, "summary": [*before, *written], **part.opaque}
    yield from (without(item, "id") for item in found.values() if "encrypted_content" in item)


def _block(part: Part) -> JsonObject | None:
    if isinstance(part, Text):
        return _text_block(part.text)
    if not isinstance(part, File):
        return None
    if part.is_stored:
        return _text_block(named_file(part))
    image, id = image_address(part), file_id(part, PROVIDER)
    if image or (id and part.media_type.startswith("image")):
        where: JsonObject = {"image_url": image} if image else {"file_id": id}
        return {"type": "input_image", "detail": "auto", **image_detail(part), **where}
    if part.data and not is_medium(part):
        return {"type": "input_file", "filename": part.name or "file", "file_data": part.address}
    if is_fetched(part) and not is_medium(part):
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "file_id": id} if id else _text_block(named_file(part))


def _text_block(text: str) -> JsonObject:
    return {"type": "input_text", "text": text}

"""
Anthropic's Messages API: text, thinking, tool use and results, the provider's own tools, images, documents.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from pydantic import JsonValue

from voltmem.parts._providers import (
    CallIds,
    arguments_object,
    file_id,
    image_type,
    is_fetched,
    is_medium,
    legal_name,
    named_file,
    references,
    result_parts,
    result_text,
)
from voltmem.parts._steps import ReadableT, Step
from voltmem.parts._types import (
    BlockReader,
    File,
    JsonObject,
    Origin,
    Other,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolResult,
    block_of,
    file,
    inline,
    known_by,
    object_of,
    objects,
    string,
    traced,
)

FORMAT: Final = "anthropic"
PROVIDER: Final = "anthropic"

# What a response of the API has beside role and content.
_OF_RESPONSES: Final = frozenset({"model", "stop_reason", "stop_sequence", "usage", "container"})


def is_message(value: JsonObject) -> bool:
    """Return whether it is a response of the API as it came; messages with a role and content only are plain."""
    return (
        value.get("type") == "message"
        and isinstance(value.get("content"), list)
        and not _OF_RESPONSES.isdisjoint(value)
    )


def _text(block: JsonObject) -> list[Part] | None:
    if not isinstance(block.get("text"), str):
        return None
    cited = (
        Source(string(each, "url"), string(each, "title", "document_title")) for each in objects(block.get("citations"))
    )
    return [Text(string(block, "text")), *(each for each in cited if each.url)]


def _thinking(block: JsonObject) -> list[Part] | None:
    if not isinstance(block.get("thinking"), str):
        return None
    signature = string(block, "signature")
    opaque: JsonObject = {"signature": signature} if signature else {}
    return [Reasoning(string(block, "thinking"), PROVIDER if signature else "", opaque)]


def _redacted(block: JsonObject) -> list[Part] | None:
    return [Reasoning("", PROVIDER, {"data": block.get("data")})]


def _call(block: JsonObject) -> list[Part] | None:
    executed = block.get("type") != "tool_use"
    return [ToolCall(string(block, "id"), string(block, "name"), block.get("input"), provider_executed=executed)]


def _result(block: JsonObject) -> list[Part] | None:
    content = block.get("content")
    failed = block.get("is_error") is True or string(object_of(block, "content"), "type").endswith("_error")
    return [ToolResult(string(block, "tool_use_id"), content, state="failed" if failed else "answered")]


def _media(block: JsonObject) -> list[Part] | None:
    source = block.get("source")
    if not isinstance(source, dict):
        return None
    kind = "image" if block.get("type") == "image" else ""
    media_type, name = string(source, "media_type") or kind, string(block, "title", "filename")
    if source.get("type") == "text" or source.get("type") == "content":
        return [File(media_type or "text/plain", name), Text(_document_text(source))]
    if data := string(source, "data"):
        return [inline(data, media_type, name)]
    if url := string(source, "url"):
        return [file(url, media_type, name)]
    return [known_by(PROVIDER, string(source, "file_id"), File(media_type, name))]


def _document_text(source: Mapping[str, JsonValue]) -> str:
    content = source.get("content")
    return string(source, "data") or (
        content if isinstance(content, str) else "\n".join(string(each, "text") for each in objects(content))
    )


def _search_result(block: JsonObject) -> list[Part] | None:
    return [Source(string(block, "source"), string(block, "title")), Text(_document_text(block))]


def _upload(block: JsonObject) -> list[Part] | None:
    return [known_by(PROVIDER, string(block, "file_id"), File())]


_READERS: Final[Mapping[str, BlockReader]] = {
    "text": _text,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _call,
    "server_tool_use": _call,
    "mcp_tool_use": _call,
    "tool_result": _result,
    "mcp_tool_result": _result,
    "web_search_tool_result": _result,
    "web_fetch_tool_result": _result,
    "code_execution_tool_result": _result,
    "bash_code_execution_tool_result": _result,
    "text_editor_code_execution_tool_result": _result,
    "tool_search_tool_result": _result,
    "advisor_tool_result": _result,
    "image": _media,
    "document": _media,
    "search_result": _search_result,
    "container_upload": _upload,
}
# What the API alone understands: of its own context, its tools, and its models.
_FOR_THE_API: Final = ("compaction", "fallback", "mcp_tool_listing", "tool_addition", "tool_removal")


def _other(block: JsonObject) -> list[Part] | None:
    return [Other(string(block, "type"), block)]


BLOCKS: Final = {
    type: traced(FORMAT, reader) for type, reader in {**_READERS, **dict.fromkeys(_FOR_THE_API, _other)}.items()
}


def read(message: JsonObject) -> list[Part]:
    """Return the parts of a message."""
    content = message.get("content")
    if isinstance(content, str):
        return [Text(content)]
    found: list[Part] = []
    for block in objects(content):
        reader = BLOCKS.get(string(block, "type"))
        other = Other(string(block, "type"), block, origin=Origin(FORMAT, block))  # newer than this list
        found += (reader(block) if reader else None) or [other]
    return found


# --- the way back ---------------------------------------------------------------------------------------------------

_LONGEST_ID: Final = 64
_PDF: Final = "application/pdf"

# The fields that the API takes of the blocks that other forms have as well. Of its own it takes all that it has made.
_FIELDS: Final[Mapping[str, Set[str]]] = {
    "text": {"type", "text", "citations"},
    "image": {"type", "source", "transformations"},
    "document": {"type", "source", "title", "context", "citations"},
    "tool_use": {"type", "id", "name", "input", "caller", "toolset_name"},
    "tool_result": {"type", "toolset_name"},
}
# A list may have four places to cache at, whichever these were when its messages were sent. LangChain counts blocks.
_OF_ONE_REQUEST: Final = frozenset({"cache_control", "index"})


def is_inline(part: Part) -> bool:
    """Return whether the part stays among what the model says: a call of the provider's own tools, or its result."""
    block = block_of(part, FORMAT)
    if block is None or not isinstance(part, ToolCall | ToolResult | Other):
        return False
    return string(block, "type") not in ("tool_use", "tool_result")


def write(steps: Sequence[Step[ReadableT]]) -> list[JsonObject]:
    """
    Return the messages of the steps, without the system's, which the API takes as an argument of its own.

    The results of a message's calls begin the user's message after it. The provider's own blocks go back as they came.
    """
    ids = CallIds(_LONGEST_ID)
    found: list[JsonObject] = []
    own_calls: set[str] = set()
    for step in steps:
        if step.speaker == "system":
            continue
        if step.speaker == "user":
            _add(found, "user", _blocks(step.parts))
            continue
        named = [(ids.legal(call), call, result) for call, result in step.calls]
        # It has no files but Anthropic's own.
        said = (
            Text(named_file(part)) if isinstance(part, File) and block_of(part, FORMAT) is None else part
            for part in step.parts
        )
        own_calls |= {part.id for part in step.parts if isinstance(part, ToolCall)}
        _add(found, "assistant", [*_blocks(said), *(_written_call(id, call, own_calls) for id, call, _ in named)])
        if named:
            _add(found, "user", [_written_result(id, result) for id, _, result in named])
    return [{**message, "content": _content(message["content"])} for message in found]


def _add(found: list[JsonObject], role: str, blocks: list[JsonValue]) -> None:
    """Add the blocks to the last message if it has the same role: roles alternate."""
    there = found[-1]["content"] if found and found[-1]["role"] == role else None
    if isinstance(there, list):
        there += blocks
    elif blocks:
        found.append({"role": role, "content": blocks})


def _content(blocks: JsonValue) -> JsonValue:
    match blocks:
        case [{"type": "text", "text": str(text), **rest}] if not rest:
            return text
        case _:
            return blocks


def _blocks(parts: Iterable[Part]) -> list[JsonValue]:
    found: list[JsonValue] = []
    last: Origin | None = None
    for part in parts:
        if part.origin is None or part.origin is not last:  # a block may say several parts
            block = _own(part) or _block(part)
            found += [] if block is None else [block]
        last = part.origin
    return found


def _own(part: Part) -> JsonObject | None:
    """Return the block in which the part was read; None: another form's, or one that the API refuses as it is."""
    block = block_of(part, FORMAT)
    if block is None or references(block) or (isinstance(part, Text | Reasoning) and _block(part) is None):
        return None
    return _without_fields_of_others(block)


def _without_fields_of_others(block: JsonObject) -> JsonObject:
    known = _FIELDS.get(string(block, "type"), block.keys() - _OF_ONE_REQUEST)
    return {name: value for name, value in block.items() if name in known and value is not None}


def _block(part: Part) -> JsonObject | None:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text} if part.text.strip() else None  # the API refuses an empty text
    if isinstance(part, Reasoning):
        if part.provider != PROVIDER:
            return None
        if "data" in part.opaque:
            return {"type": "redacted_thinking", "data": part.opaque["data"]}
        signature = part.opaque.get("signature")
        return {"type": "thinking", "thinking": part.text, "signature": signature} if signature else None
    return _written_file(part) if isinstance(part, File) else None


def _written_file(part: File) -> JsonObject:
    image = image_type(part)
    source: JsonObject
    if part.data:
        source = {"type": "base64", "media_type": image or part.media_type or _PDF, "data": part.data}
    elif is_fetched(part):
        source = {"type": "url", "url": part.url}
    elif id := file_id(part, PROVIDER):
        source = {"type": "file", "file_id": id}
    else:
        return {"type": "text", "text": named_file(part)}
    if image:
        return {"type": "image", "source": source}
    if is_medium(part) or source.get("media_type", _PDF) != _PDF:
        return {"type": "text", "text": named_file(part)}
    titled: JsonObject = {"title": part.name} if part.name else {}
    return {"type": "document", "source": source, **titled}


def _written_call(id: str, call: ToolCall, own_calls: Set[str]) -> JsonObject:
    own = _without_fields_of_others(block_of(call, FORMAT) or {"type": "tool_use"})
    if string(object_of(own, "caller"), "tool_id") not in {"", *own_calls}:
        del own["caller"]  # code that the provider ran has called the tool, and is not there any more
    return {**own, "id": id, "name": legal_name(call.name), "input": arguments_object(call)}


def _written_result(id: str, result: ToolResult) -> JsonObject:
    own = block_of(result, FORMAT)
    written = {**_without_fields_of_others(own or {}), "type": "tool_result", "tool_use_id": id}
    if result.state != "answered":  # the API refuses files in an error
        return {**written, "content": result_text(result), "is_error": True}
    if own is not None and not references(own) and isinstance(own.get("content"), list):
        return {**written, "content": [_without_fields_of_others(each) for each in objects(own["content"])]}
    shown = result_parts(result)
    has_files = any(isinstance(part, File) for part in shown)
    return {**written, "content": _blocks(shown) if has_files else result_text(result)}

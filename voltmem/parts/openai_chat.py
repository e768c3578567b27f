"""
OpenAI's Chat Completions, which most other providers accept as well: text, images, audio, files, tool calls.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from voltmem.parts._providers import (
    LONGEST_ID,
    CallIds,
    arguments_object,
    audio_format,
    custom_input,
    file_id,
    image_address,
    image_detail,
    is_medium,
    legal_name,
    named_file,
    references,
    result_text,
    spoken,
)
from voltmem.parts._steps import ReadableT, Step, native_of
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
    block_of,
    file,
    inline,
    json_text,
    known_by,
    object_of,
    objects,
    string,
    traced,
)

FORMAT: Final = "openai-chat"
PROVIDER: Final = "openai"

_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
# What a message may have beside role and content.
FIELDS: Final = frozenset(
    {"tool_calls", "tool_call_id", "function_call", "name", "refusal", "audio", "annotations", "weight"}
    | {"reasoning_content", "reasoning", "reasoning_details"}  # of DeepSeek, OpenRouter, vLLM
    | {"parsed", "citations", "search_results", "images", "tool_name"}  # of openai's parse(), Perplexity, Ollama
)
# What only answers have: a request with it is refused.
_OF_ANSWERS: Final = frozenset({"parsed", "citations", "search_results"})


def is_message(value: JsonObject) -> bool:
    """Return whether it is a chat message with more than a role and content, which alone are plain."""
    return string(value, "role") in _ROLES and not FIELDS.isdisjoint(value) and "parts" not in value


def _text(block: JsonObject) -> list[Part] | None:
    return [Text(string(block, "text"))] if isinstance(block.get("text"), str) else None


def _refusal(block: JsonObject) -> list[Part] | None:
    return [Text(string(block, "refusal"))]


def _image(block: JsonObject) -> list[Part] | None:
    image = block.get("image_url")
    url = image if isinstance(image, str) else string(object_of(block, "image_url"), "url")
    return [file(url, "image")] if url else None


_ADDRESSED: Final = {"video_url": "video", "audio_url": "audio", "document_url": ""}


def _addressed(media_type: str) -> BlockReader:
    """Return the reader of a block of vLLM, OpenRouter or Mistral, which is named after its field."""

    def read(block: JsonObject) -> list[Part] | None:
        given = block.get(string(block, "type"))
        url = given if isinstance(given, str) else string(given, "url") if isinstance(given, dict) else ""
        return [file(url, media_type)] if url else None

    return read


def _audio(block: JsonObject) -> list[Part] | None:
    audio = object_of(block, "input_audio")
    return [inline(string(audio, "data"), f"audio/{string(audio, 'format') or 'wav'}")] if audio else None


def _file(block: JsonObject) -> list[Part] | None:
    given = block.get("file")
    if not isinstance(given, dict):
        return None
    found = inline(string(given, "file_data"), "", string(given, "filename"))
    return [known_by(PROVIDER, string(given, "file_id"), found)]


BLOCKS: Final[Mapping[str, BlockReader]] = {
    "text": _text,
    "refusal": _refusal,
    "image_url": traced(FORMAT, _image),
    "input_audio": _audio,
    "file": _file,
    **{name: traced(FORMAT, _addressed(media_type)) for name, media_type in _ADDRESSED.items()},
}


def read(message: JsonObject) -> list[Part]:
    """Return the parts of a message."""
    if message.get("role") in ("tool", "function"):
        call_id, name = string(message, "tool_call_id"), string(message, "name", "tool_name")
        return [ToolResult(call_id, message.get("content"), name)]
    thought = string(message, "reasoning_content", "reasoning")
    found: list[Part] = [Reasoning(thought)] if thought else []
    found += _content(message)
    found += [Text(refusal)] if (refusal := string(message, "refusal")) else []
    if audio := object_of(message, "audio"):
        found += [Text(said)] if (said := string(audio, "transcript")) else []
        found.append(known_by(PROVIDER, string(audio, "id"), inline(string(audio, "data"), "audio")))
    return [*found, *_images(message), *_sources(message), *calls(message)]


def _images(message: JsonObject) -> Iterator[Part]:
    """Read the pictures beside the content: of Ollama as base64, of OpenRouter as blocks."""
    listed = message.get("images")
    for each in listed if isinstance(listed, list) else []:
        if isinstance(each, str) and each:
            yield inline(each, "image")
        elif isinstance(each, dict):
            yield from _image(each) or []


def _sources(message: JsonObject) -> Iterator[Part]:
    for each in objects(message.get("annotations")):
        if cited := object_of(each, "url_citation"):
            yield Source(string(cited, "url"), string(cited, "title"))
    listed = message.get("citations")
    for url in listed if isinstance(listed, list) else []:
        if isinstance(url, str) and url:
            yield Source(url, "")


def _content(message: JsonObject) -> list[Part]:
    content = message.get("content")
    if isinstance(content, str):
        return [Text(content)] if content else []
    found: list[Part] = []
    for block in objects(content):
        reader = BLOCKS.get(string(block, "type"))
        found += (reader(block) if reader else None) or [Other(string(block, "type"), block)]
    return found


def calls(message: Mapping[str, object]) -> list[Part]:
    """Return the tool calls of a message, of functions and of custom tools."""
    listed = message.get("tool_calls")
    found: list[Part] = [call(each) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    old = message.get("function_call")
    return found or (
        [ToolCall("", string(old, "name"), arguments(old.get("arguments")))] if isinstance(old, dict) else []
    )


def call(given: JsonObject) -> ToolCall:
    """Return one of the tool_calls, in OpenAI's form or in the short one of Ollama and LangChain."""
    called = object_of(given, "function", "custom") or given
    written = next((called[key] for key in ("arguments", "input", "args") if key in called), None)
    is_custom = "custom" in given
    read = written if is_custom else arguments(written)
    id = string(given, "id", "call_id", "tool_call_id", "toolCallId")
    return ToolCall(id, string(called, "name"), read, is_custom=is_custom)


# --- the way back ---------------------------------------------------------------------------------------------------


def write(steps: Sequence[Step[ReadableT]]) -> list[JsonObject]:
    """Return the messages of the steps. One in this form is returned as it was, without what is refused."""
    ids = CallIds(LONGEST_ID)
    found: list[JsonObject] = []
    for step in steps:
        if step.speaker == "assistant":
            found += _assistant(step, ids)
        else:
            content = spoken(step.parts) if step.speaker == "system" else _written(step.parts)
            found.append(_own(step) or {"role": _role_of(step), "content": content})
    return found


def _own(step: Step[ReadableT]) -> JsonObject | None:
    """Return the message that says the step, as it was stored; None: another form's, or it says more than the step."""
    format, payload = native_of(None if step.source is None else step.source.message)
    if format != FORMAT or not isinstance(payload, dict) or references(payload):
        return None  # a stored file that is not there is named
    return _as_sent(payload)


def _as_sent(message: JsonObject) -> JsonObject:
    """Return the message without what the API refuses in a request, though it or the package openai has made it."""
    kept = {name: value for name, value in message.items() if name not in _OF_ANSWERS}
    listed = kept.get("tool_calls")
    if listed == []:
        del kept["tool_calls"]
    elif isinstance(listed, list):
        kept["tool_calls"] = [_call_as_sent(each) if isinstance(each, dict) else each for each in listed]
    return kept if kept != message else message


def _call_as_sent(call: JsonObject) -> JsonObject:
    function = object_of(call, "function")
    if "parsed_arguments" not in function:
        return call
    return {**call, "function": {name: value for name, value in function.items() if name != "parsed_arguments"}}


def _role_of(step: Step[ReadableT]) -> str:
    role = step.sources[0].message.role
    return role if role == "developer" else step.speaker


def _assistant(step: Step[ReadableT], ids: CallIds) -> Iterator[JsonObject]:
    own = _own(step)
    is_legal = own is not None and _has_as_sent(own, [call for call, _ in step.calls])
    is_legal = is_legal and all(ids.may_keep(call) for call, _ in step.calls)
    named = [(ids.legal(call), call, result) for call, result in step.calls]
    yield own if own is not None and is_legal else _said(step, [_written_call(id, call) for id, call, _ in named])
    for id, _, result in named:
        yield {"role": "tool", "tool_call_id": id, "content": result_text(result)}


def _has_as_sent(message: JsonObject, calls: Sequence[ToolCall]) -> bool:
    """Return whether the message has the calls as the API demands them, which others than OpenAI do not."""
    listed = message.get("tool_calls") or []
    return isinstance(listed, list) and len(listed) == len(calls) and all(map(_is_as_sent, listed, calls))


def _is_as_sent(given: JsonValue, call: ToolCall) -> bool:
    if not isinstance(given, dict) or given.get("id") != call.id:
        return False
    written = object_of(given, "function").get("arguments"), object_of(given, "custom").get("input")
    return isinstance(written[given.get("type") == "custom"], str) and given.get("type") in ("function", "custom")


def _said(step: Step[ReadableT], calls: list[JsonValue]) -> JsonObject:
    text = spoken(step.parts)  # only a user's message has files
    if not calls:
        return {"role": "assistant", "content": text}
    return {"role": "assistant", "content": text or None, "tool_calls": calls}


def _written_call(id: str, call: ToolCall) -> JsonObject:
    name = legal_name(call.name)
    if call.is_custom:
        return {"id": id, "type": "custom", "custom": {"name": name, "input": custom_input(call)}}
    written = call.arguments if isinstance(call.arguments, str) else json_text(arguments_object(call))
    return {"id": id, "type": "function", "function": {"name": name, "arguments": written}}


def _written(parts: Iterable[Part]) -> JsonValue:
    """Return the content: a text, or blocks if there are files. What the API has no block for is named in text."""
    blocks: list[JsonValue] = [block for part in parts if (block := _block(part)) is not None]
    if all(isinstance(block, dict) and block["type"] == "text" for block in blocks):
        return "\n".join(str(block["text"]) for block in blocks if isinstance(block, dict))
    return blocks


def _block(part: Part) -> JsonObject | None:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if not isinstance(part, File):
        return None
    own = block_of(part, FORMAT)
    if own is not None and string(own, "type") in _ADDRESSED:
        return own  # only the provider that the application took it from knows such a block
    if image := image_address(part):
        return {"type": "image_url", "image_url": {"url": image, **image_detail(part)}}
    if part.data and (format := audio_format(part)):
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": format}}
    if part.data and not is_medium(part):
        return {"type": "file", "file": {"filename": part.name or "file", "file_data": part.address}}
    if id := file_id(part, PROVIDER):
        return {"type": "file", "file": {"file_id": id}}
    return {"type": "text", "text": named_file(part)}

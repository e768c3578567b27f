"""What providers demand: legal names, ids of their alphabet that are used once, results and files that they read."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeAlias

from pydantic import JsonValue

from voltmem._media_types import media_type_of
from voltmem._values import with_strings
from voltmem.parts._types import (
    BASE64_URL,
    FILE_URL,
    File,
    JsonObject,
    Part,
    Text,
    ToolCall,
    ToolResult,
    file,
    made_id,
    object_of,
    readable,
    string,
)

Shown: TypeAlias = Text | File
"""What a model can be shown of a tool's result."""

# The shortest bound for the id of a call, of all providers: Chat Completions has it.
LONGEST_ID: Final = 40
_LEGAL_ID: Final = re.compile("[a-zA-Z0-9_-]+")
_NOT_IN_NAMES: Final = re.compile("[^a-zA-Z0-9_-]")
_LONGEST_NAME: Final = 64
_REFERENCE: Final = re.compile(rf"{FILE_URL}[0-9a-f]{{64}}")
# Who makes ids that begin so, for forms that do not say it, such as LangChain's.
_MAKERS: Final = {"file-": "openai", "file_": "anthropic"}
_AUDIO: Final = {"mpeg": "mp3", "mp3": "mp3", "wav": "wav", "wave": "wav", "vnd.wave": "wav", "": "wav"}
_IMAGES: Final = {each: f"image/{each}" for each in ("png", "jpeg", "gif", "webp")} | {
    "jpg": "image/jpeg",
    "pjpeg": "image/jpeg",
}
# Where a provider, or the framework before it, can fetch a file.
_ADDRESSES: Final = ("https://", "http://", "gs://", "s3://")
DENIED: Final = "The user denied this tool call."


class CallIds:
    """Ids for one list of messages: each call has one of its own, and keeps it if it is legal."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._given: set[str] = set()
        self._last: dict[str, str] = {}
        self._custom: set[str] = set()

    def legal(self, call: ToolCall) -> str:
        """Return the id for the next call, and use it up."""
        wanted = call.id if self._is_legal(call.id) else made_id(call.id)
        found, again = wanted, 2
        while found in self._given:
            end = f"_{again}"
            found, again = wanted[: self._longest - len(end)] + end, again + 1
        self._use(call, found)
        return found

    def keep(self, call: ToolCall) -> None:
        """Use up the id of a call that is written as it was."""
        self._use(call, call.id)

    def _use(self, call: ToolCall, id: str) -> None:
        self._given.add(id)
        self._last[call.id] = id
        if call.is_custom:
            self._custom.add(id)

    def last(self, id: str) -> str:
        """Return what legal() made of this id last."""
        return self._last.get(id, id)

    def is_custom(self, id: str) -> bool:
        """Return whether the call that was given this id is one of a custom tool."""
        return id in self._custom

    def may_keep(self, call: ToolCall) -> bool:
        """Return whether a call may be sent as it is, with its id and its name."""
        return self._is_legal(call.id) and call.id not in self._given and legal_name(call.name) == call.name

    def _is_legal(self, id: str) -> bool:
        return len(id) <= self._longest and _LEGAL_ID.fullmatch(id) is not None


def legal_name(name: str) -> str:
    """Return the tool's name in the alphabet that all providers accept."""
    return _NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME] or "tool"


def arguments_object(call: ToolCall) -> JsonObject:
    """Return a call's arguments as an object, which is what a function takes."""
    given = call.arguments
    return given if isinstance(given, dict) else {} if given in (None, "") else {"arguments": given}


def custom_input(call: ToolCall) -> str:
    """Return a call's arguments as the text that a custom tool takes."""
    return "" if call.arguments is None else readable(call.arguments)


def file_id(part: File, provider: str) -> str:
    """Return the id of a file if this provider knows it, else ""."""
    known_by = part.provider or next((name for begin, name in _MAKERS.items() if part.id.startswith(begin)), "")
    return part.id if known_by == provider else ""


def result_text(result: ToolResult) -> str:
    """Return a result as text for a model: its text or JSON, an error, or that the user denied the call."""
    return spoken(result_parts(result))


def result_parts(result: ToolResult) -> list[Shown]:
    """Return a result as a model is shown it: of a list of blocks their texts and files, otherwise one text."""
    value = result.value
    if result.state == "denied":
        reason = "" if value is None else readable(value)
        return [Text(f"{DENIED} {reason}" if reason else DENIED)]
    read = [_shown(each) for each in (value if isinstance(value, list) else [value] if isinstance(value, str) else [])]
    shown = [part for each in read for part in each]
    if all(read) and any(isinstance(part, File) and (part.address or part.id) for part in shown):
        return shown
    return [Text(readable(_without_references(value)))]


class Blocks:
    """How a block in a tool's result is read. _results.py sets it, which knows all forms: they import this module."""

    read: Callable[[JsonObject], Sequence[Part]]


def _shown(item: JsonValue) -> list[Shown]:
    """Return the texts and files of a block in a result; [] if it is no block."""
    if isinstance(item, str):
        return [file(item)] if _REFERENCE.fullmatch(item) or BASE64_URL.match(item) else [Text(item)]
    if not isinstance(item, dict):
        return []
    type = string(item, "type")
    return [part for part in Blocks.read(item) if isinstance(part, Text | File)] or (
        [Text(f"[{type}]")] if type else []
    )


def _without_references(value: JsonValue) -> JsonValue:
    """Return JSON with a text in place of each address of a stored file."""
    return with_strings(value, lambda each: named_file(File()) if _REFERENCE.fullmatch(each) else each)


def references(value: JsonValue) -> set[str]:
    """Return the addresses of stored files in JSON: strings that are an address as a whole."""
    if isinstance(value, str):
        return {value} if _REFERENCE.fullmatch(value) else set()
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def spoken(parts: Iterable[Part]) -> str:
    """Return the texts, one a line, and the names of files, for a speaker who has no files with this provider."""
    shown = (part for part in parts if isinstance(part, Text | File))
    return "\n".join(filter(None, (part.text if isinstance(part, Text) else named_file(part) for part in shown)))


def is_named_only(part: File) -> bool:
    """
    Return whether a framework that calls any provider is told the name of a file only.

    That is a file at an address where nobody else can fetch it, such as one of the browser, or one whose id only one
    provider knows.
    """
    if part.url:
        return not part.url.lower().startswith(_ADDRESSES)
    return not (part.data or (part.id and not part.provider))


def named_file(part: File) -> str:
    """Return the text that stands for a file where a provider takes no such file."""
    url = "" if part.is_stored else part.url
    return f"[file: {part.name or url or part.media_type or part.id or 'file'}]"


def is_medium(part: File) -> bool:
    """Return whether it is an image, a sound or a video, which providers do not take as documents."""
    return part.media_type.partition("/")[0] in ("image", "audio", "video")


def is_fetched(part: File) -> bool:
    """Return whether a provider fetches the file from its address."""
    return part.url.lower().startswith(("https:", "http:"))


def image_type(part: File) -> str:
    """
    Return the media type of an image that every provider takes; "": it is none, or one that they refuse.

    Without a form the first bytes say it; "image" for one whose bytes are elsewhere.
    """
    kind, form = _kind_and_form(part)
    if kind != "image":
        return ""
    if form in ("", "*"):
        if not part.data:
            return "image"
        form = (media_type_of(_beginning(part.data)) or "image/png").partition("/")[2]
    return _IMAGES.get(form, "")


def _kind_and_form(part: File) -> tuple[str, str]:
    kind, _, form = part.media_type.lower().partition(";")[0].strip().partition("/")
    return kind, form


def _beginning(data: str) -> bytes:
    with suppress(ValueError):
        return b64decode(data[:64])
    return b""


def image_address(part: File) -> str:
    """Return the address at which OpenAI gets an image, of its bytes a data: URL; "" if it does not take the image."""
    type = image_type(part)
    return replace(part, media_type=type).address if type and (part.data or is_fetched(part)) else ""


def image_detail(part: File) -> JsonObject:
    """Return how closely OpenAI looks at an image, if its block says so."""
    block = part.origin.block if part.origin is not None else {}
    detail = string(object_of(block, "image_url") or block, "detail")
    return {"detail": detail} if detail else {}


def audio_format(part: File) -> str:
    """Return OpenAI's name for the form of an audio; "": it is none, or one that OpenAI refuses."""
    kind, form = _kind_and_form(part)
    return _AUDIO.get(form.removeprefix("x-"), "") if kind == "audio" else ""

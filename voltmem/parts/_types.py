"""What a message says, independent of who wrote it: the parts, and small readers of JSON that every form needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final, Literal, TypeAlias

from pydantic import JsonValue
from pydantic_core import from_json, to_json

from voltmem import _values
from voltmem._values import JsonObject as JsonObject  # every form imports it with the parts
from voltmem._values import json_value

CallState: TypeAlias = Literal["running", "waiting", "answered", "failed", "denied", "abandoned"]
"""
The state of a tool call: running; waiting for a person's approval; answered; failed; denied by a person; abandoned: a
running or waiting call that later messages have passed over.
"""
ResultState: TypeAlias = Literal["answered", "failed", "denied"]


@dataclass(frozen=True, slots=True)
class Origin:
    """
    The block of a provider's own form that says a part, so that it goes back to this provider as it came.

    Every part has it as ``part.origin``; None if it was read in another form. Parts are compared without it.
    """

    form: str
    """The form: "anthropic", "openai-chat" or "openai-responses"."""
    block: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What all parts have."""

    origin: Origin | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Text(Traced):
    """What the author says."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning(Traced):
    """What a model thinks before it answers. It is never part of a message's text."""

    text: str
    """The readable part; "" if the provider keeps it to itself."""
    provider: str = ""
    """Who made it: "anthropic", "openai", "google", …; "" if the message does not say."""
    opaque: JsonObject = field(default_factory=dict)
    """
    What this provider, and no other, wants back, by its own names: a signature, encrypted content, an id.

    Anthropic's are ``signature`` or ``data``, OpenAI's ``id``, ``summary`` and ``encrypted_content``, Google's
    ``thought_signature``.
    """


@dataclass(frozen=True, slots=True)
class ToolCall(Traced):
    """A model's call of a tool."""

    id: str
    """The id, which the result repeats; "" if the message has none."""
    name: str
    arguments: JsonValue
    """An object as a rule; a string if what the model wrote is not JSON."""
    state: CallState = "running"
    """Of a single message, what that message says; steps() knows what later messages made of it."""
    provider_executed: bool = False
    """Whether the provider runs the tool itself, such as a web search."""
    is_dynamic: bool = False
    """Whether the AI SDK knows the tool only at run time, such as one of an MCP server."""
    is_custom: bool = False
    """Whether the tool takes text in place of an object, as OpenAI's custom tools do."""


@dataclass(frozen=True, slots=True)
class ToolResult(Traced):
    """The result of a tool call, or why there is none."""

    call_id: str
    """The id of the call; "" if the message has none: the last call without a result."""
    value: JsonValue
    """The result; of a failed call the error, of a denied call the reason or None."""
    name: str = ""
    """The tool's name; "" if the message has none."""
    state: ResultState = "answered"


@dataclass(frozen=True, slots=True)
class File(Traced):
    """An image, a document, a recording: its bytes, or where they are."""

    media_type: str = ""
    """The media type, such as "image/png" or just "image"; "" if the message does not say."""
    name: str = ""
    url: str = ""
    """An address that is no data: URL; "" if the bytes are in the message, or there is an id only."""
    data: str = ""
    """The bytes in base64, as they were written."""
    id: str = ""
    """A provider's id of the file."""
    provider: str = ""
    """Who knows the id: "openai", "anthropic", …; "" if the message does not say."""

    @property
    def is_stored(self) -> bool:
        """Whether it is a file of voltmem's, which no provider can read: ``memory.with_files()`` fills in its bytes."""
        return self.url.startswith(FILE_URL)

    @property
    def address(self) -> str:
        """The url, or a data: URL with the bytes; "" if there is neither."""
        return self.url or (
            f"data:{self.media_type or 'application/octet-stream'};base64,{self.data}" if self.data else ""
        )


@dataclass(frozen=True, slots=True)
class Source(Traced):
    """A page or a document that an answer refers to."""

    url: str = ""
    title: str = ""
    id: str = ""
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Other(Traced):
    """A part without a common meaning. Only the framework that wrote it can read it."""

    type: str
    """What the form calls it; "step-start" begins another call of the model."""
    value: JsonValue = None


Part: TypeAlias = Text | Reasoning | ToolCall | ToolResult | File | Source | Other
BlockReader: TypeAlias = Callable[[JsonObject], list[Part] | None]
"""Reads a block of the reader's form; None: the block is another form's that uses the same type."""


def traced(form: str, reader: BlockReader) -> BlockReader:
    """Return the reader of a provider's blocks, whose parts then know the block."""

    def read(block: JsonObject) -> list[Part] | None:
        found, origin = reader(block), Origin(form, block)
        return found and [replace(part, origin=origin) for part in found]

    return read


def block_of(part: Part, form: str) -> JsonObject | None:
    """Return the block of this form in which the part was read; None: it was in another."""
    return part.origin.block if part.origin is not None and part.origin.form == form else None


FILE_URL: Final = "voltmem:file/"
"""What the address of a stored file begins with; its id follows."""
BASE64_URL: Final = re.compile(r"data:[^,\s]*;base64,", re.IGNORECASE)
"""What a data: URL with bytes in base64 begins with."""
STEP: Final = "step-start"
JSON: Final = "json"
"""The type of an Other that is no part of any form, but any JSON value: some applications store such content."""

_ADDRESS: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")  # base64 has no colon
_DATA_URL: Final = re.compile(r"data:(?P<type>[^,;]*)(?:;[^,;]*)*?;base64,", re.IGNORECASE)


def string(values: Mapping[str, JsonValue], *names: str) -> str:
    """Return the first of these values that is a string and not empty; "" if there is none."""
    for name in names:
        value = values.get(name)
        if isinstance(value, str) and value:
            return value
    return ""


def objects(value: JsonValue) -> list[JsonObject]:
    """Return the objects of a list; [] for anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def object_of(values: Mapping[str, JsonValue], *names: str) -> JsonObject:
    """Return the first of these values that is an object; {} if there is none."""
    found = (values.get(name) for name in names)
    return next((value for value in found if isinstance(value, dict)), {})


def arguments(written: JsonValue) -> JsonValue:
    """Return a call's arguments: those that are JSON text are parsed, and stay text if they are no JSON."""
    if not isinstance(written, str):
        return written
    try:  # a model may write invalid JSON, or a number such as 1e999
        return json_value(from_json(written), "arguments") if written else {}
    except (ValueError, TypeError):  # the latter for a lone surrogate
        return written


def file(address: str, media_type: str = "", name: str = "") -> File:
    """Return a file: of a data: URL the bytes, of any other address the address."""
    found = _DATA_URL.match(address)
    if found is None or found.end() == len(address):
        return File(media_type, name, url=address)
    return File(media_type if "/" in media_type else found["type"] or media_type, name, data=address[found.end() :])


def inline(data: str, media_type: str = "", name: str = "") -> File:
    """Return a file whose form has bare base64. Some write an address there: a data: URL, or that of a stored file."""
    return file(data, media_type, name) if _ADDRESS.match(data) else File(media_type, name, data=data)


def known_by(provider: str, id: str, found: File) -> File:
    """Return the file with this provider's id of it, if there is one."""
    return replace(found, id=id, provider=provider) if id else found


def made_id(text: str) -> str:
    """Return an id that every provider accepts, for a call that has none: always the same for this text."""
    return f"call_{blake2b(text.encode('utf-8', 'replace'), digest_size=12).hexdigest()}"


def json_text(value: JsonValue) -> str:
    """Return the value as JSON text."""
    try:
        return to_json(value, inf_nan_mode="constants").decode(errors="replace")
    except ValueError:  # lone surrogates
        return _values.to_json(value)


def readable(value: JsonValue) -> str:
    """Return a tool's result as text for a model: of blocks the texts or the type, of anything else JSON."""
    if isinstance(value, str):
        return value
    typed = [each for each in objects(value) if string(each, "type")]
    if not isinstance(value, list) or not typed or len(typed) < len(value):
        return json_text(value)
    return "\n".join(map(_readable_block, typed))


def _readable_block(block: JsonObject) -> str:
    """Return the text of a block; of one without a text, such as a page that a search has found, title and address."""
    named = " ".join(filter(None, (string(block, "title"), string(block, "url"))))
    return string(block, "text") or named or f"[{string(block, 'type')}]"

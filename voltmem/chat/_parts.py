"""What answer= yields beside strings: text, reasoning, tool calls with their results, files, sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from mimetypes import guess_type
from typing import Any, Final, TypeAlias

from pydantic import JsonValue

from voltmem._media_types import media_type_of
from voltmem._values import short_repr
from voltmem.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the text, as a plain string is. Pieces that follow one another are one text."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks before it answers. Pieces that follow one another are one reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolInput:
    """
    A piece of the arguments of a tool call, as the model writes them. The ToolCall with the same id follows.

    Only who looks meanwhile sees it: what is stored is the call. If no call follows, nothing is.
    """

    id: str
    """The id of the call."""
    name: str
    """The name of the tool."""
    text: str
    """The next characters of the arguments, usually of a JSON object."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, before its result."""

    id: str
    """The id, which the result repeats. A model that counts from 1 in every step may use one again."""
    name: str
    input: Any = field(default_factory=dict)
    """The arguments: JSON, or what pydantic can write as JSON."""
    needs_approval: bool = False
    """Whether a person has to approve it first. An answer that ends with such calls goes on once that has been done."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool call. A second result of the same call takes the place of the first."""

    id: str
    """The id of the call."""
    output: Any = None
    """The result: JSON, or what pydantic can write as JSON."""
    error: str | None = None
    """Why there is none. Everybody who reads the conversation reads it, and so does the model."""
    is_denied: bool = False
    """Whether there is none because a person has denied the call."""


@dataclass(frozen=True, slots=True)
class File:
    """A picture or another file: its bytes, or where it is. One that was given already is left out."""

    content: bytes = b""
    """The bytes. They are stored once, as a file of the user's."""
    media_type: str = ""
    """The media type, such as "image/png"; "": by the bytes, or by the name."""
    name: str = ""
    url: str = ""
    """The address, if there are no bytes."""

    def __post_init__(self) -> None:
        if bool(self.content) is bool(self.url):
            raise InvalidInputError(f"a File needs either content or url, not {short_repr(self)}")


@dataclass(frozen=True, slots=True)
class Source:
    """A page that the answer refers to. One that was given already is left out."""

    url: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person has decided about a call that needs approval."""

    call: ToolCall
    is_approved: bool
    reason: str = ""
    """Why not, in the person's words; "" if there are none."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The end of an answer that waits for approval, with what the agent needs to go on."""

    state: JsonValue = None


Part: TypeAlias = str | Text | Reasoning | ToolInput | ToolCall | ToolResult | File | Source
"""What answer= may yield."""
PARTS: Final = (str, Text, Reasoning, ToolInput, ToolCall, ToolResult, File, Source)


def media_type(file: File) -> str:
    """Return the media type of a file: the one that was given, or by its bytes, or by its name."""
    by_name = guess_type(file.name or file.url.partition("?")[0])[0]
    return file.media_type or media_type_of(file.content) or by_name or "application/octet-stream"

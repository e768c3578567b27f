"""
An answer as it grows: the parts that answer= yields become chunks, and the chunks become the message that is stored.

The chunks are those of the AI SDK's UI message stream, versions 5 to 7. What is stored follows from the chunks alone,
so another process makes the same message of them.
https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final, Literal, Self

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, to_jsonable_python

from voltmem import parts
from voltmem._values import JsonObject, json_value, jsonb_copy, short_repr
from voltmem.chat._parts import (
    File,
    Part,
    Reasoning,
    Source,
    Text,
    ToolCall,
    ToolInput,
    ToolResult,
    Waiting,
    media_type,
)
from voltmem.errors import InvalidInputError
from voltmem.models import Message
from voltmem.parts import plain
from voltmem.parts._front_ends import ABANDONED
from voltmem.parts._types import object_of, string

_Kind = Literal["text", "reasoning"]
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_FIRST_HALF: Final = re.compile("[\ud800-\udbff]\\Z")
_OURS: Final = "voltmem"
SECONDS: Final = "reasoningSeconds"
"""The field of the message's metadata that has how long each reasoning took; None where its end is not known."""


@dataclass(slots=True)
class _Said:
    """A text or a reasoning, of which more may come."""

    kind: _Kind
    id: str
    pieces: list[str] = field(default_factory=list)
    seconds: float | None = None


class Growing:
    """
    One answer. add() and end() return the chunks to send and to store, message() what is stored of the whole.

    Args:
        answer_id: The id of the message.
        clock: Returns seconds, of which reasoning takes some.
    """

    def __init__(self, answer_id: str, *, clock: Callable[[], float] = monotonic) -> None:
        self.answer_id = answer_id
        self._clock = clock
        self._parts: list[_Said | parts.Part] = []
        self._open: _Said | None = None
        self._opened_at: float | None = None  # None: another process has
        self._half = ""  # the first half of a surrogate pair, whose second may be in the next piece
        self._calls: dict[str, int] = {}  # the place of each call, by its id in the chunks
        self._results: dict[str, int] = {}
        self._ids: dict[str, str] = {}  # the id in the chunks, by the one that was given
        self._begun: set[str] = set()  # the ids of calls whose arguments are not complete
        self._shown: set[str] = set()  # the addresses of files and sources
        self._emitted: list[JsonObject] = []
        self.waiting: Waiting | None = None
        """Of an answer that has stopped for approval: what it needs to go on."""

    @classmethod
    def from_chunks(cls, answer_id: str, chunks: Iterable[JsonObject]) -> Self:
        """Return the answer that these chunks are of. Those of other kinds, such as "start", are passed over."""
        growing = cls(answer_id)
        growing.take(chunks)
        return growing

    def take(self, chunks: Iterable[JsonObject]) -> None:
        """Add what another process has made chunks of."""
        for chunk in chunks:
            self._take(chunk)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Return the answer that is stored as this message, to go on with it."""
        growing = cls(message.id)
        for part in parts.parts(message):
            match part:
                case parts.Text(text) | parts.Reasoning(text):
                    kind: _Kind = "text" if isinstance(part, parts.Text) else "reasoning"
                    growing._parts.append(_Said(kind, f"{kind}-{len(growing._parts)}", [text]))
                case parts.ToolCall():
                    growing._put(growing._calls, part.id, part)
                case parts.ToolResult():
                    growing._put(growing._results, part.call_id, part)
                case _:
                    growing._shown.add(getattr(part, "url", ""))
                    growing._parts.append(part)
        seconds = message.metadata.get(SECONDS)
        thoughts = [each for each in growing._parts if isinstance(each, _Said) and each.kind == "reasoning"]
        for each, took in zip(thoughts, seconds if isinstance(seconds, list) else [], strict=False):
            each.seconds = took if isinstance(took, int | float) else None
        return growing

    def add(self, part: Part | Waiting) -> list[JsonObject]:
        """
        Add a part. Returns its chunks; none for an empty text.

        Raises:
            InvalidInputError: It is a result without a call, a call or its input without an id or a name, or it has a
                value that is no JSON.
        """
        match part:
            case str(text) | Text(text):
                self._say("text", text)
            case Reasoning(text):
                self._say("reasoning", text)
            case ToolInput():
                self._write(part)
            case ToolCall():
                self._call(part)
            case ToolResult():
                self._answer(part)
            case File():
                self._show(_file_chunk(part))
            case Source():
                self._show(_source_chunk(part))
            case Waiting():
                self.waiting = part
        return self._taken()

    def end(self) -> list[JsonObject]:
        """
        End what is open: the last text, and calls without a result. Returns the chunks.

        The calls are abandoned, unless the answer has stopped for approval: then it goes on, also with those beside.
        """
        self._close()
        for id in [] if self.waiting is not None else [each for each in self._calls if each not in self._results]:
            self._emit({"type": "tool-output-error", "toolCallId": id, "errorText": ABANDONED})
        return self._taken()

    def message(self, metadata: JsonObject | None = None) -> Message | None:
        """Return the message that says all this so far; None if that is nothing."""
        said = [_read(part) for part in self._parts]
        if not said:
            return None
        type, content = plain.derive("assistant", said, with_reasoning=True)
        seconds: list[JsonValue] = [
            part.seconds for part in self._parts if isinstance(part, _Said) and part.kind == "reasoning"
        ]
        timed: JsonObject = {SECONDS: seconds} if any(each is not None for each in seconds) else {}
        return Message(
            id=self.answer_id, role="assistant", type=type, content=content, metadata={**timed, **(metadata or {})}
        )

    # --- from parts to chunks -------------------------------------------------------------------------------------

    def _emit(self, chunk: JsonObject) -> None:
        self._take(chunk)
        self._emitted.append(chunk)

    def _taken(self) -> list[JsonObject]:
        chunks, self._emitted = self._emitted, []
        return chunks

    def _say(self, kind: _Kind, text: str) -> None:
        if not text:
            return
        if self._open is not None and self._open.kind != kind:
            self._close()
        text, self._half = _clean(self._half + text)
        if not text:
            return
        if self._open is None:
            self._opened_at = self._clock()
            self._emit({"type": f"{kind}-start", "id": f"{kind}-{len(self._parts)}"})
        assert self._open is not None
        self._emit({"type": f"{kind}-delta", "id": self._open.id, "delta": text})

    def _close(self) -> None:
        self._half = ""
        if self._open is None:
            return
        chunk: JsonObject = {"type": f"{self._open.kind}-end", "id": self._open.id}
        if self._open.kind == "reasoning" and self._opened_at is not None:
            took = round(self._clock() - self._opened_at, 1)
            chunk["providerMetadata"] = {_OURS: {"seconds": took}}
        self._emit(chunk)

    def _write(self, piece: ToolInput) -> None:
        id = self._id_of(piece)
        self._close()
        if id in self._calls:
            return  # its arguments are complete
        if id not in self._begun:
            self._emit({"type": "tool-input-start", "toolCallId": id, "toolName": piece.name})
        self._emit({"type": "tool-input-delta", "toolCallId": id, "inputTextDelta": _clean_text(piece.text)})

    def _id_of(self, call: ToolCall | ToolInput) -> str:
        """Return the id of a call in the chunks, which is another one than that of each call that is answered."""
        if not call.id or not call.name:
            raise InvalidInputError(f"a {type(call).__name__} needs an id and a name, not {short_repr(call)}")
        id, number = self._ids.get(call.id, call.id), 1
        while id in self._results:
            number += 1
            id = f"{call.id}_{number}"
        self._ids[call.id] = id
        return id

    def _call(self, call: ToolCall) -> None:
        id = self._id_of(call)
        self._close()
        given = _json(call.input, "the input of a ToolCall")
        # Some frameworks give a call twice: as the model makes it, and when it needs approval.
        known = self._parts[self._calls[id]] if id in self._calls else None
        if known != parts.ToolCall(id, call.name, given):
            self._emit({"type": "tool-input-available", "toolCallId": id, "toolName": call.name, "input": given})
        if call.needs_approval:
            self._emit({"type": "tool-approval-request", "approvalId": id, "toolCallId": id})

    def _answer(self, result: ToolResult) -> None:
        id = self._ids.get(result.id, result.id)
        if id not in self._calls:
            raise InvalidInputError(f"a ToolResult is for the call {result.id!r}, which is not there: yield it first")
        self._close()
        if result.is_denied:
            reason: JsonObject = {"reason": _clean_text(result.error)} if result.error else {}
            self._emit({"type": "tool-output-denied", "toolCallId": id, **reason})
        elif result.error is not None:
            self._emit({"type": "tool-output-error", "toolCallId": id, "errorText": _clean_text(result.error)})
        else:
            output = _json(result.output, "the output of a ToolResult")
            self._emit({"type": "tool-output-available", "toolCallId": id, "output": output})

    def _show(self, chunk: JsonObject) -> None:
        """Emit the chunk of a file or a source. Some frameworks give one as it comes, and again at the end."""
        if string(chunk, "url") not in self._shown:
            self._close()
            self._emit(chunk)

    # --- from chunks to what is stored ----------------------------------------------------------------------------

    def _take(self, chunk: JsonObject) -> None:
        type = string(chunk, "type")
        match type:
            case "text-start" | "reasoning-start":
                kind: _Kind = "text" if type == "text-start" else "reasoning"
                self._open = _Said(kind, string(chunk, "id"))
                self._parts.append(self._open)
            case "text-delta" | "reasoning-delta":
                if self._open is not None:
                    self._open.pieces.append(string(chunk, "delta"))
            case "text-end" | "reasoning-end":
                self._take_end(object_of(object_of(chunk, "providerMetadata"), _OURS).get("seconds"))
            case "tool-input-start":
                self._begun.add(string(chunk, "toolCallId"))
            case "tool-input-available":
                id, name = string(chunk, "toolCallId"), string(chunk, "toolName")
                self._put(self._calls, id, parts.ToolCall(id, name, chunk.get("input")))
            case "tool-approval-request":
                self._take_request(string(chunk, "toolCallId"))
            case "tool-output-denied":
                self._take_result(chunk, chunk.get("reason"), "denied")
            case "tool-output-available":
                self._take_result(chunk, chunk.get("output"), "answered")
            case "tool-output-error":
                self._take_result(chunk, chunk.get("errorText"), "failed")
            case "file":
                name = string(object_of(object_of(chunk, "providerMetadata"), _OURS), "filename")
                self._shown.add(string(chunk, "url"))
                self._parts.append(parts.File(string(chunk, "mediaType"), name, string(chunk, "url")))
            case "source-url":
                self._shown.add(string(chunk, "url"))
                self._parts.append(parts.Source(string(chunk, "url"), string(chunk, "title")))
            case _:
                pass

    def _take_end(self, seconds: JsonValue) -> None:
        if self._open is not None and isinstance(seconds, int | float):
            self._open.seconds = seconds
        self._open = None

    def _take_request(self, id: str) -> None:
        call = self._parts[self._calls[id]] if id in self._calls else None
        if isinstance(call, parts.ToolCall):
            self._put(self._calls, id, replace(call, state="waiting"))

    def _take_result(self, chunk: JsonObject, value: JsonValue, state: parts.ResultState) -> None:
        id = string(chunk, "toolCallId")
        if id in self._calls:
            call = self._parts[self._calls[id]]
            assert isinstance(call, parts.ToolCall)
            self._put(self._calls, id, replace(call, state="running"))  # it waits no more
            self._put(self._results, id, parts.ToolResult(id, value, call.name, state))

    def _put(self, places: dict[str, int], id: str, part: parts.Part) -> None:
        """Append a part, or put it in the place of the one with its id."""
        if id in places:
            self._parts[places[id]] = part
        else:
            places[id] = len(self._parts)
            self._parts.append(part)


def _read(part: _Said | parts.Part) -> parts.Part:
    if not isinstance(part, _Said):
        return part
    text = "".join(part.pieces)
    return parts.Text(text) if part.kind == "text" else parts.Reasoning(text)


def _file_chunk(file: File) -> JsonObject:
    type = media_type(file)
    url = _clean_text(file.url) or f"data:{type};base64,{b64encode(file.content).decode()}"
    named: JsonObject = {"providerMetadata": {_OURS: {"filename": _clean_text(file.name)}}} if file.name else {}
    return {"type": "file", "url": url, "mediaType": type, **named}


def _source_chunk(source: Source) -> JsonObject:
    url = _clean_text(source.url)
    title: JsonObject = {"title": _clean_text(source.title)} if source.title else {}
    return {"type": "source-url", "sourceId": url, "url": url, **title}


def _clean(text: str) -> tuple[str, str]:
    """
    Return the text as PostgreSQL can store it, and the first half of a surrogate pair if it ends with one.

    Pairs become characters; a half that is alone becomes U+FFFD. NUL characters are left out.
    """
    if text.isascii() and "\0" not in text:
        return text, ""
    half = text[-1:] if _FIRST_HALF.search(text) else ""
    text = text[: len(text) - len(half)].replace("\0", "")
    if _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text, half


def _clean_text(text: str) -> str:
    return _clean(text)[0]


def _json(value: object, what: str) -> JsonValue:
    """Return a value as JSON that PostgreSQL can store; InvalidInputError if it has none."""
    try:
        found = json_value(value, what)
    except InvalidInputError as error:
        try:
            written = to_jsonable_python(value, bytes_mode="base64", inf_nan_mode="null")
        except (PydanticSerializationError, UnicodeError):
            raise error from None
        found = json_value(written, what)
    return jsonb_copy(found)

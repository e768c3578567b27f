"""
Cuts the text of a JSON file into conversations, so that a file of any size is read in constant memory.

Only brackets and strings are looked at: each piece is parsed on its own, by json.loads(), and a piece that is no JSON
is followed by others. docs/decisions/reading-exports.md has the reasons.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import Final, NamedTuple

from voltmem.errors import InvalidInputError

LONGEST: Final = 100_000_000
"""The bytes of the longest piece that is read. ChatGPT's longest conversations have a tenth of it."""

HEAD: Final = 512
"""The bytes that tell what kind of file it is."""

_BOM: Final = b"\xef\xbb\xbf"
_QUOTE, _OPEN, _CLOSE = ord('"'), b"[{", b"]}"
_STRING: Final = rb'[^"\\]*+(?:\\[\s\S][^"\\]*+)*+'
_IN_STRING: Final = re.compile(_STRING)
_TO_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|"' + _STRING + rb'")*+')
_SEPARATORS: Final = re.compile(rb"[\s,]*+")
_WORD: Final = re.compile(rb'[^\s,\[\]{}"]*+')
# Some programs put the list into an object.
_WRAPPER: Final = re.compile(rb'\s*\{\s*"conversations"\s*:\s*(?=\[)')
_ZIP: Final = b"PK\x03\x04"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


class Piece(NamedTuple):
    """The text of one value."""

    text: bytes
    value: int
    """The number of the outermost value that it belongs to."""
    is_element: bool
    """Whether that value is a list, and the piece one of its elements."""
    problem: str = ""
    """Why it cannot be parsed, if that is known already."""


def pieces(chunks: Iterator[bytes]) -> Iterator[Piece]:
    """
    Yield the elements of the outermost list, or the outermost values; of JSON lines, the lines.

    Raises InvalidInputError if there is nothing.
    """
    first = _head(chunks)
    if not first:
        raise InvalidInputError("the file is empty: it must have JSON")
    if first.startswith(_ZIP):
        raise InvalidInputError("a zip file is read from a file, not from a pipe: pass its path")
    if first.startswith(_UTF_16):
        raise InvalidInputError("the file is in UTF-16: save it in UTF-8")
    if _are_lines(first):
        yield from _lines(chain([first], chunks))
        return
    wrapper = _WRAPPER.match(first)
    cutter = _Cutter(is_wrapped=wrapper is not None)
    for chunk in chain([first[wrapper.end() :] if wrapper else first], chunks):
        yield from cutter.cut(chunk)
    yield from cutter.rest()


def _head(chunks: Iterator[bytes]) -> bytes:
    """Return the first chunk, without what editors put before JSON. Chunks of a slow source are put together."""
    head = b""
    for chunk in chunks:
        head = (head + chunk).removeprefix(_BOM).lstrip()
        if len(head) >= HEAD:
            break
    return head


def _are_lines(first: bytes) -> bool:
    """Return whether the first line is JSON, and another line follows it."""
    line, _, more = first.partition(b"\n")
    if more.strip():
        with suppress(ValueError, RecursionError):
            json.loads(line)
            return True
    return False


def _lines(chunks: Iterator[bytes]) -> Iterator[Piece]:
    open_line = _Text()
    number = 0
    for chunk in chain(chunks, [b"\n"]):
        first, *others = chunk.split(b"\n")
        open_line.add(first)
        for other in others:
            if open_line.size:
                text, problem = open_line.take()
                if problem or text.strip():
                    yield Piece(text, number, False, problem)
                    number += 1
            open_line.add(other)


class _Text:
    """The text of a piece, as it comes; one that is too long is not kept."""

    def __init__(self) -> None:
        self.size = 0
        self._chunks: list[bytes] = []

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > LONGEST:
            self._chunks.clear()
        else:
            self._chunks.append(chunk)

    def take(self) -> tuple[bytes, str]:
        """Return the text, and what is wrong with it, and begin the next one."""
        problem = f"it has {self.size:,} bytes; at most {LONGEST:,} are read" if self.size > LONGEST else ""
        text = b"".join(self._chunks)
        self.size = 0
        self._chunks.clear()
        return text, problem


class _Cutter:
    """Cuts chunks of text where values end."""

    def __init__(self, *, is_wrapped: bool) -> None:
        self._is_wrapped = is_wrapped
        self._has_ended = False
        self._text = _Text()
        self._value = 0
        self._in_list = False
        self._depth = 0
        self._in_string = False
        self._is_escaped = False

    def cut(self, chunk: bytes) -> Iterator[Piece]:
        """Yield the pieces that end in this chunk."""
        place = 0
        while place < len(chunk) and not self._has_ended:
            if not self._text.size:
                place = self._begin(chunk, place)
                continue
            begin = place
            is_word = not self._depth and not self._in_string
            place, has_ended = self._word(chunk, place) if is_word else self._within(chunk, place)
            self._text.add(chunk[begin:place])
            if has_ended:
                yield self._piece()

    def rest(self) -> Iterator[Piece]:
        """Yield what the end of the file cuts off."""
        if self._depth or self._in_string:
            text, problem = self._text.take()
            yield Piece(text, self._value, self._in_list, problem or "the file ends within it: it was cut off")
        elif self._text.size:
            yield self._piece()
        elif self._in_list:
            yield Piece(b"", self._value, True, "the file ends before its list does: it was cut off")

    def _piece(self) -> Piece:
        text, problem = self._text.take()
        piece = Piece(text, self._value, self._in_list, problem)
        self._value += not self._in_list
        return piece

    def _begin(self, chunk: bytes, place: int) -> int:
        """Return the place after what separates values, and after the first byte of a value."""
        found = _SEPARATORS.match(chunk, place)
        place = found.end() if found else place
        if place == len(chunk):
            return place
        mark = chunk[place]
        if mark == _OPEN[0] and not self._in_list:
            self._in_list = True
        elif mark == _CLOSE[0] and self._in_list:
            self._in_list = False
            self._value += 1
            self._has_ended = self._is_wrapped
        else:
            self._text.add(chunk[place : place + 1])
            self._depth = int(mark in _OPEN)
            self._in_string = mark == _QUOTE
        return place + 1

    def _word(self, chunk: bytes, place: int) -> tuple[int, bool]:
        """Return where a number, or something that is no JSON, ends, and whether it ends in this chunk."""
        found = _WORD.match(chunk, place)
        place = found.end() if found else place
        return place, place < len(chunk)

    def _within(self, chunk: bytes, place: int) -> tuple[int, bool]:
        """Return where a value ends, and whether it ends in this chunk."""
        while place < len(chunk):
            if self._in_string:
                place = self._string(chunk, place)
            else:
                found = _TO_BRACKET.match(chunk, place)
                place = found.end() if found else place
                if place == len(chunk):
                    break
                mark = chunk[place]
                place += 1
                self._in_string = mark == _QUOTE  # it does not end in this chunk
                self._depth += (mark in _OPEN) - (mark in _CLOSE)
            if not self._depth and not self._in_string:
                return place, True
        return place, False

    def _string(self, chunk: bytes, place: int) -> int:
        """Return where a string ends, or the chunk."""
        found = _IN_STRING.match(chunk, place + self._is_escaped)
        place = found.end() if found else len(chunk)
        self._is_escaped = False
        if place == len(chunk):
            return place
        self._in_string = chunk[place] != _QUOTE
        self._is_escaped = self._in_string  # a backslash is the last byte of the chunk
        return place + 1

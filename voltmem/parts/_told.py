"""
What models are told through a framework that knows functions only, and calls any provider.

The adapters convert these pieces to their framework's classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from operator import is_not
from typing import Generic

from voltmem.parts._providers import LONGEST_ID, CallIds, arguments_object, legal_name
from voltmem.parts._steps import ReadableT, Settled, is_blank
from voltmem.parts._types import File, Part, Reasoning, Text, ToolCall, ToolResult


@dataclass(slots=True, eq=False)
class Piece:
    """What is said at once, then results. Either may be empty."""

    position: int
    """The message's, among all."""
    said: list[Part] = field(default_factory=list)
    """Each call among them has a result, a name and an id that all providers accept, and an object as arguments."""
    results: list[ToolResult] = field(default_factory=list)
    answers: list[ToolResult] = field(default_factory=list)
    """The results of the calls in it, in their order."""
    places: list[Piece] = field(default_factory=list)
    """Where these are told: one piece for each."""
    only_thinks: bool = True
    """Whether nothing but reasoning is said."""

    def say(self, part: Part) -> None:
        """Add to what is said."""
        self.said.append(part)
        self.only_thinks = self.only_thinks and isinstance(part, Reasoning)


def told(settled: Sequence[Settled[ReadableT]], is_own: Sequence[bool]) -> list[list[Piece]]:
    """
    Return what each message says, piece by piece, so that each call is answered once, right after it.

    Calls that are stored one by one, with nothing else between them, are told in the first one's message, since the
    providers want all calls of one answer in one message. Reasoning is told with what follows it. A result stays in
    its message, unless somebody spoke before it: then it is told with its call.

    *is_own* says of each message whether the framework has stored it itself. It comes back as it was; its pieces are
    only results that are to be told right after it.
    """
    return _Teller(settled, is_own).told()


class _Teller(Generic[ReadableT]):
    def __init__(self, settled: Sequence[Settled[ReadableT]], is_own: Sequence[bool]) -> None:
        self._settled = settled
        self._is_own = is_own
        self._ids = CallIds(LONGEST_ID)
        self._found: list[Piece] = []
        self._asked: dict[str, Piece] = {}  # the piece of each call, by the id before it was made legal
        self._latest = Piece(0)
        self._joinable: Piece | None = None  # what the model's next calls may belong to
        self._answered_in_own = self._find_answered_in_own()

    def _find_answered_in_own(self) -> set[tuple[int, int]]:
        """Find the calls whose results come back in the framework's own messages. Their ids stay as they are."""
        calls: dict[str, tuple[int, int]] = {}
        found: set[tuple[int, int]] = set()
        for position, each in enumerate(self._settled):
            for place, part in enumerate(each.parts):
                if isinstance(part, ToolCall):
                    calls[part.id] = (position, place)
                elif isinstance(part, ToolResult) and self._is_own[position] and part.call_id in calls:
                    found.add(calls[part.call_id])
        return found

    def told(self) -> list[list[Piece]]:
        """Return the pieces of each message."""
        for position, each in enumerate(self._settled):
            if self._is_own[position]:
                self._take_own(position)
            elif each.speaker == "assistant":
                self._take_answer(position)
            else:
                self._take_question(position)
        for piece in self._found:
            piece.places.sort(key=partial(is_not, piece))  # what is told with the calls comes first
            for place, answer in zip(piece.places, piece.answers, strict=True):
                place.results.append(answer)
        rows: list[list[Piece]] = [[] for _ in self._settled]
        for piece in self._found:
            if piece.results or not piece.only_thinks:  # providers refuse reasoning that nothing follows
                rows[piece.position].append(piece)
        return rows

    def _take_own(self, position: int) -> None:
        each = self._settled[position]
        self._joinable = None
        if any(isinstance(part, Text | File | ToolCall) and not is_blank(part) for part in each.parts):
            self._begin(position)
        for place, part in enumerate(each.parts):
            if isinstance(part, ToolCall):
                self._ids.keep(part)
                self._expect(position, place, part, part.id)

    def _take_question(self, position: int) -> None:
        self._joinable = None
        piece: Piece | None = None
        for part in self._settled[position].parts:
            if isinstance(part, ToolResult):
                self._answer(position, part)
            elif isinstance(part, ToolCall):
                self._asked.pop(part.id, None)  # not the assistant's: neither it nor its result is told
            elif isinstance(part, Text | File) and not is_blank(part):
                piece = piece or self._begin(position)
                piece.say(part)

    def _take_answer(self, position: int) -> None:
        each = self._settled[position]
        piece = self._joinable if self._joinable is not None and _continues(self._joinable, each.parts) else None
        if piece is not None and piece.only_thinks:
            piece.position = position
        for place, part in enumerate(each.parts):
            if isinstance(part, ToolResult):
                self._answer(position, part)
            elif piece is not None and piece.places and not isinstance(part, ToolCall):
                piece = None  # what follows results is said in the next answer
            if place in each.results or (isinstance(part, Text | File | Reasoning) and not is_blank(part)):
                piece = piece or self._begin(position)
                piece.say(self._legal(position, place, part) if isinstance(part, ToolCall) else part)
        if any(isinstance(part, ToolResult) for part in each.parts):
            self._joinable = None
        else:
            self._joinable = piece or self._joinable

    def _begin(self, position: int) -> Piece:
        self._latest = Piece(position)
        self._found.append(self._latest)
        return self._latest

    def _legal(self, position: int, place: int, call: ToolCall) -> ToolCall:
        """Return the call as a function's, which any provider accepts."""
        is_kept = (position, place) in self._answered_in_own
        if is_kept:
            self._ids.keep(call)
        id = call.id if is_kept else self._ids.legal(call)
        self._expect(position, place, call, id)
        return replace(call, id=id, name=legal_name(call.name), arguments=arguments_object(call), is_custom=False)

    def _expect(self, position: int, place: int, call: ToolCall, id: str) -> None:
        """Expect the result of a call of the latest piece, unless it comes back in a message of the framework's own."""
        result = self._settled[position].results.get(place)
        if result is None or (position, place) in self._answered_in_own:
            return
        self._asked[call.id] = self._latest
        self._latest.answers.append(replace(result, call_id=id, name=result.name and legal_name(result.name)))

    def _answer(self, position: int, result: ToolResult) -> None:
        """Find the place of a result: its own message, or that of its call if somebody spoke in between."""
        piece = self._asked.get(result.call_id)
        if piece is None:
            return
        if piece is self._latest:
            place = Piece(position)
            self._found.append(place)
            piece.places.append(place)
        else:
            piece.places.append(piece)


def _continues(piece: Piece, parts: Sequence[Part]) -> bool:
    """Return whether the parts of the next message are of the same answer of the model as the piece."""
    if piece.only_thinks:
        return not any(isinstance(part, ToolResult) for part in parts)
    if any(isinstance(part, ToolResult | Text | File) and not is_blank(part) for part in parts):
        return False
    return any(isinstance(part, ToolCall) for part in chain(parts, piece.said))

"""
Messages among each other: which result is for which call, and what became of a call without one.

Everything that reads several messages begins here: windows, the providers' lists, ui-messages, the adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, TypeAlias

from voltmem.parts import plain
from voltmem.parts._read import parts
from voltmem.parts._steps import Readable, ReadableT, Settled
from voltmem.parts._types import File, Part, Text, ToolCall, ToolResult

# The calls without a result so far, each with its place: of its message, and of its part.
_Place: TypeAlias = tuple[int, int]
_Waiting: TypeAlias = dict[str | _Place, _Place]


def only_speaks(message: Readable) -> bool:
    """Return whether a message is text and nothing else, without reading its parts: nearly every message is."""
    return (
        isinstance(message.content, str) and not message.metadata and message.type == "text" and message.role != "tool"
    )


def settle(messages: Sequence[ReadableT]) -> list[Settled[ReadableT]]:
    """Return the messages with their parts, each call with the state that the other messages give it."""
    return Settling(messages).settled()


class Settling(Generic[ReadableT]):
    """Finds the result of each call."""

    def __init__(self, messages: Sequence[ReadableT]) -> None:
        self._messages = messages
        # Reading the parts of a window of text would take longer than fetching it.
        self._parts = [[] if only_speaks(message) else parts(message) for message in messages]
        self._results: dict[_Place, ToolResult] = {}
        self._calls: dict[_Place, _Place] = {}
        self.links: list[tuple[int, int]] = []
        """For each result in another message than its call: the places of the two messages."""
        self.orphans: set[_Place] = set()
        """The results without a call."""
        waiting: _Waiting = {}
        for position in range(len(messages)):
            self._take(position, waiting)

    def _take(self, position: int, waiting: _Waiting) -> None:
        own: _Waiting = {}
        orphans: list[tuple[_Place, ToolResult]] = []
        for number, part in enumerate(self._parts[position]):
            place = (position, number)
            if isinstance(part, ToolCall):
                if part.id:  # an id used again: the call before it stays without a result
                    waiting.pop(part.id, None)
                    own.pop(part.id, None)
                own[part.id or place] = place
            # The result of a provider's own tool, and of a UIMessage's tool, follows the call in its message.
            elif isinstance(part, ToolResult) and not (
                self._answer(own, part, place) or self._answer(waiting, part, place)
            ):
                orphans.append((place, part))
        self.orphans.update(place for place, part in orphans if not self._answer(own, part, place))
        waiting.update(own)

    def _answer(self, calls: _Waiting, result: ToolResult, place: _Place) -> bool:
        """Take the call that the result is for. Returns whether there is one."""
        key = _key(calls, result)
        if key is None:
            return False
        call = calls.pop(key)
        self._results[call] = result
        self._calls[place] = call
        if call[0] != place[0]:
            self.links.append((call[0], place[0]))
        return True

    def _id_of(self, place: _Place) -> str:
        """Return the id of a call; for one without an id the same whenever the message is read."""
        position, number = place
        call = self._parts[position][number]
        return getattr(call, "id", "") or f"{self._messages[position].id}:{number}"

    def has_tools(self, position: int) -> bool:
        """Return whether the message has calls or results."""
        return any(isinstance(part, ToolCall | ToolResult) for part in self._parts[position])

    def settled(self, *, is_end: bool = True) -> list[Settled[ReadableT]]:
        """
        Return all messages with their parts.

        *is_end*: whether these are the conversation's last messages, so that calls which they pass over are abandoned.
        """
        for position, message in enumerate(self._messages):
            self._parts[position] = self._parts[position] or parts(message)
        said = (position for position in range(len(self._messages) - 1, -1, -1) if self._says(position))
        last = next(said, -1) if is_end else -1
        return [self.settled_at(position, is_passed_over=position < last) for position in range(len(self._messages))]

    def _says(self, position: int) -> bool:
        return any(isinstance(part, Text | File | ToolCall) for part in self._parts[position])

    def settled_at(self, position: int, *, is_passed_over: bool = False) -> Settled[ReadableT]:
        """Return one message with its parts; those of a message that only speaks may be left out."""
        found: list[Part] = []
        results: dict[int, ToolResult] = {}
        orphans: list[ToolResult] = []
        late: dict[_Place, ToolResult] = {}  # results that come before their call in the message
        for number, part in enumerate(self._parts[position]):
            place = (position, number)
            if isinstance(part, ToolResult):
                call = self._calls.get(place)
                if call is None:
                    orphans.append(part)
                elif call > place:
                    late[call] = replace(part, call_id=self._id_of(call))
                else:
                    found.append(replace(part, call_id=self._id_of(call)))
            elif isinstance(part, ToolCall):
                result = self._results.get(place)
                state = result.state if result else "abandoned" if is_passed_over else part.state
                if result is not None:
                    results[len(found)] = result
                found.append(replace(part, id=self._id_of(place), state=state))
                found += [late.pop(place)] if place in late else []
            else:
                found.append(plain.as_text(part))
        calls = sum(isinstance(part, ToolCall) for part in found)
        return Settled(self._messages[position], found, results, orphans, len(results) == calls and not orphans)


def _key(calls: _Waiting, result: ToolResult) -> str | _Place | None:
    """Return the key of the call that the result is for. Without an id it is for the first call of the last message."""
    if result.call_id:
        return result.call_id if result.call_id in calls else None
    found: str | _Place | None = None
    for key in reversed(calls):
        if found is not None and calls[key][0] != calls[found][0]:
            break
        found = key
    return found

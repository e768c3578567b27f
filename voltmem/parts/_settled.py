"""
Messages among each other: which result is for which call, and what became of a call without one.

Everything that reads several messages begins here: windows, the providers' lists, ui-messages, the adapters.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, TypeAlias

from voltmem.parts import _items, ai_sdk, plain
from voltmem.parts._read import parts
from voltmem.parts._steps import Readable, ReadableT, Settled, is_invented, marked
from voltmem.parts._types import CallState, File, Other, Part, Text, ToolCall, ToolResult, made_id, string

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
        self._approval: dict[_Place, CallState] = {}  # of the calls that ask for it in a part of their own
        self._asked: dict[str, str] = {}  # the id of the call, by the id of its approval
        self._approved: set[_Place] = set()  # of these the requests with a yes
        self._carried_out: set[_Place] = set()  # requests of the provider's own tools, whose call came later
        # The calls of each message by their names; None: all of them.
        self._named: defaultdict[tuple[int, str | None], deque[tuple[str | _Place, _Place]]] = defaultdict(deque)
        waiting: _Waiting = {}
        for position, said in enumerate(self._parts):
            if said:
                self._take(position, waiting)

    def _take(self, position: int, waiting: _Waiting) -> None:
        own: _Waiting = {}
        orphans: list[tuple[_Place, ToolResult]] = []
        for number, part in enumerate(self._parts[position]):
            place = (position, number)
            if isinstance(part, ToolCall):
                if part.id:  # an id used again: the call before it stays without a result
                    before = waiting.pop(part.id, None)
                    self._carry_out(own.pop(part.id, before), place)
                own[part.id or place] = place
                for name in (part.name, None):
                    self._named[position, name].append((part.id or place, place))
            elif isinstance(part, Other):
                self._take_approval(part, {**waiting, **own}, position)
            # The result of a provider's own tool, and of a UIMessage's tool, follows the call in its message.
            elif isinstance(part, ToolResult) and not (
                self._answer(own, part, place) or self._answer(waiting, part, place)
            ):
                orphans.append((place, part))
        self.orphans.update(place for place, part in orphans if not self._answer(own, part, place))
        waiting.update(own)

    def _carry_out(self, request: _Place | None, place: _Place) -> None:
        """Let a call stand for the request for its approval, if that is what came before with its id."""
        if request is None:
            return
        before = self._parts[request[0]][request[1]]
        if isinstance(before, ToolCall) and before.state == "waiting" and before.provider_executed:
            self._carried_out.add(request)
            self._approved.discard(request)
            if request[0] != place[0]:
                self.links.append((request[0], place[0]))

    def _take_approval(self, part: Other, calls: _Waiting, position: int) -> None:
        """Take a request for approval, or a yes. A no is a result."""
        if not isinstance(part.value, dict):
            return
        if part.type == ai_sdk.APPROVAL_REQUEST:
            id = string(part.value, "toolCallId")
            self._asked[string(part.value, "approvalId")] = id
            if id in calls:
                self._approval[calls[id]] = "waiting"
        elif part.type == ai_sdk.APPROVAL_RESPONSE:
            id = self._asked.get(string(part.value, "approvalId"), "")
            if id in calls:
                self._approval[calls[id]] = "running"
        elif part.type == _items.APPROVAL_RESPONSE:
            id = string(part.value, "approval_request_id")
            if id in calls:
                self._approval[calls[id]] = "running"
                self._approved.add(calls[id])
                self.links.append((calls[id][0], position))

    def _answer(self, calls: _Waiting, result: ToolResult, place: _Place) -> bool:
        """Take the call that the result is for. Returns whether there is one."""
        id = self._asked.get(result.call_id, "")
        key = id if id in calls else self._key(calls, result)
        if key is None:
            return False
        # After a no a result may follow that says the same; it takes the place of the no.
        call = calls[key] if id else calls.pop(key)
        self._results[call] = result
        self._calls[place] = call
        if call[0] != place[0]:
            self.links.append((call[0], place[0]))
        return True

    def _key(self, calls: _Waiting, result: ToolResult) -> str | _Place | None:
        """
        Return the key of the call that the result is for.

        Without an id it is for the first call of the last message, of those with its name if it has one.
        """
        if result.call_id:
            return result.call_id if result.call_id in calls else None
        if not calls:
            return None
        position, _ = calls[next(reversed(calls))]
        names = (result.name, "") if result.name else (None,)
        found = [first for name in names if (first := self._first(calls, (position, name))) is not None]
        return min(found, key=calls.__getitem__, default=None)

    def _first(self, calls: _Waiting, named: tuple[int, str | None]) -> str | _Place | None:
        """Return the first of these calls that still waits. Each call that does not is passed over once."""
        queue = self._named[named]
        while queue:
            key, place = queue[0]
            if calls.get(key) == place:
                return key
            queue.popleft()
        return None

    def _id_of(self, place: _Place) -> str:
        """Return the id of a call; for one without an id the same whenever the message is read."""
        position, number = place
        call = self._parts[position][number]
        return getattr(call, "id", "") or made_id(f"{self._messages[position].id}:{number}")

    def has_tools(self, position: int) -> bool:
        """Return whether the message has calls or results, or a person's approval of a call."""
        return any(isinstance(part, ToolCall | ToolResult) or plain.is_approval(part) for part in self._parts[position])

    def settled(self, *, is_end: bool = True) -> list[Settled[ReadableT]]:
        """
        Return all messages with their parts.

        *is_end*: whether these are the conversation's last messages, so that calls which they pass over are abandoned.
        """
        for position, message in enumerate(self._messages):
            self._parts[position] = self._parts[position] or parts(message)
        last = self.last_said() if is_end else -1
        return [self.settled_at(position, is_passed_over=position < last) for position in range(len(self._messages))]

    def last_said(self) -> int:
        """Return the position of the last message that says something, more than tools' results; -1: there is none."""
        places = range(len(self._messages) - 1, -1, -1)
        return next((position for position in places if self._says(position)), -1)

    def _says(self, position: int) -> bool:
        if not self._parts[position]:  # those of a message that only speaks may be left out
            return only_speaks(self._messages[position]) and self._messages[position].content != ""
        return any(isinstance(part, Text | File | ToolCall) for part in self._parts[position])

    def settled_at(self, position: int, *, is_passed_over: bool = False) -> Settled[ReadableT]:
        """Return one message with its parts; those of a message that only speaks may be left out."""
        message, own = self._messages[position], self._parts[position]
        if len(own) == 1 and isinstance(own[0], Text) and not is_invented(message.role):  # nearly every message
            return Settled(message, [*own])
        found: list[Part] = []
        results: dict[int, ToolResult] = {}
        orphans: list[ToolResult] = []
        undecided = set[int]()
        late: dict[_Place, ToolResult] = {}  # results that come before their call in the message
        for number, part in enumerate(own):
            place = (position, number)
            if isinstance(part, ToolResult):
                call = self._calls.get(place)
                if call is None:
                    orphans.append(part)
                elif self._results[call] is not part:
                    continue
                elif call > place:
                    late[call] = replace(part, call_id=self._id_of(call))
                else:
                    found.append(replace(part, call_id=self._id_of(call)))
            elif place in self._carried_out:
                continue
            elif isinstance(part, ToolCall):
                result = self._results.get(place)
                open = self._approval.get(place, part.state)
                if result is not None:
                    results[len(found)] = result
                elif is_passed_over and open == "waiting":
                    undecided.add(len(found))
                state = result.state if result else "abandoned" if is_passed_over else open
                found.append(replace(part, id=self._id_of(place), state=state))
                found += [late.pop(place)] if place in late else []
            else:
                found.append(plain.as_text(part))
        calls = sum(isinstance(part, ToolCall) for part in found)
        approved = sum(place[0] == position and place not in self._results for place in self._approved)
        is_whole = len(results) + approved == calls and not orphans
        said = marked(message.role, found) if is_invented(message.role) else found
        return Settled(message, said, results, orphans, undecided, is_whole)

"""What an answer says, for everybody in this process who looks at it: what it has said, and what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Final, NamedTuple

from voltmem._areas.answers import Status
from voltmem._values import JsonObject

# A fast generator makes thousands of pieces a second; a screen shows sixty.
_SECONDS_BETWEEN_EVENTS: Final = 0.02
_DELTAS: Final = ("text-delta", "reasoning-delta")


class Growth(NamedTuple):
    """What an answer said between two events."""

    number: int
    """The number of the last of the events; the first event of the answer has 1."""
    chunks: list[JsonObject]


class Feed:
    """
    The events of one answer. Each is a list of chunks of the AI SDK's stream.

    Args:
        answer_id: The id of the message that it becomes.
        question_id: The message that it answers.
    """

    def __init__(self, answer_id: str, question_id: str) -> None:
        self.answer_id = answer_id
        self.question_id = question_id
        self.events: list[list[JsonObject]] = []
        self.status: Status = "streaming"
        self.is_open = True
        """Whether more may come. If not, and the status is "streaming", it goes on where nobody here sees it."""
        self.followers = 0
        self._pending: list[JsonObject] = []
        self._timer: asyncio.TimerHandle | None = None
        self._more = asyncio.Event()

    def say(self, chunks: Iterable[JsonObject]) -> None:
        """Add what was said. What comes within a fiftieth of a second is one event."""
        self._pending.extend(chunks)
        if self._pending and self._timer is None:
            self._pace()

    def add(self, event: list[JsonObject]) -> None:
        """Add an event that another process made."""
        self.events.append(event)
        self._tell()

    def end(self, status: Status) -> None:
        """End it, for everybody who follows."""
        if not self.is_open:
            return
        self.flush()
        self.status, self.is_open = status, False
        self._tell()

    async def wait_for_more(self, number: int) -> bool:
        """Wait until there are events after this number. Returns False if there will be none."""
        while number >= len(self.events) and self.is_open:
            await self._more.wait()
        return number < len(self.events)

    async def wait_for_the_end(self) -> None:
        """Wait until the answer has ended."""
        while self.is_open:
            await self._more.wait()

    async def follow(self, number: int = 0) -> AsyncGenerator[Growth, None]:
        """Yield what was said after the event with this number, and what comes, until the answer ends."""
        self.followers += 1
        try:
            while await self.wait_for_more(number):
                events, number = self.events[number:], len(self.events)
                yield Growth(number, _joined(chunk for event in events for chunk in event))
        finally:
            self.followers -= 1

    def flush(self) -> None:
        """Make an event of what was said, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending:
            self.events.append(_joined(self._pending))
            self._pending = []
            self._tell()

    def _pace(self) -> None:
        self._timer = None
        if self._pending:
            self.flush()
            self._timer = asyncio.get_running_loop().call_later(_SECONDS_BETWEEN_EVENTS, self._pace)

    def _tell(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


def _joined(chunks: Iterable[JsonObject]) -> list[JsonObject]:
    """Return the chunks with neighbouring pieces of one text in one chunk."""
    made: list[JsonObject] = []
    texts: list[str] = []
    for chunk in chunks:
        last = made[-1] if made else {}
        if chunk["type"] in _DELTAS and (chunk["type"], chunk["id"]) == (last.get("type"), last.get("id")):
            texts.append(str(chunk["delta"]))
            continue
        if texts:
            made[-1] = {**last, "delta": "".join([str(last["delta"]), *texts])}
            texts = []
        made.append(chunk)
    if texts:
        made[-1] = {**made[-1], "delta": "".join([str(made[-1]["delta"]), *texts])}
    return made

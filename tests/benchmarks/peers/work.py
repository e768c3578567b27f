"""
The work that each peer in Python does: ``python -m tests.benchmarks.peers.work PROGRAM start|work CONNECTION SCALE``.

It runs in the peer's own environment, so that it imports the standard library and its program only. It prints JSON:
milliseconds by the name of the work, each the median of its calls; null: the peer has nothing for it. For peers in
Node, node/work.mjs does the same.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal

USER: Final = "ada"
TEXT: Final = "Some forty words that people might write to an assistant, or it to them. " * 3
# The conversations that appends go round, and those that the list shows.
CONVERSATIONS: Final = 20
LISTED: Final = 100
PAGE: Final = 20
WINDOW: Final = 100
LONG: Final = 10_000
PREPARED_AT_ONCE: Final = 100

_numbers = count()


@dataclass(frozen=True)
class Said:
    """A message, in no peer's form."""

    id: str
    kind: Literal["user", "assistant", "call", "result"]
    text: str
    """What is said; the arguments of a call, or its result, have this text, too."""


class Peer(ABC):
    """A store of conversations, with the calls that an application makes."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    @property
    def sqlalchemy_url(self) -> str:
        """The connection string for SQLAlchemy, with the same driver as ours."""
        return self.dsn.replace("postgresql://", "postgresql+asyncpg://", 1).replace("sslmode=", "ssl=")

    @abstractmethod
    async def open(self) -> None:
        """Connect, and make the tables that are missing."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    async def create(self, conversation: str) -> None:
        """Make an empty conversation, where the first message does not make it."""

    @abstractmethod
    async def add(self, conversation: str, messages: Sequence[Said]) -> None:
        """Add messages."""

    async def fill(self, conversation: str, messages: Sequence[Said]) -> None:
        """Add many messages, which is not measured."""
        for start in range(0, len(messages), PREPARED_AT_ONCE):
            await self.add(conversation, messages[start : start + PREPARED_AT_ONCE])

    @abstractmethod
    async def load(self, conversation: str, newest: int) -> int:
        """Read the newest messages. Returns how many."""

    async def list(self, page: int) -> int | None:
        """Read the user's newest conversations. Returns how many; None: there is nothing for it."""
        return None


def said(kind: Literal["user", "assistant", "call", "result"]) -> Said:
    """Return a new message."""
    return Said(f"m{next(_numbers)}", kind, TEXT)


def talk(messages: int) -> list[Said]:
    """Return a conversation of so many messages."""
    return [said("assistant" if number % 2 else "user") for number in range(messages)]


def turn() -> list[Said]:
    """Return a turn with a tool call."""
    return [said("user"), said("call"), said("result"), said("assistant")]


async def prepare(peer: Peer, long: int) -> None:
    """Make the conversations that are read, and those that are listed."""
    for conversation in (*(f"c{number}" for number in range(LISTED)), "short", "long"):
        await peer.create(conversation)
    for number in range(LISTED):
        await peer.fill(f"c{number}", talk(2))
    await peer.fill("short", talk(WINDOW))
    await peer.fill("long", talk(long))


async def median(call: Callable[[int], Awaitable[object]], calls: int) -> float:
    """Return the median time of calls, one after the other, in milliseconds; the first ones do not count."""
    times: list[float] = []
    warm_up = min(calls, 5)
    for number in range(warm_up + calls):
        started = time.perf_counter()
        await call(number)
        times.append(time.perf_counter() - started)
    return statistics.median(times[warm_up:]) * 1000


async def measure(peer: Peer, scale: float) -> dict[str, float | None]:
    """Return the milliseconds of each work."""
    long = max(round(LONG * scale), WINDOW)
    await peer.open()
    await prepare(peer, long)
    some, more = max(round(50 * scale), 2), max(round(200 * scale), 2)

    async def read(conversation: str) -> None:
        assert (found := await peer.load(conversation, WINDOW)) == WINDOW, f"{found} messages instead of {WINDOW}"

    listed = await peer.list(PAGE)
    assert listed is None or listed >= PAGE
    results = {
        "append": await median(lambda n: peer.add(f"c{n % CONVERSATIONS}", [said("user")]), more),
        "turn": await median(lambda n: peer.add(f"c{n % CONVERSATIONS}", turn()), more),
        "load": await median(lambda _: read("short"), more),
        "newest": await median(lambda _: read("long"), some),
        "list": None if listed is None else await median(lambda _: peer.list(PAGE), more),
    }
    await peer.close()
    return results


async def start(peer: Peer, since: float) -> dict[str, float | None]:
    """Return the milliseconds from before the import to the first answer."""
    await peer.open()
    await peer.load("short", WINDOW)
    results = {"start": (time.perf_counter() - since) * 1000}
    await peer.close()
    return {**results}


def main(program: str, task: str, dsn: str, scale: str) -> None:
    """Do the work, and print what it took."""
    since = time.perf_counter()
    peer = importlib.import_module(f"tests.benchmarks.peers.programs.{program}").Store(dsn)
    print(json.dumps(asyncio.run(start(peer, since) if task == "start" else measure(peer, float(scale)))))


if __name__ == "__main__":
    main(*sys.argv[1:])

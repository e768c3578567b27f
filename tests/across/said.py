"""What conversations say, apart from any form: the rows of the matrix."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

from pydantic import JsonValue


@dataclass(frozen=True)
class Call:
    """A tool's call, with what became of it."""

    id: str
    result: JsonValue = None
    state: Literal["answered", "failed", "denied", "abandoned"] = "answered"
    name: str = "weather"
    city: str = "Oslo"

    @property
    def input(self) -> dict[str, JsonValue]:
        return {"city": self.city}


@dataclass(frozen=True)
class File:
    """A file that a user sends."""

    media_type: str
    url: str


@dataclass(frozen=True)
class User:
    """What a user says at once."""

    text: str
    files: Sequence[File] = ()


@dataclass(frozen=True)
class Model:
    """What a model says in one step: reasoning, text, then calls, which are answered before the next step."""

    text: str = ""
    calls: Sequence[Call] = ()
    reasoning: str = ""
    answered_in: Sequence[int] | None = None
    """The order of the answers, by the places of the calls; None: the order of the calls."""

    @property
    def answers(self) -> list[Call]:
        places = range(len(self.calls)) if self.answered_in is None else self.answered_in
        return [self.calls[place] for place in places if self.calls[place].state != "abandoned"]


Conversation: TypeAlias = Sequence[User | Model]

# What a reader is shown, in order: ("user", text), ("assistant", text), ("call", name, city), ("result", text).
Fact: TypeAlias = tuple[str, ...]

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
BY_URL: Final = File("image/png", "https://x.test/a.png")
BY_BYTES: Final = File("image/png", f"data:image/png;base64,{PIXEL}")
# After storage.put_file().
STORED: Final = File("image/png", f"voltmem:file/{sha256(b64decode(PIXEL)).hexdigest()}")

CONVERSATIONS: Final[dict[str, Conversation]] = {
    "text": [User("Weather?"), Model("It rains."), User("And tomorrow?"), Model("Sun.")],
    "call": [User("Weather?"), Model("Let me see.", [Call("k1", "RAIN-42")]), Model("It rains.")],
    "silent call": [User("Weather?"), Model(calls=[Call("k1", "RAIN-42")]), Model("It rains.")],
    "result is JSON": [User("Weather?"), Model(calls=[Call("k1", {"sky": ["RAIN-42"]})]), Model("It rains.")],
    "several calls": [
        User("Weather?"),
        Model("Both.", [Call("k1", "RAIN-42"), Call("k2", "SUN-7", city="Rome")]),
        Model("Rain, and sun."),
    ],
    "answers out of order": [
        User("Weather?"),
        Model(calls=[Call("k1", "RAIN-42"), Call("k2", "SUN-7", city="Rome")], answered_in=[1, 0]),
        Model("Rain, and sun."),
    ],
    "calls in steps": [
        User("Weather?"),
        Model("First.", [Call("k1", "RAIN-42")]),
        Model("Second.", [Call("k2", "SUN-7", city="Rome")]),
        Model("Rain, and sun."),
    ],
    "failed": [User("Weather?"), Model("Let me see.", [Call("k1", "BROKEN-3", "failed")]), Model("I can't see.")],
    "abandoned": [
        User("Weather?"),
        Model("Let me see.", [Call("k1", state="abandoned")]),
        User("Never mind. Hello!"),
        Model("Hello."),
    ],
    "one of two abandoned": [
        User("Weather?"),
        Model("Both.", [Call("k1", "RAIN-42"), Call("k2", state="abandoned", city="Rome")]),
        User("Enough."),
        Model("Fine."),
    ],
    "ids used again": [
        User("Weather?"),
        Model(calls=[Call("k1", "RAIN-42")]),
        Model("It rains."),
        User("And in Rome?"),
        Model(calls=[Call("k1", "SUN-7", city="Rome")]),
        Model("Sun."),
    ],
    "reasoning": [User("Weather?"), Model("It rains.", reasoning="Norway is wet.")],
    "picture by URL": [User("What is it?", [BY_URL]), Model("A dot.")],
    "picture by bytes": [User("What is it?", [BY_BYTES]), Model("A dot.")],
    "stored picture": [User("What is it?", [STORED]), Model("A dot.")],
}


def facts(conversation: Conversation) -> list[Fact]:
    """Return what every reader must be shown. A call without a result is shown to nobody."""
    found: list[Fact] = []
    for step in conversation:
        if isinstance(step, User):
            found.append(("user", step.text))
            continue
        found += [("assistant", step.text)] if step.text else []
        called = [call for call in step.calls if call.state != "abandoned"]
        found += [("call", call.name, call.city) for call in called]
        found += [("result", result_of(call.result)) for call in called]
    return found


def result_of(value: Any) -> str:
    """Return the mark in a result that a test looks for: whatever form a result takes, a reader is shown it."""
    text = str(value)
    return next((mark for mark in ("RAIN-42", "SUN-7", "BROKEN-3") if mark in text), text)

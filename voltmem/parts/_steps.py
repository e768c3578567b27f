"""
What is said, step by step, as models are told it.

The forms write from these: Chat Completions and Anthropic's Messages from steps, the others from settled messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, Protocol, TypeVar

from pydantic import BaseModel, JsonValue

from voltmem.parts._types import STEP, File, Other, Part, Reasoning, Source, Text, ToolCall, ToolResult


class Readable(Protocol):
    """What parts() reads: a Message, or anything with its fields."""

    @property
    def id(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def content(self) -> JsonValue: ...
    @property
    def metadata(self) -> dict[str, JsonValue]: ...


ReadableT = TypeVar("ReadableT", bound=Readable)


def native_of(message: object) -> tuple[str | None, JsonValue]:
    """Return the form in which a framework stored the message, and the message in that form; Nones: it has none."""
    if isinstance(message, BaseModel):  # getattr() for what a model lacks takes as long as writing a whole message
        fields = message.__dict__
        return fields.get("format"), fields.get("payload")
    return getattr(message, "format", None), getattr(message, "payload", None)


SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_SPEAKERS: Final[Mapping[str, str]] = {
    **dict.fromkeys(SYSTEM_ROLES, "system"),
    **dict.fromkeys(("assistant", "model", "ai"), "assistant"),
    **dict.fromkeys(("tool", "function"), "tool"),
    **dict.fromkeys(("user", "human"), "user"),
}


def is_invented(role: str) -> bool:
    """Return whether no provider has the role: it is the application's own, such as "critic"."""
    return role not in _SPEAKERS


def marked(role: str, parts: Sequence[Part]) -> list[Part]:
    """
    Return what is said in a role of the application's own, with the role before the first text.

    The providers have only the user's role for it. Without the mark it would be the user's own words.
    """
    mark, found = f"[{' '.join(role.split())}]:", list(parts)
    for place, part in enumerate(found):
        if isinstance(part, Text) and part.text.strip():
            found[place] = Text(f"{mark} {part.text}")
            return found
    # At the end, so that the parts keep their places.
    return [*found, Text(mark)] if any(isinstance(part, File) for part in found) else found


@dataclass(frozen=True, slots=True)
class Settled(Generic[ReadableT]):
    """A message and what it says, among the others."""

    message: ReadableT
    parts: list[Part]
    """The parts. A call has its final state. Results are of calls in these messages: others are left out."""
    results: dict[int, ToolResult] = field(default_factory=dict)
    """The result of each call that has one, by the call's place in the parts."""
    orphans: list[ToolResult] = field(default_factory=list)
    """Results without a call in these messages. A model refuses them."""
    undecided: set[int] = field(default_factory=set)
    """The places of abandoned calls that had waited for a person's approval: nobody has made them."""
    is_whole: bool = True
    """Whether each call has a result and each result has its call, so that a model accepts the message as it is."""

    @property
    def speaker(self) -> str:
        """Who speaks, as every provider knows it: "system", "user", "assistant" or "tool"."""
        return _SPEAKERS.get(self.message.role, "user")


@dataclass(slots=True)
class Step(Generic[ReadableT]):
    """What is said at once: by the system, by the user, or by the model in one call, with the tools' answers."""

    speaker: str
    parts: list[Part]
    """Text, reasoning, files, sources, and the calls and results that are inline: no others."""
    calls: list[tuple[ToolCall, ToolResult]]
    """Of the model: its calls, each with its result. Calls without one are left out."""
    sources: list[Settled[ReadableT]]
    """The messages that say this step."""

    @property
    def source(self) -> Settled[ReadableT] | None:
        """The message that says this step and no other, if it is whole; None: the step is made of parts."""
        if len(self.sources) != 1 or not self.sources[0].is_whole or is_invented(self.sources[0].message.role):
            return None
        return self.sources[0]


def steps(
    settled: Sequence[Settled[ReadableT]], is_inline: Callable[[Part], bool] = lambda part: False
) -> list[Step[ReadableT]]:
    """
    Return what is said, step by step, as models are told it: each call is answered once, right after it.

    *is_inline* tells the calls and results that the model is shown among what it said: of the provider's own tools.
    """
    found: list[Step[ReadableT]] = []
    joins = False  # whether the next message's calls belong to the last step: nobody else spoke, no tool answered
    for each in settled:
        if each.speaker == "assistant":
            own = _steps_of(each, is_inline)
            answers = any(isinstance(part, ToolResult) and not is_inline(part) for part in each.parts)
            if joins and own and not answers and not _says(own[0]):
                first = own.pop(0)
                found[-1].calls += first.calls
                found[-1].parts += first.parts
                found[-1].sources += first.sources
            found += own
            joins = not answers and (joins or bool(own))
        else:
            speaker = "user" if each.speaker == "tool" else each.speaker
            said: list[Part] = [
                part for part in each.parts if not isinstance(part, ToolCall | ToolResult) and not is_blank(part)
            ]
            if any(isinstance(part, Text | File) or is_inline(part) for part in said):
                found.append(Step(speaker, said, [], [each]))
            joins = False
    return _without_interrupted(found)


def _without_interrupted(found: list[Step[ReadableT]]) -> list[Step[ReadableT]]:
    """Return the steps without the inline calls whose results come after somebody else spoke, and those results."""
    open: dict[str, Step[ReadableT]] = {}
    interrupted: dict[str, Step[ReadableT]] = {}
    changed: list[Step[ReadableT]] = []
    for step in found:
        if step.speaker != "assistant":
            interrupted |= open
            open = {}
        for part in step.parts:
            if isinstance(part, ToolCall):
                open[part.id] = step
            elif isinstance(part, ToolResult) and open.pop(part.call_id, None) is None and part.call_id in interrupted:
                changed += [interrupted[part.call_id], step]
    for step in changed:
        step.parts = [part for part in step.parts if not _is_of(part, interrupted)]
        step.sources = [replace(each, is_whole=False) for each in step.sources]
    return [step for step in found if step.calls or step.speaker != "assistant" or _says(step)] if changed else found


def _is_of(part: Part, calls: Mapping[str, object]) -> bool:
    id = part.id if isinstance(part, ToolCall) else part.call_id if isinstance(part, ToolResult) else None
    return id in calls


def is_blank(part: Part) -> bool:
    """Return whether it is a text without words: providers refuse an empty text, and a message of nothing else."""
    return isinstance(part, Text) and not part.text.strip()


def _says(step: Step[ReadableT]) -> bool:
    # A call, a result or an Other is there if it is inline.
    return any(isinstance(part, Text | File | ToolCall | ToolResult | Other) for part in step.parts)


def _steps_of(settled: Settled[ReadableT], is_inline: Callable[[Part], bool]) -> list[Step[ReadableT]]:
    """Return the steps of a model's message: what follows the result of a call is said in the next one."""
    found = [Step[ReadableT]("assistant", [], [], [settled])]
    is_answered = False  # whether the step's calls have results in this message, so that what follows knows them
    for place, part in enumerate(settled.parts):
        is_own = is_inline(part)
        is_said = is_own or (isinstance(part, Text | Reasoning | File | Source) and not is_blank(part))
        begins = isinstance(part, Other) and part.type == STEP and (found[-1].calls or _says(found[-1]))
        if begins or (is_said and is_answered):
            found.append(Step("assistant", [], [], [settled]))
            is_answered = False
        if isinstance(part, ToolCall) and place not in settled.results:
            # The provider goes on with its own call when it gets it back.
            found[-1].parts += [part] if is_own and part.state == "running" else []
        elif is_said:
            found[-1].parts.append(part)
        elif isinstance(part, ToolCall):
            found[-1].calls.append((part, settled.results[place]))
        elif isinstance(part, ToolResult):
            is_answered = True
    return _whole([step for step in found if step.calls or _says(step)])


def _whole(found: list[Step[ReadableT]]) -> list[Step[ReadableT]]:
    """Mark the steps of a message that says several: none of them is the message."""
    if len(found) > 1:
        for step in found:
            step.sources = [replace(each, is_whole=False) for each in step.sources]
    return found

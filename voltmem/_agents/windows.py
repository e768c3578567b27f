"""Windows of messages that models accept, and the exchanges of a conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, groupby, pairwise
from operator import attrgetter, not_
from typing import Generic, TypeVar

from voltmem._areas.summaries import TYPE as SUMMARY
from voltmem._areas.token_counts import counter, tokens_of
from voltmem._values import UNSET, check_count, describe_unknown
from voltmem.errors import InvalidQueryError
from voltmem.models import Message, NativeMessage
from voltmem.options import Window
from voltmem.parts import SYSTEM_ROLES, Other, Part, Reasoning, ToolCall, anthropic
from voltmem.parts._items import is_from_model
from voltmem.parts._settled import Settling, only_speaks
from voltmem.parts._types import JsonObject
from voltmem.parts.responses import item_of
from voltmem.tokens import CountTokens

MessageT = TypeVar("MessageT", bound=Message)


def check_window(window: Window) -> None:
    """Raise InvalidQueryError if these are no arguments of ``memory.messages()``; keywords of others are not typed."""
    for name in window:
        if name not in Window.__annotations__:
            raise InvalidQueryError(describe_unknown("argument", name, [*Window.__annotations__]))
    limit, turns, tokens = window.get("limit", UNSET), window.get("turns"), window.get("tokens")
    if sum((limit is not UNSET, turns is not None, tokens is not None)) > 1:
        raise InvalidQueryError("limit, which counts messages, turns and tokens: pass one of them")
    for name, count, minimum in (
        ("limit", None if limit is UNSET else limit, 0),
        ("turns", turns, 0),
        ("tokens", tokens, 0),
        ("shorten_results", window.get("shorten_results"), 100),
    ):
        if count is not None:
            check_count(name, count, minimum=minimum)
    counter(window.get("count", "o200k"))  # checks it


def tool_turns(messages: Sequence[MessageT], *, cut_off: bool = False) -> list[list[MessageT]]:
    """
    Return the messages in groups that a window must not divide: a tool turn, or a single message.

    A tool turn is a message with tool calls, the messages with their results, and all turns that overlap with it. Other
    messages in between come after it, where models accept them. A call without a result and a result without a call are
    left out, because providers would refuse the request; what is said beside them stays. A call of Anthropic's own
    tools at the end stays: the API goes on with it when it gets it back.

    Args:
        messages: In their order.
        cut_off: Whether there are older messages, which may have the calls of results that have none here. Everything
            up to the end of the turns that overlap with such a result is left out.
    """
    if only_speak(messages):
        return [[message] for message in messages]
    turns = _Turns(messages)
    groups: list[list[MessageT]] = []
    last_left_out = turns.last_without_call if cut_off else -1
    last_of_group = -1
    for position in range(len(messages)):
        if position <= last_left_out:
            last_left_out = max(last_left_out, turns.end(position))
            continue
        if position > last_of_group:
            groups.append([])
        groups[-1] += turns.acceptable(position)
        last_of_group = max(last_of_group, turns.end(position))
    return [part for group in groups for part in (_parted(group) if len(group) > 1 else [group]) if part]


def only_speak(messages: Sequence[Message]) -> bool:
    """Return whether each of the messages is a group by itself, whatever comes before them: nearly all are text."""
    return all(only_speaks(message) and _item(message) is None for message in messages)


def _item(message: Message) -> JsonObject | None:
    """Return the item of OpenAI's as which the message was stored; None: it was not."""
    # A plain message has no such fields, and a model takes long to say so.
    return item_of(message) if isinstance(message, NativeMessage) else None


def _parted(group: Sequence[MessageT]) -> list[list[MessageT]]:
    """Return the tool turn without the other messages in between, and each of those."""
    has_tools = [Settling([message]).has_tools(0) for message in group]
    return [list(compress(group, has_tools)), *([message] for message in compress(group, map(not_, has_tools)))]


class _Turns(Generic[MessageT]):
    """Groups of messages that belong together, because one has the result of another's call (union-find)."""

    def __init__(self, messages: Sequence[MessageT]) -> None:
        self._messages = messages
        self._settling = Settling(messages)
        self._last_said = self._settling.last_said()
        self._turn = list(range(len(messages)))  # for each position, another one of its turn; the root has its own
        for call, result in self._settling.links:
            self._turn[self._root(result)] = self._root(call)
        self._end: dict[int, int] = {}
        for position in range(len(messages)):
            self._end[self._root(position)] = position
        self.last_without_call = max((position for position, _ in self._settling.orphans), default=-1)
        self._without_item: set[int] = set()
        self._without_reasoning: set[int] = set()
        self._find_reasoning_to_leave_out()

    def _root(self, position: int) -> int:
        while self._turn[position] != position:
            position = self._turn[position]
        return position

    def _find_reasoning_to_leave_out(self) -> None:
        """
        Find the reasoning of OpenAI's whose item is left out, and the rest of what the model said with it.

        Each is a message of its own, and the Responses API refuses one without the other.
        """
        items = {place: item for place, message in enumerate(self._messages) if (item := _item(message)) is not None}
        reasoning: list[int] = []
        is_cut = False
        for position in range(len(self._messages)):
            item = items.get(position, {})
            if item.get("type") == "reasoning":
                reasoning.append(position)
                is_cut = False
                continue
            if reasoning and self._settling.has_tools(position) and not any(self._kept(position)):
                self._without_item.update(reasoning)
                is_cut = True
            is_cut = is_cut and is_from_model(item)
            if is_cut:
                self._without_reasoning.add(position)
            reasoning = []

    def acceptable(self, position: int) -> Iterator[MessageT]:
        """Yield the message, if necessary without calls or results that lack the other; nothing if nothing is left."""
        if position not in self._without_item:
            yield from self._kept(position)

    def _kept(self, position: int) -> Iterator[MessageT]:
        message = self._messages[position]
        if not self._settling.has_tools(position) and position not in self._without_reasoning:
            yield message
            return
        settled = self._settling.settled_at(position)
        if settled.is_whole and position not in self._without_reasoning:
            yield message
            return
        left_out = {
            place: part.id
            for place, part in enumerate(settled.parts)
            if isinstance(part, ToolCall) and place not in settled.results and not self._goes_on(position, part)
        }
        kept = [part for place, part in enumerate(settled.parts) if place not in left_out]
        if position in self._without_reasoning:
            yield message.saying(kept)
        elif not left_out and not settled.orphans:
            yield message
        elif any(map(_is_said, kept)):
            yield message.keeping(kept, {*left_out.values(), *(result.call_id for result in settled.orphans)})

    def _goes_on(self, position: int, call: ToolCall) -> bool:
        """Return whether the provider goes on with a call of its own tool: nobody has said anything since."""
        return position == self._last_said and anthropic.is_inline(call)

    def end(self, position: int) -> int:
        """Return the position of the last message of the turn."""
        return self._end[self._root(position)]


def _is_said(part: Part) -> bool:
    if isinstance(part, Other):
        return part.type.startswith("data-")  # an application's own, which its front end shows
    return not isinstance(part, Reasoning)


def window(
    groups: Sequence[Sequence[MessageT]], limit: int | None, weigh: Callable[[MessageT], int] = lambda _: 1
) -> tuple[list[MessageT], bool]:
    """Return the messages of the newest groups whose weights fit into the limit, and whether a group did not fit."""
    weight, begin = 0, len(groups)
    while begin and (limit is None or (weight := weight + sum(map(weigh, groups[begin - 1]))) <= limit):
        begin -= 1
    return [message for group in groups[begin:] for message in group], begin > 0


def has_summary(begun: Sequence[Message]) -> bool:
    """Return whether what a window begins with ends with a summary."""
    return bool(begun) and is_summary(begun[-1])


def is_summary(message: Message) -> bool:
    """Return whether a message of a window is a summary, which is not stored as a message."""
    return message.type == SUMMARY


def without_system(first: list[MessageT], found: list[MessageT]) -> tuple[list[MessageT], list[MessageT]]:
    """Return the system message that the conversation begins with, and the summary, if any, and the other messages."""
    if not first or first[0].role not in SYSTEM_ROLES:
        return first[1:], found
    return first, found[1:] if found and found[0].id == first[0].id else found


def weight(message: Message, counts: Mapping[int, int], count: CountTokens) -> int:
    """Return the tokens of a message. One that was read and then made shorter is another object, without a count."""
    return counts.get(id(message)) or tokens_of(message, count)


def fitting_window(
    messages: list[MessageT],
    short: Callable[[MessageT], MessageT],
    room: int,
    weigh: Callable[[MessageT], int],
    cut_off: bool,
) -> tuple[list[MessageT], bool]:
    """Return the newest messages that fit, with short results, and whether others follow that do not."""
    return window(tool_turns([short(message) for message in messages], cut_off=cut_off), room, weigh)


def exchanges(messages: Sequence[MessageT]) -> list[tuple[MessageT, MessageT]]:
    """Return pairs of a user's message and the assistant's last message before the user's next one."""
    last_words = [list(said)[-1] for _, said in groupby(messages, attrgetter("role"))]
    return [(said, answer) for said, answer in pairwise(last_words) if said.role == "user"]

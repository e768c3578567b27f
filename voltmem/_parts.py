"""
What a message's content says of tools, and which messages may stand together before a model.

Tool calls and their results are recognised in the forms that people store: the parts of VoltAgent and the AI SDK
(``tool-call``, ``tool-result``; what our adapters write), Anthropic's blocks (``tool_use``, ``tool_result``), OpenAI's
items (``function_call``, ``function_call_output``) and chat messages (``tool_calls``, ``tool_call_id``), whether as
content or in the metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress, groupby, pairwise
from operator import attrgetter, not_
from typing import Final, TypeAlias, TypeVar

from pydantic import JsonValue
from pydantic_core import from_json

from voltmem._values import JsonObject
from voltmem.models import Message

MessageT = TypeVar("MessageT", bound=Message)

TOOL_CALL: Final = "tool-call"
TOOL_RESULT: Final = "tool-result"
SYSTEM_ROLES: Final = frozenset({"system", "developer"})

_CALLS: Final = frozenset({TOOL_CALL, "tool_call", "tool_use", "function_call"})
_RESULTS: Final = frozenset({TOOL_RESULT, "tool_result", "function_call_output"})
_CALL_IDS: Final = ("toolCallId", "tool_call_id", "call_id", "id")
_RESULT_IDS: Final = ("toolCallId", "tool_call_id", "tool_use_id", "call_id")


@dataclass(frozen=True)
class ToolCall:
    """What a model asks for."""

    id: str
    """Names the call in its result; "" where the message doesn't say."""
    name: str
    args: JsonValue


@dataclass(frozen=True)
class ToolResult:
    """What the tool answered."""

    id: str
    """The call's; "" where the message doesn't say."""
    name: str
    result: JsonValue


def text_part(text: str) -> JsonObject:
    """Return a part that says something."""
    return {"type": "text", "text": text}


def call_part(call: ToolCall) -> JsonObject:
    """Return the part for a tool call, as VoltAgent and the AI SDK have it."""
    return {"type": TOOL_CALL, "toolCallId": call.id, "toolName": call.name, "args": call.args}


def result_part(result: ToolResult) -> JsonObject:
    """Return the part for a tool's result, as VoltAgent and the AI SDK have it."""
    return {"type": TOOL_RESULT, "toolCallId": result.id, "toolName": result.name, "result": result.result}


def tool_calls(message: Message) -> list[ToolCall]:
    """Return the calls that a message asks for, in their order."""
    if _only_speaks(message):
        return []
    calls = [_call(part) for part in _parts(message) if _is(part, _CALLS)]
    for holder in (message.content, message.metadata):
        listed = holder.get("tool_calls") if isinstance(holder, dict) else None
        if isinstance(listed, list) and not calls:  # what stands in the content may stand in the metadata once more
            calls = [_call(call) for call in listed if isinstance(call, dict)]
    return calls or ([ToolCall("", "", None)] if message.type == TOOL_CALL else [])


def tool_results(message: Message) -> list[ToolResult]:
    """Return the results that a message brings, in their order."""
    if _only_speaks(message):
        return []
    results = [_result(part) for part in _parts(message) if _is(part, _RESULTS)]
    if not results and message.role == "tool":
        if isinstance(message.content, dict) and _first(message.content, *_RESULT_IDS):
            return [_result(message.content)]
        beside = message.metadata
        return [ToolResult(_first(beside, *_RESULT_IDS), _first(beside, "toolName", "name"), message.content)]
    return results or ([ToolResult("", "", message.content)] if message.type == TOOL_RESULT else [])


def _only_speaks(message: Message) -> bool:
    # Nearly every message; what follows would take a window of a hundred longer than fetching it.
    return (
        isinstance(message.content, str) and not message.metadata and message.type == "text" and message.role != "tool"
    )


def _parts(message: Message) -> Iterator[JsonObject]:
    content = message.content if isinstance(message.content, list) else [message.content]
    return (part for part in content if isinstance(part, dict))


def _is(part: JsonObject, types: frozenset[str]) -> bool:
    type = part.get("type")
    return isinstance(type, str) and type in types


def _call(part: JsonObject) -> ToolCall:
    function = part.get("function")
    named = function if isinstance(function, dict) else part
    args = next((named[key] for key in ("args", "input", "arguments") if key in named), None)
    if isinstance(args, str) and "arguments" in named:  # OpenAI's are JSON in a string, if the model wrote JSON
        with suppress(ValueError, TypeError):  # no JSON, or text that is no Unicode
            args = from_json(args)
    return ToolCall(_first(part, *_CALL_IDS), _first(named, "toolName", "name"), args)


def _result(part: JsonObject) -> ToolResult:
    result = next((part[key] for key in ("result", "output", "content") if key in part), None)
    return ToolResult(_first(part, *_RESULT_IDS), _first(part, "toolName", "name"), result)


def _first(values: Mapping[str, JsonValue], *keys: str) -> str:
    found = (values.get(key) for key in keys)
    return next((value for value in found if isinstance(value, str) and value), "")


# --- windows --------------------------------------------------------------------------------------------------------


def tool_turns(messages: Sequence[MessageT], *, cut_off: bool = False) -> list[list[MessageT]]:
    """
    Return the messages in groups that no window may divide: a tool turn, or a single message.

    A tool turn is a message with tool calls and those with their results, and all that overlap with it; what somebody
    said in between comes after them, where models accept it. A turn that lacks a result or a call is left out, and so
    is what it has: a model's provider would refuse the whole.

    Args:
        messages: In their order.
        cut_off: There are older ones, with the calls, perhaps, of results that have none here: all up to the end of
            what overlaps with such a result is left out.
    """
    turns = _Turns(messages)
    groups: list[list[MessageT]] = []
    last_left_out = turns.last_without_call if cut_off else -1
    last_of_group = -1
    for position in range(len(messages)):
        if position <= last_left_out:
            last_left_out = max(last_left_out, turns.end(position))
            continue
        if turns.is_broken(position):
            continue
        if position > last_of_group:
            groups.append([])
        groups[-1].append(messages[position])
        last_of_group = max(last_of_group, turns.end(position))
    return [part for group in groups for part in (_parted(group) if len(group) > 1 else [group])]


def _parted(group: Sequence[MessageT]) -> list[list[MessageT]]:
    """Return the tool turn, and each message that somebody said meanwhile."""
    has_tools = [bool(tool_calls(message) or tool_results(message)) for message in group]
    return [list(compress(group, has_tools)), *([message] for message in compress(group, map(not_, has_tools)))]


# The calls without a result so far, each with the position of its message; one that has no id by its place.
_Waiting: TypeAlias = dict[str | tuple[int, int], int]


def _answered(waiting: _Waiting, result: ToolResult) -> str | tuple[int, int] | None:
    """Return which of the calls the result is for; one that doesn't say is for the last."""
    if result.id:
        return result.id if result.id in waiting else None
    return next(reversed(waiting), None)


class _Turns:
    """Which messages belong together because one answers the other."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._turn = list(range(len(messages)))  # of each position, one of the same turn; its own at the root
        self._broken: set[int] = set()
        self._end: dict[int, int] = {}
        self.last_without_call = -1
        waiting: _Waiting = {}
        for position, message in enumerate(messages):
            if _only_speaks(message):
                continue
            own: _Waiting = {call.id or (position, n): position for n, call in enumerate(tool_calls(message))}
            for result in tool_results(message):
                # A tool of the provider's own answers in the message that calls it.
                self._answer(waiting if _answered(own, result) is None else own, result, position)
            for key in own:
                if (unanswered := waiting.pop(key, None)) is not None:
                    self._broken.add(unanswered)
            waiting.update(own)
        self._broken.update(waiting.values())
        self._broken = {self._root(position) for position in self._broken}
        for position in range(len(messages)):
            self._end[self._root(position)] = position

    def _answer(self, waiting: _Waiting, result: ToolResult, position: int) -> None:
        key = _answered(waiting, result)
        if key is None:
            self._broken.add(position)
            self.last_without_call = position
        else:
            self._turn[self._root(position)] = self._root(waiting.pop(key))

    def _root(self, position: int) -> int:
        while self._turn[position] != position:
            position = self._turn[position]
        return position

    def is_broken(self, position: int) -> bool:
        """Whether a call or a result is missing from the message's turn."""
        return self._root(position) in self._broken

    def end(self, position: int) -> int:
        """Return where the message's turn ends."""
        return self._end[self._root(position)]


def window(groups: Sequence[Sequence[MessageT]], limit: int | None) -> tuple[list[MessageT], bool]:
    """Return the newest groups that have no more messages than the limit, and whether another one did not fit."""
    count, begin = 0, len(groups)
    while begin and (limit is None or count + len(groups[begin - 1]) <= limit):
        begin -= 1
        count += len(groups[begin])
    return [message for group in groups[begin:] for message in group], begin > 0


def exchanges(messages: Sequence[MessageT]) -> list[tuple[MessageT, MessageT]]:
    """Return what a user said and the last that the assistant said before the user went on, pair by pair."""
    last_words = [list(said)[-1] for _, said in groupby(messages, attrgetter("role"))]
    return [(said, answer) for said, answer in pairwise(last_words) if said.role == "user"]

"""
Tool calls and results in the content of messages, and windows of messages that models accept.

Tool calls and results are recognised in these forms, in the content or in the metadata: the parts of VoltAgent and the
AI SDK (``tool-call``, ``tool-result``; the adapters write these), Anthropic's blocks (``tool_use``, ``tool_result``),
OpenAI's items (``function_call``, ``function_call_output``) and chat messages (``tool_calls``, ``tool_call_id``).
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
    """A model's call of a tool."""

    id: str
    """The id, which the result repeats; "" if the message has none."""
    name: str
    args: JsonValue


@dataclass(frozen=True)
class ToolResult:
    """The result of a tool call."""

    id: str
    """The id of the call; "" if the message has none."""
    name: str
    result: JsonValue


def text_part(text: str) -> JsonObject:
    """Return a part with text."""
    return {"type": "text", "text": text}


def call_part(call: ToolCall) -> JsonObject:
    """Return the part for a tool call, in the form of VoltAgent and the AI SDK."""
    return {"type": TOOL_CALL, "toolCallId": call.id, "toolName": call.name, "args": call.args}


def result_part(result: ToolResult) -> JsonObject:
    """Return the part for a tool's result, in the form of VoltAgent and the AI SDK."""
    return {"type": TOOL_RESULT, "toolCallId": result.id, "toolName": result.name, "result": result.result}


def tool_calls(message: Message) -> list[ToolCall]:
    """Return the tool calls of a message, in order."""
    if _only_speaks(message):
        return []
    calls = [_call(part) for part in _parts(message) if _is(part, _CALLS)]
    for holder in (message.content, message.metadata):
        listed = holder.get("tool_calls") if isinstance(holder, dict) else None
        if isinstance(listed, list) and not calls:  # calls in the content may be repeated in the metadata
            calls = [_call(call) for call in listed if isinstance(call, dict)]
    return calls or ([ToolCall("", "", None)] if message.type == TOOL_CALL else [])


def tool_results(message: Message) -> list[ToolResult]:
    """Return the tool results of a message, in order."""
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
    # True for nearly every message. Without this test, a window of 100 messages would take longer than fetching them.
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
    if isinstance(args, str) and "arguments" in named:  # OpenAI's are a string of JSON, if the model wrote valid JSON
        with suppress(ValueError, TypeError):  # invalid JSON, or a lone surrogate
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
    Return the messages in groups that a window must not divide: a tool turn, or a single message.

    A tool turn is a message with tool calls, the messages with their results, and all turns that overlap with it. Other
    messages in between come after it, where models accept them. A turn that lacks a result or a call is left out as a
    whole, because model providers would refuse the request.

    Args:
        messages: In their order.
        cut_off: Whether there are older messages, which may have the calls of results that have none here. Everything
            up to the end of the turns that overlap with such a result is left out.
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
    """Return the tool turn without the other messages in between, and each of those."""
    has_tools = [bool(tool_calls(message) or tool_results(message)) for message in group]
    return [list(compress(group, has_tools)), *([message] for message in compress(group, map(not_, has_tools)))]


# The calls without a result so far, each with the position of its message. A call without an id has its place as key.
_Waiting: TypeAlias = dict[str | tuple[int, int], int]


def _answered(waiting: _Waiting, result: ToolResult) -> str | tuple[int, int] | None:
    """Return the key of the call that the result is for. A result without an id is for the last call."""
    if result.id:
        return result.id if result.id in waiting else None
    return next(reversed(waiting), None)


class _Turns:
    """Groups of messages that belong together, because one has the result of another's call (union-find)."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._turn = list(range(len(messages)))  # for each position, another one of its turn; the root has its own
        self._broken: set[int] = set()
        self._end: dict[int, int] = {}
        self.last_without_call = -1
        waiting: _Waiting = {}
        for position, message in enumerate(messages):
            if _only_speaks(message):
                continue
            own: _Waiting = {call.id or (position, n): position for n, call in enumerate(tool_calls(message))}
            for result in tool_results(message):
                # A provider's own tool has its result in the message with the call.
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
        """Return whether a call or a result of the message's turn is missing."""
        return self._root(position) in self._broken

    def end(self, position: int) -> int:
        """Return the position of the last message of the turn."""
        return self._end[self._root(position)]


def window(groups: Sequence[Sequence[MessageT]], limit: int | None) -> tuple[list[MessageT], bool]:
    """Return the messages of the newest groups that fit into the limit, and whether a group did not fit."""
    count, begin = 0, len(groups)
    while begin and (limit is None or count + len(groups[begin - 1]) <= limit):
        begin -= 1
        count += len(groups[begin])
    return [message for group in groups[begin:] for message in group], begin > 0


def exchanges(messages: Sequence[MessageT]) -> list[tuple[MessageT, MessageT]]:
    """Return pairs of a user's message and the assistant's last message before the user's next one."""
    last_words = [list(said)[-1] for _, said in groupby(messages, attrgetter("role"))]
    return [(said, answer) for said, answer in pairwise(last_words) if said.role == "user"]

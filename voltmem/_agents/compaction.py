"""Compaction: a summary in place of what is older than the last turns, made by the caller's function."""

from __future__ import annotations

import inspect
from asyncio import to_thread
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from operator import not_
from typing import Final, TypeAlias, cast

from pydantic import JsonValue

from voltmem._areas.area import Access
from voltmem._areas.summaries import Made, Range, Summary, read_range, store_summary
from voltmem._values import check_text, json_value, short_repr
from voltmem.errors import ConversationNotFoundError, InvalidInputError
from voltmem.models import Message, NativeMessage
from voltmem.parts import SYSTEM_ROLES, ToolCall, ToolResult, parts
from voltmem.parts._settled import Settling, only_speaks

KEEP_TURNS: Final = 6
"""How many of the last turns a summary leaves as they are, unless the caller says otherwise."""

SummaryText: TypeAlias = str | tuple[str, Mapping[str, object]]
"""What a summariser returns: the text, or the text with what making it has used."""
Summarize: TypeAlias = Callable[[list[Message], str | None], SummaryText | Awaitable[SummaryText]]
"""A function that makes a summary of messages, and of the text of the summary before, None if there is none."""


def check_summarize(summarize: object) -> None:
    """Raise InvalidInputError unless this can be a summariser."""
    if not callable(summarize):
        raise InvalidInputError(f"summarize must be a function of messages, not {short_repr(summarize)}")


async def compact(
    access: Access, user_id: str, conversation_id: str, found: Range, summarize: Summarize, keep_turns: int
) -> Summary | None:
    """Store a summary of what is older than the last turns. None: there is nothing, or it has changed meanwhile."""
    part = summarisable(found, keep_turns)
    if part is None:
        return None
    before = part.before
    text, usage = await _summary_of(summarize, list(part.messages), before.content if before else None)
    return await store_summary(access, user_id, conversation_id, Made(text, usage), part)


def summarisable(found: Range, keep_turns: int) -> Range | None:
    """Return the part of a range that a summary may stand for, or None if there is none."""
    part = without_head(found)
    end = _end(part.messages, keep_turns)
    return replace(part, messages=part.messages[:end], hashes=part.hashes[:end]) if end else None


def without_head(found: Range) -> Range:
    """Return the range without the system message, with which a window begins anyway, unless it is archived."""
    head = [] if found.before or any(found.are_archived[:1]) else found.messages[:1]
    if not head or head[0].role not in SYSTEM_ROLES:
        return found
    return replace(
        found,
        messages=found.messages[1:],
        hashes=found.hashes[1:],
        are_archived=found.are_archived[1:],
        head_id=head[0].id,
    )


def _end(messages: Sequence[Message], keep_turns: int) -> int:
    """
    Return how many messages are older than the last turns, and may be summarised.

    A summary ends where a turn begins, and never within a tool turn. What waits for a result, or for somebody's
    approval, is not summarised, nor what comes after it. Nor does a summary end between two messages of one time,
    because the time tells what it stands for.
    """
    starts = [place for place in range(len(messages)) if _begins_turn(messages, place)]
    if len(starts) <= keep_turns:
        return 0
    settling = Settling(messages)
    within = {place for call, result in settling.links for place in range(min(call, result) + 1, max(call, result) + 1)}
    last = min(starts[-keep_turns], next(_open(settling, len(messages)), len(messages)))
    return max(
        (
            place
            for place in starts
            if 0 < place <= last and place not in within and messages[place - 1].created_at < messages[place].created_at
        ),
        default=0,
    )


def _begins_turn(messages: Sequence[Message], place: int) -> bool:
    return _speaks_as_user(messages[place]) and not (place and _speaks_as_user(messages[place - 1]))


async def read_whole(
    access: Access, user_id: str, conversation_id: str, format: str | None
) -> tuple[Range, list[NativeMessage]]:
    """
    Return what a framework's own summary of everything can stand for, and the messages that a window has of it.

    format: of the framework; None: as if it had no summary of its own.
    These have the system message, too, and not what the limit has archived.

    Raises:
        ConversationNotFoundError: The conversation is another user's.
    """
    found = await read_range(access, user_id, conversation_id, format, NativeMessage.from_row)
    if found.owner not in (None, user_id):
        raise ConversationNotFoundError(conversation_id, user_id)
    shown = compress(cast(Sequence[NativeMessage], found.messages), map(not_, found.are_archived))
    return without_head(found), list(shown)


def waits(messages: Sequence[Message]) -> bool:
    """Return whether a call among the messages has no result yet, or waits for approval."""
    return next(_open(Settling(messages), len(messages)), None) is not None


def _open(settling: Settling[Message], count: int) -> Iterator[int]:
    """Yield the places of messages with a call that has no result yet."""
    for place in range(count):
        if settling.has_tools(place) and any(
            isinstance(part, ToolCall) and part.state in ("running", "waiting")
            for part in settling.settled_at(place).parts
        ):
            yield place


def _speaks_as_user(message: Message) -> bool:
    """Return whether the user says something: tools' results may have the user's role."""
    return message.role == "user" and (
        only_speaks(message) or any(not isinstance(part, ToolResult) for part in parts(message))
    )


async def _summary_of(summarize: Summarize, messages: list[Message], before: str | None) -> tuple[str, JsonValue]:
    """Return what the summariser makes; a function that blocks runs in a thread. InvalidInputError if it is no text."""
    if inspect.iscoroutinefunction(summarize):
        made: object = await summarize(messages, before)
    else:
        made = await to_thread(summarize, messages, before)
        if inspect.isawaitable(made):
            made = await made
    text, usage = cast(tuple[object, object], made) if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(text, str) or not text.strip():
        raise InvalidInputError(
            f"summarize returned {short_repr(made)}, and no text: the conversation keeps the window that it had"
        )
    check_text(summary=text)
    return text, None if usage is None else json_value(usage, "usage")

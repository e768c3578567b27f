"""How the windows of a conversation are read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, Unpack

from voltmem._agents.recalled import recall_unseen, recalled_text, that_fit
from voltmem._agents.short_results import with_short_results
from voltmem._agents.windows import (
    check_window,
    fitting_window,
    has_summary,
    is_summary,
    only_speak,
    tool_turns,
    weight,
    window,
    without_system,
)
from voltmem._areas.area import Access, off_loop_if_long
from voltmem._areas.messages import Messages, noticed_by
from voltmem._areas.moments import quote_moments
from voltmem._areas.recall import Recalling, check_recall
from voltmem._areas.summaries import quoted
from voltmem._areas.token_counts import STORED_COUNTS, TOKENS_OF_MESSAGE, counter
from voltmem._areas.window_query import WindowQuery
from voltmem._values import MAX_BIGINT, UNSET, Unset
from voltmem.models import Message
from voltmem.options import Window
from voltmem.parts import SYSTEM_ROLES
from voltmem.tokens import BYTES_A_TOKEN, CountTokens, Encoding

# How many rows are read beyond the window, so that a tool turn at its beginning is usually read whole.
_ROWS_BEYOND: Final = 8
# How many bytes of text a tokenizer makes one token of, at most: long runs of spaces.
_MOST_BYTES_A_TOKEN: Final = 256

MessageT = TypeVar("MessageT", bound=Message)
FromRow: TypeAlias = Callable[[Iterable[Any]], MessageT]


class _Fitting(NamedTuple, Generic[MessageT]):
    """A window of so many tokens, and whether older messages follow, or the oldest that was read is left out."""

    messages: list[MessageT]
    others_follow: bool
    was_left_out: bool


async def _fitting(
    system: Sequence[MessageT],
    found: list[MessageT],
    short: Callable[[MessageT], MessageT],
    weigh: Callable[[MessageT], int],
    cut_off: bool,
    tokens: int,
) -> _Fitting[MessageT]:
    """Return the longest window of so many tokens, with the system message, and with the summary if there is room."""
    room = tokens - sum(map(weigh, system))
    size = sum(len(message.content) for message in found if isinstance(message.content, str))
    fit = partial(off_loop_if_long, size, fitting_window, found, short)
    fitting, others_follow = await fit(room, weigh, cut_off)
    if others_follow and not fitting and has_summary(system):
        # What was said last matters more than a summary that leaves no room for it.
        room += weigh(system[-1])
        system = system[:-1]
        fitting, others_follow = await fit(room, weigh, cut_off)
    was_left_out = bool(found) and (not fitting or fitting[0].id != found[0].id)
    return _Fitting([*system, *fitting] if tokens else [], others_follow, was_left_out)


class WindowReader:
    """What reads the windows of one conversation of one user."""

    _storage: Messages
    _access: Access
    _user_id: str
    _id: str

    def _check_owner(self, owner: str | None) -> None:
        """Raise ConversationNotFoundError for another user's conversation. Owner None: it does not exist."""
        raise NotImplementedError

    async def _window(self, from_row: FromRow[MessageT], **window: Unpack[Window]) -> list[MessageT]:
        check_window(window)
        limit, turns, tokens = window.get("limit", UNSET), window.get("turns"), window.get("tokens")
        most = window.get("shorten_results")
        short = partial(with_short_results, most=most)
        if tokens is not None:
            found, _ = await self._of_tokens(from_row, tokens, window.get("count", "o200k"), short)
            return found
        if turns is not None:
            found = await self._of_turns(from_row, turns)
        else:
            found = await self._of_limit(from_row, limit)
        return found if most is None else [short(message) for message in found]

    async def _with_recalled(
        self, from_row: FromRow[MessageT], make: Callable[[Message], MessageT], text: str, window: Window
    ) -> list[MessageT]:
        """Return the window with a message that quotes what was recalled, made of that message, if anything was."""
        check_window(window)
        check_recall(True, Recalling(*self._access))
        recall = partial(recall_unseen, self._access, self._user_id, recalled_text(text), self._id)
        tokens, count = window.get("tokens"), window.get("count", "o200k")
        if tokens is None:
            found = await self._window(from_row, **window)
            moments = await recall([message.id for message in found])
        else:
            short = partial(with_short_results, most=window.get("shorten_results"))
            found, fit = await self._of_tokens(from_row, tokens, count, short)
            moments = await recall([message.id for message in found])
            moments, taken = that_fit(moments, tokens, counter(count))
            if taken:
                found = (await fit(tokens - taken)).messages
        quote = quote_moments(moments)
        if quote is None:
            return found
        # After the system message, and the summary.
        system = [*takewhile(lambda message: message.role in SYSTEM_ROLES, found[:2])]
        return [*system, make(quote), *found[len(system) :]]

    async def _of_tokens(
        self, from_row: FromRow[MessageT], tokens: int, count: Encoding | CountTokens, short: Callable[..., MessageT]
    ) -> tuple[list[MessageT], Callable[[int], Awaitable[_Fitting[MessageT]]]]:
        """Return the window, and the function that makes one of fewer tokens of what was read."""
        query = WindowQuery(
            self._id,
            self._user_id,
            limit=tokens // TOKENS_OF_MESSAGE,
            tokens=tokens,
            tokens_of_message=TOKENS_OF_MESSAGE,
            bytes_a_token=_MOST_BYTES_A_TOKEN if callable(count) else BYTES_A_TOKEN,
            are_counted=count == STORED_COUNTS,
            summarised=self._begins(),
        )
        before = 0
        while True:
            first, newest, counts = await self._read_counted(from_row, query)
            weigh = partial(weight, counts=counts, count=counter(count))
            # After a summary, the first of all is never among them: the next look finds no more.
            is_end = len(first) > 1 and len(newest) == before
            all_read = not newest or is_end or newest[0].id == first[0].id
            before = len(newest)
            fit = partial(_fitting, *without_system(first, newest), short, weigh, not all_read)
            fitting = await fit(tokens)
            is_without = has_summary(first) and not any(map(is_summary, fitting.messages))
            if is_without and query.limit and not fitting.others_follow:
                # There is no room for the summary, and there is for some of what it stands for.
                query, before = replace(query, summarised=False), 0
                continue
            # With fewer rows than the limit, the next one is too much. If the oldest was left out, its call may follow.
            is_full = len(newest) < (query.limit or 0) and not fitting.was_left_out
            if all_read or fitting.others_follow or is_full:
                return fitting.messages, fit
            query = replace(query, limit=4 * (query.limit or 1), tokens=4 * (query.tokens or 1))

    async def _of_turns(self, from_row: FromRow[MessageT], turns: int) -> list[MessageT]:
        query = WindowQuery(self._id, self._user_id, turns=turns, summarised=self._begins())
        system, found = without_system(*await self._read(from_row, query))
        return [*system, *(message for group in tool_turns(found) for message in group)] if turns else []

    async def _of_limit(self, from_row: FromRow[MessageT], limit: int | Unset | None) -> list[MessageT]:
        most = self._access.options.storage_limit if limit is UNSET else limit
        query = WindowQuery(self._id, self._user_id, limit=most, summarised=self._begins())
        read = None if most is None else min(most + _ROWS_BEYOND, MAX_BIGINT)
        while True:
            first, rows = await self._rows(replace(query, limit=read))
            system, _ = without_system([from_row(row) for row in first], [])
            # The storage limit is about messages: a summary in the place of one would hide what is stored.
            is_counted = limit is not UNSET and has_summary(system)
            if most is not None and len(system) >= most and is_counted:
                system.pop()
            heads = len(system) - (has_summary(system) and not is_counted)
            room = None if most is None else max(most - heads, 0)
            newest = [from_row(row) for row in rows[:room]]
            if only_speak(newest):  # they are the window, whatever is before them
                _, found = without_system(system, newest[::-1])
                return [*system, *found] if most != 0 else []
            newest += [from_row(row) for row in rows[len(newest) :]]
            _, found = without_system(system, newest[::-1])
            all_read = read is None or len(rows) < read
            fitting, others_follow = window(tool_turns(found, cut_off=not all_read), room)
            if all_read or others_follow or read is None:
                return [*system, *fitting] if most != 0 else []
            read *= 4

    async def _read(self, from_row: FromRow[MessageT], query: WindowQuery) -> tuple[list[MessageT], list[MessageT]]:
        """Return the first message and the summary of the conversation, if any, and the query's, oldest first."""
        first, newest_first = await self._rows(query)
        return [from_row(row) for row in first], [from_row(row) for row in reversed(newest_first)]

    async def _read_counted(
        self, from_row: FromRow[MessageT], query: WindowQuery
    ) -> tuple[list[MessageT], list[MessageT], dict[int, int]]:
        """Return the same, and how many tokens a message has, where that is stored, by the id() of the object."""
        counts: dict[int, int] = {}

        def counted(row: Sequence[Any]) -> MessageT:
            message = from_row(row[:-1])
            if query.are_counted and row[-1] is not None:
                counts[id(message)] = row[-1]
            return message

        first, newest_first = await self._rows(query)
        return [counted(row) for row in first], [counted(row) for row in reversed(newest_first)], counts

    async def _rows(self, query: WindowQuery) -> tuple[list[Sequence[Any]], list[Sequence[Any]]]:
        """Return the rows of the first message and of the summary, if any, and those of the query, newest first."""
        sql, arguments = query.sql(self._access.options.tables)
        rows = [tuple(row) for row in await self._access.executor.fetch(sql, *arguments)]
        self._check_owner(rows[0][0] if rows else None)
        if query.summarised is None and rows and rows[0][1]:
            noticed_by(self._storage).summaries = True
            return await self._rows(replace(query, summarised=True))
        begun: list[Sequence[Any]] = [row[3:] for row in rows if row[2]]
        # The row of a conversation without messages has nothing but the owner.
        summaries = [row[3:] for row in rows if row[2] is None and row[3] is not None]
        begun += [(*row[:2], quoted(row[2]), *row[3:]) for row in summaries]
        return begun, [row[3:] for row in rows if row[2] is False]

    def _begins(self) -> bool | None:
        """Return whether windows ask for the summary; None: whether there is one, until one is noticed."""
        return noticed_by(self._storage).summaries or None

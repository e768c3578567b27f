"""
A call that adds messages, the statement that stores the messages of calls, and what became of each call.

The statement calls a function of the database: add_message for one plain message, add_messages for everything else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from voltmem._areas.deleted_users import Elapsed, hash_of_user
from voltmem._areas.files import used_files
from voltmem._areas.inlined import extracted
from voltmem._areas.quotas import room
from voltmem._areas.voltagent_tables import shown_columns
from voltmem._tables import Tables, rendered
from voltmem.errors import ConversationNotFoundError, InvalidInputError, MessageNotFoundError, VoltMemError, twin
from voltmem.models import Message, MessageRow
from voltmem.options import StorageOptions
from voltmem.parts.voltagent import show

# The times of an append's messages, in their order, or the reason why they were not stored. The error is of a known
# message that was deleted, or of an id that is taken.
Outcome: TypeAlias = Sequence[datetime] | Literal["locked", "missing", "deleted", "user deleted"] | VoltMemError


class Append:
    """One call: messages for one conversation, of which all or none are stored."""

    __slots__ = (
        *("messages", "known", "user_id", "conversation_id", "resource_id", "began_at"),
        *("arrived_at", "answer", "rows", "contents", "size"),
    )

    def __init__(
        self,
        messages: Sequence[Message],
        user_id: str | None,
        conversation_id: str,
        resource_id: str | None,
        known: Collection[str],
        began_at: float | None,
    ) -> None:
        self.messages = messages
        self.known = known
        self.user_id = user_id
        self.conversation_id = conversation_id
        self.resource_id = resource_id
        self.began_at = began_at
        self.arrived_at = time.monotonic()
        self.answer: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()
        self.rows: list[MessageRow] = []
        self.contents: dict[str, str] = {}
        self.size = 0  # of the rows, in characters

    def make_rows(self, *, extract: bool) -> None:
        """Make the rows of the messages; extract: with files in place of base64."""
        self.rows = [message.to_row() for message in self.messages]
        if extract:
            pairs = [extracted(*each, self.contents) for each in zip(self.messages, self.rows, strict=True)]
            self.messages, self.rows = [message for message, _ in pairs], [row for _, row in pairs]
        texts = sum(len(row[2]) + len(row[3] or "") + len(row[8] or "") for row in self.rows)
        self.size = texts + sum(map(len, self.contents.values()))

    def resolve(self, outcome: Outcome) -> None:
        """Set the result of the call: the stored messages or an error. Does nothing if the conversation was locked."""
        if outcome == "locked" or self.answer.done():
            return
        if isinstance(outcome, VoltMemError):
            self.answer.set_exception(outcome)
        elif isinstance(outcome, str):
            self.answer.set_exception(
                ConversationNotFoundError(
                    self.conversation_id,
                    self.user_id,
                    is_deleted=outcome == "deleted",
                    is_user_deleted=outcome == "user deleted",
                    is_for_message=True,
                )
            )
        else:
            stored = [message.stored_at(moment) for message, moment in zip(self.messages, outcome, strict=True)]
            self.answer.set_result(stored)

    def fail(self, error: BaseException) -> None:
        """Set a copy of the error as the result, because callers may change the error, such as its traceback."""
        if not self.answer.done():
            self.answer.set_exception(twin(error))


class AppendStatements:
    """The statement that stores the messages of any number of calls, and the one for a plain message without quotas."""

    def __init__(self, tables: Tables) -> None:
        self.add_message = _call(tables.add_message, 20)
        self.add_messages = _call(tables.add_messages, 31)
        has_room = room(
            tables,
            "$2",
            "$1",
            before="",
            patient="$18",
            messages="true",
            added="$4",
            conversations="pg_catalog.cardinality(pg_catalog.array_remove($3::text[], NULL)) > 0",
            file_bytes="$25::text[] IS NOT NULL",
            stored="(SELECT pg_catalog.count(*) FROM added WHERE item > 0 AND stored_at IS NOT NULL)",
        )
        if has_room:
            added = self.add_messages
            self.add_messages = f"WITH added AS ({added}) SELECT item, stored_at FROM added WHERE (SELECT {has_room})"


def _call(function: str, arguments: int) -> str:
    return f"SELECT item, stored_at FROM {function}({', '.join(f'${number}' for number in range(1, arguments + 1))})"


def statement_for(
    appends: Sequence[Append],
    words: Sequence[str | None] | None,
    tokens: Sequence[str] | None,
    options: StorageOptions,
    *,
    beside_voltagent: bool,
    waits_for_locks: bool,
) -> tuple[str, Sequence[object]]:
    """
    Return the statement that stores appends, those of a conversation next to each other, and its arguments.

    words: the vectors of the messages; None: without search. tokens: their numbers of tokens; None: not counted.
    """
    statements = rendered(AppendStatements, options.tables)
    are_plain = not beside_voltagent and _are_plain(appends)
    if are_plain and len(appends) == len(appends[0].rows) == 1 and options.tables.quotas is None:
        return statements.add_message, _alone(appends[0], words, tokens, options, waits_for_locks=waits_for_locks)
    calls = zip(
        *((each.conversation_id, each.user_id, each.resource_id, str(len(each.rows))) for each in appends),
        strict=True,
    )
    columns = zip(*(row for append in appends for row in append.rows), strict=True)
    # Several columns are mostly empty, and encoding a list of Nones takes as long as one of texts.
    messages = (None if column.count(None) == len(column) else column for column in columns)
    known = ["known" if each.id in append.known else None for append in appends for each in append.messages]
    shown = _shown(appends) if beside_voltagent else (None, None, None)
    files = (None, None, None) if are_plain else _files_of(appends)
    limits = (options.storage_limit, options.on_limit == "archive", waits_for_locks)
    return statements.add_messages, [
        *(*calls, *messages, words, *limits),
        *(known if any(known) else None, *shown, options.limit_is_given, *files),
        *(*_runs_of(appends, options.tables), are_plain, tokens),
    ]


def _are_plain(appends: Sequence[Append]) -> bool:
    """Return whether no message has a parent, a time or files, or was stored before, and no id is there twice."""
    ids: set[tuple[str, str]] = set()
    count = 0
    for append in appends:
        if append.known:
            return False
        for row in append.rows:
            *_, created_at, _, _, parent_id = row
            if created_at is not None or parent_id is not None or used_files(row) is not None:
                return False
            ids.add((append.conversation_id, row[0]))
        count += len(append.rows)
    return len(ids) == count


def _alone(
    append: Append,
    words: Sequence[str | None] | None,
    tokens: Sequence[str] | None,
    options: StorageOptions,
    *,
    waits_for_locks: bool,
) -> list[object]:
    """Return the arguments of add_message for a call with one plain message."""
    id, role, content, content_json, type, metadata, _, format, payload, _ = append.rows[0]
    hashes, began_ats, sent_at = _runs_of([append], options.tables)
    return [
        *(append.conversation_id, append.user_id, append.resource_id),
        *(id, role, content, content_json, type, metadata, format, payload, words[0] if words else None),
        *(options.storage_limit, options.on_limit == "archive", waits_for_locks, options.limit_is_given),
        *(hashes[0] if hashes else None, began_ats[0] if began_ats else None, sent_at),
        tokens[0] if tokens else None,
    ]


def _shown(appends: Sequence[Append]) -> tuple[Sequence[str | None], ...]:
    """Return ui_parts, speakers and results of the messages, for VoltAgent."""
    shown = [each for append in appends for each in show(append.messages)]
    return shown_columns(shown, [message.role for append in appends for message in append.messages])


def _files_of(appends: Sequence[Append]) -> tuple[Sequence[str | None] | None, ...]:
    """Return the files that each message refers to, and the ids and the contents of new ones; None: there are none."""
    used = [used_files(row) for append in appends for row in append.rows]
    if not any(used):
        return None, None, None
    contents = {id: content for append in appends for id, content in append.contents.items()}
    return (used, list(contents), list(contents.values())) if contents else (used, None, None)


def _runs_of(
    appends: Sequence[Append], tables: Tables
) -> tuple[Sequence[str | None] | None, Sequence[str | None] | None, Elapsed | None]:
    """Return the hashes of the users and the beginnings of the runs that may create a conversation, and the clock."""
    runs = [
        (hash_of_user(tables, each.user_id), repr(each.began_at))
        if each.began_at is not None and each.resource_id is not None and each.user_id is not None
        else (None, None)
        for each in appends
    ]
    hashes, began_ats = zip(*runs, strict=True)
    return (hashes, began_ats, Elapsed()) if any(hashes) else (None, None, None)


def outcome_of(append: Append, number: int, items: Sequence[int], calls: int, stored_at: Mapping[int, Any]) -> Outcome:
    """Return what became of a call, from the answer of the database. Its messages have the numbers *items*."""
    times = [stored_at[item] for item in items if item in stored_at]
    if times:
        return "locked" if None in times else times
    for message, item in zip(append.messages, items, strict=True):
        if -(calls + item) in stored_at:
            if (clock := stored_at[-(calls + item)]) is not None:
                return InvalidInputError(
                    f"created_at of message {message.id!r} is {message.created_at}, more than a day ahead of the "
                    f"database's clock, {clock}. Leave it out, or set the clock of this machine."
                )
            return (
                MessageNotFoundError(message.id, append.conversation_id)
                if message.id in append.known
                else InvalidInputError(
                    f"message id {message.id!r} is taken in conversation {append.conversation_id!r}, by a message that "
                    "VoltAgent stored for another user. Leave the id out to get a new one."
                )
            )
    if -number not in stored_at:
        return "missing"
    return "deleted" if stored_at[-number] is None else "user deleted"

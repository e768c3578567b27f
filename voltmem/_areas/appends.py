"""
Adding messages: on a pool, the calls that wait together leave together.

    add_message("c1") ──┐
    add_message("c7") ──┼── each in the line of its conversation ── one statement, one commit ── each hears its own
    add_messages("c7") ─┘

A call that finds nobody before it leaves at once. While statements are under way, those who arrive wait, and leave
together as the next one, which spares each of them a round trip, a connection and a commit.

- A conversation is in one statement at a time, so the order of arrival is the order of its messages.
- A joined statement does not wait for conversations that somebody else has locked: it stores nothing of them, and
  whoever waits there leaves again in a statement of that conversation alone, which does wait, and keeps nobody else
  from anything but a connection.
- A statement that PostgreSQL refuses is sent again in halves, down to the one call that it cannot store.
- Who is cancelled before leaving is left behind; a statement that nobody waits for any more is cancelled.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from voltmem._areas.words import vector
from voltmem._tables import Tables, rendered
from voltmem.errors import ConversationNotFoundError, DatabaseError
from voltmem.models import Message, MessageRow
from voltmem.options import StorageOptions

if TYPE_CHECKING:
    from voltmem._postgres.connection import Executor
    from voltmem._postgres.database import Database

# The second is made up while the server works on the first; a third would only split them into smaller ones. With 64
# callers on two cores, two bring 1.3 times the messages of one a second, and three 1.1 times.
_STATEMENTS_AT_ONCE: Final = 2
# A statement that holds so many takes no further call: each in it waits for all of it.
_FULL_AT_MESSAGES: Final = 500
_FULL_AT_CHARACTERS: Final = 4_000_000
# No message's fault: serialization, deadlock, timeouts of locks and statements, a standby; None: the connection's.
_NOBODYS_FAULT: Final = frozenset({"40001", "40P01", "55P03", "57014", "25006", None})

# The times of an append's messages, in their order, or why there are none.
Outcome: TypeAlias = Sequence[datetime] | Literal["locked", "missing", "deleted"]


class AppendStatements:
    """The statement that stores messages, of any number of calls."""

    def __init__(self, tables: Tables) -> None:
        numbers = ", ".join(f"${number}" for number in range(1, 19))
        self.add_messages = f"SELECT item, stored_at FROM {tables.add_messages}({numbers})"


class Append:
    """One call: messages for one conversation, all of which are stored, or none."""

    __slots__ = ("answer", "arrival", "conversation_id", "messages", "resource_id", "rows", "user_id")

    def __init__(
        self, messages: Sequence[Message], user_id: str | None, conversation_id: str, resource_id: str | None
    ) -> None:
        self.messages = messages
        self.user_id = user_id
        self.conversation_id = conversation_id
        self.resource_id = resource_id
        self.arrival = time.monotonic()
        self.answer: asyncio.Future[list[Message]] = asyncio.get_running_loop().create_future()
        self.rows: list[MessageRow] = []

    def make_rows(self) -> int:
        """Make the rows to be sent; return how many characters they hold."""
        self.rows = [message.to_row() for message in self.messages]
        return sum(len(row[2]) + len(row[3] or "") + len(row[8] or "") for row in self.rows)

    def tell(self, outcome: Outcome) -> None:
        """Answer with the stored messages, or that there is no such conversation; not yet, if it is locked."""
        if outcome == "locked" or self.answer.done():
            return
        if isinstance(outcome, str):
            is_deleted = outcome == "deleted"
            self.answer.set_exception(
                ConversationNotFoundError(
                    self.conversation_id, self.user_id, is_deleted=is_deleted, is_for_message=True
                )
            )
        else:
            stored = [message.stored_at(moment) for message, moment in zip(self.messages, outcome, strict=True)]
            self.answer.set_result(stored)

    def fail(self, error: BaseException) -> None:
        """Answer with a copy of the error: what one caller adds to it, or raises from it, no other sees."""
        if not self.answer.done():
            twin = type(error).__new__(type(error))
            twin.args, twin.__cause__ = error.args, error.__cause__
            twin.__dict__.update(vars(error))
            self.answer.set_exception(twin)


class Appends:
    """Each call in a statement of its own: on one connection, where none waits for another."""

    def __init__(self, options: StorageOptions, executor: Executor) -> None:
        self._options = options
        self._executor = executor
        self._sql = rendered(AppendStatements, options.tables).add_messages

    async def add(
        self, messages: Sequence[Message], user_id: str | None, conversation_id: str, resource_id: str | None = None
    ) -> list[Message]:
        """
        Return the messages as they were stored: all of them, or none and an error.

        With a resource_id, a conversation that is missing is made; without, it is an error.
        """
        append = Append(messages, user_id, conversation_id, resource_id)
        append.make_rows()
        append.tell(*await self._send([append], patient=True))
        return append.answer.result()

    async def _send(self, appends: Sequence[Append], *, patient: bool) -> list[Outcome]:
        """Store what has its rows made, the appends of a conversation side by side; return what came of each."""
        calls = zip(
            *((each.conversation_id, each.user_id, each.resource_id, str(len(each.rows))) for each in appends),
            strict=True,
        )
        columns = zip(*(row for append in appends for row in append.rows), strict=True)
        # Most have no value in several columns, and to encode a list of Nones costs as much as one of texts.
        messages = (column if any(value is not None for value in column) else None for column in columns)
        vectors = [vector(row[2]) for append in appends for row in append.rows] if self._options.search else None
        limit, archive = self._options.storage_limit, self._options.on_limit == "archive"
        # Repeatable: every message has its id by now, and storing an id again replaces it.
        answer = await self._executor.fetch(self._sql, *calls, *messages, vectors, limit, archive, patient)
        stored_at = {row["item"]: row["stored_at"] for row in answer}
        items = count(1)
        times = ([stored_at[i] for i in islice(items, len(append.rows)) if i in stored_at] for append in appends)
        return [
            "locked" if None in each else each or ("deleted" if -number in stored_at else "missing")
            for number, each in enumerate(times, 1)
        ]


@dataclass(eq=False)
class _Statement:
    """Those who leave together."""

    lines: deque[str]
    """The conversations from whose lines it takes them."""
    patient: bool
    """Whether it waits for conversations that are locked."""
    filled: bool = False
    appends: list[Append] = field(default_factory=list)
    departure: float = field(default_factory=time.monotonic)


class JoinedAppends(Appends):
    """Those who wait together in one statement: on a pool, where many call at once."""

    def __init__(self, options: StorageOptions, database: Database) -> None:
        super().__init__(options, database)
        self._database = database
        self._loop: asyncio.AbstractEventLoop | None = None

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Of each conversation with somebody waiting or under way, those who wait, in order of arrival.
        self._lines: dict[str, deque[Append]] = {}
        # The conversations with somebody waiting and nobody under way.
        self._next: deque[str] = deque()
        self._under_way: dict[asyncio.Task[None], _Statement] = {}
        self._joined = 0
        self._unfilled = 0  # so many of the joined have not begun

    async def add(
        self, messages: Sequence[Message], user_id: str | None, conversation_id: str, resource_id: str | None = None
    ) -> list[Message]:
        """Add the messages of one call, in the next statement that leaves. Returns them as stored, or raises."""
        self._database.admit()
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._move_to(loop)  # the other is over, or nobody were admitted: no one waits there any more
        append = Append(messages, user_id, conversation_id, resource_id)
        if (line := self._lines.get(conversation_id)) is not None:
            line.append(append)
        else:
            self._lines[conversation_id] = deque([append])
            self._next.append(conversation_id)
            self._start_joined()
        try:
            return await append.answer
        except asyncio.CancelledError:
            self._cancel_what_nobody_waits_for()
            raise

    async def flush(self) -> None:
        """Return when nobody waits and nothing is under way."""
        while self._loop is asyncio.get_running_loop() and self._under_way:
            await asyncio.wait(self._under_way)

    # --- statements -------------------------------------------------------------------------------------------

    def _start_joined(self) -> None:
        while self._joined < _STATEMENTS_AT_ONCE and self._unfilled < len(self._next):
            self._joined += 1
            self._unfilled += 1
            self._start(_Statement(self._next, patient=False))

    def _start(self, statement: _Statement) -> None:
        # A task of its own, as no caller's cancellation is another's. It begins when all who call now have called.
        task = asyncio.create_task(self._run(statement), name="voltmem: messages are added")
        self._under_way[task] = statement
        task.add_done_callback(self._end)

    async def _run(self, statement: _Statement) -> None:
        conversations = len(statement.lines)
        if not statement.patient:
            conversations = -(-conversations // self._unfilled)  # in equal parts
            self._unfilled -= 1
        statement.filled = True
        self._fill(statement, conversations)
        await self._deliver(statement.appends, patient=statement.patient)

    def _fill(self, statement: _Statement, conversations: int) -> None:
        """Take all who wait for the next so many conversations, until the statement is full."""
        messages = characters = 0
        for _ in range(conversations):
            conversation_id = statement.lines.popleft()
            line, before = self._lines[conversation_id], len(statement.appends)
            while line and messages < _FULL_AT_MESSAGES and characters < _FULL_AT_CHARACTERS:
                append = line.popleft()
                if append.answer.done():  # cancelled
                    continue
                try:
                    characters += append.make_rows()  # not earlier: whoever waits has none
                except Exception as error:  # a content that was made something else than JSON after it was checked
                    append.fail(error)
                    continue
                messages += len(append.rows)
                statement.appends.append(append)
            if len(statement.appends) > before:
                continue
            if line:  # full
                statement.lines.appendleft(conversation_id)
                return
            del self._lines[conversation_id]

    async def _deliver(self, appends: Sequence[Append], *, patient: bool) -> None:
        """Send them and tell each; if PostgreSQL refuses them because of one, find out which."""
        if not appends:
            return
        try:
            outcomes = await self._send(appends, patient=patient)
        except DatabaseError as error:
            if type(error) is not DatabaseError or error.sqlstate in _NOBODYS_FAULT:
                raise
            if len(appends) == 1:
                appends[0].fail(error)
                return
            first, second = appends[: len(appends) // 2], appends[len(appends) // 2 :]
            await self._deliver(first, patient=patient)
            locked = {append.conversation_id for append in first if not append.answer.done()}
            await self._deliver([append for append in second if append.conversation_id not in locked], patient=patient)
        else:
            for append, outcome in zip(appends, outcomes, strict=True):
                append.tell(outcome)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Let those go on who stand behind, and, patiently, those in it whose conversation was locked."""
        statement = self._under_way.pop(task)
        if not statement.patient:
            self._joined -= 1
            self._unfilled -= not statement.filled  # an application that cancels all tasks cancels those, too
        if task.cancelled():
            for append in statement.appends:
                append.answer.cancel()
        elif (error := task.exception()) is not None:
            self._fail(statement, error)
        for conversation_id, appends in groupby(statement.appends, attrgetter("conversation_id")):
            line = self._lines[conversation_id]
            locked = [append for append in appends if not append.answer.done()]
            line.extendleft(reversed(locked))
            if locked:
                self._start(_Statement(deque([conversation_id]), patient=True))
            elif line:
                self._next.append(conversation_id)
            else:
                del self._lines[conversation_id]
        self._start_joined()

    def _fail(self, statement: _Statement, error: BaseException) -> None:
        # Those who stood behind it all the time hear it, too, or the last in a long line would see one statement
        # after the other run into its deadline.
        lines = {append.conversation_id for append in statement.appends} if statement.patient else self._lines
        behind = [append for each in lines for append in self._lines[each] if append.arrival < statement.departure]
        for append in [*statement.appends, *behind]:
            append.fail(error)

    def _cancel_what_nobody_waits_for(self) -> None:
        for task, statement in self._under_way.items():
            if statement.appends and all(append.answer.done() for append in statement.appends):
                task.cancel()

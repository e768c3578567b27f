"""
Adding messages. On a pool, concurrent calls are batched into one statement.

    add_message("c1") ──┐
    add_message("c7") ──┼── the queue of each conversation ── one statement, one commit ── a result for each call
    add_messages("c7") ─┘

Without other calls, a call is sent at once, in the caller's task. While statements are running, further calls are
queued and become the next batch, which saves each of them a round trip, a connection and a commit.

- A conversation is in one statement at a time, so its messages are stored in the order of the calls.
- A batch does not wait for row locks of conversations: it stores nothing in a locked one. The calls for it are sent
  again, in a statement for that conversation alone, which waits for the lock, and delays other calls only by using a
  connection.
- If a worker of Citus cannot be reached, each conversation of the batch is sent alone, too: only the worker's own
  conversations wait for it.
- If PostgreSQL refuses a batch, its halves are sent, and so on, until the call that cannot be stored is found.
- A call that is cancelled before it is sent is dropped. A statement is cancelled if all of its calls are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count, groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from voltmem._areas.append_statement import Append, Outcome, outcome_of, statement_for
from voltmem._areas.area import off_loop_if_long
from voltmem._areas.quotas import BUSY
from voltmem._areas.token_counts import stored_counts
from voltmem._areas.words import vectors
from voltmem._postgres.driver import WorkerLostError, logger
from voltmem.errors import (
    ConnectionFailedError,
    DatabaseError,
    OutcomeUnknownError,
    QuotaExceededError,
)
from voltmem.models import Message
from voltmem.options import StorageOptions

if TYPE_CHECKING:
    from voltmem._postgres.connection import Executor
    from voltmem._postgres.database import Database
    from voltmem._postgres.driver import Record

# The client prepares the second batch while the server works on the first; a third would only make them smaller. With
# 64 callers on two cores, two batches store 1.3 times as many messages a second as one, and three 1.1 times as many.
_BATCHES_AT_ONCE: Final = 2
# The size at which a batch takes no further call, since each call waits for the whole batch.
_FULL_AT_MESSAGES: Final = 500
_FULL_AT_CHARACTERS: Final = 4_000_000
# Errors that no message causes: serialization, deadlock, timeouts of locks and statements, a standby; None: errors of
# the connection.
_NOT_OF_A_MESSAGE: Final = frozenset({"40001", "40P01", "55P03", "57014", "25006", None})


@dataclass
class Noticed:
    """What a storage has noticed in the answers of the database."""

    voltagent: bool = False
    """Whether VoltAgent 1 or 2 uses the tables, and needs to be shown each message."""
    removed: bool = False
    """Whether the limit has deleted messages."""
    summaries: bool = False
    """Whether a conversation has had a summary, so that windows ask for it in the same statement."""


class Appends:
    """Sends each call in a statement of its own: for a single connection, on which calls are not concurrent."""

    def __init__(self, options: StorageOptions, executor: Executor, noticed: Noticed | None = None) -> None:
        self._options = options
        self._executor = executor
        self.noticed = Noticed() if noticed is None else noticed

    async def add(
        self,
        messages: Sequence[Message],
        user_id: str | None,
        conversation_id: str,
        resource_id: str | None = None,
        known: Collection[str] = (),
        began_at: float | None = None,
    ) -> list[Message]:
        """
        Add messages to a conversation: all, or none and an error. Returns them as stored.

        A missing conversation is created with a resource_id, and an error without, or if the user was deleted since
        began_at (time.monotonic(); None: it does not matter). A missing message with a known id is an error.
        """
        append = Append(messages, user_id, conversation_id, resource_id, known, began_at)
        append.make_rows(extract=self._options.files == "extract")
        append.resolve(*await self._send([append], waits_for_locks=True))
        return append.answer.result()

    async def _send(self, appends: Sequence[Append], *, waits_for_locks: bool) -> list[Outcome]:
        """Store appends whose rows are made, those of a conversation next to each other. Returns their outcomes."""
        texts = [row[2] for append in appends for row in append.rows] if self._options.search else []
        words = await off_loop_if_long(sum(map(len, texts)), vectors, texts) or None
        tokens = await _counted(appends) if self._options.count_tokens else None
        while True:
            # Repeatable: every message has an id, and storing a message with the same id replaces it.
            sql, arguments = statement_for(
                *(appends, words, tokens, self._options),
                beside_voltagent=self.noticed.voltagent,
                waits_for_locks=waits_for_locks,
            )
            answer = await self._fetch(sql, arguments, waits_for_locks=waits_for_locks)
            stored_at = {row["item"]: row["stored_at"] for row in answer}
            if 0 not in stored_at or stored_at[0] is not None:
                break
            self._notice_voltagent()  # nothing was stored
        if 0 in stored_at and not self.noticed.removed:
            self._notice_removal()
        items = count(1)
        return [
            outcome_of(append, number, list(islice(items, len(append.rows))), len(appends), stored_at)
            for number, append in enumerate(appends, 1)
        ]

    async def _fetch(self, sql: str, arguments: Sequence[object], *, waits_for_locks: bool) -> list[Record]:
        return await self._executor.fetch(sql, *arguments)

    def _notice_voltagent(self) -> None:
        self.noticed.voltagent = True

    def _notice_removal(self) -> None:
        """Log that the limit deletes messages, once: nobody should learn it from what is missing."""
        self.noticed.removed = True
        limit, given = self._options.storage_limit, self._options.limit_is_given
        logger.log(
            logging.INFO if given else logging.WARNING,
            "storage_limit: conversations in %s keep their newest %s messages, %s. From now on, older ones are deleted "
            'without a further line here. To keep them, pass storage_limit=None, or on_limit="archive"',
            self._options.tables,
            limit,
            "as the storage was told" if given else "which is the default",
        )


async def _counted(appends: Sequence[Append]) -> list[str]:
    messages = [message for append in appends for message in append.messages]
    return await off_loop_if_long(sum(append.size for append in appends), stored_counts, messages)


@dataclass(eq=False)
class _Statement:
    """A statement and its calls."""

    conversations: deque[str]
    """The conversations; it takes calls from their queues."""
    waits_for_locks: bool
    """Whether it waits for the locks of conversations."""
    filled: bool = False
    appends: list[Append] = field(default_factory=list)
    started_at: float = field(default_factory=time.monotonic)


class BatchedAppends(Appends):
    """Batches concurrent calls into one statement: for a pool."""

    def __init__(
        self, options: StorageOptions, database: Database, upgrade: Callable[[], Coroutine[None, None, object]]
    ) -> None:
        super().__init__(options, database)
        self._database = database
        self._upgrade = upgrade
        self._upgrading: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def _bind_to(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # For each conversation with waiting or running calls: those that wait, in order of arrival.
        self._queues: dict[str, deque[Append]] = {}
        # The conversations with waiting calls and no running ones.
        self._next: deque[str] = deque()
        # By what is done when the statement has ended: its task, or a future for one in the caller's task.
        self._running: dict[asyncio.Future[None], _Statement] = {}
        self._batches = 0
        self._unfilled = 0  # batches that have taken no calls yet

    async def add(
        self,
        messages: Sequence[Message],
        user_id: str | None,
        conversation_id: str,
        resource_id: str | None = None,
        known: Collection[str] = (),
        began_at: float | None = None,
    ) -> list[Message]:
        """Add the messages of one call, in the next batch. Returns them as stored, or raises."""
        self._database.admit()
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._bind_to(loop)  # the other loop has ended, otherwise admit() would have raised
        append = Append(messages, user_id, conversation_id, resource_id, known, began_at)
        if (queue := self._queues.get(conversation_id)) is not None:
            queue.append(append)
        else:
            self._queues[conversation_id] = deque([append])
            self._next.append(conversation_id)
            if self._running:
                self._start_batches()
            else:
                await self._run_here()
        try:
            return await append.answer
        except asyncio.CancelledError:
            self._cancel_abandoned()
            raise

    async def flush(self) -> None:
        """Wait until no call is waiting or running."""
        while self._loop is asyncio.get_running_loop() and self._running:
            await asyncio.wait(self._running)
        if self._loop is asyncio.get_running_loop() and self._upgrading is not None:
            await asyncio.wait([self._upgrading])

    def _notice_voltagent(self) -> None:
        """Also look at the tables, as on every opening: VoltAgent may have come while this storage was open."""
        super()._notice_voltagent()
        if self._options.migrate == "auto":
            self._upgrading = asyncio.create_task(self._upgrade(), name="voltmem: the tables are upgraded")
            self._upgrading.add_done_callback(_log_failure)

    async def _fetch(self, sql: str, arguments: Sequence[object], *, waits_for_locks: bool) -> list[Record]:
        if waits_for_locks:
            return await super()._fetch(sql, arguments, waits_for_locks=True)
        return await self._database.fetch(sql, *arguments, all_workers=True)

    # --- statements -------------------------------------------------------------------------------------------

    async def _run_here(self) -> None:
        """Run the next batch in the caller's task: most calls are alone, and a task delays each of them."""
        statement = self._new_batch()
        ended = asyncio.get_running_loop().create_future()
        self._running[ended] = statement
        error: BaseException | None = None
        try:
            await self._run(statement)
        except BaseException as raised:
            error = raised
            if not isinstance(raised, Exception):  # an error becomes the result of the call
                raise
        finally:
            self._end(ended, error)
            ended.cancel()  # wakes flush()

    def _start_batches(self) -> None:
        while self._batches < _BATCHES_AT_ONCE and self._unfilled < len(self._next):
            self._start(self._new_batch())

    def _new_batch(self) -> _Statement:
        self._batches += 1
        self._unfilled += 1
        return _Statement(self._next, waits_for_locks=False)

    def _start(self, statement: _Statement) -> None:
        # A task of its own, so that cancelling a caller does not cancel the other calls. The task begins after the
        # other callers that are ready now have called.
        task = asyncio.create_task(self._run(statement), name="voltmem: messages are added")
        self._running[task] = statement
        task.add_done_callback(self._end_task)

    async def _run(self, statement: _Statement) -> None:
        conversations = len(statement.conversations)
        if not statement.waits_for_locks:
            conversations = -(-conversations // self._unfilled)  # in equal parts
            self._unfilled -= 1
        statement.filled = True
        self._fill(statement, conversations)
        await self._deliver(statement.appends, waits_for_locks=statement.waits_for_locks)

    def _fill(self, statement: _Statement, conversations: int) -> None:
        """Take the waiting calls of the next *conversations* queues, until the statement is full."""
        messages = characters = 0
        extract = self._options.files == "extract"
        for _ in range(conversations):
            conversation_id = statement.conversations.popleft()
            queue, before = self._queues[conversation_id], len(statement.appends)
            while queue and messages < _FULL_AT_MESSAGES and characters < _FULL_AT_CHARACTERS:
                append = queue.popleft()
                if append.answer.done():  # cancelled
                    continue
                try:  # not earlier, so that waiting calls hold no rows in memory
                    append.make_rows(extract=extract)
                    characters += append.size
                except Exception as error:  # the caller changed the content after the check
                    append.fail(error)
                    continue
                messages += len(append.rows)
                statement.appends.append(append)
            if len(statement.appends) > before:
                continue
            if queue:  # full
                statement.conversations.appendleft(conversation_id)
                return
            del self._queues[conversation_id]

    async def _deliver(self, appends: Sequence[Append], *, waits_for_locks: bool) -> None:
        """Send appends and set their results. If PostgreSQL refuses them because of one, find that one."""
        if not appends:
            return
        try:
            outcomes = await self._send(appends, waits_for_locks=waits_for_locks)
        except WorkerLostError:
            pass  # no call has a result, so _end() sends each conversation alone
        except (DatabaseError, QuotaExceededError) as error:
            sqlstate = error.sqlstate if isinstance(error, DatabaseError) else ""
            if sqlstate == BUSY:
                return  # the same, as if their conversations were locked
            if sqlstate in _NOT_OF_A_MESSAGE or type(error) not in (DatabaseError, QuotaExceededError):
                raise
            if len(appends) == 1:
                appends[0].fail(error)
                return
            first, second = appends[: len(appends) // 2], appends[len(appends) // 2 :]
            await self._deliver(first, waits_for_locks=waits_for_locks)
            locked = {append.conversation_id for append in first if not append.answer.done()}
            await self._deliver(
                [append for append in second if append.conversation_id not in locked], waits_for_locks=waits_for_locks
            )
        else:
            for append, outcome in zip(appends, outcomes, strict=True):
                append.resolve(outcome)

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self._end(task, asyncio.CancelledError() if task.cancelled() else task.exception())

    def _end(self, ended: asyncio.Future[None], error: BaseException | None) -> None:
        """Start the next statements: for the queued calls, and for those whose conversation was locked."""
        statement = self._running.pop(ended)
        if not statement.waits_for_locks:
            self._batches -= 1
            self._unfilled -= (
                not statement.filled
            )  # an application that cancels all tasks cancels batches that have not begun
        if isinstance(error, asyncio.CancelledError):
            for append in statement.appends:
                append.answer.cancel()
        elif error is not None:
            self._fail(statement, error)
        for conversation_id, appends in groupby(statement.appends, attrgetter("conversation_id")):
            queue = self._queues[conversation_id]
            locked = [append for append in appends if not append.answer.done()]
            queue.extendleft(reversed(locked))
            if locked:
                self._start(_Statement(deque([conversation_id]), waits_for_locks=True))
            elif queue:
                self._next.append(conversation_id)
            else:
                del self._queues[conversation_id]
        self._start_batches()

    def _fail(self, statement: _Statement, error: BaseException) -> None:
        # Calls that were queued when the statement started fail, too. Otherwise the last in a long queue would wait for
        # the deadlines of all statements before it.
        conversation_ids = (
            {append.conversation_id for append in statement.appends} if statement.waits_for_locks else self._queues
        )
        behind = [
            append
            for each in conversation_ids
            for append in self._queues[each]
            if append.arrived_at < statement.started_at
        ]
        for append in statement.appends:
            append.fail(error)
        for append in behind:  # they were not sent
            append.fail(_unsent(error) if isinstance(error, OutcomeUnknownError) else error)

    def _cancel_abandoned(self) -> None:
        for running, statement in self._running.items():
            if statement.appends and all(append.answer.done() for append in statement.appends):
                running.cancel()


def _unsent(error: OutcomeUnknownError) -> ConnectionFailedError:
    unsent = ConnectionFailedError("the connection failed before the messages were sent. Repeat the call")
    unsent.__cause__ = error.__cause__
    return unsent


def _log_failure(task: asyncio.Task[object]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("VoltAgent uses the tables now, and they were not upgraded: %s", error)

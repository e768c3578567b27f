"""One answer that this process writes: under the conversation's lease, stored piece by piece, and folded at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple, TypeAlias

from pydantic import JsonValue

from voltmem._areas.answers import ANSWER, AnswerRows, Piece, Status
from voltmem._areas.leases import HeldLease
from voltmem._postgres.driver import logger
from voltmem._user import UserStorage, access_of
from voltmem._values import JsonObject, to_json, uuid7
from voltmem.chat._answering import Answering
from voltmem.chat._context import Context
from voltmem.chat._feeds import Feed
from voltmem.chat._growing import Growing
from voltmem.chat._orphans import FAILED, UNSTORABLE, settle_last
from voltmem.chat._parts import Decision
from voltmem.chat._storing import store_answer
from voltmem.errors import (
    ConnectionFailedError,
    DatabaseTimeoutError,
    OutcomeUnknownError,
    VoltMemError,
)
from voltmem.models import Message

_HISTORY_LIMIT: Final = 40
_SECONDS_BETWEEN_PIECES: Final = 0.2
_SECONDS_OF_SILENCE: Final = 5.0
_SECONDS_BETWEEN_TRIES: Final = 1.0
# What an answer may still do when it is stopped, such as close a connection.
_SECONDS_TO_STOP: Final = 5.0
# After which the next attempt may succeed. The lease says how long to try.
_PASSING: Final = (ConnectionFailedError, DatabaseTimeoutError, OutcomeUnknownError)
_METADATA: Final[dict[Status, JsonObject]] = {"stopped": {"stopped": True}, "failed": FAILED}


Prepare: TypeAlias = Callable[[UserStorage], Awaitable[bool]]
"""Stores a question in a transaction. Returns whether the conversation has just got the question as its title."""


class GoesOn(NamedTuple):
    """An answer that had stopped for approval, and what was decided."""

    message: Message
    decisions: Sequence[Decision]
    state: JsonValue


class Writing:
    """
    Writes the answer to a question.

    Args:
        mine: The user's storage.
        conversation_id: The conversation.
        question_id: The question.
        prepare: Stores the question, in the transaction in which the answer begins.
        answering: Calls answer=.
        model: Which of the models answers.
        goes_on: The answer that goes on after an approval; None: it is a new one.
    """

    def __init__(
        self,
        mine: UserStorage,
        conversation_id: str,
        question_id: str,
        prepare: Prepare,
        answering: Answering,
        model: str = "",
        goes_on: GoesOn | None = None,
    ) -> None:
        self._mine = mine
        self._conversation_id = conversation_id
        self._prepare = prepare
        self._answering = answering
        self._model = model
        self._rows = AnswerRows(access_of(mine))
        self._goes_on = goes_on
        self._growing = Growing(uuid7()) if goes_on is None else Growing.from_message(goes_on.message)
        self._stop = asyncio.Event()
        self._storing = asyncio.Lock()  # no piece is stored after the end
        self._stored = 0
        self._status: Status = "streaming"
        self.needs_title = False
        """Whether the conversation has the question as its title, for want of a better one."""
        self.feed = Feed(self._growing.answer_id, question_id)
        self.in_haste = asyncio.Event()
        """Set when the storage closes: nothing is waited for that need not be."""
        self.began: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the question is stored; or the reason why it could not be."""

    def stop(self) -> None:
        """Stop the answer. What it has said is stored."""
        self._stop.set()

    async def run(self) -> tuple[Message, Message] | None:
        """Write the answer. Returns the question and the answer if it is complete."""
        try:
            async with self._mine.lease(self._conversation_id, ANSWER) as lease:
                messages = await self._begin(lease)
                self.began.set_result(None)
                return await self._write(lease, messages)
        except Exception as error:
            if not self.began.done():
                self.began.set_exception(error)
            else:
                await self._give_up(error)
            return None
        finally:
            self.began.cancel()
            # Now that the lease is free. Whoever looks next stores what is left of an answer that was given up.
            self.feed.end("failed" if self._status == "streaming" else self._status)

    async def _give_up(self, error: Exception) -> None:
        """Leave what was said to whoever looks next, as after the conversation is restored."""
        if isinstance(error, VoltMemError):
            logger.warning("an answer was given up: %r", error)
        else:
            logger.error("an answer was given up", exc_info=error)
        try:
            async with asyncio.timeout(_SECONDS_TO_STOP):
                await self._rows.let_go(self._conversation_id, self.feed.answer_id)
        except (*_PASSING, TimeoutError) as late:
            logger.warning("the lease of an answer ends by itself: %r", late)

    async def _begin(self, lease: HeldLease) -> list[Message]:
        """Store the question, and that it is answered. Returns what answer= gets, before anybody can delete it."""
        await settle_last(self._mine, self._rows, self._conversation_id)
        async with self._mine.transaction() as tx:
            await tx.confirm_lease(self._conversation_id, ANSWER, lease.fencing_token)
            self.needs_title = await self._prepare(tx)
            await AnswerRows(access_of(tx)).begin(
                self._conversation_id, self.feed.question_id, self.feed.answer_id, lease.fencing_token
            )
            return await tx.conversation(self._conversation_id).messages(limit=_HISTORY_LIMIT)

    async def _write(self, lease: HeldLease, messages: list[Message]) -> tuple[Message, Message] | None:
        memory = self._mine.conversation(self._conversation_id)
        context = Context(self._mine.user_id, self._conversation_id, memory, self._model)
        if self._goes_on is not None:
            messages = [each for each in messages if each.id != self.feed.answer_id]
            context = replace(context, decisions=self._goes_on.decisions, state=self._goes_on.state)
        saying = asyncio.create_task(self._say(messages, context))
        beside = [asyncio.create_task(each) for each in (self._keep(lease), self._heed(lease), self._stop.wait())]
        try:
            await asyncio.wait([saying, beside[-1]], return_when=asyncio.FIRST_COMPLETED)
            status = await self._outcome(saying)
            self.feed.say(self._growing.end())
            self.feed.flush()
            async with self._storing:
                await self._save(lease)  # all of it, for those who follow in other processes
                message = await self._end(lease, status)
        finally:
            for task in (saying, *beside):
                task.cancel()
        return (messages[-1], message) if status == "complete" and message is not None else None

    async def _say(self, messages: Sequence[Message], context: Context) -> None:
        """Tell the feed what answer= says."""
        clock = asyncio.get_running_loop().time
        paused = clock()
        async for part in self._answering.parts(messages, context, self._mine):
            self.feed.say(self._growing.add(part))
            if clock() - paused > _SECONDS_BETWEEN_PIECES:  # a generator that never waits lets nobody else run
                await asyncio.sleep(0)
                paused = clock()

    async def _outcome(self, saying: asyncio.Task[None]) -> Status:
        """Return what became of what answer= says, once it has ended."""
        if self._stop.is_set():
            saying.cancel()
            await asyncio.wait([saying], timeout=_SECONDS_TO_STOP)
        if self._stop.is_set() and (not saying.done() or saying.cancelled()):
            return "stopped"
        if saying.cancelled():
            logger.error("answer= was cancelled, though nobody stopped it")
            return "failed"
        if (error := saying.exception()) is None:
            return "complete" if self._growing.waiting is None else "approval"
        # A model may raise any exception of its library, which may say a key or a prompt.
        logger.error("answer= failed", exc_info=error)
        return "failed"

    async def _heed(self, lease: HeldLease) -> None:
        """Stop when another process asks for it."""
        await lease.wait_for_stop()
        self.stop()

    async def _keep(self, lease: HeldLease) -> None:
        """
        Store what was said, for those who follow in other processes, and for the case that this one dies.

        Also every few seconds of silence: storing nothing tells whether somebody deleted the question.
        """
        while self.feed.is_open:
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS_OF_SILENCE):
                    await self.feed.wait_for_more(self._stored)
            async with self._storing:
                if self._status != "streaming":
                    return
                await self._save(lease)
            await asyncio.sleep(_SECONDS_BETWEEN_PIECES)

    async def _save(self, lease: HeldLease) -> None:
        """Store a piece, if anything was said; later, if the database cannot be reached."""
        number = len(self.feed.events)
        events: list[JsonValue] = [[*event] for event in self.feed.events[self._stored : number]]
        piece = Piece(number, to_json(events)) if events else None
        try:
            stop = await self._rows.grow(
                self._conversation_id, lease.fencing_token, self.feed.question_id, self.feed.answer_id, piece
            )
        except _PASSING as error:
            logger.warning("a piece of an answer is stored later: %r", error)
            return
        except VoltMemError as error:  # such as a conversation that was deleted
            logger.warning("an answer is stopped: %r", error)
            self.stop()
            return
        self._stored = number
        if stop is not False:  # or the lease is lost, which the end finds
            self.stop()

    async def clear(self) -> None:
        """
        Delete the pieces, unless the answer was given up: they are all that is left of it.

        What is left of them goes when the next answer begins.
        """
        if self._status == "streaming":
            return
        try:
            await self._rows.clear(self._conversation_id, self.feed.answer_id)
        except VoltMemError as error:
            logger.warning("the pieces of an answer were not deleted: %r", error)

    async def _end(self, lease: HeldLease, status: Status) -> Message | None:
        """Store the message, and what became of it. Tries until the lease is lost."""
        message = self._growing.message(_METADATA.get(status))
        waiting = self._growing.waiting
        state = None if waiting is None else to_json({"state": waiting.state, "model": self._model})
        while True:
            try:
                async with self._mine.transaction() as tx:
                    rows = AnswerRows(access_of(tx))
                    await tx.confirm_lease(self._conversation_id, ANSWER, lease.fencing_token)
                    if message is not None and not await store_answer(
                        tx, self._conversation_id, self.feed.question_id, message
                    ):
                        message, status = None, "stopped"  # somebody deleted the question, and its answer with it
                    if message is None:
                        await rows.tell(self._conversation_id)
                        await rows.forget(self._conversation_id, self.feed.question_id)
                    await rows.end(self._conversation_id, self.feed.question_id, self.feed.answer_id, status, state)
            except _PASSING as error:
                logger.warning("the end of an answer is stored later: %r", error)
                await asyncio.sleep(_SECONDS_BETWEEN_TRIES)
            except UNSTORABLE as error:
                if message is None:
                    raise
                logger.warning("what an answer said could not be stored: %r", error)
                message, status, state = None, "failed", None
            else:
                self._status = status
                return message

"""Answers in progress. Each runs in its own task and is stored while it streams."""

from __future__ import annotations

import asyncio
from asyncio import Lock, Queue, Task
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final, Literal, NamedTuple, TypeAlias
from weakref import WeakValueDictionary

from pydantic import JsonValue

from voltmem._postgres.driver import logger
from voltmem._user import UserStorage
from voltmem._values import JsonObject, uuid7
from voltmem.chat._answering import Answering, Context
from voltmem.chat._growing import Growing
from voltmem.chat._titles import shortened
from voltmem.errors import InvalidInputError
from voltmem.models import Message

MakeTitle: TypeAlias = Callable[[str, str], Awaitable[str]]
"""Returns the title of a conversation that begins with this question and answer."""

_HISTORY_LIMIT: Final = 40
_SECONDS_BETWEEN_SAVES: Final = 0.25
# What an error of the model's says may be a key, or a prompt: it is for the log.
_FAILED: Final = "The answer failed. The log of the server says why."


class Event(NamedTuple):
    """An event of an answer, sent to the browser."""

    name: Literal["answer", "text", "done", "error"]
    data: dict[str, JsonValue]


class Answers:
    """The answers in progress, at most one in a conversation: a new question stops the previous answer."""

    def __init__(self, answering: Answering, title: MakeTitle | None = None) -> None:
        self._answering = answering
        self._title = title
        self._in_progress: dict[tuple[str, str], Task[None]] = {}
        self._locks: WeakValueDictionary[tuple[str, str], Lock] = WeakValueDictionary()

    async def ask(self, mine: UserStorage, conversation_id: str, question: Message) -> AsyncGenerator[Event, None]:
        """
        Store a question. Returns the events of its answer; closing the iterator stops the answer.

        A stored question with the same id is replaced, and the messages after it are deleted.
        """
        async with self._exclusive(mine.user_id, conversation_id):
            async with mine.transaction() as tx:
                await _check_question(tx, conversation_id, question.id)
                await tx.add_message(question, conversation_id)
                await tx.rewind_conversation(conversation_id, question.id)
                conversation = await tx.get_conversation(conversation_id)
                is_untitled = conversation is not None and conversation.title is None
                if is_untitled:
                    await tx.rename_conversation(conversation_id, shortened(question.text), automatic=True)
            return self._start(mine, conversation_id, is_untitled=is_untitled)

    async def ask_again(self, mine: UserStorage, conversation_id: str, question_id: str) -> AsyncGenerator[Event, None]:
        """Delete the messages after a question and answer it again. Returns the events of the answer."""
        async with self._exclusive(mine.user_id, conversation_id):
            await _check_question(mine, conversation_id, question_id)
            await mine.rewind_conversation(conversation_id, question_id)
            return self._start(mine, conversation_id)

    @asynccontextmanager
    async def _exclusive(self, user_id: str, conversation_id: str) -> AsyncIterator[None]:
        """Lock the conversation and stop its answer. A concurrent call waits until this one's answer has started."""
        async with self._locks.setdefault((user_id, conversation_id), Lock()):
            await self.stop(user_id, conversation_id)
            yield

    async def stop(self, user_id: str, conversation_id: str) -> None:
        """Stop the conversation's answer, if one is in progress, and wait until its text so far is stored."""
        task = self._in_progress.get((user_id, conversation_id))
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def stop_all(self) -> None:
        """Stop all answers, and wait until their texts so far are stored."""
        for key in list(self._in_progress):
            await self.stop(*key)

    def _start(
        self, mine: UserStorage, conversation_id: str, *, is_untitled: bool = False
    ) -> AsyncGenerator[Event, None]:
        """Start a task that answers the last question. Returns the events of the answer."""
        events: Queue[Event | None] = Queue()
        key = mine.user_id, conversation_id
        task = asyncio.create_task(self._answer(mine, conversation_id, events, is_untitled))
        self._in_progress[key] = task
        task.add_done_callback(lambda _: self._on_end(key, task, events))
        return self._listen(task, events)

    async def _listen(self, task: Task[None], events: Queue[Event | None]) -> AsyncGenerator[Event, None]:
        try:
            while (event := await events.get()) is not None:
                yield event
        finally:
            task.cancel()

    def _on_end(self, key: tuple[str, str], task: Task[None], events: Queue[Event | None]) -> None:
        events.put_nowait(None)  # here, because a task cancelled before its first step runs no code
        if self._in_progress.get(key) is task:
            del self._in_progress[key]

    async def _answer(
        self, mine: UserStorage, conversation_id: str, events: Queue[Event | None], is_untitled: bool
    ) -> None:
        try:
            memory = mine.conversation(conversation_id)
            messages = await memory.messages(limit=_HISTORY_LIMIT)
            answer = await self._stream(messages, Context(mine.user_id, conversation_id, memory), mine, events)
            if is_untitled and self._title is not None:
                await self._improve_title(self._title, mine, conversation_id, messages[-1].text, answer.text)
            events.put_nowait(Event("done", {"id": answer.id}))
        except Exception:  # a model may raise any exception of its library, and storing one of voltmem's
            logger.exception("answer= failed")
            events.put_nowait(Event("error", {"detail": _FAILED}))

    async def _improve_title(
        self, make: MakeTitle, mine: UserStorage, conversation_id: str, question: str, answer: str
    ) -> None:
        try:
            title = shortened(await make(question, answer))
            if title:
                # Automatic: it does not replace a title that the user has set meanwhile.
                await mine.rename_conversation(conversation_id, title, automatic=True)
        except Exception:  # as in _answer(); the answer is complete, and the conversation has a title
            logger.exception("title= failed")

    async def _stream(
        self, messages: Sequence[Message], context: Context, mine: UserStorage, events: Queue[Event | None]
    ) -> Message:
        """
        Stream and store the answer. Returns it. Until it is complete it is stored as stopped, in case of a crash.

        The memory replaces the shorter answer with the same id, and raises if somebody has deleted it.
        """
        growing = Growing(uuid7())
        metadata: JsonObject = {"stopped": True}
        events.put_nowait(Event("answer", {"id": growing.answer_id}))
        saved = monotonic()
        try:
            async for part in self._answering.parts(messages, context, mine):
                for chunk in growing.add(part):
                    if chunk["type"] == "text-delta":
                        events.put_nowait(Event("text", {"text": chunk["delta"]}))
                if monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                    await self._save(growing, metadata, context)
                    saved = monotonic()
            metadata = {}
        finally:
            growing.end()
            answer = await self._save(growing, metadata, context)
        return answer or Message(id=growing.answer_id, role="assistant", content="")

    async def _save(self, growing: Growing, metadata: JsonObject, context: Context) -> Message | None:
        message = growing.message(metadata)
        return message and await context.memory.add(message)


async def _check_question(mine: UserStorage, conversation_id: str, message_id: str) -> None:
    """Raise InvalidInputError if there is a message with the id that is no question."""
    stored = await mine.get_message(conversation_id, message_id)
    if stored is not None and stored.role != "user":
        raise InvalidInputError(f"message {message_id!r} has the role {stored.role!r}: only a user's is a question")

"""Answers in progress. Each runs in its own task and is stored while it streams."""

import asyncio
import logging
from asyncio import Lock, Queue, Task
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Literal, NamedTuple
from weakref import WeakValueDictionary

from pydantic import JsonValue

from examples.chat.model import Model
from voltmem import Memory, Message, PostgresStorage, UserStorage, VoltMemError

HISTORY_LIMIT = 40
SECONDS_BETWEEN_SAVES = 0.25

log = logging.getLogger(__name__)


class Event(NamedTuple):
    """An event of an answer, sent to the browser."""

    name: Literal["answer", "text", "done", "error"]
    data: dict[str, JsonValue]


class Answers:
    """The answers in progress, at most one in a conversation: a new question stops the previous answer."""

    def __init__(self, storage: PostgresStorage, model: Model) -> None:
        self._storage = storage
        self._model = model
        self._in_progress: dict[tuple[str, str], Task[None]] = {}
        self._locks: WeakValueDictionary[tuple[str, str], Lock] = WeakValueDictionary()

    async def ask(self, user_id: str, conversation_id: str, question: Message) -> AsyncGenerator[Event, None]:
        """
        Store a question. Returns the events of its answer; closing the iterator stops the answer.

        A stored question with the same id is replaced, and the messages after it are deleted.
        """
        async with self._exclusive(user_id, conversation_id):
            async with self._storage.transaction() as tx:
                mine = tx.for_user(user_id)
                await mine.add_message(question, conversation_id)
                await mine.rewind_conversation(conversation_id, question.id)
            return self._start(user_id, conversation_id)

    async def ask_again(self, user_id: str, conversation_id: str, question_id: str) -> AsyncGenerator[Event, None]:
        """Delete the messages after a question and answer it again. Returns the events of the answer."""
        async with self._exclusive(user_id, conversation_id):
            await self._storage.for_user(user_id).rewind_conversation(conversation_id, question_id)
            return self._start(user_id, conversation_id)

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
        for key in list(self._in_progress):
            await self.stop(*key)

    def _start(self, user_id: str, conversation_id: str) -> AsyncGenerator[Event, None]:
        """Start a task that answers the last question. Returns the events of the answer."""
        events: Queue[Event | None] = Queue()
        key = user_id, conversation_id
        task = asyncio.create_task(self._answer(self._storage.for_user(user_id), conversation_id, events))
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

    async def _answer(self, mine: UserStorage, conversation_id: str, events: Queue[Event | None]) -> None:
        try:
            memory = mine.conversation(conversation_id)
            messages = await memory.messages(limit=HISTORY_LIMIT)
            answer = await self._stream(memory, messages, events)
            await self._set_title(mine, conversation_id, messages[-1].text, answer.text)
            events.put_nowait(Event("done", {"id": answer.id}))
        except VoltMemError as error:  # for example, the conversation was deleted meanwhile
            events.put_nowait(Event("error", {"detail": str(error)}))
        except Exception as error:  # a model may raise any exception of its library
            log.exception("the model failed")
            events.put_nowait(Event("error", {"detail": f"The model failed: {error}"}))

    async def _stream(self, memory: Memory, messages: list[Message], events: Queue[Event | None]) -> Message:
        """
        Stream and store the answer. Returns it. Until it is complete it is stored as stopped, in case of a crash.

        The memory replaces the shorter answer with the same id, and raises if somebody has deleted it.
        """
        answer = Message(role="assistant", content="", metadata={"stopped": True})
        events.put_nowait(Event("answer", {"id": answer.id}))
        saved = monotonic()
        try:
            async for piece in self._model.answer(messages):
                answer = answer.model_copy(update={"content": answer.text + piece})
                events.put_nowait(Event("text", {"text": piece}))
                if monotonic() - saved > SECONDS_BETWEEN_SAVES:
                    await memory.add(answer)
                    saved = monotonic()
            answer = answer.model_copy(update={"metadata": {}})
        finally:
            if answer.text:
                await memory.add(answer)
        return answer

    async def _set_title(self, mine: UserStorage, conversation_id: str, question: str, answer: str) -> None:
        conversation = await mine.get_conversation(conversation_id)
        if conversation is not None and conversation.title is None:
            title = await self._model.title(question, answer)
            # Automatic: it does not replace a title that the user has set meanwhile.
            await mine.rename_conversation(conversation_id, title, automatic=True)

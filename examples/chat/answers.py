"""Answers under way: each in a task of its own, saved while it grows, whatever becomes of the request for it."""

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
from voltmem import Message, PostgresStorage, UserStorage, VoltMemError

SHOWN_TO_THE_MODEL = 40
SECONDS_BETWEEN_SAVES = 0.25

log = logging.getLogger(__name__)


class Event(NamedTuple):
    """What a browser is told while it waits for an answer."""

    name: Literal["answer", "text", "done", "error"]
    data: dict[str, JsonValue]


class Answers:
    """At most one answer is under way in a conversation; asking for another stops it."""

    def __init__(self, storage: PostgresStorage, model: Model) -> None:
        self._storage = storage
        self._model = model
        self._under_way: dict[tuple[str, str], Task[None]] = {}
        self._turns: WeakValueDictionary[tuple[str, str], Lock] = WeakValueDictionary()

    async def ask(self, user_id: str, conversation_id: str, question: Message) -> AsyncGenerator[Event, None]:
        """
        Store a question, and return its answer as it comes. Whoever stops listening stops the answer.

        A question that is there already is replaced, and what followed it is dropped.
        """
        async with self._turn(user_id, conversation_id):
            async with self._storage.transaction() as tx:
                mine = tx.for_user(user_id)
                await mine.add_message(question, conversation_id)
                await mine.rewind_conversation(conversation_id, question.id)
            return self._start(user_id, conversation_id)

    async def ask_again(self, user_id: str, conversation_id: str, question_id: str) -> AsyncGenerator[Event, None]:
        """Drop what followed a question, and return another answer to it."""
        async with self._turn(user_id, conversation_id):
            await self._storage.for_user(user_id).rewind_conversation(conversation_id, question_id)
            return self._start(user_id, conversation_id)

    @asynccontextmanager
    async def _turn(self, user_id: str, conversation_id: str) -> AsyncIterator[None]:
        """Of two who ask at once, the second has its turn when the first one's answer is under way, and stops it."""
        async with self._turns.setdefault((user_id, conversation_id), Lock()):
            await self.stop(user_id, conversation_id)
            yield

    async def stop(self, user_id: str, conversation_id: str) -> None:
        """Return when no answer is under way in the conversation, and what there is of it is stored."""
        task = self._under_way.get((user_id, conversation_id))
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def stop_all(self) -> None:
        for key in list(self._under_way):
            await self.stop(*key)

    def _start(self, user_id: str, conversation_id: str) -> AsyncGenerator[Event, None]:
        """Answer the last question, from now on."""
        events: Queue[Event | None] = Queue()
        key = user_id, conversation_id
        task = asyncio.create_task(self._answer(self._storage.for_user(user_id), conversation_id, events))
        self._under_way[key] = task
        task.add_done_callback(lambda _: self._ended(key, task, events))
        return self._listen(task, events)

    async def _listen(self, task: Task[None], events: Queue[Event | None]) -> AsyncGenerator[Event, None]:
        try:
            while (event := await events.get()) is not None:
                yield event
        finally:
            task.cancel()

    def _ended(self, key: tuple[str, str], task: Task[None], events: Queue[Event | None]) -> None:
        events.put_nowait(None)  # here: a task that is stopped before its first step does nothing itself
        if self._under_way.get(key) is task:
            del self._under_way[key]

    async def _answer(self, mine: UserStorage, conversation_id: str, events: Queue[Event | None]) -> None:
        try:
            shown = await mine.conversation(conversation_id).messages(limit=SHOWN_TO_THE_MODEL)
            answer = await self._grow(mine, conversation_id, shown, events)
            await self._name(mine, conversation_id, shown[-1].text, answer.text)
            events.put_nowait(Event("done", {"id": answer.id}))
        except VoltMemError as error:  # the conversation was deleted meanwhile, say
            events.put_nowait(Event("error", {"detail": str(error)}))
        except Exception as error:  # a model may raise whatever its library does
            log.exception("the model failed")
            events.put_nowait(Event("error", {"detail": f"The model failed: {error}"}))

    async def _grow(
        self, mine: UserStorage, conversation_id: str, shown: list[Message], events: Queue[Event | None]
    ) -> Message:
        """Return the answer, complete. Until then it is stored as stopped: true if the program dies right here."""
        answer = Message(role="assistant", content="", metadata={"stopped": True})
        events.put_nowait(Event("answer", {"id": answer.id}))
        saved = monotonic()
        try:
            async for piece in self._model.answer(shown):
                answer = answer.model_copy(update={"content": answer.text + piece})
                events.put_nowait(Event("text", {"text": piece}))
                if monotonic() - saved > SECONDS_BETWEEN_SAVES:
                    await mine.add_message(answer, conversation_id)
                    saved = monotonic()
            answer = answer.model_copy(update={"metadata": {}})
        finally:
            if answer.text:  # the id is the same: it replaces the shorter one, in its place
                await mine.add_message(answer, conversation_id)
        return answer

    async def _name(self, mine: UserStorage, conversation_id: str, question: str, answer: str) -> None:
        conversation = await mine.get_conversation(conversation_id)
        if conversation is not None and conversation.title is None:
            title = await self._model.title(question, answer)
            await mine.rename_conversation(conversation_id, title, automatic=True)  # never over a person's

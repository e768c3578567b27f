"""The answers of a chat: asked for, joined, stopped. They are the server's: they go on when nobody looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, TypeAlias

from voltmem._areas.answers import ANSWER, AnswerRows, StoredAnswer
from voltmem._areas.background import tasks_of
from voltmem._postgres.driver import logger
from voltmem._user import UserStorage, access_of
from voltmem.chat._answering import Answering
from voltmem.chat._approval import Decided, decisions_of, waiting_answer
from voltmem.chat._calling import call
from voltmem.chat._feeds import Feed
from voltmem.chat._orphans import settle
from voltmem.chat._pace import Pace
from voltmem.chat._settings import check_callback
from voltmem.chat._titles import shortened, title_of
from voltmem.chat._watching import Watching
from voltmem.chat._writing import GoesOn, Prepare, Writing
from voltmem.errors import InvalidInputError, LeaseHeldError, MessageNotFoundError
from voltmem.models import Message
from voltmem.storage import PostgresStorage

MakeTitle: TypeAlias = Callable[[str, str], Awaitable[str] | str]
"""Returns the title of a conversation that begins with this question and answer."""

AT_THE_END: Final = ""
"""As the message before a question: the question follows the last one."""
_SECONDS_TO_FINISH: Final = 5.0
_SECONDS_TO_STOP: Final = 8.0
_SECONDS_UNTIL_CLEARED: Final = 1.0
_SECONDS_BETWEEN_LOOKS: Final = 0.1
# Another process has the lease some milliseconds before its answer is found, and after its end.
_TRIES: Final = 20
_LOOKS_FOR_THE_END: Final = 80


class UnderWayError(Exception):
    """Another question of the conversation is being answered."""


class Answers:
    """The answers of one chat in this process, and those of other processes that somebody here follows."""

    def __init__(
        self,
        storage: PostgresStorage,
        answering: Answering,
        title: MakeTitle | None = None,
        pace: Pace | None = None,
    ) -> None:
        check_callback("make_title", title)
        self._answering = answering
        self._title = title
        self.pace = pace or Pace()
        """How many answers a user may begin. Those that are joined are not counted, nor those that did not begin."""
        self._written: dict[tuple[str, str], Writing] = {}
        self._tasks: dict[asyncio.Task[None], Writing] = {}
        self._watched: dict[tuple[str, str, str], tuple[Feed, asyncio.Task[None]]] = {}
        if (tasks := tasks_of(storage)) is not None:
            tasks.finishing.add(self)

    # --- asking ---------------------------------------------------------------------------------------------------

    async def ask(
        self,
        mine: UserStorage,
        conversation_id: str,
        question: Message,
        after: str | None = AT_THE_END,
        *,
        model: str = "",
    ) -> Feed:
        """
        Store a question and begin its answer. Returns the answer; a question that is sent again begins no other.

        Args:
            mine: The user's storage.
            conversation_id: The conversation.
            question: The question.
            after: The message that it follows, after which a branch begins; None: it is the first one.
            model: Which of the models answers.

        Raises:
            UnderWayError: Another question is being answered.
            TooManyAnswersError: The user has to wait.
            InvalidInputError: Another message, or another text, has the question's id.
        """
        stored = await mine.get_message(conversation_id, question.id)
        if stored is not None:
            if (stored.role, stored.text) != (question.role, question.text):
                raise InvalidInputError(
                    f"message {question.id!r} says something else: give an edited question an id of its own"
                )
            if (answer := await self._rows(mine).to_question(mine.user_id, conversation_id, question.id)) is not None:
                return await self._join(mine, answer)

        async def prepare(tx: UserStorage) -> bool:
            if after != AT_THE_END:
                await tx.branch_conversation(conversation_id, after)
            await tx.add_message(question, conversation_id)
            conversation = await tx.get_conversation(conversation_id)
            is_untitled = conversation is not None and conversation.title is None
            if is_untitled and (title := title_of(question)):
                await tx.rename_conversation(conversation_id, title, automatic=True)
            return is_untitled

        return await self._begin(mine, conversation_id, question.id, prepare, model)

    async def ask_again(self, mine: UserStorage, conversation_id: str, question_id: str, *, model: str = "") -> Feed:
        """Begin another answer to a question, in a branch of its own. Errors as of ask()."""

        async def prepare(tx: UserStorage) -> bool:
            stored = await tx.get_message(conversation_id, question_id)
            if stored is None:
                raise MessageNotFoundError(question_id, conversation_id)
            if stored.role != "user":
                raise InvalidInputError(
                    f"message {question_id!r} has the role {stored.role!r}: only a user's is a question"
                )
            await tx.branch_conversation(conversation_id, question_id)
            return False

        return await self._begin(mine, conversation_id, question_id, prepare, model)

    async def decide(self, mine: UserStorage, conversation_id: str, answer_id: str, decided: Decided) -> Feed:
        """
        Go on with an answer that waits for approval, in the same message.

        Args:
            mine: The user's storage.
            conversation_id: The conversation.
            answer_id: The answer.
            decided: By the id of the call: whether it is approved, and why not.

        Raises:
            NotWaitingError: The answer does not wait for approval, or not any more.
            TooManyAnswersError: The user has to wait: what goes on is counted as an answer that begins.
            InvalidInputError: A call that waits is not decided, or another one is.
        """
        message, answer = await waiting_answer(mine, self._rows(mine), conversation_id, answer_id)
        kept = json.loads(answer.state or "{}")
        goes_on = GoesOn(message, decisions_of(message, decided), kept.get("state"))

        async def prepare(tx: UserStorage) -> bool:
            await waiting_answer(tx, self._rows(tx), conversation_id, answer_id)
            return False

        return await self._begin(mine, conversation_id, answer.question_id, prepare, kept.get("model", ""), goes_on)

    async def _begin(
        self,
        mine: UserStorage,
        conversation_id: str,
        question_id: str,
        prepare: Prepare,
        model: str,
        goes_on: GoesOn | None = None,
    ) -> Feed:
        for _ in range(_TRIES):
            take_back = self.pace.count(mine.user_id)
            writing = Writing(mine, conversation_id, question_id, prepare, self._answering, model, goes_on)
            task = asyncio.create_task(self._write(mine, conversation_id, writing))
            self._tasks[task] = writing
            task.add_done_callback(self._tasks.pop)
            writing.began.add_done_callback(
                partial(self._register, (mine.user_id, conversation_id), writing, take_back)
            )
            try:
                # An answer that has begun goes on when the caller goes away.
                await asyncio.shield(writing.began)
            except LeaseHeldError:
                last = await self._rows(mine).last(mine.user_id, conversation_id)
            else:
                return writing.feed
            if last is not None and last.is_running:
                if last.question_id == question_id:
                    return await self._join(mine, last)
                break
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        raise UnderWayError

    async def _write(self, mine: UserStorage, conversation_id: str, writing: Writing) -> None:
        said = await writing.run()
        self._written = {key: each for key, each in self._written.items() if each is not writing}
        if said is not None and writing.needs_title and self._title is not None:
            await self._improve_title(self._title, mine, conversation_id, *said)
        if writing.feed.events:
            # Those who follow in other processes have looked by then.
            with suppress(TimeoutError):
                await asyncio.wait_for(writing.in_haste.wait(), _SECONDS_UNTIL_CLEARED)
            await writing.clear()

    async def _improve_title(
        self, make: MakeTitle, mine: UserStorage, conversation_id: str, question: Message, answer: Message
    ) -> None:
        try:
            title = shortened(await call(make, question.text, answer.text))
            if title:
                # Automatic: it does not replace a title that the user has set meanwhile.
                await mine.rename_conversation(conversation_id, title, automatic=True)
        except (Exception, SystemExit):  # a model may raise any; the conversation has a title
            logger.exception("make_title= failed")

    def _register(
        self, key: tuple[str, str], writing: Writing, take_back: Callable[[], None], began: asyncio.Future[None]
    ) -> None:
        if began.cancelled() or began.exception() is not None:
            take_back()
        else:
            self._written[key] = writing

    # --- joining --------------------------------------------------------------------------------------------------

    async def join(self, mine: UserStorage, conversation_id: str) -> Feed | None:
        """Return the conversation's last answer; None if it has none."""
        if (written := self._written.get((mine.user_id, conversation_id))) is not None:
            return written.feed
        last = await self._rows(mine).last(mine.user_id, conversation_id)
        return None if last is None else await self._join(mine, last)

    async def _join(self, mine: UserStorage, answer: StoredAnswer) -> Feed:
        key = mine.user_id, answer.conversation_id
        if key in self._written and self._written[key].feed.answer_id == answer.answer_id:
            return self._written[key].feed
        if not answer.is_running:
            return await self._ended(mine, answer)
        watched = *key, answer.answer_id
        if watched not in self._watched:
            feed = Feed(answer.answer_id, answer.question_id)
            task = asyncio.create_task(Watching(mine, answer.conversation_id, feed).run())
            self._watched[watched] = feed, task
            task.add_done_callback(lambda _: self._watched.pop(watched))
        return self._watched[watched][0]

    async def _ended(self, mine: UserStorage, answer: StoredAnswer) -> Feed:
        if answer.is_orphan:
            await settle(mine, answer)
        feed = Feed(answer.answer_id, answer.question_id)
        feed.end("failed" if answer.is_orphan else answer.status)
        return feed

    async def unfinished(self, mine: UserStorage, conversation_id: str) -> list[StoredAnswer]:
        """Return the latest answers of a conversation that are not complete, newest first."""
        found = await self._rows(mine).unfinished(mine.user_id, conversation_id)
        for number, answer in enumerate(found):
            if answer.is_orphan:
                await settle(mine, answer)
                found[number] = replace(answer, status="failed")
        return found

    async def running(self, mine: UserStorage) -> list[StoredAnswer]:
        """Return the answers that are written in the user's latest conversations."""
        return await self._rows(mine).running(mine.user_id)

    # --- stopping -------------------------------------------------------------------------------------------------

    async def stop(self, mine: UserStorage, conversation_id: str) -> None:
        """Stop the conversation's answer, whichever process writes it, and wait until its text so far is stored."""
        if (written := self._written.get((mine.user_id, conversation_id))) is not None:
            written.stop()
            with suppress(TimeoutError):
                await asyncio.wait_for(written.feed.wait_for_the_end(), _SECONDS_TO_STOP)
        elif await mine.stop_lease(conversation_id, ANSWER):
            for _ in range(_LOOKS_FOR_THE_END):
                if await mine.get_lease(conversation_id, ANSWER) is None:
                    return
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    async def finish(self) -> None:
        """Let the answers end, for a few seconds; then stop them. Who follows another process's asks again."""
        for _, watching in self._watched.values():
            watching.cancel()
        for writing in self._tasks.values():
            writing.in_haste.set()
        if self._tasks:
            await asyncio.wait([*self._tasks], timeout=_SECONDS_TO_FINISH)
        for writing in self._tasks.values():
            writing.stop()
        if self._tasks:
            await asyncio.wait([*self._tasks], timeout=_SECONDS_TO_STOP)

    def _rows(self, mine: UserStorage) -> AnswerRows:
        return AnswerRows(access_of(mine))

"""What a chat does beside answering: which questions may be answered again, and what people say of answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastapi import HTTPException

from voltmem._postgres.driver import logger
from voltmem._user import UserStorage
from voltmem._values import JsonObject
from voltmem.chat._answers import Answers
from voltmem.chat._calling import call
from voltmem.chat._settings import Settings, check_callback
from voltmem.errors import MessageNotFoundError

Rating: TypeAlias = Literal["positive", "negative"]
"""What somebody says of an answer."""
OnFeedback: TypeAlias = Callable[[str, str, str, Rating | None], Awaitable[None] | None]
"""Is told of a rating: by the user, in the conversation, of the answer; None: it was taken back."""


@dataclass(frozen=True)
class Asking:
    """A chat, as its routes see it."""

    answers: Answers
    settings: Settings
    on_feedback: OnFeedback | None

    def __post_init__(self) -> None:
        check_callback("on_feedback", self.on_feedback)

    async def check_again(self, mine: UserStorage, conversation_id: str, question_id: str) -> None:
        """
        Check that a stored question may be answered again. Raises HTTPException 403 where that would begin a branch.

        Without branches, only a question that has no complete answer may.
        """
        if "branches" not in self.settings.without:
            return
        if any(each.question_id == question_id for each in await self.answers.unfinished(mine, conversation_id)):
            return
        last = await mine.conversation(conversation_id).messages(limit=1)
        if not last or last[-1].id != question_id:
            raise HTTPException(403, "This question has its answer, and this chat is without branches.")

    async def rate(self, mine: UserStorage, conversation_id: str, answer_id: str, rating: Rating | None) -> None:
        """Store what somebody says of an answer, and tell the application. MessageNotFoundError for a question."""
        rated = await mine.get_message(conversation_id, answer_id)
        if rated is not None and rated.role != "assistant":
            raise MessageNotFoundError(answer_id, conversation_id)
        feedback: JsonObject | None = None if rating is None else {"type": rating}
        await mine.merge_message_metadata({"feedback": feedback}, conversation_id, answer_id)
        if self.on_feedback is None:
            return
        try:
            await call(self.on_feedback, mine.user_id, conversation_id, answer_id, rating)
        except (Exception, SystemExit):  # the application may raise any; the rating is stored
            logger.exception("on_feedback= failed")

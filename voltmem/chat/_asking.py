"""What a chat does beside answering: the choice of the model, the pace of a user, and what people say of answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final, Literal, TypeAlias

from fastapi import HTTPException

from voltmem._postgres.driver import logger
from voltmem._user import UserStorage
from voltmem._values import JsonObject, short_repr
from voltmem.chat._answers import Answers
from voltmem.chat._calling import call
from voltmem.chat._settings import Settings, check_callback
from voltmem.errors import InvalidOptionError

Rating: TypeAlias = Literal["positive", "negative"]
"""What somebody says of an answer."""
OnFeedback: TypeAlias = Callable[[str, str, str, Rating | None], Awaitable[None] | None]
"""Is told of a rating: by the user, in the conversation, of the answer; None: it was taken back."""

_MINUTE: Final = 60.0


class Pace:
    """How many answers a user may ask for in a minute, in this process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._asked: dict[str, deque[float]] = {}

    def check(self, user_id: str) -> None:
        """Count one more. Raises HTTPException 429 if it is one too many."""
        now = monotonic()
        asked = self._asked.setdefault(user_id, deque())
        while asked and asked[0] <= now - _MINUTE:
            asked.popleft()
        if len(asked) >= self._most:
            seconds = int(asked[0] + _MINUTE - now) + 1
            raise HTTPException(
                429, f"You have asked for {self._most} answers in a minute: wait.", {"Retry-After": str(seconds)}
            )
        asked.append(now)
        for each in [each for each, times in self._asked.items() if times[-1] <= now - _MINUTE]:
            del self._asked[each]


def pace_of(answers_per_minute: object) -> Pace | None:
    """Return the pace; None: there is no limit."""
    if answers_per_minute is None:
        return None
    if not isinstance(answers_per_minute, int) or isinstance(answers_per_minute, bool) or answers_per_minute < 1:
        raise InvalidOptionError(f"answers_per_minute {short_repr(answers_per_minute)}: use a number from 1, or None")
    return Pace(answers_per_minute)


@dataclass(frozen=True)
class Asking:
    """A chat, as its routes see it."""

    answers: Answers
    settings: Settings
    pace: Pace | None
    on_feedback: OnFeedback | None

    def __post_init__(self) -> None:
        check_callback("on_feedback", self.on_feedback)

    def admit(self, mine: UserStorage) -> None:
        """Let a user ask for an answer. Raises HTTPException 429 if it is too soon."""
        if self.pace is not None:
            self.pace.check(mine.user_id)

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
        """Store what somebody says of an answer, and tell the application."""
        feedback: JsonObject | None = None if rating is None else {"type": rating}
        await mine.merge_message_metadata({"feedback": feedback}, conversation_id, answer_id)
        if self.on_feedback is None:
            return
        try:
            await call(self.on_feedback, mine.user_id, conversation_id, answer_id, rating)
        except (Exception, SystemExit):  # the application may raise any; the rating is stored
            logger.exception("on_feedback= failed")

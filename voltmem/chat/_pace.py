"""How many answers a user may begin in a minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from voltmem._values import short_repr
from voltmem.errors import InvalidOptionError

_MINUTE: Final = 60.0


class TooManyAnswersError(Exception):
    """A user has begun as many answers in a minute as may be."""

    def __init__(self, most: int, seconds: int) -> None:
        super().__init__(f"You have asked for {most} answers in a minute: wait.")
        self.seconds = seconds
        """After which the next one may begin."""


class Pace:
    """
    Counts the answers that begin, of each user, in this process.

    Not in the database: a row of it has the last answer to a question, and goes with the conversation, so it would not
    count those that are asked for again and again.

    Args:
        most: How many a user may begin in a minute; None: any number. InvalidOptionError for what is no number.
    """

    def __init__(self, most: object = None) -> None:
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            raise InvalidOptionError(f"answers_per_minute {short_repr(most)}: use a number from 1, or None")
        self._most = most
        self._begun: dict[str, deque[float]] = {}

    def check(self, user_id: str) -> None:
        """Raise TooManyAnswersError if another answer would be one too many."""
        now = monotonic()
        begun = self._begun.get(user_id, ())
        recent = [moment for moment in begun if moment > now - _MINUTE]
        if self._most is not None and len(recent) >= self._most:
            raise TooManyAnswersError(self._most, int(recent[0] + _MINUTE - now) + 1)

    def count(self, user_id: str) -> Callable[[], None]:
        """
        Count an answer that is about to begin. Returns the function that takes it back, if it does not begin.

        Raises:
            TooManyAnswersError: It is one too many.
        """
        self.check(user_id)
        if self._most is None:
            return lambda: None
        moment = monotonic()
        for each in [each for each, begun in self._begun.items() if begun[-1] <= moment - _MINUTE]:
            del self._begun[each]
        self._begun.setdefault(user_id, deque(maxlen=self._most)).append(moment)
        return partial(self._take_back, user_id, moment)

    def _take_back(self, user_id: str, moment: float) -> None:
        begun = self._begun.get(user_id, deque())
        if moment in begun:
            begun.remove(moment)
        if not begun:
            self._begun.pop(user_id, None)

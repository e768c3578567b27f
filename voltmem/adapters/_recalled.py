"""What was recalled for the questions of runs under way: the same for each request to the model while tools run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from voltmem._agents.recalled import recall_unseen, unseen
from voltmem._areas.area import access
from voltmem._areas.moments import Moment, quote_moments
from voltmem.models import Message
from voltmem.storage import Storage

_MOST: Final = 1_000


class Recalled:
    """What an adapter's object, which serves many runs, has recalled: for each conversation the newest question."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[str, str], tuple[str | None, list[Moment]]] = OrderedDict()

    async def quote(
        self,
        storage: Storage,
        user_id: str,
        conversation_id: str,
        question_id: str | None,
        asked: str,
        shown: Collection[str | None],
    ) -> Message | None:
        """
        Return a message that quotes what the user's conversations have about a question; None if they have nothing.

        Args:
            storage: The storage.
            user_id: The user.
            conversation_id: The conversation.
            question_id: The id of the question. When it is asked again, it is another one: what was recalled for it may
                be deleted since.
            asked: Its text.
            shown: The ids of the messages of the conversation that the model is shown anyway. They are left out.

        One round trip; none for the same question again.
        """
        key = user_id, conversation_id
        known, moments = self._found.get(key, (None, []))
        if known is None or known != question_id:
            moments = await recall_unseen(access(storage), user_id, asked, conversation_id, shown)
            self._found[key] = question_id, moments
            self._found.move_to_end(key)
            if len(self._found) > _MOST:
                self._found.popitem(last=False)
        return quote_moments(unseen(moments, conversation_id, shown))

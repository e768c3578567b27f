"""Answers that another process writes: their pieces are looked for while somebody here follows."""

from __future__ import annotations

import asyncio
from typing import Final

from voltmem._areas.answers import AnswerRows
from voltmem._postgres.driver import logger
from voltmem._user import UserStorage, access_of
from voltmem.chat._feeds import Feed
from voltmem.chat._orphans import events_of, settle
from voltmem.errors import VoltMemError

_SECONDS_BETWEEN_LOOKS: Final = 0.2
# One who was told of the answer may still be on the way.
_LOOKS_FOR_NOBODY: Final = 25


class Watching:
    """Fills a feed with what another process stores."""

    def __init__(self, mine: UserStorage, conversation_id: str, feed: Feed) -> None:
        self._mine = mine
        self._conversation_id = conversation_id
        self._rows = AnswerRows(access_of(mine))
        self.feed = feed

    async def run(self) -> None:
        """Look until the answer ends, or nobody follows."""
        try:
            unseen = 0
            while self.feed.is_open and unseen < _LOOKS_FOR_NOBODY:
                try:
                    await self._look()
                except VoltMemError as error:
                    logger.warning("an answer of another process was not found: %r", error)
                    return
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
                unseen = 0 if self.feed.followers else unseen + 1
        finally:
            self.feed.end("streaming")  # whoever follows asks again

    async def _look(self) -> None:
        feed = self.feed
        found = await self._rows.growth(self._mine.user_id, self._conversation_id, feed.answer_id, len(feed.events))
        if found is None:
            feed.end("stopped")  # the conversation was deleted
            return
        answer, pieces = found
        for event in events_of(pieces, len(feed.events)):
            feed.add(event)
        if answer.is_running:
            return
        if answer.is_orphan:
            await settle(self._mine, answer)
        feed.end("failed" if answer.is_orphan else answer.status)

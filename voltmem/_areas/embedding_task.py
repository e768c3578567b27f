"""The background task of recall=Recall(every=…), which embeds what is new until the storage is closed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from voltmem._areas.area import Access
from voltmem._areas.embedding import database_time, embed_missing
from voltmem._postgres.driver import logger
from voltmem.errors import EmbeddingError, StorageClosedError

# Longer than the transaction lasts in which a message is added: its time is that of its beginning.
_OVERLAP: Final = timedelta(minutes=10)
LOOK_AT_ALL: Final = timedelta(hours=1)
"""
How often all messages are looked at. So those are found that do not change the updated_at of their conversation, as
VoltAgent's and those of other SQL, and those that were refused are tried again.
"""


class EmbeddingTask:
    """
    Calls embed_messages() again and again, for conversations that have changed.

    First, after an import, and every hour for all conversations.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._every = None if access.meaning is None else access.meaning.recall.every
        self._task: asyncio.Task[None] | None = None
        self._failed = ""

    def start(self) -> None:
        """Start the task if it is wanted, and does not run yet."""
        if self._every is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(self._every), name="voltmem: embed messages")

    async def close(self) -> None:
        """End the task, and wait for that. What it was embedding is left to others."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])

    async def _run(self, every: float) -> None:
        since: datetime | None = None
        looked_at_all: datetime | None = None
        while True:
            try:
                began = await database_time(self._access)
                if self._has_imported() or looked_at_all is None or began >= looked_at_all + LOOK_AT_ALL:
                    since = None  # until a look has succeeded
                await self._embed(since)
                looked_at_all = began if since is None else looked_at_all
                since = began - _OVERLAP
            except StorageClosedError:
                return
            except Exception as error:  # the next try may succeed
                self._log(error, every)
            await asyncio.sleep(every)

    def _has_imported(self) -> bool:
        """Return whether messages were imported since this was last asked."""
        meaning = self._access.meaning
        if meaning is None or not meaning.has_imported:
            return False
        meaning.has_imported = False
        return True

    async def _embed(self, since: datetime | None) -> None:
        """Embed what is missing. What embed() refuses is logged."""
        try:
            await embed_missing(self._access, since=since)
        except EmbeddingError as error:
            if not error.refused:
                raise
            self._log(error, LOOK_AT_ALL.total_seconds())
        else:
            self._failed = ""

    def _log(self, error: Exception, seconds: float) -> None:
        if repr(error) != self._failed:
            logger.warning("messages could not be embedded, and are tried again within %g s: %r", seconds, error)
        self._failed = repr(error)

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
# After which messages that were refused are tried again, unless their conversations change before.
_REFUSED: Final = timedelta(hours=1)


class EmbeddingTask:
    """Calls embed_messages() again and again: first for all messages, then for conversations that have changed."""

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
        again: datetime | None = None
        while True:
            try:
                began = await database_time(self._access)
                if again is not None and again <= began:
                    since = again = None
                refused = await self._embed(since)
                since = began - _OVERLAP
                if refused:
                    again = again or began + _REFUSED
            except StorageClosedError:
                return
            except Exception as error:  # the next try may succeed
                self._log(error, every)
            await asyncio.sleep(every)

    async def _embed(self, since: datetime | None) -> bool:
        """Embed what is missing. Returns whether embed() refused some of it, which is logged."""
        try:
            await embed_missing(self._access, since=since)
        except EmbeddingError as error:
            if not error.refused:
                raise
            self._log(error, _REFUSED.total_seconds())
            return True
        self._failed = ""
        return False

    def _log(self, error: Exception, seconds: float) -> None:
        if repr(error) != self._failed:
            logger.warning("messages could not be embedded, and are tried again in %g s: %r", seconds, error)
        self._failed = repr(error)

"""The background task of recall=Recall(every=…), which embeds what is new until the storage is closed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from voltmem._areas.area import Access
from voltmem._areas.embedding import database_time, embed_missing
from voltmem._postgres.driver import logger
from voltmem.errors import StorageClosedError

# Longer than the transaction lasts in which a message is added: its time is that of its beginning.
_OVERLAP: Final = timedelta(minutes=10)


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
        while True:
            try:
                began = await database_time(self._access)
                await embed_missing(self._access, since=since)
                since, self._failed = began - _OVERLAP, ""
            except StorageClosedError:
                return
            except Exception as error:  # the next try may succeed
                if repr(error) != self._failed:
                    logger.warning("messages could not be embedded, and are tried again in %g s: %r", every, error)
                self._failed = repr(error)
            await asyncio.sleep(every)

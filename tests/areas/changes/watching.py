"""Helpers for the tests of watching: a watcher that records its changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final

from tests.pgbouncer import THROUGH_POOLER
from voltmem import Change, PostgresStorage, Storage

SOON: Final = 0.05
PATIENCE: Final = 20.0
# Seconds between two polls, without notifications, which a pooler in transaction mode drops. With them none is needed.
INTERVAL: Final = SOON if THROUGH_POOLER else 60.0


class ChangeRecorder:
    """Records the changes that a watcher yields."""

    def __init__(self) -> None:
        self._changes: asyncio.Queue[Change] = asyncio.Queue()
        self.ended = asyncio.Event()

    async def listen(self, storage: PostgresStorage, user_id: str, poll_interval: float) -> None:
        async with aclosing(storage.watch(user_id, poll_interval=poll_interval)) as changes:
            async for change in changes:
                self._changes.put_nowait(change)
        self.ended.set()

    async def next(self) -> Change:
        async with asyncio.timeout(PATIENCE):
            return await self._changes.get()

    async def pair(self) -> tuple[str, str | None]:
        change = await self.next()
        return change.kind, change.conversation_id

    async def until(self, conversation_id: str) -> list[Change]:
        """Return all changes up to one of this conversation."""
        found = [await self.next()]
        while found[-1].conversation_id != conversation_id:
            found.append(await self.next())
        return found


@asynccontextmanager
async def watching(
    storage: PostgresStorage, user_id: str = "ada", poll_interval: float = INTERVAL
) -> AsyncIterator[ChangeRecorder]:
    """Yield the changes of a user from "ready" on. All are notified, unless the test asks for polling."""
    recorder = ChangeRecorder()
    task = asyncio.create_task(recorder.listen(storage, user_id, poll_interval))
    try:
        waiting = asyncio.create_task(recorder.next())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            task.result()
        assert (await waiting).kind == "ready"
        yield recorder
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def rows_of_watchers(storage: Storage) -> list[Any]:
    return list(await storage._executor.fetch(f"SELECT * FROM {storage._options.tables.watchers}"))


def is_polling(storage: PostgresStorage) -> bool:
    listener = storage._watchers._listener
    assert listener is not None
    return not listener.is_listening and listener._task.done()

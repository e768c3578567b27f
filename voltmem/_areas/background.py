"""Work that a storage does beside the calls: nobody waits for it, and close() ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Final, Protocol
from weakref import WeakSet

from voltmem._postgres.driver import logger
from voltmem.errors import StorageClosedError


class Finishing(Protocol):
    """Work that needs some time when its storage closes."""

    async def finish(self) -> None:
        """End the work. Calls of the storage still go through."""


class Background:
    """The tasks of one storage, one at a time for each key."""

    def __init__(self) -> None:
        self.finishing: Final[WeakSet[Finishing]] = WeakSet()
        """What finish() is called of before the storage closes."""
        self._tasks: Final[dict[Hashable, asyncio.Task[None]]] = {}
        self._is_failing = False

    def begin(self, key: Hashable, what: str, work: Callable[[], Coroutine[None, None, object]]) -> None:
        """
        Begin the work, unless that of the key is under way.

        Args:
            key: What it is for.
            what: What it does, for the log, such as "summarise a conversation".
            work: It is called at once, in a task of its own.
        """
        if key not in self._tasks:
            self._tasks[key] = task = asyncio.create_task(self._run(what, work))
            task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def _run(self, what: str, work: Callable[[], Coroutine[None, None, object]]) -> None:
        try:
            await work()
        except StorageClosedError:
            return
        except Exception:
            # What fails fails at each turn: a warning for the first time, until it works again.
            level = "debug" if self._is_failing else "warning"
            getattr(logger, level)("could not %s; it is tried again after the next answer", what, exc_info=True)
            self._is_failing = True
        else:
            self._is_failing = False

    async def finish(self) -> None:
        """End what needs the storage for it."""
        for each in [*self.finishing]:
            with suppress(asyncio.CancelledError):  # who is cancelled waits no longer, and the storage closes
                await each.finish()

    async def wait(self) -> None:
        """Wait until what is under way has ended."""
        while self._tasks:
            await asyncio.wait([*self._tasks.values()])

    async def close(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        for task in self._tasks.values():
            task.cancel()
        await self.wait()


def tasks_of(storage: object) -> Background | None:
    """Return the tasks of a storage; None: it is bound to a connection."""
    return getattr(storage, "_background", None)

"""An asynchronous or a blocking storage, for frameworks that call an adapter in both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from voltmem._areas.area import check_storage
from voltmem._blocking.loop_thread import runs_event_loop
from voltmem.errors import EventLoopError
from voltmem.storage import Storage
from voltmem.sync import Storage as BlockingStorage

T = TypeVar("T")
Work: TypeAlias = Callable[[Storage], Coroutine[Any, Any, T]]


class EitherStorage:
    """
    An asynchronous or a blocking storage. Runs work that is awaited, or that a thread waits for.

    Args:
        storage: An asynchronous storage, which serves awaited work only; or a blocking storage, which serves both.

    Raises:
        InvalidOptionError: It is neither.
    """

    def __init__(self, storage: Storage | BlockingStorage) -> None:
        check_storage(storage, Storage, BlockingStorage)
        self._storage = storage

    @property
    def asynchronous(self) -> Storage:
        """The asynchronous storage, or the one behind the blocking storage."""
        storage: Any = self._storage
        found: Storage = storage.asynchronous if isinstance(storage, BlockingStorage) else storage
        return found

    def run(self, work: Work[T], instead: str) -> T:
        """
        Run the work and block the thread until it is done. Returns its result.

        Raises:
            EventLoopError: The storage is asynchronous, or the thread runs an event loop: call *instead*.
        """
        if not isinstance(self._storage, BlockingStorage):
            raise EventLoopError(
                f"this storage is asynchronous: call {instead}, or give a voltmem.sync.PostgresStorage"
            )
        if runs_event_loop():
            raise EventLoopError(f"this thread runs an event loop, which must not be blocked: call {instead}")
        return self._storage.run(work)

    async def run_async(self, work: Work[T]) -> T:
        """Run the work in the event loop of the storage and await it. Returns its result."""
        if isinstance(self._storage, BlockingStorage):
            return await asyncio.wrap_future(self._storage.submit(work))
        return await work(self._storage)

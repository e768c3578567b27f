"""A blocking storage for Agno 1, which calls it on any thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from voltmem.storage import PostgresStorage
from voltmem.sync import PostgresStorage as BlockingStorage

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


class Blocking:
    """
    A blocking storage that also blocks a thread with an event loop: the arun() of Agno 1 calls it there.

    Args:
        storage: The blocking storage; the work runs in its event loop.
        prepare: Opens the storage and creates its tables, before the first call and the first call after close().
    """

    def __init__(self, storage: BlockingStorage, prepare: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._storage = storage
        self._prepare = prepare
        self._is_prepared = False

    def call(self, work: Work[T]) -> T:
        """Prepare the tables if needed, run the work and block until it is done. Returns its result."""

        async def prepared() -> T:
            if not self._is_prepared:
                await self._prepare()  # several calls may run it concurrently
                self._is_prepared = True
            return await work()

        return self.raw_call(prepared)

    def raw_call(self, work: Work[T]) -> T:
        """Run the work without preparing the tables, and block until it is done. Returns its result."""

        def start(_: PostgresStorage) -> Coroutine[Any, Any, T]:
            return work()

        future = self._storage.submit(start)
        try:
            return future.result()
        finally:
            future.cancel()  # a signal handler may have raised in result()

    def forget_tables(self) -> None:
        """Prepare the tables again before the next call."""
        self._is_prepared = False

    def close(self) -> None:
        """Close the storage; the next call opens it again."""
        self.forget_tables()
        self.raw_call(self._storage.asynchronous.close)

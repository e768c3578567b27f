"""A storage for Agno 1, whose methods block whatever thread calls them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from voltmem.storage import PostgresStorage
from voltmem.sync import PostgresStorage as BlockingStorage

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


class Blocking:
    """
    A blocking storage that also blocks a thread with an event loop: Agno 1 calls it there, in arun().

    Args:
        storage: Where the work runs.
        prepare: Opens the storage and makes its tables, before the first call and the first after close().
    """

    def __init__(self, storage: BlockingStorage, prepare: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._storage = storage
        self._prepare = prepare
        self._is_prepared = False

    def call(self, work: Work[T]) -> T:
        """Wait for the work, after the tables are prepared. Returns its result."""

        async def prepared() -> T:
            if not self._is_prepared:
                await self._prepare()  # any number of calls may do so at once
                self._is_prepared = True
            return await work()

        return self.raw_call(prepared)

    def raw_call(self, work: Work[T]) -> T:
        """Wait for the work, whatever the state of the tables. Returns its result."""

        def begun(_: PostgresStorage) -> Coroutine[Any, Any, T]:
            return work()

        future = self._storage.submit(begun)
        try:
            return future.result()
        finally:
            future.cancel()  # where a signal's handler has raised

    def forget_tables(self) -> None:
        """Prepare the tables again before the next call."""
        self._is_prepared = False

    def close(self) -> None:
        """Close the storage; the next call opens it again."""
        self.forget_tables()
        self.raw_call(self._storage.asynchronous.close)

"""A storage for code that blocks."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from voltmem.errors import EventLoopError
from voltmem.storage import PostgresStorage

_T = TypeVar("_T")


class Blocking:
    """A storage for code that blocks: it lives in an event loop of its own, in a thread that ends with the program."""

    def __init__(self, storage: PostgresStorage, prepare: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.storage = storage
        self._prepare = prepare
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._preparing: asyncio.Lock | None = None
        self._is_prepared = False
        self._end: Callable[[], object] | None = None

    def call(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return what comes of the work, after the tables are prepared; blocks the thread that calls."""
        return asyncio.run_coroutine_threadsafe(self._prepared(work), self._running()).result()

    def raw_call(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return what comes of the work, whatever the state of the tables."""
        return asyncio.run_coroutine_threadsafe(work(), self._running()).result()

    def forget_tables(self) -> None:
        """Prepare the tables again before the next call."""
        self._is_prepared = False

    def close(self) -> None:
        """Close the storage, and end the thread; the next call starts another."""
        with self._starting:
            end, self._end, self._loop, self._preparing = self._end, None, None, None
            self._is_prepared = False
        if end is not None:
            end()

    async def _prepared(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        if not self._is_prepared:
            self._preparing = self._preparing or asyncio.Lock()
            async with self._preparing:
                if not self._is_prepared:
                    await self._prepare()
                    self._is_prepared = True
        return await work()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            # A process that was forked has the loop without the thread.
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_and_close, args=(self._loop,), name="voltmem-agno", daemon=True
                )
                self._thread.start()
                # Also at the end of the program, and when nobody has the storage any more.
                self._end = weakref.finalize(self, _end, self.storage, self._loop, self._thread)
            return self._loop


def _end(storage: PostgresStorage, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    async def end() -> None:
        try:
            with suppress(EventLoopError):  # in a forked process it is its parent's
                await storage.close()
        finally:
            loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if thread is not threading.current_thread():  # garbage is collected in any
        thread.join()


def _run_and_close(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()

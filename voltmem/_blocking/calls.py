"""A coroutine that runs in an event loop, the thread that waits for it, and what crosses between the two."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeAlias, TypeVar

from voltmem.errors import StorageClosedError

T = TypeVar("T")

# What a thread is to do while it waits for a call; None: only to look whether the call has ended.
Inbox: TypeAlias = "SimpleQueue[Callable[[], object] | None]"

# Seconds until a signal is seen that came just before the wait began; on Windows, any.
_SIGNALS_WITHIN: Final = 0.5
# So many items of a caller's iterable are taken at once.
_AT_ONCE: Final = 100
_UNSET: Final = object()


class Call(Generic[T]):
    """A coroutine that runs in the loop, and the thread that waits for it."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], inbox: Inbox) -> None:
        self._coroutine = coroutine
        self._inbox = inbox
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._has_ended = False
        self._context: Context | None = None
        self._exit: BaseException | None = None

    # --- in the thread that waits -------------------------------------------------------------------------------

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bring the coroutine into the loop."""
        self._loop = loop
        loop.call_soon_threadsafe(self._start)  # with the caller's context

    def wait(self) -> None:
        """Wait for the end; do meanwhile what there is to do."""
        while not self._has_ended:
            try:
                work = self._inbox.get(timeout=_SIGNALS_WITHIN)
            except Empty:
                continue
            if work is not None:
                work()

    def cancel(self) -> None:
        """Cancel the coroutine, wherever the signal has met this thread: before it began, or after."""
        if self._loop is None:
            self._end()
            return
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop is closed
            self._end()

    def result(self) -> T:
        """Return what the coroutine returned, or raise what it raised, in the context that it left."""
        for variable, value in () if self._context is None else self._context.items():
            if variable.get(_UNSET) is not value:
                variable.set(value)
        task, self._task = self._task, None  # an error holds this frame, which is not to hold the error
        assert task is not None
        try:
            if self._exit is not None:
                raise self._exit
            return task.result()
        except asyncio.CancelledError:
            raise StorageClosedError from None  # the loop has ended
        finally:
            del task

    # --- in the loop --------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._work())
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is None:
            self._end()
        else:
            self._task.cancel()

    async def _work(self) -> T:
        try:
            return await self._coroutine
        except (KeyboardInterrupt, SystemExit) as error:  # a task that raises these ends the loop
            self._exit = error
            raise asyncio.CancelledError from None
        finally:
            self._context = copy_context()

    def _end(self, _: object = None) -> None:
        self._coroutine.close()  # cancelled before it began
        self._has_ended = True
        self._inbox.put(None)


class FromCaller(AsyncIterator[T]):
    """
    The items of an iterable, taken in the thread that waits for the call that they are for.

    They may belong to that thread, as rows of SQLite do, or be made by calls that block.
    """

    def __init__(self, items: Iterable[T], inbox: Inbox) -> None:
        self._iterator = iter(items)
        self._inbox = inbox
        self._taken: deque[T] = deque()
        self._error: BaseException | None = None

    async def __anext__(self) -> T:
        if not self._taken and self._error is None:
            loop = asyncio.get_running_loop()
            taken = loop.create_future()
            self._inbox.put(partial(self._take, loop, taken))
            await taken
        if self._taken:
            return self._taken.popleft()
        raise self._error or StopAsyncIteration

    def _take(self, loop: asyncio.AbstractEventLoop, taken: asyncio.Future[None]) -> None:
        try:
            for item in islice(self._iterator, _AT_ONCE):
                self._taken.append(item)
        except BaseException as error:
            self._error = error  # raised in the call, which ends with it
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if taken.done() else taken.set_result(None))

"""A coroutine that runs in an event loop, the thread that waits for it, and the data that they exchange."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from inspect import isawaitable
from itertools import islice
from queue import Empty, SimpleQueue
from types import CoroutineType
from typing import Any, Final, Generic, TypeAlias, TypeVar

from voltmem._values import short_repr
from voltmem.errors import InvalidInputError, StorageClosedError

T = TypeVar("T")
Given = TypeVar("Given")

# Work for a thread while it waits for a call; None: only check whether the call has ended.
Inbox: TypeAlias = "SimpleQueue[Callable[[], object] | None]"

# Seconds until a signal is handled that arrived just before the wait began; on Windows, any signal.
_SIGNALS_WITHIN: Final = 0.5
# The number of items of a caller's iterable that are fetched together.
_AT_ONCE: Final = 100
_UNSET: Final = object()
_WORK: Final = "pass an async function that takes the storage, as in 'async def work(storage): …'"


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

    # --- in the waiting thread ----------------------------------------------------------------------------------

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Submit the coroutine to the loop."""
        self._loop = loop
        loop.call_soon_threadsafe(self._start)  # with the caller's context

    def wait(self) -> None:
        """Wait for the end, and do the work of the inbox meanwhile."""
        while not self._has_ended:
            try:
                work = self._inbox.get(timeout=_SIGNALS_WITHIN)
            except Empty:
                continue
            if work is not None:
                work()

    def cancel(self) -> None:
        """Cancel the coroutine, whether the signal interrupted this thread before the coroutine began or after."""
        if self._loop is None:
            self._end()
            return
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop is closed
            self._end()

    def result(self) -> T:
        """Return the coroutine's result or raise its error, with the context variables that it set."""
        for variable, value in () if self._context is None else self._context.items():
            if variable.get(_UNSET) is not value:
                variable.set(value)
        task, self._task = self._task, None  # cleared, since the error references this frame
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
        try:
            self._coroutine.close()  # cancelled before it began
        finally:
            self._has_ended = True
            self._inbox.put(None)


def awaited(work: Callable[[Given], Awaitable[T]], given: Given) -> Coroutine[Any, Any, T]:
    """
    Return a coroutine that calls *work* in the loop and awaits the result, any awaitable.

    Raises:
        InvalidInputError: *work* is not callable, at once; or its result cannot be awaited, in the coroutine.
    """
    if not callable(work):
        if isinstance(work, CoroutineType):
            work.close()  # otherwise Python warns that it was never awaited
        raise InvalidInputError(f"work {short_repr(work)} is not a function: {_WORK}")

    async def called() -> T:
        awaitable = work(given)
        if not isawaitable(awaitable):
            raise InvalidInputError(f"work returned {short_repr(awaitable)}, which cannot be awaited: {_WORK}")
        return await awaitable

    return called()


class FromCaller(AsyncIterator[T]):
    """
    The items of a caller's iterable, fetched in the caller's thread while it waits for its call.

    They may be bound to that thread, like rows of SQLite, or be made by calls that block.
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

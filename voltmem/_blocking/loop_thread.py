"""
An event loop in a daemon thread, and the threads that wait for what runs in it.

    thread A ── run(coroutine) ────┐                      ┌── its result, or its error, in thread A
    thread B ── run(coroutine) ────┼── one thread, one ───┼── … in thread B
    thread C ── iterate(iterator) ─┘   event loop         └── one item after the other, in thread C

This is the only event loop that voltmem starts beside the application's. Ctrl-C in a thread that waits cancels what it
waits for. A forked process has its parent's loop without the thread, and begins with none.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, suppress
from functools import partial
from queue import SimpleQueue
from types import AsyncGeneratorType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar, cast
from weakref import WeakSet

from voltmem._blocking.calls import Call, Inbox
from voltmem._postgres.driver import logger
from voltmem._repr import safe_repr
from voltmem.errors import EventLoopError, StorageClosedError, VoltMemError

T = TypeVar("T")
Given = TypeVar("Given")

# Seconds for calls of other threads when the program ends; and for the last steps of calls when a loop ends.
_AT_EXIT: Final = 5.0
_LAST_STEPS: Final = 2.0
# Seconds to wait for the thread to pause; then the fork proceeds without that.
_PAUSED_WITHIN: Final = 1.0
_END: Final = object()


class Runner:
    """Runs coroutines in the event loop of another thread, while the caller waits."""

    def thread(self) -> LoopThread:
        """Return the running thread; StorageClosedError if it has ended."""
        raise NotImplementedError

    def run(self, coroutine: Coroutine[Any, Any, T], inbox: Inbox | None = None) -> T:
        """
        Run the coroutine in the loop and wait for it. Returns its result.

        As with await, it sees the caller's context variables, and the caller sees those that it sets.

        Args:
            coroutine: The coroutine.
            inbox: A queue of work that the caller's thread does while it waits (FromCaller).

        Raises:
            EventLoopError: The caller's thread runs an event loop, which it would block.
            StorageClosedError: The loop has ended.
        """
        if runs_event_loop():
            coroutine.close()
            raise EventLoopError(
                "this thread runs an event loop, and voltmem.sync would block it: use voltmem.PostgresStorage with "
                "'await' here, or call voltmem.sync in another thread ('await asyncio.to_thread(…)')."
            )
        call = Call(coroutine, SimpleQueue() if inbox is None else inbox)
        try:
            self._begin(call.begin)
            call.wait()
        except BaseException:  # of a signal's handler, too: Ctrl-C, or a server that stops its worker
            call.cancel()
            call.wait()  # so that nothing continues after the error; a second Ctrl-C does not wait
            raise
        return call.result()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run the coroutine in the loop. Returns a future, which cancels it when it is cancelled."""
        try:
            return self._begin(partial(asyncio.run_coroutine_threadsafe, coroutine))
        except VoltMemError:
            coroutine.close()
            raise

    def iterate(self, iterator: AsyncIterator[T]) -> Generator[T, None, None]:
        """Yield the items of an asynchronous iterator, and close it at the end."""
        thread = self.thread()

        async def following() -> object:
            return await anext(iterator, _END)

        async def closed() -> None:
            if isinstance(iterator, AsyncGeneratorType):
                await iterator.aclose()

        thread.iterators.add(iterator)
        try:
            while (item := thread.run(following())) is not _END:
                yield cast("T", item)
        except StorageClosedError:
            if iterator not in thread.ended_iterators:
                raise
        finally:
            thread.iterators.discard(iterator)
            # Also reached by garbage collection, in any thread, when the loop may be over: that has closed it.
            with suppress(StorageClosedError, EventLoopError):
                if runs_event_loop():
                    thread.submit(closed())
                else:
                    thread.run(closed())

    def enter(
        self, context: AbstractAsyncContextManager[T], receive: Callable[[T, Runner], Given]
    ) -> AbstractContextManager[Given]:
        """
        Return a context manager that enters and leaves an asynchronous one.

        Args:
            context: The asynchronous context manager.
            receive: Called with the value of *context* and its runner. Returns the value for the ``with`` block.
        """
        return _Entered(self, context, receive)

    def _begin(self, begin: Callable[[asyncio.AbstractEventLoop], T]) -> T:
        while (begun := self.thread().begin(begin)) is None:
            pass  # the thread was just ending
        return begun[0]


class OwnLoop(Runner):
    """
    A thread with an event loop. It starts with the first call, and again with the first call after end().

    It ends with end(), with the program, or when this object is garbage-collected.

    Args:
        name: The thread's name.
        close: Closes the objects of the loop, called in it before it ends.
    """

    def __init__(self, name: str, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._name = name
        self._close = close
        self._running: LoopThread | None = None
        self._forget()
        _own_loops.add(self)

    def _forget(self) -> None:
        """Reset the state. In a forked process new locks are needed: threads of the parent may hold the old ones."""
        self._running = None
        self._starting, self._ending = threading.Lock(), threading.Lock()

    def __del__(self) -> None:
        # The garbage collector must not wait.
        if (running := getattr(self, "_running", None)) is not None:
            running.end_soon()

    def thread(self) -> LoopThread:
        """Return the running thread, or start one; StorageClosedError when the program ends."""
        with self._starting:
            if self._running is None or not self._running.takes_calls:
                self._running = LoopThread(self._name, self._close)
            return self._running

    def end(self) -> None:
        """Close the objects of the loop, after the running calls, and end the thread."""
        with self._ending:
            try:
                thread = self.thread()
            except StorageClosedError:
                return  # the program ends, and has closed everything
            try:
                thread.run(self._close())
            finally:
                if not runs_event_loop():
                    thread.stop()


class LoopThread(Runner):
    """A thread that runs an event loop until stop(). It holds no reference to its OwnLoop, which can be collected."""

    def __init__(self, name: str, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if _is_exiting:
            raise StorageClosedError
        self.takes_calls = True
        self.iterators: set[AsyncIterator[Any]] = set()
        """The iterators in use."""
        self.ended_iterators: set[AsyncIterator[Any]] = set()
        """Those of them that were exhausted when the loop ended, like those of watch()."""
        self.contexts: dict[AbstractAsyncContextManager[Any], None] = {}
        """The contexts that were entered, in this order."""
        self._close = close
        self._lock = threading.RLock()  # reentrant: garbage is collected anywhere
        self._loop = asyncio.new_event_loop()
        self._ending: asyncio.Task[None] | None = None
        self._system_thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._system_thread.start()
        _running.add(self)

    def thread(self) -> LoopThread:
        """Return this thread; StorageClosedError when it has ended, EventLoopError in a forked process."""
        if self in _inherited:
            raise EventLoopError(
                "this belongs to a connection of the parent process: create it again in the forked process"
            )
        if not self.takes_calls:
            raise StorageClosedError
        return self

    def begin(self, begin: Callable[[asyncio.AbstractEventLoop], T]) -> tuple[T] | None:
        """Call *begin*, which submits a coroutine to the loop. Returns its result; None if the loop takes no calls."""
        with self._lock:
            return (begin(self._loop),) if self.takes_calls else None

    def stop(self) -> None:
        """End the loop, and wait for the thread."""
        self.begin(lambda loop: loop.call_soon_threadsafe(loop.stop))
        self._system_thread.join()

    def end_soon(self) -> None:
        """Begin to close and end, without waiting for it."""
        if self in _running:  # otherwise it has ended, or is the parent's
            self.begin(lambda loop: loop.call_soon_threadsafe(self._begin_ending))

    def wait(self, seconds: float) -> None:
        """Wait until the thread has ended, at most this number of seconds."""
        self._system_thread.join(seconds)

    def pause(self, until: threading.Event) -> None:
        """Pause the thread between two steps of the loop, where it holds no library's lock."""
        paused = threading.Event()

        def block() -> None:
            paused.set()
            until.wait()

        is_another = threading.current_thread() is not self._system_thread
        if is_another and self.begin(lambda loop: loop.call_soon_threadsafe(block)) is not None:
            paused.wait(_PAUSED_WITHIN)

    # --- in the thread ------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            with self._lock:
                self.takes_calls = False  # so that everything that was begun is finished here
            self._loop.run_until_complete(self._finish())
            self._loop.close()
            _running.discard(self)

    def _begin_ending(self) -> None:
        self._ending = self._ending or asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        with _logged("a storage that was left open could not be closed"):
            async with asyncio.timeout(_AT_EXIT):
                await self._leave()
                await self._close()
        asyncio.get_running_loop().stop()

    async def _finish(self) -> None:
        """Give running calls a short time to finish, and cancel the others."""
        if tasks := _other_tasks():
            await asyncio.wait(tasks, timeout=_LAST_STEPS)
        while tasks := _other_tasks():
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self.ended_iterators = {each for each in list(self.iterators) if await _has_ended(each)}
        await self._leave()
        await self._loop.shutdown_asyncgens()

    async def _leave(self) -> None:
        """Close the iterators and leave the contexts that are still open: transactions are rolled back."""
        for iterator in list(self.iterators):  # other threads add to them
            if isinstance(iterator, AsyncGeneratorType) and not iterator.ag_running:
                with _logged("an iterator could not be closed"):
                    await iterator.aclose()
        while self.contexts:
            context, _ = self.contexts.popitem()
            with _logged("a context could not be left"):
                error = asyncio.CancelledError()
                await context.__aexit__(type(error), error, None)


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log an error at the end of a loop, where there is no caller to raise it to."""
    try:
        yield
    except Exception as error:
        logger.debug("%s: %r", what, error)


def _other_tasks() -> set[asyncio.Task[object]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def _has_ended(iterator: AsyncIterator[object]) -> bool:
    with _logged("an iterator was not at its end when its storage was closed"):
        return await anext(iterator, _END) is _END
    return False


class ContextThatBlocks:
    """The base of what is entered by ``with``: for ``async with``, TypeError says what to use."""

    if not TYPE_CHECKING:  # type checkers say it themselves

        def __aenter__(self) -> NoReturn:
            """Refuse ``async with``."""
            raise TypeError(f"{self!r} blocks: use 'with', or voltmem.PostgresStorage in asynchronous code")

        def __aexit__(self, *_: object) -> None:
            """Exist, as Python asks for it before it calls __aenter__()."""


class IterableThatBlocks:
    """The base of what is iterated by ``for``: for ``async for``, TypeError says what to use."""

    if not TYPE_CHECKING:

        def __aiter__(self) -> NoReturn:
            """Refuse ``async for``."""
            raise TypeError(f"{self!r} blocks: use 'for', or voltmem.PostgresStorage in asynchronous code")


class _Entered(ContextThatBlocks, AbstractContextManager[Given], Generic[T, Given]):
    """An asynchronous context manager that was entered in the loop, and is left there."""

    def __init__(
        self, runner: Runner, context: AbstractAsyncContextManager[T], receive: Callable[[T, Runner], Given]
    ) -> None:
        self._runner = runner
        self._context = context
        self._receive = receive

    @safe_repr
    def __repr__(self) -> str:
        return f"<blocking {self._context!r}>"

    def __enter__(self) -> Given:
        async def entered() -> T:
            value = await self._context.__aenter__()
            self._thread.contexts[self._context] = None
            return value

        self._thread = self._runner.thread()
        try:
            return self._receive(self._thread.run(entered()), self._thread)
        except BaseException as error:
            if self._context in self._thread.contexts:  # when Ctrl-C came
                self.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        async def left() -> bool | None:
            if self._context not in self._thread.contexts:
                raise StorageClosedError  # the program ends, and it was left
            del self._thread.contexts[self._context]
            return await self._context.__aexit__(kind, error, traceback)

        if self._thread in _inherited:
            return None  # forked within the block: its parent leaves it
        return self._thread.run(left())


def runs_event_loop() -> bool:
    """
    Return whether this thread runs an event loop.

    False in a notebook's main thread, where a cell blocks the loop anyway.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    ipython = sys.modules.get("IPython")
    is_notebook = ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None
    return not (is_notebook and threading.current_thread() is threading.main_thread())


# --- the end of the program, and forks ------------------------------------------------------------------------------

_own_loops: WeakSet[OwnLoop] = WeakSet()
_running: set[LoopThread] = set()
# In a forked child: the parent's threads. Kept, because closing their loops would remove the parent's sockets from the
# epoll instance that both processes share.
_inherited: set[LoopThread] = set()
_fork = threading.local()
_is_exiting = False


@atexit.register
def _end_all() -> None:
    global _is_exiting
    _is_exiting = True
    threads = list(_running)
    for thread in threads:
        thread.end_soon()
    for thread in threads:
        thread.wait(_AT_EXIT + _LAST_STEPS)
        thread.takes_calls = False  # an iterator that is collected later must not wait for it


def _pause_all() -> None:
    """Pause the threads while a process is forked: a lock that one holds would never be released in the child."""
    _fork.is_over = threading.Event()
    for thread in list(_running):
        thread.pause(_fork.is_over)


def _resume_all() -> None:
    _fork.is_over.set()


def _forget_all() -> None:
    _inherited.update(_running)
    _running.clear()
    for own_loop in _own_loops:
        own_loop._forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_pause_all, after_in_parent=_resume_all, after_in_child=_forget_all)

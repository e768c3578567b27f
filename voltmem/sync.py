"""
The storage for code that blocks: threads of Flask, of Django under WSGI or of Celery, scripts, notebooks.

::

    from voltmem.sync import PostgresStorage

    storage = PostgresStorage("postgresql://user:password@host/db")
    storage.create_conversation({"id": "c1", "user_id": "ada"})
    storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")

Each class has the verbs of the asynchronous class of the same name, with the same parameters; they wait for the result.
The classes are built from the asynchronous ones at import. Type checkers read ``sync.pyi``, which
``python -m tests.typing.stubs`` generates.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import voltmem
from voltmem._blocking.calls import awaited
from voltmem._blocking.loop_thread import ContextThatBlocks, IterableThatBlocks, OwnLoop
from voltmem._blocking.twin import Twin, blocking_text, twin_of
from voltmem._values import describe_unknown
from voltmem.errors import InvalidOptionError
from voltmem.options import ConnectionOptions

if TYPE_CHECKING:
    from asyncpg import Connection as AsyncpgConnection
    from asyncpg import Record

__all__ = [
    "AgentRun",
    "BoundStorage",
    "Connection",
    "ConversationMemory",
    "HeldLease",
    "PostgresStorage",
    "RunEvent",
    "Storage",
    "UserConversations",
    "UserStorage",
    "WorkingMemoryHandle",
]

T = TypeVar("T")


class AgentRun(Twin, of=voltmem.AgentRun):
    """A run that is being recorded: ``with storage.record_run("agent-1") as run``."""


class RunEvent(Twin, of=voltmem.RunEvent):
    """An event that is being recorded: ``with run.event("tool:search") as event``."""


class HeldLease(Twin, of=voltmem.HeldLease):
    """A lease that is renewed while a block of work runs: ``with storage.lease(…) as lease``."""


class ConversationMemory(Twin, of=voltmem.ConversationMemory):
    """
    One conversation of one user, as an agent's memory: ``memory = storage.conversation("ada", "c1")``.

    ::

        memory.add({"role": "user", "content": "Hello"})
        answer = model(memory.messages(limit=20))
        memory.add({"role": "assistant", "content": answer})

    The first write creates the conversation.
    """


class WorkingMemoryHandle(Twin, of=voltmem.WorkingMemoryHandle):
    """
    The working memory of a user, or of a conversation: ``memory = storage.working_memory("ada")``.

    ::

        memory.append("- lives in Oslo")
        print(memory.get())
    """


class UserConversations(Twin, IterableThatBlocks, of=voltmem.UserConversations):
    """
    A query for one user's conversations, built step by step, in any order; each step returns a new object.

    ``for conversation in builder`` iterates over all of them in batches; ``builder.execute()`` returns a list.
    """


class UserStorage(Twin, of=voltmem.UserStorage):
    """The same verbs for one user, without a user_id: ``ada = storage.for_user("ada")``."""

    def session(self) -> AbstractContextManager[Connection]:
        """Do as the asynchronous session(). Yields a blocking connection."""
        return self._runner.enter(self._asynchronous.session(), lambda it, runner: twin_of(it, Connection, runner))

    session.__doc__ = blocking_text(voltmem.UserStorage.session.__doc__)


class Storage(Twin, of=voltmem.Storage):
    """The common base of PostgresStorage and BoundStorage: every verb, and narrower scopes."""

    @property
    def asynchronous(self) -> voltmem.Storage:
        """The asynchronous storage, for objects that run() and submit() use: it works in this storage's event loop."""
        storage: voltmem.Storage = self._asynchronous
        return storage

    def run(self, work: Callable[[voltmem.Storage], Awaitable[T]]) -> T:
        """
        Run asynchronous code with the asynchronous storage, in the storage's event loop. Returns its result.

        ::

            async def newest(storage: voltmem.Storage) -> list[Message]:
                return await storage.get_messages("ada", "c1", limit=1)

            storage.run(newest)

        Args:
            work: Called with the asynchronous storage, in its event loop; its result, any awaitable, is awaited.

        Raises:
            InvalidInputError: *work* is not callable, or its result cannot be awaited.
        """
        return self._runner.run(awaited(work, self.asynchronous))

    def submit(self, work: Callable[[voltmem.Storage], Awaitable[T]]) -> Future[T]:
        """
        Do as run(), without waiting. Returns a future; cancelling it cancels the work.

        On an event loop, ``await asyncio.wrap_future(storage.submit(work))`` waits for it.
        """
        return self._runner.submit(awaited(work, self.asynchronous))


class BoundStorage(Storage, of=voltmem.BoundStorage):
    """The storage in ``with storage.transaction() as tx``. One thread at a time may use it."""

    @property
    def connection(self) -> Connection:
        """The connection, for the application's own statements in the same transaction."""
        return twin_of(self._asynchronous.connection, Connection, self._runner)


class Connection(Twin):
    """The connection of a transaction, with the methods of asyncpg's that send a statement."""

    _asynchronous: AsyncpgConnection[Record]

    def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Run a statement, or several without arguments. Returns the status of the last, such as "DELETE 3"."""
        return self._runner.run(self._asynchronous.execute(query, *args, timeout=timeout))

    def executemany(self, command: str, args: Iterable[Sequence[object]], *, timeout: float | None = None) -> None:
        """Run a statement once for each sequence of arguments."""
        self._runner.run(self._asynchronous.executemany(command, list(args), timeout=timeout))

    def fetch(self, query: str, *args: object, timeout: float | None = None) -> list[Record]:
        """Run a statement. Returns its rows."""
        return self._runner.run(self._asynchronous.fetch(query, *args, timeout=timeout))

    def fetchrow(self, query: str, *args: object, timeout: float | None = None) -> Record | None:
        """Run a statement. Returns its first row, or None."""
        return self._runner.run(self._asynchronous.fetchrow(query, *args, timeout=timeout))

    def fetchval(self, query: str, *args: object, column: int = 0, timeout: float | None = None) -> Any:
        """Run a statement. Returns a column of its first row, or None."""
        return self._runner.run(self._asynchronous.fetchval(query, *args, column=column, timeout=timeout))


_ASYNCHRONOUS = inspect.signature(voltmem.PostgresStorage.__init__)
_CONSTRUCTOR = _ASYNCHRONOUS.replace(
    parameters=[each for each in _ASYNCHRONOUS.parameters.values() if each.name not in ("pool", "camel")]
)


# bind() and pool= have no blocking form: an asyncpg connection works only in the event loop that made it, and callers
# cannot make one in this storage's loop. lifespan() is for asynchronous applications.
class PostgresStorage(Storage, ContextThatBlocks, of=voltmem.PostgresStorage, without=["bind", "lifespan"]):
    """
    Keeps conversations and their messages in PostgreSQL, for code that blocks.

    ::

        storage = PostgresStorage("postgresql://user:password@host/db")
        storage.create_conversation({"id": "c1", "user_id": "ada"})
        storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")

    Create one for the whole program: any number of threads may share it, and each call waits in its own thread. The
    connections belong to one thread with an event loop, which the first call starts. A forked process gets its own with
    its first call.
    It is closed at the end of the program, or when it is garbage-collected; close() does it earlier.

    The arguments are those of ``voltmem.PostgresStorage``, without pool, and its errors. Every verb also raises:

        EventLoopError: The thread runs an event loop, which the call would block. In a notebook it may.
    """

    def __init__(
        self, connection: str | ConnectionOptions | Mapping[str, object] | None = None, **options: Any
    ) -> None:
        known = list(_CONSTRUCTOR.parameters)[1:]
        for name in options:
            if name == "pool":
                raise InvalidOptionError(
                    "pool: an asyncpg pool works in the event loop that it was made in, and this storage has a loop of "
                    "its own. Give connection instead."
                )
            if name not in known:
                raise InvalidOptionError(describe_unknown("option", name, list(known)))
        self._asynchronous = voltmem.PostgresStorage(connection, **options)
        self._runner = self._own_loop = OwnLoop(f"voltmem {self._asynchronous!r}", self._asynchronous.close)

    __init__.__signature__ = _CONSTRUCTOR  # type: ignore[attr-defined]
    __init__.__module__ = voltmem.PostgresStorage.__module__  # where the names in it are known

    @property
    def asynchronous(self) -> voltmem.PostgresStorage:
        """The asynchronous storage, for objects that run() and submit() use: it works in this storage's event loop."""
        storage: voltmem.PostgresStorage = self._asynchronous
        return storage

    def run(self, work: Callable[[voltmem.PostgresStorage], Awaitable[T]]) -> T:
        """Do as Storage.run(), with the asynchronous PostgresStorage."""
        return self._runner.run(awaited(work, self.asynchronous))

    def submit(self, work: Callable[[voltmem.PostgresStorage], Awaitable[T]]) -> Future[T]:
        """Do as Storage.submit(), with the asynchronous PostgresStorage."""
        return self._runner.submit(awaited(work, self.asynchronous))

    def close(self) -> None:
        """
        Close the pool after the running calls have ended, and end the thread. May be repeated.

        Iterators of watch() end. The embedded server stops if nothing else uses it. open() opens the storage again.
        """
        self._own_loop.end()

    def __enter__(self) -> Self:
        self._runner.run(self._asynchronous.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

"""The blocking database that run() of Agno 2 and later calls."""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any, Self, Unpack

from voltmem._agents.compact_when import CompactWhen
from voltmem._areas.area import check_storage
from voltmem._blocking.loop_thread import runs_event_loop
from voltmem._repr import safe_repr
from voltmem._values import UNSET, AnyUser, Unset
from voltmem.adapters.agno._db import VoltMemDb, not_supported
from voltmem.adapters.agno._installed import IS_AGNO_1, BaseDb, check_agno
from voltmem.adapters.agno._sessions import DEFAULT_RUNS
from voltmem.errors import EventLoopError
from voltmem.options import Window
from voltmem.storage import PostgresStorage
from voltmem.sync import PostgresStorage as BlockingStorage

if TYPE_CHECKING:
    # A database with all methods, typed by Agno. VoltMemSyncDb has them once _add_methods() has run.
    from agno.db.in_memory import InMemoryDb as _Database
else:
    _Database = BaseDb


class VoltMemSyncDb(_Database):
    """
    VoltMemDb for ``run()``: ``Agent(db=…)``, ``Team(db=…)``, ``Workflow(db=…)``, on any thread without an event loop.

    ::

        db = VoltMemSyncDb("postgresql://user:password@host/db")
        agent = Agent(model=model, db=db, pre_hooks=[db.keep_input], add_history_to_context=True)
        agent.run("Hello", user_id="ada", session_id="c1")

    It has VoltMemDb's methods, which block. In ``arun()`` they raise EventLoopError: use a VoltMemDb there.

    Args:
        storage: A voltmem.sync.PostgresStorage, which this object never closes; or a connection string, from which it
            creates a storage that keeps all messages. None: VOLTMEM_DATABASE_URL, then DATABASE_URL, then the embedded
            PostgreSQL.
        user_id: As for VoltMemDb, like the arguments that follow.
        runs: The number of newest runs to read from a session.
        on_error: Called with each error before it is raised.
        id: Agno's id of the database.
        compact_when: When to summarise what is old in a session.
        recall: Whether show_window recalls.
        window: What show_window shows.
    """

    def __init__(
        self,
        storage: BlockingStorage | str | None = None,
        *,
        user_id: str | AnyUser | Unset = UNSET,
        runs: int | None = DEFAULT_RUNS,
        on_error: Callable[[Exception], object] | None = None,
        id: str | None = None,
        compact_when: CompactWhen | None = None,
        recall: bool = False,
        **window: Unpack[Window],
    ) -> None:
        check_agno("VoltMemSyncDb", "VoltMemStorage", is_supported=not IS_AGNO_1)
        BaseDb.__init__(self, id=id)
        self._owns_storage = storage is None or isinstance(storage, str)
        self.storage = (
            BlockingStorage(storage, storage_limit=None) if storage is None or isinstance(storage, str) else storage
        )
        """The storage with the sessions as conversations and messages."""
        check_storage(self.storage, BlockingStorage)
        self.last_error: Exception | None = None
        """The last error of a method that Agno called; None: no error yet."""
        self._on_error = on_error
        self._db = VoltMemDb(
            self.storage.asynchronous,
            user_id=user_id,
            runs=runs,
            id=id,
            compact_when=compact_when,
            recall=recall,
            **window,
        )

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.storage!r}>"

    def close(self) -> None:
        """Close the storage, if it was created from a connection string."""
        if self._owns_storage:
            self.storage.close()

    def for_user(self, user_id: str) -> Self:
        """Return the same database for one user, as VoltMemDb.for_user() does."""
        twin = copy(self)
        twin._db = self._db.for_user(user_id)
        return twin

    def keep_input(self, run_input: Any, run_context: Any, agent: Any = None, team: Any = None) -> None:
        """Store the user's message before the model is called: ``Agent(db=db, pre_hooks=[db.keep_input])``."""
        self._wait("keep_input", run_input, run_context, agent, team)

    def show_window(self, run_input: Any, session: Any, user_id: str | None = None) -> None:
        """Show the model a window of the session in place of Agno's own history, as VoltMemDb.show_window() does."""
        self._wait("show_window", run_input, session, user_id)

    def upsert_sessions(
        self, sessions: list[Any], deserialize: bool | None = True, preserve_updated_at: bool = False
    ) -> list[Any]:
        """Store the sessions one after another. Returns them as stored."""
        return [self._wait("upsert_session", session, deserialize) for session in sessions]

    def _wait(self, name: str, *arguments: Any, **named: Any) -> Any:
        async def work(_: PostgresStorage) -> Any:
            return await getattr(self._db, name)(*arguments, **named)

        try:
            if runs_event_loop():
                raise EventLoopError(
                    f"{name}: VoltMemSyncDb would block the event loop of this thread. Give arun() a VoltMemDb, "
                    "or call run() in another thread."
                )
            return self.storage.run(work)
        except Exception as error:
            self.last_error = error
            if self._on_error is not None:
                self._on_error(error)
            raise


def _make_blocking(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def blocking(self: VoltMemSyncDb, *arguments: Any, **named: Any) -> Any:
        return self._wait(name, *arguments, **named)

    return blocking


def _unsupported_method(name: str) -> Callable[..., Any]:
    def unsupported(*_: object, **__: object) -> None:
        raise not_supported(name)

    return unsupported


def _add_methods() -> None:
    """Add a blocking form of each method of VoltMemDb. Methods that only Agno's blocking databases have will raise."""
    for name, method in vars(VoltMemDb).items():
        if inspect.iscoroutinefunction(method) and not name.startswith("_") and name not in vars(VoltMemSyncDb):
            setattr(VoltMemSyncDb, name, _make_blocking(name, method))
    for name in getattr(BaseDb, "__abstractmethods__", ()):
        if name not in vars(VoltMemSyncDb):
            setattr(VoltMemSyncDb, name, _unsupported_method(name))
    abc.update_abstractmethods(VoltMemSyncDb)


if not IS_AGNO_1:
    _add_methods()

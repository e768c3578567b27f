"""What Agno 1 calls: its storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from functools import partial
from typing import Any, Final, Protocol, Self

from voltmem._agents.native import Payload, list_payloads
from voltmem._areas.area import access
from voltmem._parts import SYSTEM_ROLES
from voltmem._values import ANY_USER, UNSET, AnyUser, JsonObject, Unset, short_repr
from voltmem.adapters.agno._blocking import Blocking
from voltmem.adapters.agno._documents import document_of
from voltmem.adapters.agno._installed import IS_AGNO_1, check_agno
from voltmem.adapters.agno._sessions import DEFAULT_RUNS, Sessions
from voltmem.adapters.agno._sessions_of_1 import (
    SESSION_CLASSES,
    Mode,
    Session,
    component_key,
    formats_of,
    mode_of,
    save_session,
    to_session,
)
from voltmem.errors import InvalidOptionError, SchemaNotReadyError
from voltmem.options import DEFAULT_RESOURCE_ID, DEFAULT_TABLE_PREFIX, OnLimit
from voltmem.storage import PostgresStorage
from voltmem.sync import PostgresStorage as BlockingStorage


class _Engine(Protocol):
    """What is needed of an engine of SQLAlchemy's: where it points."""

    @property
    def url(self) -> Any: ...


class VoltMemStorage:
    """
    What Agno 1 keeps sessions in, instead of its PostgresStorage: ``Agent(storage=…)``, ``Team(…)``, ``Workflow(…)``.

    ::

        storage = VoltMemStorage("agent_sessions", db_url="postgresql://user:password@host/db")
        agent = Agent(model=model, storage=storage, user_id="ada", add_history_to_messages=True)

    Its methods block, also within ``arun()``, as those of every storage of Agno 1. Making one does no I/O. One may
    serve an agent, its team and a workflow at once, any number of threads, and processes that are forked.

    Args:
        table_name: The first part of every table's name.
        schema: The PostgreSQL schema of all tables, made if it is missing.
        db_url: A connection string as of SQLAlchemy, asyncpg or psycopg. None: VOLTMEM_DATABASE_URL, then
            DATABASE_URL, then the embedded PostgreSQL.
        db_engine: An engine of SQLAlchemy's instead: where it points.
        schema_version: 1; Agno has no other.
        auto_upgrade_schema: Upgrades older tables on first use; else they are a SchemaNotReadyError. Tables that are
            missing are made in any case.
        mode: What read() and the lists are about. Agno sets it before each run.
        storage: A voltmem.sync.PostgresStorage instead of all these, with its own options.
        user_id: Only this user's sessions; another user's is a ConversationNotFoundError, before a model is called. See
            for_user(). Not given: a list or a session that names no user means the user "default". read() and
            delete_session() find any user's session by its id, because Agno 1 never names the user there; upsert()
            checks the owner. So give the user where users choose session ids. ANY_USER, for trusted code: a list that
            names no user has all users' sessions.
        runs: How many of a session's newest runs are read; None: all. Agno shows a model 3 unless told otherwise.
        storage_limit: How many of the newest messages each session keeps; None keeps all, as Agno does.
        on_limit: "delete", or "archive".
    """

    def __init__(
        self,
        table_name: str | None = None,
        schema: str = "ai",
        db_url: str | None = None,
        db_engine: _Engine | None = None,
        schema_version: int = 1,
        auto_upgrade_schema: bool = False,
        mode: Mode | None = "agent",
        *,
        storage: BlockingStorage | None = None,
        user_id: str | AnyUser | Unset = UNSET,
        runs: int | None = DEFAULT_RUNS,
        storage_limit: int | None = None,
        on_limit: OnLimit = "delete",
    ) -> None:
        check_agno("VoltMemStorage", "VoltMemDb", is_there=IS_AGNO_1)
        if schema_version != 1:
            raise InvalidOptionError(f"schema_version {short_repr(schema_version)}: use 1, the only one that Agno has")
        if storage is not None and not isinstance(storage, BlockingStorage):
            raise InvalidOptionError(
                f"storage {short_repr(storage)}: Agno 1 calls it blocking, so use a voltmem.sync.PostgresStorage"
            )
        if storage is None:
            storage = BlockingStorage(
                db_engine.url.render_as_string(hide_password=False) if db_engine is not None else db_url,
                table_prefix=DEFAULT_TABLE_PREFIX if table_name is None else table_name,
                schema=schema,
                storage_limit=storage_limit,
                on_limit=on_limit,
                migrate="auto" if auto_upgrade_schema else "check",
            )
            opened = storage.asynchronous
            prepare = opened.open if auto_upgrade_schema else partial(_make_missing_tables, opened)
        elif (table_name, db_url, db_engine) != (None, None, None):
            raise InvalidOptionError(
                "storage was given, with its own prefix and connection: leave out table_name, db_url and db_engine"
            )
        else:
            prepare = storage.asynchronous.open
        self.auto_upgrade_schema = auto_upgrade_schema
        self._sessions = Sessions(storage.asynchronous, user_id, runs)
        self._blocking = Blocking(storage, prepare)
        self._mode: Mode = "agent"
        self.mode = mode

    @property
    def mode(self) -> Mode:
        """Which kind of session read() and the lists are about."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode | None) -> None:
        """Set which kind it is; None: "agent"."""
        if mode is not None and mode not in SESSION_CLASSES:
            raise InvalidOptionError(f"mode {short_repr(mode)}: use one of {', '.join(SESSION_CLASSES)}")
        self._mode = mode or "agent"

    def __deepcopy__(self, memo: object) -> Self:
        return self  # Agno copies an agent with all that it has; the connections are one

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._sessions.storage!r}>"

    # --- sessions ---------------------------------------------------------------------------------------------

    def read(self, session_id: str, user_id: str | None = None) -> Session | None:
        """
        Return the session of this mode with its newest runs; None if there is none.

        Where there are only messages that others stored, they are its runs.

        Raises:
            ConversationNotFoundError: It is another user's, if user_id says whose it must be.
            DatabaseError: It could not be read. Agno would take None for a new session, and overwrite the old one.
        """
        return self._blocking.call(lambda: self._read(session_id, user_id, self._mode))

    def get_all_session_ids(self, user_id: str | None = None, entity_id: str | None = None) -> list[str]:
        """Return the ids of this mode's sessions, the last used first; of a user, of an agent, team or workflow."""
        return [each.conversation.id for each in self._blocking.call(lambda: self._list(user_id, entity_id, None))]

    def get_all_sessions(self, user_id: str | None = None, entity_id: str | None = None) -> list[Session]:
        """Return the sessions with their newest runs, as get_all_session_ids() orders them."""
        return self.get_recent_sessions(user_id, entity_id, None)

    def get_recent_sessions(
        self, user_id: str | None = None, entity_id: str | None = None, limit: int | None = 2
    ) -> list[Session]:
        """Return the sessions that were used last, the last of them first."""
        mode = self._mode

        async def read() -> list[Session]:
            listed = [each.conversation for each in await self._list(user_id, entity_id, limit)]
            sessions = [await self._read(each.id, each.user_id, mode) for each in listed]
            return [each for each in sessions if each is not None]

        return self._blocking.call(read)

    def upsert(self, session: Session) -> Session:
        """
        Store the session's document, and the runs that are new or changed, in one transaction; return the session.

        Runs that are stored and not in the session stay: two agents may write in one session.

        Raises:
            ConversationNotFoundError: The session is another user's.
            InvalidInputError: Something in it is no JSON.
            DatabaseError: Nothing of it is stored.
        """
        document = document_of(session, "session")

        async def save() -> None:
            owner = await self._sessions.owner(session.session_id, session.user_id)
            await save_session(self._sessions, mode_of(session), session.session_id, owner, document)

        self._blocking.call(save)
        return session

    def delete_session(self, session_id: str | None = None) -> None:
        """Delete the conversation, of all modes, with its messages; nothing happens if there is none."""
        if session_id is not None:
            self._blocking.call(lambda: self._sessions.delete(session_id, self._sessions.whose(None, unnamed=ANY_USER)))

    # --- tables -----------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make the tables, if they are missing; the first call of any method does it."""
        self._blocking.call(_nothing)

    def upgrade_schema(self) -> None:
        """Upgrade the tables, whatever auto_upgrade_schema says; nothing happens where they are current."""

        async def upgrade() -> None:
            await self._sessions.storage.upgrade_schema()

        self._blocking.raw_call(upgrade)

    def drop(self) -> None:
        """Drop the tables with all that is in them, other applications' conversations included."""
        self._blocking.raw_call(partial(_drop_tables, self._sessions.storage))
        self._blocking.forget_tables()
        self._sessions.forget()

    # --- for an application -----------------------------------------------------------------------------------

    def for_user(self, user_id: str) -> Self:
        """
        Return the same storage for one user: another's session is an error before a model is called.

        ``Agent(storage=storage.for_user("ada"), user_id="ada", session_id=from_the_request)``
        """
        twin = copy(self)
        twin._sessions = self._sessions.for_user(user_id)
        return twin

    def keep_inputs(self, agent: Any) -> None:
        """
        Store from now on what the user says to the agent before its model is called, whatever becomes of the run.

        A message without a run has ``{"status": "RUNNING"}`` as its metadata, or "ERROR", "CANCELLED". Agno is not
        shown it. The agent gets a copy of its model; call it when the agent has its model.

        Args:
            agent: An Agent of Agno's, that runs one thing at a time, as all of Agno 1.
        """
        agent.model = _model_that_tells(agent.model, partial(self._keeping, agent))

    def close(self) -> None:
        """Close the connections; the next call opens them again. The program's end closes them, too."""
        self._blocking.close()

    @contextmanager
    def _keeping(self, agent: Any, messages: Sequence[Any]) -> Iterator[None]:
        run, state = agent.run_response, agent.session_state or {}
        said = [document_of(each, "message") for each in messages if not each.from_history]
        first = next((each for each in said if each.get("role") not in SYSTEM_ROLES), None)

        async def store(message: JsonObject, status: str) -> None:
            owner = await self._sessions.owner(run.session_id, state.get("current_user_id") or agent.user_id)
            where = run.session_id, owner, formats_of("agent")
            of = agent.agent_id or DEFAULT_RESOURCE_ID
            await self._sessions.keep_input(*where, run.run_id, message, status, resource_id=of)

        def keep(status: str) -> None:
            if first is not None:
                self._blocking.call(partial(store, first, status))

        keep("RUNNING")
        try:
            yield
        except Exception:
            keep("ERROR")
            raise
        except BaseException:  # a cancelled task, a stream that nobody reads on
            keep("CANCELLED")
            raise

    # --- inside the thread ------------------------------------------------------------------------------------

    async def _read(self, session_id: str, user_id: str | None, mode: Mode) -> Session | None:
        owner = await self._sessions.owner(session_id, user_id, unnamed=ANY_USER)
        kind = mode if mode in ("agent", "team") else None
        loaded = await self._sessions.load(session_id, owner, formats_of(mode), kind, self._sessions.runs)
        return None if loaded is None else to_session(mode, *loaded)

    async def _list(self, user_id: str | None, entity_id: str | None, limit: int | None) -> list[Payload]:
        mode, owner = self._mode, self._sessions.whose(user_id)
        if owner is None:
            return []
        found = await list_payloads(
            self._sessions.storage,
            [formats_of(mode).session],
            user_id=owner,
            limit=None if entity_id else limit,
        )
        if entity_id:
            key = component_key(mode)
            found = [each for each in found if isinstance(each.payload, dict) and each.payload.get(key) == entity_id]
        return found[:limit]


def _model_that_tells(model: Any, keeping: Callable[[Sequence[Any]], AbstractContextManager[None]]) -> Any:
    """Return a copy of a model of Agno 1 that works inside of the context with whatever it is asked."""
    twin = copy(model)
    response, aresponse = twin.response, twin.aresponse
    response_stream, aresponse_stream = twin.response_stream, twin.aresponse_stream

    def tells(messages: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        with keeping(messages):
            return response(messages, *arguments, **named)

    async def atells(messages: Sequence[Any], *arguments: Any, **named: Any) -> Any:
        with keeping(messages):
            return await aresponse(messages, *arguments, **named)

    def tells_stream(messages: Sequence[Any], *arguments: Any, **named: Any) -> Iterator[Any]:
        with keeping(messages):
            yield from response_stream(messages, *arguments, **named)

    async def atells_stream(messages: Sequence[Any], *arguments: Any, **named: Any) -> AsyncIterator[Any]:
        with keeping(messages):
            async for event in aresponse_stream(messages, *arguments, **named):
                yield event

    twin.response, twin.aresponse = tells, atells
    twin.response_stream, twin.aresponse_stream = tells_stream, atells_stream
    return twin


_CONVERSATIONS: Final = "conversation_schema"  # the migration of VoltAgent's first tables, which has no file


async def _nothing() -> None:
    return None


async def _make_missing_tables(storage: PostgresStorage) -> None:
    """Open the storage, and make all tables where there are none; SchemaNotReadyError where there are older ones."""
    before: list[str] | None = None
    while True:
        try:
            return await storage.open()
        except SchemaNotReadyError as error:
            if error.missing == before:
                raise
            before = error.missing
        if all(each.applied_at is None for each in await storage.schema_status()) and _CONVERSATIONS not in before:
            await storage.upgrade_schema()
        else:
            # Another process may be making them just now, one migration after another.
            await asyncio.sleep(1)


async def _drop_tables(storage: PostgresStorage) -> None:
    tables = access(storage).options.tables
    async with storage.transaction() as tx:
        for table in tables.all_tables():
            await tx.connection.execute(f"DROP TABLE IF EXISTS {table}")
        for function in tables.all_functions():
            await tx.connection.execute(f"DROP FUNCTION IF EXISTS {function}")
    await storage.close()

"""The storage that Agno 1 calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from functools import partial
from typing import Any, Protocol, Self, Unpack

from voltmem._agents.compact_when import CompactWhen
from voltmem._agents.native import Payload, list_payloads
from voltmem._areas.area import access, check_storage
from voltmem._postgres.migrations.conversation_schema import NAME as CONVERSATION_SCHEMA
from voltmem._repr import safe_repr
from voltmem._values import ANY_USER, UNSET, AnyUser, JsonObject, Unset, short_repr
from voltmem.adapters._working_memory import after_system
from voltmem.adapters.agno._blocking import Blocking
from voltmem.adapters.agno._documents import document_of, left_out_if_unreadable
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
from voltmem.options import DEFAULT_RESOURCE_ID, DEFAULT_TABLE_PREFIX, OnLimit, Window
from voltmem.parts import SYSTEM_ROLES
from voltmem.storage import PostgresStorage
from voltmem.sync import PostgresStorage as BlockingStorage


class _Engine(Protocol):
    """The part of a SQLAlchemy engine that is used: its URL."""

    @property
    def url(self) -> Any: ...


class VoltMemStorage:
    """
    A storage for the sessions of Agno 1, instead of its PostgresStorage: ``Agent(storage=…)``, ``Team``, ``Workflow``.

    ::

        storage = VoltMemStorage("agent_sessions", db_url="postgresql://user:password@host/db")
        agent = Agent(model=model, storage=storage, user_id="ada", add_history_to_messages=True)

    Its methods block, even in ``arun()``, like those of every storage of Agno 1. The constructor does no I/O. One
    storage can serve an agent, its team and a workflow at once, any number of threads, and forked processes.

    Args:
        table_name: The prefix of all table names.
        schema: The PostgreSQL schema of all tables; created if it is missing.
        db_url: A connection string for SQLAlchemy, asyncpg or psycopg. None: VOLTMEM_DATABASE_URL, then DATABASE_URL,
            then the embedded PostgreSQL.
        db_engine: A SQLAlchemy engine, whose URL is used instead of db_url.
        schema_version: 1, the only version that Agno has.
        auto_upgrade_schema: Whether to upgrade older tables on first use. If not, older tables raise
            SchemaNotReadyError. Missing tables are always created.
        mode: The kind of session that read() and the lists return. Agno sets it before each run.
        storage: A voltmem.sync.PostgresStorage with its own options, instead of the arguments above and storage_limit
            and on_limit.
        user_id: Limits the storage to this user's sessions; another user's session raises ConversationNotFoundError
            before a model is called. See for_user(). Not given: a list or a session that names no user is of the user
            "default". read() and delete_session() find any user's session by its id, because Agno 1 never names the
            user there; upsert() checks the owner. So give the user if users choose session ids. ANY_USER, for trusted
            code: a list that names no user has all users' sessions.
        runs: The number of newest runs to read from a session; None: all. By default Agno passes 3 to a model.
        storage_limit: The number of newest messages to keep in each session; None keeps all, as Agno does.
        on_limit: "delete" or "archive": what happens to messages over the limit.
        compact_when: When to summarise what is old in a session, beside the runs; None: only ``memory.compact()`` does.
        recall: Whether show_windows() puts what the user's other sessions have about the question before the history,
            as quoted data. The storage needs search=True, or recall=Recall(…).
        window: What show_windows() shows, as in ``memory.messages()``: limit, turns or tokens; count, shorten_results.
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
        compact_when: CompactWhen | None = None,
        recall: bool = False,
        **window: Unpack[Window],
    ) -> None:
        check_agno("VoltMemStorage", "VoltMemDb", is_supported=IS_AGNO_1)
        if schema_version != 1:
            raise InvalidOptionError(f"schema_version {short_repr(schema_version)}: use 1, the only one that Agno has")
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
            check_storage(storage, BlockingStorage)
            prepare = storage.asynchronous.open
        self.auto_upgrade_schema = auto_upgrade_schema
        self._sessions = Sessions(storage.asynchronous, user_id, runs, compact_when, recall, window)
        self._blocking = Blocking(storage, prepare)
        self._mode: Mode = "agent"
        self.mode = mode

    @property
    def mode(self) -> Mode:
        """The kind of session that read() and the lists return."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode | None) -> None:
        """Set the kind of session; None: "agent"."""
        if mode is not None and mode not in SESSION_CLASSES:
            raise InvalidOptionError(f"mode {short_repr(mode)}: use one of {', '.join(SESSION_CLASSES)}")
        self._mode = mode or "agent"

    def __deepcopy__(self, memo: object) -> Self:
        return self  # Agno deep-copies agents, and the copies share the connections

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._sessions.storage!r}>"

    # --- sessions ---------------------------------------------------------------------------------------------

    def read(self, session_id: str, user_id: str | None = None) -> Session | None:
        """
        Return the session of this mode with its newest runs; None if there is none.

        A conversation that Agno has not stored is a session too: its messages become runs.

        Raises:
            ConversationNotFoundError: The session is another user's, and user_id or the storage's user is given.
            DatabaseError: The session could not be read. None would make Agno start a new session and overwrite the
                old one.
            UnreadableError: This Agno cannot read what is stored.
        """
        return self._blocking.call(lambda: self._read(session_id, user_id, self._mode))

    def get_all_session_ids(self, user_id: str | None = None, entity_id: str | None = None) -> list[str]:
        """Return the ids of this mode's sessions of a user or component (entity_id), the last used first."""
        return [each.conversation.id for each in self._blocking.call(lambda: self._list(user_id, entity_id, None))]

    def get_all_sessions(self, user_id: str | None = None, entity_id: str | None = None) -> list[Session]:
        """Return the sessions with their newest runs, in the order of get_all_session_ids()."""
        return self.get_recent_sessions(user_id, entity_id, None)

    def get_recent_sessions(
        self, user_id: str | None = None, entity_id: str | None = None, limit: int | None = 2
    ) -> list[Session]:
        """
        Return the most recently used sessions with their newest runs, the last used first.

        A session that this Agno cannot read is left out, with a warning in the log.
        """
        mode = self._mode

        async def read() -> list[Session]:
            sessions: list[Session] = []
            for each in [each.conversation for each in await self._list(user_id, entity_id, limit)]:
                with left_out_if_unreadable():
                    if (session := await self._read(each.id, each.user_id, mode)) is not None:
                        sessions.append(session)
            return sessions

        return self._blocking.call(read)

    def upsert(self, session: Session) -> Session:
        """
        Store the session's document and its new or changed runs in one transaction. Returns the session.

        Stored runs that are not in the session stay, because two agents may write to one session.

        Raises:
            ConversationNotFoundError: The session is another user's.
            InvalidInputError: The session contains a value that is not JSON.
            DatabaseError: The transaction failed; nothing was stored.
        """
        document = document_of(session, "session")

        async def save() -> None:
            owner = await self._sessions.require_owner(session.session_id, session.user_id)
            await save_session(self._sessions, mode_of(session), session.session_id, owner, document)

        self._blocking.call(save)
        return session

    def delete_session(self, session_id: str | None = None) -> None:
        """Delete the conversation with its messages and its sessions of all modes. Does nothing if there is none."""
        if session_id is not None:
            owner = self._sessions.resolve_owner(None, default=ANY_USER)
            self._blocking.call(lambda: self._sessions.delete(session_id, owner))

    # --- tables -----------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Create the tables if they are missing. The first call of any method does the same."""
        self._blocking.call(_nothing)

    def upgrade_schema(self) -> None:
        """Upgrade the tables, even without auto_upgrade_schema. Does nothing if they are current."""

        async def upgrade() -> None:
            await self._sessions.storage.upgrade_schema()

        self._blocking.raw_call(upgrade)

    def drop(self) -> None:
        """Drop the tables with all their rows, including other applications' conversations."""
        self._blocking.raw_call(partial(_drop_tables, self._sessions.storage))
        self._blocking.forget_tables()
        self._sessions.forget()

    # --- called by the application ----------------------------------------------------------------------------

    def for_user(self, user_id: str) -> Self:
        """
        Return the same storage limited to one user: another user's session raises before a model is called.

        ``Agent(storage=storage.for_user("ada"), user_id="ada", session_id=from_the_request)``
        """
        twin = copy(self)
        twin._sessions = self._sessions.for_user(user_id)
        return twin

    def keep_inputs(self, agent: Any) -> None:
        """
        Store each message of the user before the agent's model is called, from now on.

        A message whose run Agno has not stored has ``{"status": "RUNNING"}``, "ERROR" or "CANCELLED" as its metadata.
        Agno reads it only once somebody else has answered it. The agent's model is replaced by a copy, so set the model
        first.

        Args:
            agent: An Agent of Agno 1, which runs one thing at a time.
        """
        agent.model = _wrap_model(agent.model, partial(self._keeping_input, agent))

    def show_windows(self, agent: Any) -> None:
        """
        Show the agent's model a window of the session in place of Agno's own history, from now on.

        It begins with the summary, if there is one, and has what was recalled, and the messages since, by the arguments
        of this storage. Nothing of it is stored with the run. The agent's model is replaced by a copy, so set the model
        first.

        Args:
            agent: An Agent of Agno 1, with or without add_history_to_messages.
        """
        agent.model = _wrap_model(agent.model, partial(self._showing_window, agent))

    def close(self) -> None:
        """Close the connections. The next call opens them again. They are also closed when the program exits."""
        self._blocking.close()

    @contextmanager
    def _keeping_input(self, agent: Any, messages: Sequence[Any]) -> Iterator[None]:
        run = agent.run_response
        new = [document_of(each, "message") for each in messages if not each.from_history]
        first = next((each for each in new if each.get("role") not in SYSTEM_ROLES), None)

        async def store(message: JsonObject, status: str) -> None:
            owner = await self._owner_of_run(agent)
            where = run.session_id, owner, formats_of("agent")
            resource_id = agent.agent_id or DEFAULT_RESOURCE_ID
            await self._sessions.keep_input(*where, run.run_id, message, status, resource_id=resource_id)

        def keep(status: str) -> None:
            if first is not None:
                self._blocking.call(partial(store, first, status))

        keep("RUNNING")
        try:
            yield
        except Exception:
            keep("ERROR")
            raise
        except BaseException:  # the task was cancelled, or the stream was not read to its end
            keep("CANCELLED")
            raise

    @contextmanager
    def _showing_window(self, agent: Any, messages: list[Any]) -> Iterator[None]:
        start = after_system(messages, lambda each: each.role in SYSTEM_ROLES)
        new = [each for each in messages[start:] if not each.from_history]
        question = document_of(new[0], "message") if new else None

        async def read() -> list[JsonObject]:
            where = agent.run_response.session_id, await self._owner_of_run(agent), formats_of("agent")
            return await self._sessions.window(*where, question)

        kind = type(messages[0]) if messages else None
        history = [kind(**{**each, "from_history": True}) for each in self._blocking.call(read)] if kind else []
        messages[start:] = [*history, *new]  # Agno reads this list again after the answer
        yield

    # --- in the event loop of the storage ---------------------------------------------------------------------

    async def _owner_of_run(self, agent: Any) -> str:
        state = agent.session_state or {}
        user_id = state.get("current_user_id") or agent.user_id
        return await self._sessions.require_owner(agent.run_response.session_id, user_id)

    async def _read(self, session_id: str, user_id: str | None, mode: Mode) -> Session | None:
        owner = await self._sessions.require_owner(session_id, user_id, default=ANY_USER)
        kind = mode if mode in ("agent", "team") else None
        loaded = await self._sessions.load(session_id, owner, formats_of(mode), kind, self._sessions.runs)
        return None if loaded is None else to_session(mode, *loaded)

    async def _list(self, user_id: str | None, entity_id: str | None, limit: int | None) -> list[Payload]:
        mode, owner = self._mode, self._sessions.resolve_owner(user_id)
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


def _wrap_model(model: Any, within: Callable[[list[Any]], AbstractContextManager[None]]) -> Any:
    """Return a copy of a model of Agno 1 that handles each request within the context manager of its messages."""
    twin = copy(model)
    response, aresponse = twin.response, twin.aresponse
    response_stream, aresponse_stream = twin.response_stream, twin.aresponse_stream

    def wrapped_response(messages: list[Any], *arguments: Any, **named: Any) -> Any:
        with within(messages):
            return response(messages, *arguments, **named)

    async def wrapped_aresponse(messages: list[Any], *arguments: Any, **named: Any) -> Any:
        with within(messages):
            return await aresponse(messages, *arguments, **named)

    def wrapped_stream(messages: list[Any], *arguments: Any, **named: Any) -> Iterator[Any]:
        with within(messages):
            yield from response_stream(messages, *arguments, **named)

    async def wrapped_astream(messages: list[Any], *arguments: Any, **named: Any) -> AsyncIterator[Any]:
        with within(messages):
            async for event in aresponse_stream(messages, *arguments, **named):
                yield event

    twin.response, twin.aresponse = wrapped_response, wrapped_aresponse
    twin.response_stream, twin.aresponse_stream = wrapped_stream, wrapped_astream
    return twin


async def _nothing() -> None:
    return None


async def _make_missing_tables(storage: PostgresStorage) -> None:
    """Open the storage, and create all tables if none exists. Raises SchemaNotReadyError if there are older tables."""
    before: list[str] | None = None
    while True:
        try:
            return await storage.open()
        except SchemaNotReadyError as error:
            if error.missing == before:
                raise
            before = error.missing
        is_empty = all(each.applied_at is None for each in await storage.schema_status())
        if is_empty and CONVERSATION_SCHEMA not in before:
            await storage.upgrade_schema()
        else:
            # Another process may be creating them right now, one migration after another.
            await asyncio.sleep(1)


async def _drop_tables(storage: PostgresStorage) -> None:
    tables = access(storage).options.tables
    async with storage.transaction() as tx:
        for table in tables.all_tables():
            await tx.connection.execute(f"DROP TABLE IF EXISTS {table}")
        for function in tables.all_functions():
            await tx.connection.execute(f"DROP FUNCTION IF EXISTS {function}")
    await storage.close()

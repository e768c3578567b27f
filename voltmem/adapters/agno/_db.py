"""The database that Agno 2 and later call."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from voltmem._agents.compact_when import CompactWhen
from voltmem._agents.native import Payload, list_payloads
from voltmem._areas.area import check_storage
from voltmem._repr import safe_repr
from voltmem._values import UNSET, AnyUser, JsonObject, Unset
from voltmem.adapters.agno._documents import (
    document_of,
    epoch_seconds,
    left_out_if_unreadable,
    objects_of,
    plain_json,
    read_by_agno,
)
from voltmem.adapters.agno._installed import IS_AGNO_1, AsyncBaseDb, check_agno
from voltmem.adapters.agno._runs import FORMAT, UNFINISHED, Formats, parent_of
from voltmem.adapters.agno._selection import Selection, seconds_or_none
from voltmem.adapters.agno._sessions import DEFAULT_RUNS, Sessions, resource_id_of, with_title
from voltmem.errors import ConversationNotFoundError
from voltmem.models import Owner
from voltmem.options import DEFAULT_RESOURCE_ID, Window
from voltmem.storage import PostgresStorage

if TYPE_CHECKING or not IS_AGNO_1:
    from agno.db.base import SessionType
    from agno.models.message import Message
    from agno.session import AgentSession, TeamSession, WorkflowSession

_ALL_KINDS: Final = Formats(FORMAT)


def not_supported(name: str) -> NotImplementedError:
    """Return the error for a method that does not store sessions."""
    return NotImplementedError(
        f"there is no {name}(), because voltmem stores only sessions with their runs: use a database of Agno's own "
        "for runs by id, memories, knowledge, metrics, evaluations and traces"
    )


def _unsupported_method(name: str) -> Any:
    async def unsupported(*_: object, **__: object) -> None:
        raise not_supported(name)

    return unsupported


class VoltMemDb(AsyncBaseDb):
    """
    The database for Agno 2 and later, for ``arun()``: ``Agent(db=…)``, ``Team(db=…)``, ``Workflow(db=…)``.

    ::

        db = VoltMemDb("postgresql://user:password@host/db")
        agent = Agent(model=model, db=db, pre_hooks=[db.keep_input], add_history_to_context=True)
        await agent.arun("Hello", user_id="ada", session_id="c1")

    Agno hides the error if a session could not be stored: see last_error and on_error. Users' memories, knowledge,
    evaluations, metrics and traces are not supported: their methods raise NotImplementedError.

    Args:
        storage: A PostgresStorage, open or not, which this object never closes; or a connection string, from which it
            creates a storage that keeps all messages. None: VOLTMEM_DATABASE_URL, then DATABASE_URL, then the embedded
            PostgreSQL.
        user_id: Limits the database to this user's sessions, whether Agno names a user or not. Not given: a run or a
            call that names no user is the user "default", and reads, lists, renames and deletes no other user's
            sessions. ANY_USER, for trusted code (an administrator's list): such a call concerns all users' sessions, as
            in Agno's own databases; a session that it creates belongs to the user "default".
        runs: The number of newest runs to read from a session; None: all. By default Agno passes 3 to a model.
        on_error: Called with each error of the methods that Agno calls, before it is raised.
        id: Agno's id of the database; generated if not given.
        compact_when: When to summarise what is old in a session, beside the runs; None: only ``memory.compact()`` does.
        recall: Whether the hook show_window puts what the user's other sessions have about the question before the
            history, as quoted data. The storage needs search=True, or recall=Recall(…).
        window: What show_window shows, as in ``memory.messages()``: limit, turns or tokens; count, shorten_results.
    """

    def __init__(
        self,
        storage: PostgresStorage | str | None = None,
        *,
        user_id: str | AnyUser | Unset = UNSET,
        runs: int | None = DEFAULT_RUNS,
        on_error: Callable[[Exception], object] | None = None,
        id: str | None = None,
        compact_when: CompactWhen | None = None,
        recall: bool = False,
        **window: Unpack[Window],
    ) -> None:
        check_agno("VoltMemDb", "VoltMemStorage", is_supported=not IS_AGNO_1)
        super().__init__(id=id)
        self._owns_storage = storage is None or isinstance(storage, str)
        self.storage = (
            PostgresStorage(storage, storage_limit=None) if storage is None or isinstance(storage, str) else storage
        )
        """The storage with the sessions as conversations and messages."""
        check_storage(self.storage, PostgresStorage)
        self.last_error: Exception | None = None
        """The last error of a method that Agno called; None: no error yet."""
        self._on_error = on_error
        self._sessions = Sessions(self.storage, user_id, runs, compact_when, recall, window)

    def __deepcopy__(self, memo: object) -> Self:
        return self

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.storage!r}>"

    async def close(self) -> None:
        """Close the storage, if it was created from a connection string."""
        if self._owns_storage:
            await self.storage.close()

    # --- sessions ---------------------------------------------------------------------------------------------

    async def get_session(
        self,
        session_id: str,
        session_type: SessionType | None = None,
        user_id: str | None = None,
        deserialize: bool | None = True,
        runs_limit: int | None = None,
    ) -> AgentSession | TeamSession | WorkflowSession | dict[str, Any] | None:
        """
        Return the session with its newest runs; None if there is none.

        Messages that other frameworks or the application stored become runs, too.

        Args:
            session_id: The session's id. An agent and a team with the same session id share the session.
            session_type: The kind of session to return; None: the kind that was stored.
            user_id: The user the session must belong to; None: as this database's user_id defines.
            deserialize: False: return a dict.
            runs_limit: The maximum number of runs, and only runs that Agno passes to a model. None: the newest runs of
                every kind, as many as this database's ``runs``.

        Raises:
            ConversationNotFoundError: The session is another user's. Agno fails the run before the model is called.
            UnreadableError: This Agno cannot read what is stored. ``deserialize=False`` returns it as it is.
        """
        with self._reporting_errors():
            owner = await self._sessions.require_owner(session_id, user_id)
            kind = getattr(session_type, "value", session_type)
            limit = self._sessions.runs if runs_limit is None else runs_limit
            loaded = await self._sessions.load(session_id, owner, _ALL_KINDS, kind or "agent", limit)
            if loaded is None:
                return None
            kept, runs = loaded
            if runs_limit is not None:
                runs = _for_models(runs, runs_limit)
            session = _session_of_2(kept, runs, kind)
            return _deserialized(session) if deserialize else session

    async def get_sessions(
        self,
        session_type: SessionType | None = None,
        user_id: str | None = None,
        component_id: str | None = None,
        session_name: str | None = None,
        start_timestamp: int | None = None,
        end_timestamp: int | None = None,
        limit: int | None = None,
        page: int | None = None,
        sort_by: str | None = None,
        sort_order: str | None = None,
        deserialize: bool | None = True,
        include_runs: bool = True,
    ) -> list[Any] | tuple[list[dict[str, Any]], int]:
        """
        Return the sessions, the last used first unless sort_by is given.

        A session that this Agno cannot read is left out, with a warning in the log, unless deserialize is False.

        Args:
            session_type: Only sessions of agents, teams or workflows.
            user_id: Only this user's sessions; None: as this database's user_id defines.
            component_id: Only sessions of this agent, team or workflow.
            session_name: Only sessions whose name contains this text, ignoring case.
            start_timestamp: Only sessions created at or after this time, in seconds since the epoch.
            end_timestamp: Only sessions created at or before this time, in seconds since the epoch.
            limit: The maximum number of sessions; the size of a page.
            page: The number of the page; the first is 1.
            sort_by: "created_at", "updated_at", "session_name" or another field of a session.
            sort_order: "asc" or "desc".
            deserialize: False: return dicts, together with the total number of sessions over all pages.
            include_runs: Whether to load each session's newest runs, at two round trips for each session.
        """
        with self._reporting_errors():
            owner = self._sessions.resolve_owner(user_id)
            if owner is None:
                return [] if deserialize else ([], 0)
            kind = getattr(session_type, "value", session_type)
            selection = Selection(kind, component_id, session_name, start_timestamp, end_timestamp, sort_by, sort_order)
            start = 0 if limit is None else (max(page or 1, 1) - 1) * limit
            if deserialize and selection == Selection():
                chosen = found = await self._listed(owner, limit, start)
            else:
                found = selection.apply(await self._listed(owner, None, 0))
                chosen = found[start : None if limit is None else start + limit]
            sessions = [session for _, session in chosen]
            if include_runs:
                sessions = [await self._with_runs(each, session) for each, session in chosen]
            return _readable(sessions) if deserialize else (sessions, len(found))

    async def upsert_session(
        self, session: AgentSession | TeamSession | WorkflowSession, deserialize: bool | None = True
    ) -> AgentSession | TeamSession | WorkflowSession | dict[str, Any] | None:
        """
        Store the session's document and its new or changed runs, in one transaction. Returns the session.

        Raises:
            ConversationNotFoundError: The session is another user's.
            InvalidInputError: The session contains a value that is not JSON.
            DatabaseError: The transaction failed; nothing was stored.
        """
        with self._reporting_errors():
            document = document_of(session, "session")
            runs = objects_of(document, "runs")
            document = {**document, "runs": None, "session_type": _kind_of(session)}
            owner = await self._sessions.require_owner(session.session_id, session.user_id)
            await self._sessions.save(
                session.session_id, owner, _ALL_KINDS, runs, document, resource_id=resource_id_of(document)
            )
            return session if deserialize else {**document, "runs": runs}

    async def upsert_run(
        self, run: Any, session_id: str, user_id: str | None = None, run_index: int | None = None
    ) -> None:
        """
        Store the run if it differs from the stored one. Its place in the session is that of its first message.

        Raises:
            ConversationNotFoundError: The session is another user's.
            InvalidInputError: The run contains a value that is not JSON; or it is the run of a team's member, and the
                team's run is not stored.
        """
        with self._reporting_errors():
            document = document_of(run, "run")
            named = document.get("user_id") if user_id is None else user_id
            owner = await self._sessions.require_owner(session_id, named)
            await self._sessions.save(session_id, owner, _ALL_KINDS, [document], resource_id=resource_id_of(document))

    async def rename_session(
        self,
        session_id: str,
        session_type: SessionType | None,
        session_name: str,
        user_id: str | None = None,
        deserialize: bool | None = True,
    ) -> AgentSession | TeamSession | WorkflowSession | dict[str, Any] | None:
        """Rename the session and its conversation. Returns the session; None if the user of get_session() has none."""
        with self._reporting_errors():
            owner = self._sessions.resolve_owner(user_id)
            if owner is None:
                return None
            try:
                conversation = await self.storage.update_conversation(
                    session_id, title=session_name, touch=False, owner=owner
                )
            except ConversationNotFoundError:
                return None
            return await self.get_session(session_id, session_type, conversation.user_id, deserialize)

    async def delete_session(self, session_id: str, user_id: str | None = None) -> bool:
        """Delete the session with its messages. Returns whether the user of get_session() had it."""
        with self._reporting_errors():
            return await self._sessions.delete(session_id, self._sessions.resolve_owner(user_id))

    async def delete_sessions(self, session_ids: list[str], user_id: str | None = None) -> None:
        """Delete the sessions. Sessions that the user of get_session() does not have are ignored."""
        for session_id in session_ids:
            await self.delete_session(session_id, user_id)

    # --- tables -----------------------------------------------------------------------------------------------

    async def table_exists(self, table_name: str) -> bool:
        """Return True: the storage creates its tables on first use."""
        return True

    async def get_latest_schema_version(self, table_name: str) -> str:
        """Return a version that Agno has no migrations for. ``storage.upgrade_schema()`` upgrades the tables."""
        return "3.0.0"

    async def upsert_schema_version(self, table_name: str, version: str) -> None:
        """Do nothing: the storage records the versions of its tables itself."""

    # --- called by the application ----------------------------------------------------------------------------

    def for_user(self, user_id: str) -> Self:
        """Return the same database limited to one user, who is also the user of runs that name none."""
        twin = copy(self)
        twin._sessions = self._sessions.for_user(user_id)
        return twin

    async def keep_input(self, run_input: Any, run_context: Any, agent: Any = None, team: Any = None) -> None:
        """
        Store the user's message before the model is called: ``Agent(db=db, pre_hooks=[db.keep_input])``.

        Agno itself stores a run only when the run ends. If it never ends, this message stays, with
        ``{"status": "RUNNING"}`` as its metadata. Agno reads it only once somebody else has answered it. The hook also
        works for teams.
        """
        with self._reporting_errors():
            message = _message_of(run_input)
            owner = await self._sessions.require_owner(run_context.session_id, run_context.user_id)
            resource_id = getattr(agent or team, "id", None) or DEFAULT_RESOURCE_ID
            where = run_context.session_id, owner, _ALL_KINDS
            await self._sessions.keep_input(*where, run_context.run_id, message, "RUNNING", resource_id=resource_id)

    async def show_window(self, run_input: Any, session: Any, user_id: str | None = None) -> None:
        """
        Show the model a window of the session in place of Agno's own history: ``Agent(pre_hooks=[db.show_window])``.

        ::

            db = VoltMemDb(storage, compact_when=CompactWhen(summarize, tokens=8_000), recall=True)
            agent = Agent(model=model, db=db, pre_hooks=[db.show_window], add_history_to_context=True)

        It begins with the summary, if there is one, and has what was recalled, and the messages since, by the arguments
        of this database. Agno's num_history_runs and num_history_messages then say nothing. The session keeps all its
        runs, and stores nothing of what is put before. The hook also works for teams. A run that continues after a
        pause calls no hooks, and so has Agno's own history.

        One round trip; with recall another one.
        """
        with self._reporting_errors():
            owner = await self._sessions.require_owner(session.session_id, user_id)
            history = await self._sessions.window(session.session_id, owner, _ALL_KINDS, _message_of(run_input))
            _show_once(session, [Message.from_dict(each) for each in history])

    # --- not supported ----------------------------------------------------------------------------------------

    get_run: Any = _unsupported_method("get_run")
    get_runs: Any = _unsupported_method("get_runs")
    calculate_metrics: Any = _unsupported_method("calculate_metrics")
    clear_memories: Any = _unsupported_method("clear_memories")
    create_eval_run: Any = _unsupported_method("create_eval_run")
    create_span: Any = _unsupported_method("create_span")
    create_spans: Any = _unsupported_method("create_spans")
    delete_eval_runs: Any = _unsupported_method("delete_eval_runs")
    delete_knowledge_content: Any = _unsupported_method("delete_knowledge_content")
    delete_learning: Any = _unsupported_method("delete_learning")
    delete_user_memories: Any = _unsupported_method("delete_user_memories")
    delete_user_memory: Any = _unsupported_method("delete_user_memory")
    get_all_memory_topics: Any = _unsupported_method("get_all_memory_topics")
    get_eval_run: Any = _unsupported_method("get_eval_run")
    get_eval_runs: Any = _unsupported_method("get_eval_runs")
    get_knowledge_content: Any = _unsupported_method("get_knowledge_content")
    get_knowledge_contents: Any = _unsupported_method("get_knowledge_contents")
    get_learning: Any = _unsupported_method("get_learning")
    get_learnings: Any = _unsupported_method("get_learnings")
    get_metrics: Any = _unsupported_method("get_metrics")
    get_span: Any = _unsupported_method("get_span")
    get_spans: Any = _unsupported_method("get_spans")
    get_trace: Any = _unsupported_method("get_trace")
    get_trace_stats: Any = _unsupported_method("get_trace_stats")
    get_traces: Any = _unsupported_method("get_traces")
    get_user_memories: Any = _unsupported_method("get_user_memories")
    get_user_memory: Any = _unsupported_method("get_user_memory")
    get_user_memory_stats: Any = _unsupported_method("get_user_memory_stats")
    rename_eval_run: Any = _unsupported_method("rename_eval_run")
    upsert_knowledge_content: Any = _unsupported_method("upsert_knowledge_content")
    upsert_learning: Any = _unsupported_method("upsert_learning")
    upsert_trace: Any = _unsupported_method("upsert_trace")
    upsert_user_memory: Any = _unsupported_method("upsert_user_memory")

    # --- helpers ----------------------------------------------------------------------------------------------

    async def _listed(self, owner: Owner, limit: int | None, offset: int) -> list[tuple[Payload, JsonObject]]:
        listed = await list_payloads(self.storage, [_ALL_KINDS.session], user_id=owner, limit=limit, offset=offset)
        return [(each, _session_of_2(each, [], None)) for each in listed]

    async def _with_runs(self, kept: Payload, session: JsonObject) -> JsonObject:
        conversation, kind = kept.conversation, str(session.get("session_type"))
        loaded = await self._sessions.load(conversation.id, conversation.user_id, _ALL_KINDS, kind, self._sessions.runs)
        return session if loaded is None else _session_of_2(loaded[0], loaded[1], kind)

    @contextmanager
    def _reporting_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if error is not self.last_error:
                self.last_error = error
                if self._on_error is not None:
                    self._on_error(error)
            raise


def _add_unsupported_methods() -> None:
    """Define the abstract methods that only some releases of Agno have. They raise NotImplementedError."""
    for name in getattr(AsyncBaseDb, "__abstractmethods__", ()):
        if name not in vars(VoltMemDb):
            setattr(VoltMemDb, name, _unsupported_method(name))
    abc.update_abstractmethods(VoltMemDb)


if not IS_AGNO_1:
    _add_unsupported_methods()


def _message_of(run_input: Any) -> JsonObject:
    """Return the user's message of a run's input."""
    content = plain_json(run_input.input_content, "input")
    return content if isinstance(content, dict) and "role" in content else {"content": content}


def _show_once(session: Any, history: list[Message]) -> None:
    """Let the session return these messages when it is next asked for its history, which the run does next."""
    # The one that this release of Agno calls.
    name = "get_messages" if hasattr(session, "get_messages") else "get_messages_from_last_n_runs"

    def once(*_: object, **__: object) -> list[Message]:
        vars(session).pop(name, None)
        return history

    setattr(session, name, once)


def _kind_of(session: object) -> str:
    return type(session).__name__.removesuffix("Session").lower()


def _for_models(runs: Sequence[JsonObject], limit: int) -> list[JsonObject]:
    """Return the newest runs that Agno passes to a model, at most ``limit``."""
    usable = [each for each in runs if parent_of(each) is None and each.get("status") not in UNFINISHED]
    return usable[len(usable) - min(limit, len(usable)) :]


def _session_of_2(kept: Payload, runs: Sequence[JsonObject], kind: str | None) -> JsonObject:
    """Return the session with its runs as a dict, in the form of Agno's own databases."""
    conversation = kept.conversation
    document: JsonObject = kept.payload if isinstance(kept.payload, dict) else {"user_id": conversation.user_id}
    return {
        **with_title(document, conversation.title),
        "session_id": conversation.id,
        "session_type": kind or document.get("session_type") or "agent",
        "created_at": seconds_or_none(document.get("created_at")) or epoch_seconds(conversation.created_at),
        "updated_at": epoch_seconds(conversation.updated_at),
        "runs": list(runs) or None,
    }


def _deserialized(session: JsonObject) -> AgentSession | TeamSession | WorkflowSession | None:
    kinds: dict[str, type[AgentSession | TeamSession | WorkflowSession]]
    kinds = {"agent": AgentSession, "team": TeamSession, "workflow": WorkflowSession}
    return read_by_agno(
        lambda document: kinds[str(document["session_type"])].from_dict(document), session, str(session["session_id"])
    )


def _readable(sessions: Sequence[JsonObject]) -> list[AgentSession | TeamSession | WorkflowSession | None]:
    """Return Agno's sessions, without those that it cannot read."""
    found: list[AgentSession | TeamSession | WorkflowSession | None] = []
    for each in sessions:
        with left_out_if_unreadable():
            found.append(_deserialized(each))
    return found

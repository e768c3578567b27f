"""What Agno 2 and later call: their database."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from voltmem._agents.native import Payload, list_payloads
from voltmem._values import UNSET, AnyUser, JsonObject, Unset
from voltmem.adapters.agno._documents import document_of, objects_of, plain_json, seconds
from voltmem.adapters.agno._installed import IS_AGNO_1, AsyncBaseDb, check_agno
from voltmem.adapters.agno._runs import FORMAT, UNFINISHED, Formats, parent_of
from voltmem.adapters.agno._sessions import (
    COMPONENT_IDS,
    DEFAULT_RUNS,
    Sessions,
    resource_id_of,
    session_name,
    with_title,
)
from voltmem.errors import ConversationNotFoundError
from voltmem.models import Owner
from voltmem.options import DEFAULT_RESOURCE_ID
from voltmem.storage import PostgresStorage

if TYPE_CHECKING or not IS_AGNO_1:
    from agno.db.base import SessionType
    from agno.session import AgentSession, TeamSession, WorkflowSession

_ALL_KINDS: Final = Formats(FORMAT)


def not_kept(name: str) -> NotImplementedError:
    """Return the error of a method that stores something else than sessions."""
    return NotImplementedError(
        f"there is no {name}(), because voltmem stores only sessions with their runs: use a database of Agno's own "
        "for runs by id, memories, knowledge, metrics, evaluations and traces"
    )


def _refused(name: str) -> Any:
    async def refused(*_: object, **__: object) -> None:
        raise not_kept(name)

    return refused


class VoltMemDb(AsyncBaseDb):
    """
    What Agno 2 and later keep sessions in: ``Agent(db=…)``, ``Team(db=…)``, ``Workflow(db=…)``, run with ``arun()``.

    ::

        db = VoltMemDb("postgresql://user:password@host/db")
        agent = Agent(model=model, db=db, pre_hooks=[db.keep_input], add_history_to_context=True)
        await agent.arun("Hello", user_id="ada", session_id="c1")

    Agno hides it when a session could not be stored: see last_error and on_error. Users' memories, knowledge,
    evaluations, metrics and traces are not kept: NotImplementedError.

    Args:
        storage: A PostgresStorage, open or not, which is used and never closed; or a connection string, of which it
            makes one that keeps all messages. None: VOLTMEM_DATABASE_URL, then DATABASE_URL, then the embedded
            PostgreSQL.
        user_id: Only this user's sessions, whether Agno names a user or not. Not given: a run or a call that names no
            user means the user "default", and reads, lists, renames and deletes no other user's sessions. ANY_USER, for
            trusted code (an administrator's list): it means all users' sessions, as in Agno's own databases; a session
            that it creates belongs to the user "default".
        runs: How many of a session's newest runs are read; None: all. Agno shows a model 3 unless told otherwise.
        on_error: Called with each error of the methods that Agno calls, before it is raised.
        id: What Agno calls the database; made if not given.
    """

    def __init__(
        self,
        storage: PostgresStorage | str | None = None,
        *,
        user_id: str | AnyUser | Unset = UNSET,
        runs: int | None = DEFAULT_RUNS,
        on_error: Callable[[Exception], object] | None = None,
        id: str | None = None,
    ) -> None:
        check_agno("VoltMemDb", "VoltMemStorage", is_there=not IS_AGNO_1)
        super().__init__(id=id)
        self._is_ours = not isinstance(storage, PostgresStorage)
        self.storage = storage if isinstance(storage, PostgresStorage) else PostgresStorage(storage, storage_limit=None)
        """Where the sessions are: its conversations and messages."""
        self.last_error: Exception | None = None
        """What went wrong last in a method that Agno called; None: nothing yet."""
        self._on_error = on_error
        self._sessions = Sessions(self.storage, user_id, runs)

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.storage!r}>"

    async def close(self) -> None:
        """Close the storage, if it was made of a connection string."""
        if self._is_ours:
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
        Return the session with its newest runs; None if there is none. Messages that others stored are runs, too.

        Args:
            session_id: Which one; an agent and a team with the same id share it.
            session_type: What it is returned as; None: what it was stored as.
            user_id: Whose it must be; None: as the user_id of this database says.
            deserialize: False: as a dict.
            runs_limit: So many runs at most, and only those that a model may see; None: the newest, all of them.

        Raises:
            ConversationNotFoundError: It is another user's. Agno fails the run before the model is called.
        """
        with self._told():
            owner = await self._sessions.owner(session_id, user_id)
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
        Return the sessions, the last used first, unless sort_by says otherwise; as dicts with how many there are.

        Args:
            session_type: Only those of agents, teams or workflows.
            user_id: Only this user's; None: as the user_id of this database says.
            component_id: Only those of this agent, team or workflow.
            session_name: Only those with this in their name, in any case.
            start_timestamp: Only those made since, in seconds.
            end_timestamp: Only those made until then.
            limit: How many at most.
            page: Which page of so many; the first is 1.
            sort_by: "created_at", "updated_at", "session_name" or another field of a session.
            sort_order: "asc" or "desc".
            deserialize: False: dicts, and how many there are without limit and page.
            include_runs: Whether they have their newest runs; each costs two round trips.
        """
        with self._told():
            owner = self._sessions.whose(user_id)
            if owner is None:
                return [] if deserialize else ([], 0)
            kind = getattr(session_type, "value", session_type)
            asked = _Asked(kind, component_id, session_name, start_timestamp, end_timestamp, sort_by, sort_order)
            start = 0 if limit is None else (max(page or 1, 1) - 1) * limit
            if deserialize and asked == _Asked():
                chosen = found = await self._listed(owner, limit, start)
            else:
                found = asked.of(await self._listed(owner, None, 0))
                chosen = found[start : None if limit is None else start + limit]
            sessions = [session for _, session in chosen]
            if include_runs:
                sessions = [await self._with_runs(each, session) for each, session in chosen]
            return [_deserialized(each) for each in sessions] if deserialize else (sessions, len(found))

    async def upsert_session(
        self, session: AgentSession | TeamSession | WorkflowSession, deserialize: bool | None = True
    ) -> AgentSession | TeamSession | WorkflowSession | dict[str, Any] | None:
        """
        Store the session's document, and its runs that are new or changed, in one transaction; return the session.

        Raises:
            ConversationNotFoundError: The session is another user's.
            InvalidInputError: Something in it is no JSON.
            DatabaseError: Nothing of it is stored.
        """
        with self._told():
            document = document_of(session, "session")
            runs = objects_of(document, "runs")
            document = {**document, "runs": None, "session_type": _kind_of(session)}
            owner = await self._sessions.owner(session.session_id, session.user_id)
            await self._sessions.save(
                session.session_id, owner, _ALL_KINDS, runs, document, resource_id=resource_id_of(document)
            )
            return session if deserialize else {**document, "runs": runs}

    async def upsert_run(
        self, run: Any, session_id: str, user_id: str | None = None, run_index: int | None = None
    ) -> None:
        """
        Store the run, if it is another than what upsert_session() has stored. Its place is that of its first message.

        Raises:
            ConversationNotFoundError: The session is another user's.
            InvalidInputError: Something in it is no JSON; or it is a member's, and its team's run is not stored.
        """
        with self._told():
            document = document_of(run, "run")
            named = document.get("user_id") if user_id is None else user_id
            owner = await self._sessions.owner(session_id, named)
            await self._sessions.save(session_id, owner, _ALL_KINDS, [document], resource_id=resource_id_of(document))

    async def rename_session(
        self,
        session_id: str,
        session_type: SessionType | None,
        session_name: str,
        user_id: str | None = None,
        deserialize: bool | None = True,
    ) -> AgentSession | TeamSession | WorkflowSession | dict[str, Any] | None:
        """Return the session, named so, and so the conversation; None if the user has none, as in get_session()."""
        with self._told():
            owner = self._sessions.whose(user_id)
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
        """Return whether the user had such a session, as in get_session(); its messages go with it."""
        with self._told():
            return await self._sessions.delete(session_id, self._sessions.whose(user_id))

    async def delete_sessions(self, session_ids: list[str], user_id: str | None = None) -> None:
        """Delete those of the sessions that the user has, as in get_session()."""
        for session_id in session_ids:
            await self.delete_session(session_id, user_id)

    # --- tables -----------------------------------------------------------------------------------------------

    async def table_exists(self, table_name: str) -> bool:
        """Return True: the storage makes its tables on first use."""
        return True

    async def get_latest_schema_version(self, table_name: str) -> str:
        """Return a version from which Agno has nothing to migrate; ``storage.upgrade_schema()`` upgrades the tables."""
        return "3.0.0"

    async def upsert_schema_version(self, table_name: str, version: str) -> None:
        """Do nothing: the storage keeps the versions of its tables."""

    # --- for an application -----------------------------------------------------------------------------------

    def for_user(self, user_id: str) -> Self:
        """Return the same database for one user: his are the sessions of runs that name no user, and nobody else's."""
        twin = copy(self)
        twin._sessions = self._sessions.for_user(user_id)
        return twin

    async def keep_input(self, run_input: Any, run_context: Any, agent: Any = None, team: Any = None) -> None:
        """
        Store what the user says before the model is called: ``Agent(db=db, pre_hooks=[db.keep_input])``.

        Agno itself stores a run at its end, if it comes to one. The message of a run that never ended stays, with
        ``{"status": "RUNNING"}`` as its metadata; Agno is not shown it. A hook of teams, too.
        """
        with self._told():
            said = plain_json(run_input.input_content, "input")
            owner = await self._sessions.owner(run_context.session_id, run_context.user_id)
            message: JsonObject = said if isinstance(said, dict) and "role" in said else {"content": said}
            of = getattr(agent or team, "id", None) or DEFAULT_RESOURCE_ID
            where = run_context.session_id, owner, _ALL_KINDS
            await self._sessions.keep_input(*where, run_context.run_id, message, "RUNNING", resource_id=of)

    # --- not kept ---------------------------------------------------------------------------------------------

    get_run: Any = _refused("get_run")
    get_runs: Any = _refused("get_runs")
    calculate_metrics: Any = _refused("calculate_metrics")
    clear_memories: Any = _refused("clear_memories")
    create_eval_run: Any = _refused("create_eval_run")
    create_span: Any = _refused("create_span")
    create_spans: Any = _refused("create_spans")
    delete_eval_runs: Any = _refused("delete_eval_runs")
    delete_knowledge_content: Any = _refused("delete_knowledge_content")
    delete_learning: Any = _refused("delete_learning")
    delete_user_memories: Any = _refused("delete_user_memories")
    delete_user_memory: Any = _refused("delete_user_memory")
    get_all_memory_topics: Any = _refused("get_all_memory_topics")
    get_eval_run: Any = _refused("get_eval_run")
    get_eval_runs: Any = _refused("get_eval_runs")
    get_knowledge_content: Any = _refused("get_knowledge_content")
    get_knowledge_contents: Any = _refused("get_knowledge_contents")
    get_learning: Any = _refused("get_learning")
    get_learnings: Any = _refused("get_learnings")
    get_metrics: Any = _refused("get_metrics")
    get_span: Any = _refused("get_span")
    get_spans: Any = _refused("get_spans")
    get_trace: Any = _refused("get_trace")
    get_trace_stats: Any = _refused("get_trace_stats")
    get_traces: Any = _refused("get_traces")
    get_user_memories: Any = _refused("get_user_memories")
    get_user_memory: Any = _refused("get_user_memory")
    get_user_memory_stats: Any = _refused("get_user_memory_stats")
    rename_eval_run: Any = _refused("rename_eval_run")
    upsert_knowledge_content: Any = _refused("upsert_knowledge_content")
    upsert_learning: Any = _refused("upsert_learning")
    upsert_trace: Any = _refused("upsert_trace")
    upsert_user_memory: Any = _refused("upsert_user_memory")

    # --- helpers ----------------------------------------------------------------------------------------------

    async def _listed(self, owner: Owner, limit: int | None, offset: int) -> list[tuple[Payload, JsonObject]]:
        listed = await list_payloads(self.storage, [_ALL_KINDS.session], user_id=owner, limit=limit, offset=offset)
        return [(each, _session_of_2(each, [], None)) for each in listed]

    async def _with_runs(self, kept: Payload, session: JsonObject) -> JsonObject:
        conversation, kind = kept.conversation, str(session.get("session_type"))
        loaded = await self._sessions.load(conversation.id, conversation.user_id, _ALL_KINDS, kind, self._sessions.runs)
        return session if loaded is None else _session_of_2(loaded[0], loaded[1], kind)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if error is not self.last_error:
                self.last_error = error
                if self._on_error is not None:
                    self._on_error(error)
            raise


def _refuse_the_rest() -> None:
    """Agno 2 has methods that later ones don't, and the other way round."""
    for name in getattr(AsyncBaseDb, "__abstractmethods__", ()):
        if name not in vars(VoltMemDb):
            setattr(VoltMemDb, name, _refused(name))
    abc.update_abstractmethods(VoltMemDb)


if not IS_AGNO_1:
    _refuse_the_rest()


def _kind_of(session: object) -> str:
    return type(session).__name__.removesuffix("Session").lower()


def _for_models(runs: Sequence[JsonObject], limit: int) -> list[JsonObject]:
    """Return the newest of the runs that a model may see, so many at most."""
    seen = [each for each in runs if parent_of(each) is None and each.get("status") not in UNFINISHED]
    return seen[len(seen) - min(limit, len(seen)) :]


def _session_of_2(kept: Payload, runs: Sequence[JsonObject], kind: str | None) -> JsonObject:
    """Return the session as Agno's own databases do: a dict, with its runs."""
    conversation = kept.conversation
    document: JsonObject = kept.payload if isinstance(kept.payload, dict) else {"user_id": conversation.user_id}
    return {
        **with_title(document, conversation.title),
        "session_id": conversation.id,
        "session_type": kind or document.get("session_type") or "agent",
        "created_at": document.get("created_at") or seconds(conversation.created_at),
        "updated_at": seconds(conversation.updated_at),
        "runs": list(runs) or None,
    }


def _deserialized(session: JsonObject) -> AgentSession | TeamSession | WorkflowSession | None:
    kinds: dict[str, type[AgentSession | TeamSession | WorkflowSession]]
    kinds = {"agent": AgentSession, "team": TeamSession, "workflow": WorkflowSession}
    return kinds[str(session["session_type"])].from_dict(session)


@dataclass(frozen=True)
class _Asked:
    """Which sessions get_sessions() is asked for, and in what order."""

    kind: str | None = None
    component_id: str | None = None
    name: str | None = None
    start: int | None = None
    end: int | None = None
    sort_by: str | None = None
    sort_order: str | None = None

    def of(self, sessions: Sequence[tuple[Payload, JsonObject]]) -> list[tuple[Payload, JsonObject]]:
        """Return those of the sessions, which are given with the last used first."""
        found = [each for each in sessions if self._is_asked_for(each[1])]
        if self.sort_by is not None:
            found.sort(key=lambda each: self._key(each[1]), reverse=self.sort_order != "asc")
        elif self.sort_order == "asc":
            found.reverse()
        return found

    def _is_asked_for(self, session: JsonObject) -> bool:
        created_at = session["created_at"]
        assert isinstance(created_at, int)
        return (
            self.kind in (None, session["session_type"])
            and (self.component_id is None or self.component_id in (session.get(key) for key in COMPONENT_IDS))
            and (self.name is None or self.name.lower() in (session_name(session) or "").lower())
            and (self.start is None or created_at >= self.start)
            and (self.end is None or created_at <= self.end)
        )

    def _key(self, session: JsonObject) -> tuple[bool, Any, str]:
        value = session_name(session) if self.sort_by == "session_name" else session.get(self.sort_by or "")
        return (value is not None, value if isinstance(value, int | str) else "", str(session["session_id"]))

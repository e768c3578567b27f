"""Conversion between the sessions of Agno 1 and what is stored: a document and runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Literal, Protocol, TypeAlias

from pydantic import JsonValue

from voltmem._agents.native import Payload
from voltmem._values import JsonObject
from voltmem.adapters.agno._documents import epoch_seconds, objects_of, read_by_agno
from voltmem.adapters.agno._runs import FORMAT, Formats, messages_of
from voltmem.adapters.agno._sessions import DEFAULT_USER_ID, Sessions, resource_id_of, with_title

Mode: TypeAlias = Literal["agent", "team", "workflow", "workflow_v2"]

# The module and the class of each kind of session in Agno 1.
SESSION_CLASSES: Final[Mapping[Mode, tuple[str, str]]] = {
    "agent": ("agno.storage.session.agent", "AgentSession"),
    "team": ("agno.storage.session.team", "TeamSession"),
    "workflow": ("agno.storage.session.workflow", "WorkflowSession"),
    "workflow_v2": ("agno.storage.session.v2.workflow", "WorkflowSession"),
}


class Session(Protocol):
    """A session of Agno 1: of an agent, a team or a workflow."""

    session_id: str
    user_id: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the session as a dict."""
        ...


def formats_of(mode: str) -> Formats:
    """Return the formats of the mode's sessions."""
    # Each mode has its own formats, because an agent and a team may have sessions with the same id.
    return Formats(f"{FORMAT}-1/{mode}")


def mode_of(session: Session) -> Mode:
    """Return the session's mode."""
    modules: dict[str, Mode] = {module: mode for mode, (module, _) in SESSION_CLASSES.items()}
    return modules.get(type(session).__module__, "agent")


def component_key(mode: str) -> str:
    """Return the key of the id of the agent, team or workflow in a session of this mode."""
    return f"{mode.partition('_')[0]}_id"


async def save_session(sessions: Sessions, mode: str, session_id: str, user_id: str, session: JsonObject) -> None:
    """Store the session's document and its new or changed runs. A session of a team's member has no messages."""
    document, runs = _split(session)
    save = sessions.save_of_member if document.get("team_session_id") else sessions.save
    await save(session_id, user_id, formats_of(mode), runs, document, resource_id=resource_id_of(document))


def _split(session: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
    """Return the session without its runs and without data of other sessions, and the runs."""
    if "runs" in session:
        return {**session, "runs": None}, objects_of(session, "runs")
    memory = session.get("memory")
    if not isinstance(memory, dict):
        return session, []
    kept = _memory_of_session(memory, session.get("session_id"), session.get("user_id"))
    return {**session, "memory": kept}, objects_of(memory, "runs")


def _memory_of_session(memory: JsonObject, session_id: JsonValue, user_id: JsonValue) -> JsonObject:
    """Return the memory without its runs and without data of other sessions and other users."""
    kept = {**memory, "runs": []}
    if "messages" in kept:  # repeats the messages of all runs
        kept["messages"] = []
    if isinstance(context := kept.get("team_context"), dict):
        kept["team_context"] = {key: each for key, each in context.items() if key == session_id}
    if isinstance(memories := kept.get("memories"), dict):
        users = (user_id, DEFAULT_USER_ID)
        kept["memories"] = {key: each for key, each in memories.items() if key in users}
    if isinstance(summaries := kept.get("summaries"), dict):
        kept["summaries"] = {
            user: {key: each for key, each in of_user.items() if key == session_id}
            for user, of_user in summaries.items()
            if isinstance(of_user, dict) and session_id in of_user
        }
    return kept


def _join(mode: str, session: JsonObject, runs: list[JsonObject]) -> JsonObject:
    """Return the session with its runs, as it was before _split()."""
    listed: list[JsonValue] = list(runs)
    if mode == "workflow_v2":
        return {**session, "runs": listed or None}
    memory = session.get("memory")
    if not isinstance(memory, dict) and not runs:
        return session
    whole: JsonObject = {**(memory if isinstance(memory, dict) else {}), "runs": listed}
    if "messages" in whole:
        whole["messages"] = [message for run in runs for message in messages_of(run)]
    return {**session, "memory": whole}


def to_session(mode: Mode, kept: Payload, runs: list[JsonObject]) -> Session:
    """Build Agno's session from the stored document and the runs."""
    document = kept.payload if isinstance(kept.payload, dict) else {}
    if mode != "workflow_v2" and (of_member := document.get("runs")) is not None:
        runs = objects_of({"runs": of_member}, "runs")
    conversation = kept.conversation
    if not document:
        document = {"session_id": conversation.id, "user_id": conversation.user_id, component_key(mode): None}
    document = with_title(_join(mode, document, runs), conversation.title)
    document |= {
        "session_id": conversation.id,  # without it, Agno would take the session for a new one and overwrite it
        "created_at": epoch_seconds(conversation.created_at),
        "updated_at": epoch_seconds(conversation.updated_at),
    }
    module, name = SESSION_CLASSES[mode]
    session: Session = read_by_agno(getattr(import_module(module), name).from_dict, document, conversation.id)
    return session

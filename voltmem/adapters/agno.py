"""
Agno: sessions of agents, teams and workflows, as conversations and messages in PostgreSQL.

::

    # Agno 2 and 3: what arun() does is kept.
    agent = Agent(model=model, db=VoltMemDb("postgresql://…"), add_history_to_context=True)
    await agent.arun("Do I need a coat?", user_id="ada", session_id="trip-to-oslo")

    # Agno 1: instead of its PostgresStorage, with the same arguments.
    storage = VoltMemStorage("agent_sessions", db_url="postgresql://…", auto_upgrade_schema=True)
    agent = Agent(model=model, storage=storage, user_id="ada", add_history_to_messages=True)

A session is the conversation with its id; what was said in a run are the conversation's messages, once each.
"""

from __future__ import annotations

import abc
import asyncio
import json
import threading
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from hashlib import blake2b
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Self, TypeAlias, TypeVar

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, to_jsonable_python

from voltmem._parts import (
    SYSTEM_ROLES,
    ToolCall,
    ToolResult,
    call_part,
    result_part,
    text_part,
    tool_calls,
    tool_results,
    tool_turns,
)
from voltmem._tables import Tables
from voltmem._values import (
    UNSET,
    JsonObject,
    check_count,
    check_id_or_none,
    from_stored_json,
    json_value,
    shown,
    to_json,
)
from voltmem.errors import (
    ConversationNotFoundError,
    EventLoopError,
    InvalidInputError,
    InvalidOptionError,
    MissingExtraError,
    SchemaNotReadyError,
)
from voltmem.memory import DEFAULT_RESOURCE_ID
from voltmem.models import Message, NativeMessage
from voltmem.native import NativeMemory, Payload, list_payloads
from voltmem.options import DEFAULT_TABLE_PREFIX, OnLimit
from voltmem.storage import PostgresStorage

try:
    import agno

    IS_AGNO_1: Final = find_spec(".storage", agno.__name__) is not None
    if TYPE_CHECKING or not IS_AGNO_1:
        from agno.db.base import AsyncBaseDb, SessionType  # not before 2.1.5
        from agno.session import AgentSession, TeamSession, WorkflowSession
    else:
        AsyncBaseDb = object
except ImportError as error:
    raise MissingExtraError("agno (1.7 to 1.8, or 2.1.5 and later)", "agno") from error

FORMAT: Final = "agno"

DEFAULT_RUNS: Final = 20
DEFAULT_USER_ID: Final = "default"  # Agno's own word for a user who was not named

# --- what the framework stores, as our messages and back ------------------------------------------------------------

# Agno leaves runs with these out of what it shows to a model.
_UNFINISHED: Final = frozenset({"PAUSED", "CANCELLED", "ERROR", "REGENERATED"})

# What a session says of whose it is; an agent and a team in the same one each know their own part.
_COMPONENTS: Final = ("agent_id", "team_id", "workflow_id", "workflow_name", "agent_data", "team_data", "workflow_data")
_COMPONENT_IDS: Final = ("agent_id", "team_id", "workflow_id")

# Begins the ids of runs that are made of others' messages, and shown to Agno, but never stored: they are there.
_FOREIGN: Final = "voltmem:"

_ROLES: Final = {"model": "assistant", "developer": "system", "function": "tool"}
_MEDIA: Final = {"images": "image", "audio": "audio", "videos": "video", "files": "file"}
_OF_MEDIA: Final = ("id", "url", "filepath", "filename", "mime_type", "format")


@dataclass(frozen=True)
class Formats:
    """What the messages and the document of a session are marked with."""

    base: str

    @property
    def session(self) -> str:
        """The document: the session without its runs."""
        return f"{self.base}/session"

    @property
    def run(self) -> str:
        """The first message of a run; it holds the run without its messages."""
        return f"{self.base}/run"

    @property
    def unfinished(self) -> str:
        """The first message of a run that is no history: paused, failed, cancelled."""
        return f"{self.base}/unfinished-run"

    @property
    def message(self) -> str:
        """Another message of a run."""
        return f"{self.base}/message"

    @property
    def input(self) -> str:
        """What a user said, kept before there is a run. Agno is never shown it."""
        return f"{self.base}/input"

    def begins(self, message: NativeMessage) -> bool:
        """Whether the message holds a run."""
        return message.format in (self.run, self.unfinished)

    def is_of_agno(self, message: NativeMessage) -> bool:
        """Whether an agent, team or workflow of the same Agno stored the message."""
        return message.format is not None and message.format.startswith(self.base.partition("/")[0] + "/")


def plain_json(value: object, where: str) -> JsonValue:
    """
    Return the value as JSON: tuples and sets become lists, keys strings, enums their values, dates ISO 8601 text.

    Raises:
        InvalidInputError: Something in it is none of these, no model of pydantic and no dataclass.
    """
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return json_value(value, where)
    if isinstance(value, Mapping):
        return {_key(key): plain_json(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_json(item, where) for item in value]
    try:
        return json_value(to_jsonable_python(value), where)
    except (PydanticSerializationError, UnicodeError) as error:
        raise InvalidInputError(f"{where} has {shown(value)}, which JSON has no word for") from error


def _key(key: object) -> str:
    key = key.value if isinstance(key, Enum) else key
    return key if isinstance(key, str) else to_json(json_value(key, "a key"))


def _document(value: object, where: str) -> JsonObject:
    document = plain_json(value if isinstance(value, Mapping) else value.to_dict(), where)  # type: ignore[attr-defined]
    assert isinstance(document, dict)
    return document


def run_id_of(run: JsonObject) -> str:
    """Return the run's id; for one that Agno gave none, a name that its content always has."""
    response = run.get("response")  # where the first workflows and the first memory of Agno 1 have it
    found = run.get("run_id") or (response.get("run_id") if isinstance(response, dict) else None)
    return found if isinstance(found, str) else blake2b(to_json(run).encode(), digest_size=16).hexdigest()


def _parent_of(run: JsonObject) -> str | None:
    parent = run.get("parent_run_id")
    return parent if isinstance(parent, str) and parent else None


def _row_id(run_id: str, position: int) -> str:
    return f"{run_id}/{position}"


def to_messages(run: JsonObject, members: Sequence[JsonObject], formats: Formats) -> list[NativeMessage]:
    """
    Return what was said in the run: its own messages, no system messages and none of the runs before it.

    Of a run without messages, as a workflow's, it is what went in and what came out. The first message holds the rest
    of the run, and the runs of a team's members, with whom nobody talks.
    """
    document = _without_history(run)
    messages = _listed(_holder(document), "messages")
    said = [each for each in messages if each.get("role") not in SYSTEM_ROLES]
    numbers = {id(each): number for number, each in enumerate(said)}
    document = _with_messages(document, [numbers.get(id(each), each) for each in messages])
    plain = [_plain(each) for each in said] or _in_and_out(run)
    status = _holder(run).get("status")
    is_finished = status not in _UNFINISHED
    rows = []
    for position, (role, type, content) in enumerate(plain):
        message: JsonValue = said[position] if said else None
        beginning: JsonObject = {"run": document, "members": list(members), "rows": len(plain), "message": message}
        rows.append(
            NativeMessage(
                id=_row_id(run_id_of(run), position),
                role=role,
                type=type,
                content=content,
                metadata={} if is_finished or position else {"status": status},
                format=formats.message if position else formats.run if is_finished else formats.unfinished,
                payload=message if position else beginning,
            )
        )
    return rows


def _holder(run: JsonObject) -> JsonObject:
    """Return what has the run's messages: the first memory of Agno 1 has them in the response."""
    response = run.get("response")
    return response if "messages" not in run and isinstance(response, dict) else run


def _with_messages(run: JsonObject, messages: list[JsonValue]) -> JsonObject:
    holder = _holder(run)
    if "messages" not in holder:
        return run
    changed: JsonObject = {**holder, "messages": messages}
    return changed if holder is run else {**run, "response": changed}


def _without_history(run: JsonObject) -> JsonObject:
    """Return the run without the messages of runs before it, which Agno 1 stores again with every run."""
    run = dict(run)
    if isinstance(run.get("messages"), list):
        run["messages"] = [each for each in _listed(run, "messages") if not each.get("from_history")]
    if isinstance(response := run.get("response"), dict):
        run["response"] = _without_history(response)
    return run


def _own(runs: Iterable[JsonObject]) -> list[JsonObject]:
    return [_without_history(run) for run in runs if not run_id_of(run).startswith(_FOREIGN)]


def _listed(holder: JsonValue, key: str) -> list[JsonObject]:
    listed = holder.get(key) if isinstance(holder, dict) else None
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _plain(message: JsonObject) -> tuple[str, str, JsonValue]:
    """Return the role, the type and the content that others read."""
    role, content = str(message.get("role") or "user"), message.get("content")
    role = _ROLES.get(role, role)
    if results := _results(message, role):
        return "tool", "tool-result", [result_part(each) for each in results]
    media: list[JsonValue] = [_media_part(kind, each) for key, kind in _MEDIA.items() for each in _listed(message, key)]
    calls = tool_calls(Message(role=role, content={"tool_calls": message.get("tool_calls")}))
    if calls or media:
        text = content if isinstance(content, list) else [] if content in (None, "") else [_text_part(content)]
        parts: list[JsonValue] = [*text, *media, *(call_part(each) for each in calls)]
        return role, "tool-call" if calls else "text", parts
    return role, "text", "" if content is None else content


def _text_part(content: JsonValue) -> JsonObject:
    return text_part(content if isinstance(content, str) else to_json(content))


def _media_part(kind: str, media: JsonObject) -> JsonObject:
    # What it is and where, not the bytes: the framework's own form has them.
    return {"type": kind, **{key: media[key] for key in _OF_MEDIA if media.get(key) is not None}}


def _results(message: JsonObject, role: str) -> list[ToolResult]:
    content = message.get("content")
    if role != "tool":
        return tool_results(Message(role=role, content=content)) if isinstance(content, list) else []
    # Some models of Agno answer several calls in one message.
    holders = _listed(message, "tool_calls") or [message]
    return [
        ToolResult(str(each.get("tool_call_id") or ""), str(each.get("tool_name") or ""), each.get("content"))
        for each in holders
    ]


def _in_and_out(run: JsonObject) -> list[tuple[str, str, JsonValue]]:
    """Return what a run without messages was asked, and what it answered."""
    asked, response = run.get("input"), run.get("response")
    asked = asked.get("input_content", asked) if isinstance(asked, dict) else asked
    answered = (response if isinstance(response, dict) else run).get("content")
    told: list[tuple[str, str, JsonValue]] = []
    told += [] if asked is None else [("user", "text", asked)]
    told += [] if answered is None else [("assistant", "text", answered)]
    return told or [("assistant", "text", "")]


def to_runs(messages: Sequence[NativeMessage], formats: Formats, component: JsonObject) -> list[JsonObject]:
    """
    Return the runs that the messages make up, the oldest first; before a team's run those of its members.

    A run of which messages are missing is left out. What others stored becomes runs of the component, turn by turn.

    Args:
        messages: Of one conversation, in their order.
        formats: What the runs are marked with.
        component: The id of the agent, team or workflow, by its name in a run; {}: only what it has stored.
    """
    rows: dict[str, dict[str, NativeMessage]] = {}
    for message in messages:
        rows.setdefault(message.id.rpartition("/")[0], {})[message.id] = message
    found: list[tuple[int, list[JsonObject]]] = []
    taken: set[str] = set()
    for place, message in enumerate(messages):
        if formats.begins(message):
            of_run = rows[message.id.rpartition("/")[0]]
            taken.update(of_run)
            found.append((place, _family(message, of_run)))
    foreign = [each for each in messages if each.id not in taken and not formats.is_of_agno(each)]
    places = {each.id: place for place, each in enumerate(messages)}
    if component:
        found += [(places[turn[0].id], [_foreign_run(turn, component)]) for turn in _turns(foreign)]
    return [run for _, family in sorted(found, key=lambda each: each[0]) for run in family]


def _family(first: NativeMessage, rows: Mapping[str, NativeMessage]) -> list[JsonObject]:
    """Return the run that begins with the message, after those of its members; nothing if messages are missing."""
    payload, run_id = first.payload, first.id.rpartition("/")[0]
    assert isinstance(payload, dict)
    run, count = payload["run"], payload["rows"]
    assert isinstance(run, dict)
    assert isinstance(count, int)
    of_run = [rows.get(_row_id(run_id, position)) for position in range(count)]
    said = [_native(each, first) for each in of_run if each is not None]
    if len(said) < count:
        return []
    slots = _holder(run).get("messages")
    messages = [said[each] if isinstance(each, int) else each for each in slots] if isinstance(slots, list) else []
    return [*_listed(payload, "members"), _with_messages(run, messages)]


def _native(message: NativeMessage, first: NativeMessage) -> JsonValue:
    if message.format is None:  # an application has changed what was said
        return next(iter(_foreign_messages(message)), None)
    payload = message.payload
    return payload.get("message") if message is first and isinstance(payload, dict) else payload


def _turns(messages: Sequence[NativeMessage]) -> Iterator[list[NativeMessage]]:
    """Yield what a user said with what followed, as a model accepts it."""
    turn: list[NativeMessage] = []
    for message in (each for group in tool_turns(messages) for each in group if _is_for_models(each)):
        if message.role == "user" and turn and turn[-1].role != "user":
            yield turn
            turn = []
        turn.append(message)
    if turn:
        yield turn


def _is_for_models(message: Message) -> bool:
    return message.role not in SYSTEM_ROLES and message.type not in ("reasoning", "thinking")


def _foreign_run(turn: Sequence[NativeMessage], component: JsonObject) -> JsonObject:
    answers = [each.text for each in turn if each.role == "assistant" and each.type == "text"]
    run: JsonObject = {
        "run_id": f"{_FOREIGN}{turn[0].id}",
        **component,
        "content": answers[-1] if answers else None,
        "created_at": _seconds(turn[0].created_at),
        "status": "COMPLETED",
    }
    if "workflow_id" in component:
        return {**run, "input": turn[0].text}
    return {**run, "messages": [message for each in turn for message in _foreign_messages(each)]}


def _foreign_messages(message: Message) -> list[JsonObject]:
    """Return what a plain message is for Agno: one message, or one for each tool's result."""
    created_at = _seconds(message.created_at)
    results = tool_results(message)
    native: list[JsonObject] = [
        {
            "role": "tool",
            "content": each.result if isinstance(each.result, str) else to_json(each.result),
            "tool_call_id": each.id,
            "tool_name": each.name,
            "created_at": created_at,
        }
        for each in results
    ]
    calls: list[JsonValue] = [_native_call(each) for each in tool_calls(message)]
    if not results:
        role = message.role if message.role in ("user", "assistant") else "user"
        native.append({"role": role, "content": message.text, "created_at": created_at})
    if calls:
        native[-1].update({"role": "assistant", "content": message.text or None, "tool_calls": calls})
    return native


def _native_call(call: ToolCall) -> JsonObject:
    arguments = to_json({} if call.args is None else call.args)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


# --- what the framework calls ---------------------------------------------------------------------------------------

_T = TypeVar("_T")
_KNOWN_RUNS: Final = 10_000
_ROWS_OF_A_RUN: Final = 50


class Sessions:
    """
    Agno's sessions in a storage, each in one transaction: what both of Agno's protocols come down to.

    A run is stored only if it is another than this object has stored or read: Agno shows all it knows with each save.
    Runs that it doesn't show stay as they are.
    """

    def __init__(self, storage: PostgresStorage, user_id: str | None, runs: int | None) -> None:
        check_id_or_none(user_id=user_id)
        if runs is not None:
            check_count("runs", runs)
        self.storage = storage
        self.user_id = user_id
        self.runs = runs
        self._known: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def owner(self, session_id: str, user_id: object) -> str:
        """Return whose the session must be; ConversationNotFoundError for another than these sessions are for."""
        if user_id is not None and not isinstance(user_id, str):
            raise InvalidInputError(f"user_id must be a string, not {shown(user_id)}")
        if self.user_id is not None and user_id not in (None, "", self.user_id):
            raise ConversationNotFoundError(session_id, user_id)
        return user_id or self.user_id or DEFAULT_USER_ID

    async def load(
        self, session_id: str, user_id: str, formats: Formats, kind: str | None, runs: int | None
    ) -> tuple[Payload, list[JsonObject]] | None:
        """
        Return what is kept of the session, and its newest runs; None if there is nothing that concerns Agno.

        Args:
            session_id: Which conversation.
            user_id: Whose it must be.
            formats: What it is marked with.
            kind: "agent", "team" or "workflow": reads what others stored as its runs; None: leaves it out.
            runs: How many runs that a model may see at most, with those among them that it may not; None: all.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        memory = NativeMemory(self.storage, user_id, session_id)
        kept = await memory.payload(formats.session)
        if kept is None:
            return None
        if runs is None:
            rows = await memory.newest_messages()
        else:
            rows = await memory.messages_since(formats.run, runs, limit=runs * _ROWS_OF_A_RUN) if runs else []
        document = kept.payload if isinstance(kept.payload, dict) else {}
        component: JsonObject = {} if kind is None else {f"{kind}_id": document.get(f"{kind}_id")}
        found = to_runs(rows, formats, {**component, "session_id": session_id} if component else {})
        self._remember(session_id, found)
        return (kept, found) if found or kept.payload is not None else None

    async def save(
        self,
        session_id: str,
        user_id: str,
        formats: Formats,
        runs: Iterable[JsonObject],
        session: JsonObject | None = None,
        *,
        resource_id: str = DEFAULT_RESOURCE_ID,
    ) -> None:
        """
        Store the runs that are new or changed, and the session's document, if it is given.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            InvalidInputError: A member's run whose team's run is not stored yet.
        """
        changed = [run for run in _own(runs) if not self._is_known(session_id, run)]
        if session is None and not changed:
            return
        async with self.storage.transaction() as tx:
            memory = NativeMemory(tx, user_id, session_id, resource_id=resource_id)
            is_there = await memory.lock()
            messages, surplus = await _replacing(memory, changed, formats)
            await memory.add_turn(messages)
            await tx.delete_messages(surplus, user_id, session_id)
            if session is not None:
                kept = await memory.payload(formats.session) if is_there else None
                await _save_document(memory, session, kept, formats, touch=not messages)
        self._remember(session_id, changed)

    async def save_of_member(
        self,
        session_id: str,
        user_id: str,
        formats: Formats,
        runs: Iterable[JsonObject],
        session: JsonObject,
        *,
        resource_id: str,
    ) -> None:
        """
        Store a session that a team's member keeps for itself, in the team's conversation: its newest runs inside.

        No messages: nobody talks to a member, and the team's run has what it answered.
        """
        async with self.storage.transaction() as tx:
            memory = NativeMemory(tx, user_id, session_id, resource_id=resource_id)
            kept = await memory.payload(formats.session) if await memory.lock() else None
            stored = {run_id_of(each): each for each in _listed(kept.payload if kept else None, "runs")}
            merged = stored | {run_id_of(each): each for each in _own(runs)}
            oldest_first: list[JsonValue] = [*merged.values()]
            newest = oldest_first[-(self.runs or len(merged)) :]
            await _save_document(memory, {**session, "runs": newest}, kept, formats, touch=True)

    async def keep_input(
        self,
        session_id: str,
        user_id: str,
        formats: Formats,
        run_id: str,
        message: JsonObject,
        status: str,
        *,
        resource_id: str,
    ) -> None:
        """Store what a user said before there is an answer; a run that is stored already stays as it is."""
        role, type, content = _plain(message)
        id = _row_id(run_id, 0)
        metadata: JsonObject = {"status": status}
        async with self.storage.transaction() as tx:
            memory = NativeMemory(tx, user_id, session_id, resource_id=resource_id)
            await memory.lock()
            kept = (await memory.messages_by_id([id])).get(id)
            if kept is None or kept.format == formats.input:
                await memory.add(
                    NativeMessage(id=id, role=role, type=type, content=content, metadata=metadata, format=formats.input)
                )

    async def delete(self, session_id: str, user_id: str | None) -> bool:
        """Return whether there was such a conversation, of the user if one is given; its messages go with it."""
        # Whoever stores it again stores all of it.
        self._known = OrderedDict((key, each) for key, each in self._known.items() if key[0] != session_id)
        if user_id is None:
            return await self.storage.delete_conversation(session_id)
        return await self.storage.for_user(user_id).delete_conversation(session_id)

    def forget(self) -> None:
        """Know nothing any more of what is stored."""
        self._known.clear()

    def _is_known(self, session_id: str, run: JsonObject) -> bool:
        return self._known.get((session_id, run_id_of(run))) == _digest(run)

    def _remember(self, session_id: str, runs: Iterable[JsonObject]) -> None:
        for run in runs:
            key = session_id, run_id_of(run)
            self._known[key] = _digest(run)
            self._known.move_to_end(key)
        while len(self._known) > _KNOWN_RUNS:
            self._known.popitem(last=False)


def _digest(run: JsonObject) -> bytes:
    # What Agno has read, it shows with its keys in another order, and with or without what is empty.
    filled = {key: each for key, each in run.items() if each not in (None, [], {})}
    return blake2b(json.dumps(filled, sort_keys=True).encode(), digest_size=16).digest()


async def _replacing(
    memory: NativeMemory, runs: Sequence[JsonObject], formats: Formats
) -> tuple[list[NativeMessage], list[str]]:
    """Return the messages of the runs, and the ids of those that were theirs and are no more."""
    families = _families(runs)
    stored = await memory.messages_by_id([_row_id(root, 0) for root in families]) if families else {}
    messages: list[NativeMessage] = []
    surplus: list[str] = []
    for root, family in families.items():
        first = stored.get(_row_id(root, 0))
        payload = first.payload if first is not None and formats.begins(first) else None
        before: JsonObject = payload if isinstance(payload, dict) else {}
        run = family.pop(root, None)
        members = {run_id_of(each): each for each in _listed(before, "members")} | family
        if run is not None:
            rows = to_messages(run, list(members.values()), formats)
            count = before.get("rows")
            surplus += [_row_id(root, each) for each in range(len(rows), count if isinstance(count, int) else 0)]
        elif first is not None and before:
            rows = [_with_payload(first, {**before, "members": list(members.values())})]
        else:
            raise InvalidInputError(f"the run {root!r} is not stored yet, of which {next(iter(family))!r} is a part")
        messages += rows
    return messages, surplus


def _families(runs: Sequence[JsonObject]) -> dict[str, dict[str, JsonObject]]:
    """Return the runs by the one that they are all part of, each with those by id."""
    parents = {run_id_of(run): _parent_of(run) for run in runs}
    families: dict[str, dict[str, JsonObject]] = {}
    for run in runs:
        root = run_id_of(run)
        for _ in parents:  # as many steps as there can be
            root = parents.get(root) or root
        families.setdefault(root, {})[run_id_of(run)] = run
    return families


def _with_payload(message: NativeMessage, payload: JsonValue) -> NativeMessage:
    fields = {name: getattr(message, name) for name in ("id", "role", "type", "content", "metadata", "format")}
    return NativeMessage(**fields, payload=payload)


async def _save_document(
    memory: NativeMemory, session: JsonObject, kept: Payload | None, formats: Formats, *, touch: bool
) -> None:
    before: JsonObject = kept.payload if kept is not None and isinstance(kept.payload, dict) else {}
    parts = {key: before[key] for key in _COMPONENTS if session.get(key) is None and before.get(key) is not None}
    if "session_type" in before:  # that of whoever began
        parts["session_type"] = before["session_type"]
    name = session_name(session)
    # A title that a person gave stays until somebody renames the session in Agno.
    is_renamed = name is not None and name != session_name(before)
    await memory.save_payload({**session, **parts}, formats.session, title=name if is_renamed else UNSET, touch=touch)


def session_name(session: JsonObject) -> str | None:
    """Return what the session is called, if anything."""
    data = session.get("session_data")
    name = data.get("session_name") if isinstance(data, dict) else None
    return name if isinstance(name, str) and name else None


def _named(session: JsonObject, title: str | None) -> JsonObject:
    """Return the session with the conversation's title as its name: a person may have changed it."""
    if title is None or title == session_name(session):
        return session
    data = session.get("session_data")
    return {**session, "session_data": {**(data if isinstance(data, dict) else {}), "session_name": title}}


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _resource_id(session: JsonObject) -> str:
    ids = (session.get(key) for key in _COMPONENT_IDS)
    return next((each for each in ids if isinstance(each, str) and each), DEFAULT_RESOURCE_ID)


# --- … of Agno 1 --------------------------------------------------------------------------------------------------

Mode: TypeAlias = Literal["agent", "team", "workflow", "workflow_v2"]

# Where Agno 1 has the sessions of each kind.
_SESSIONS_OF_1: Final[Mapping[Mode, tuple[str, str]]] = {
    "agent": ("agno.storage.session.agent", "AgentSession"),
    "team": ("agno.storage.session.team", "TeamSession"),
    "workflow": ("agno.storage.session.workflow", "WorkflowSession"),
    "workflow_v2": ("agno.storage.session.v2.workflow", "WorkflowSession"),
}


class Session(Protocol):
    """What Agno 1 calls a session: of an agent, a team or a workflow."""

    session_id: str
    user_id: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return all that is in it."""
        ...


class _Engine(Protocol):
    """What is needed of an engine of SQLAlchemy's: where it points."""

    @property
    def url(self) -> Any: ...


class Blocking:
    """A storage for code that blocks: it lives in an event loop of its own, in a thread that ends with the program."""

    def __init__(self, storage: PostgresStorage, prepare: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.storage = storage
        self._prepare = prepare
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._preparing: asyncio.Lock | None = None
        self._is_prepared = False
        self._end: Callable[[], object] | None = None

    def call(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return what comes of the work, after the tables are prepared; blocks the thread that calls."""
        return asyncio.run_coroutine_threadsafe(self._prepared(work), self._running()).result()

    def raw_call(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return what comes of the work, whatever the state of the tables."""
        return asyncio.run_coroutine_threadsafe(work(), self._running()).result()

    def forget_tables(self) -> None:
        """Prepare the tables again before the next call."""
        self._is_prepared = False

    def close(self) -> None:
        """Close the storage, and end the thread; the next call starts another."""
        with self._starting:
            end, self._end, self._loop, self._preparing = self._end, None, None, None
            self._is_prepared = False
        if end is not None:
            end()

    async def _prepared(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        if not self._is_prepared:
            self._preparing = self._preparing or asyncio.Lock()
            async with self._preparing:
                if not self._is_prepared:
                    await self._prepare()
                    self._is_prepared = True
        return await work()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            # A process that was forked has the loop without the thread.
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run_and_close, args=(self._loop,), name="voltmem-agno", daemon=True
                )
                self._thread.start()
                # Also at the end of the program, and when nobody has the storage any more.
                self._end = weakref.finalize(self, _end, self.storage, self._loop, self._thread)
            return self._loop


def _end(storage: PostgresStorage, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    async def end() -> None:
        try:
            with suppress(EventLoopError):  # in a forked process it is its parent's
                await storage.close()
        finally:
            loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if thread is not threading.current_thread():  # garbage is collected in any
        thread.join()


def _run_and_close(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


class VoltMemStorage:
    """
    What Agno 1 keeps sessions in, instead of its PostgresStorage: ``Agent(storage=…)``, ``Team(…)``, ``Workflow(…)``.

    ::

        storage = VoltMemStorage("agent_sessions", db_url="postgresql://user:password@host/db")
        agent = Agent(model=model, storage=storage, user_id="ada", add_history_to_messages=True)

    Its methods block, also within ``arun()``, as those of every storage of Agno 1. Making one does no I/O. One may
    serve an agent, its team and a workflow at once, and any number of threads; a process that is forked makes its own.

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
        storage: A PostgresStorage instead of all these, with its own options: not opened yet, for its connections
            live in this object's thread.
        user_id: Only this user's sessions; anybody else's are a ConversationNotFoundError, before a model is called.
            None: whose they are is checked in writing, for Agno 1 doesn't say who reads. See for_user().
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
        storage: PostgresStorage | None = None,
        user_id: str | None = None,
        runs: int | None = DEFAULT_RUNS,
        storage_limit: int | None = None,
        on_limit: OnLimit = "delete",
    ) -> None:
        _check_agno("VoltMemStorage", "VoltMemDb", is_there=IS_AGNO_1)
        if schema_version != 1:
            raise InvalidOptionError(f"schema_version {shown(schema_version)}: Agno has no other than 1")
        if storage is None:
            storage = PostgresStorage(
                db_engine.url.render_as_string(hide_password=False) if db_engine is not None else db_url,
                table_prefix=DEFAULT_TABLE_PREFIX if table_name is None else table_name,
                schema=schema,
                storage_limit=storage_limit,
                on_limit=on_limit,
                migrate="auto" if auto_upgrade_schema else "check",
            )
            prepare = storage.open if auto_upgrade_schema else partial(_make_missing_tables, storage)
        elif (table_name, db_url, db_engine) != (None, None, None):
            raise InvalidOptionError("storage has its own table_prefix and connection; leave out Agno's")
        else:
            prepare = storage.open
        self.auto_upgrade_schema = auto_upgrade_schema
        self._sessions = Sessions(storage, user_id, runs)
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
        if mode is not None and mode not in _SESSIONS_OF_1:
            raise InvalidOptionError(f"mode {shown(mode)}: use one of {', '.join(_SESSIONS_OF_1)}")
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
        mode = _mode_of(session)
        document, runs = _split(_document(session, "session"))
        user_id = self._sessions.owner(session.session_id, session.user_id)
        formats = _formats_of_1(mode)

        save = self._sessions.save_of_member if document.get("team_session_id") else self._sessions.save
        where = session.session_id, user_id, formats
        self._blocking.call(partial(save, *where, runs, document, resource_id=_resource_id(document)))
        return session

    def delete_session(self, session_id: str | None = None) -> None:
        """Delete the conversation, of all modes, with its messages; nothing happens if there is none."""
        if session_id is not None:
            self._blocking.call(lambda: self._sessions.delete(session_id, self._sessions.user_id))

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
        twin._sessions = Sessions(self._sessions.storage, user_id, self._sessions.runs)
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
        """Close the connections, and end the thread; the next call opens them again. Also at the program's end."""
        self._blocking.close()

    @contextmanager
    def _keeping(self, agent: Any, messages: Sequence[Any]) -> Iterator[None]:
        run, state = agent.run_response, agent.session_state or {}
        said = [_document(each, "message") for each in messages if not each.from_history]
        first = next((each for each in said if each.get("role") not in SYSTEM_ROLES), None)

        def keep(status: str) -> None:
            if first is not None:
                owner = self._sessions.owner(run.session_id, state.get("current_user_id") or agent.user_id)
                where = run.session_id, owner, _formats_of_1("agent")
                of = agent.agent_id or DEFAULT_RESOURCE_ID
                self._blocking.call(
                    partial(self._sessions.keep_input, *where, run.run_id, first, status, resource_id=of)
                )

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
        bound = self._sessions.user_id
        if user_id or bound:
            owner = self._sessions.owner(session_id, user_id or None)
        elif (conversation := await self._sessions.storage.get_conversation(session_id)) is not None:
            owner = conversation.user_id
        else:
            return None
        kind = mode if mode in ("agent", "team") else None
        loaded = await self._sessions.load(session_id, owner, _formats_of_1(mode), kind, self._sessions.runs)
        return None if loaded is None else _session_of_1(mode, *loaded)

    async def _list(self, user_id: str | None, entity_id: str | None, limit: int | None) -> list[Payload]:
        mode, bound = self._mode, self._sessions.user_id
        if bound is not None and user_id not in (None, "", bound):
            return []
        found = await list_payloads(
            self._sessions.storage,
            [_formats_of_1(mode).session],
            user_id=user_id or bound,
            limit=None if entity_id else limit,
        )
        key = f"{mode.partition('_')[0]}_id"
        if entity_id:
            found = [each for each in found if isinstance(each.payload, dict) and each.payload.get(key) == entity_id]
        return found[:limit]


def _check_agno(name: str, other: str, *, is_there: bool) -> None:
    if not is_there:
        installed, needed = ("Agno 2 or later", "Agno 1") if not IS_AGNO_1 else ("Agno 1", "Agno 2 or later")
        raise InvalidOptionError(f"{name} is for {needed}, and {installed} is installed: use {other}")


def _formats_of_1(mode: str) -> Formats:
    # Each kind has its own: an agent and a team may have sessions with the same id.
    return Formats(f"{FORMAT}-1/{mode}")


def _mode_of(session: Session) -> Mode:
    modules: dict[str, Mode] = {module: mode for mode, (module, _) in _SESSIONS_OF_1.items()}
    return modules.get(type(session).__module__, "agent")


def _split(session: JsonObject) -> tuple[JsonObject, list[JsonObject]]:
    """Return the session without its runs and what belongs to other sessions, and the runs."""
    if "runs" in session:
        return {**session, "runs": None}, _listed(session, "runs")
    memory = session.get("memory")
    if not isinstance(memory, dict):
        return session, []
    kept = {**memory, "runs": []}
    if "messages" in kept:  # all of the runs' once more
        kept["messages"] = []
    session_id = session.get("session_id")
    if isinstance(context := kept.get("team_context"), dict):
        kept["team_context"] = {key: each for key, each in context.items() if key == session_id}
    if isinstance(memories := kept.get("memories"), dict):
        users = (session.get("user_id"), DEFAULT_USER_ID)
        kept["memories"] = {key: each for key, each in memories.items() if key in users}
    if isinstance(summaries := kept.get("summaries"), dict):
        kept["summaries"] = {
            user: {key: each for key, each in of_user.items() if key == session_id}
            for user, of_user in summaries.items()
            if isinstance(of_user, dict) and session_id in of_user
        }
    return {**session, "memory": kept}, _listed(memory, "runs")


def _join(mode: str, session: JsonObject, runs: list[JsonObject]) -> JsonObject:
    """Return the session as it was before it was split."""
    listed: list[JsonValue] = list(runs)
    if mode == "workflow_v2":
        return {**session, "runs": listed or None}
    memory = session.get("memory")
    if not isinstance(memory, dict) and not runs:
        return session
    whole: JsonObject = {**(memory if isinstance(memory, dict) else {}), "runs": listed}
    if "messages" in whole:
        whole["messages"] = [message for run in runs for message in _listed(_holder(run), "messages")]
    return {**session, "memory": whole}


def _session_of_1(mode: Mode, kept: Payload, runs: list[JsonObject]) -> Session:
    document = kept.payload if isinstance(kept.payload, dict) else {}
    if mode != "workflow_v2" and (of_member := document.get("runs")) is not None:
        runs = _listed({"runs": of_member}, "runs")
    conversation = kept.conversation
    if not document:
        key = f"{mode.partition('_')[0]}_id"
        document = {"session_id": conversation.id, "user_id": conversation.user_id, key: None}
    document = _named(_join(mode, document, runs), conversation.title)
    document |= {"created_at": _seconds(conversation.created_at), "updated_at": _seconds(conversation.updated_at)}
    module, name = _SESSIONS_OF_1[mode]
    session: Session = getattr(import_module(module), name).from_dict(document)
    return session


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
    tables = storage._options.tables
    async with storage.transaction() as tx:
        for table in (
            tables.messages,
            tables.payloads,
            tables.shares,
            tables.agent_history_steps,
            tables.agent_history_timeline_events,
            tables.agent_history,
            tables.conversations,
            tables.watchers,
            tables.migrations,
        ):
            await tx.connection.execute(f"DROP TABLE IF EXISTS {table}")
        # After the trigger that is one of them.
        for name in ("add_messages", "append", "plain", "tell_watchers"):
            functions = await tx.connection.fetch(
                "SELECT oid::regprocedure AS name FROM pg_proc "
                "WHERE pronamespace = to_regnamespace($1) AND proname = $2",
                f'"{tables.schema}"',
                f"{tables.prefix}_{name}",
            )
            for function in functions:
                await tx.connection.execute(f"DROP FUNCTION {function['name']}")
    await storage.close()


# --- … of Agno 2 and later ----------------------------------------------------------------------------------------

_ALL_KINDS: Final = Formats(FORMAT)


def _refused(name: str) -> Any:
    async def refused(*_: object, **__: object) -> None:
        raise NotImplementedError(
            f"{name}: voltmem keeps sessions with their runs, and finds a run by its session. Give what keeps Agno's "
            "memories, knowledge, metrics, evaluations and traces a database of Agno's own."
        )

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
        user_id: Only this user's sessions, whomever Agno names or doesn't. None: a run that names no user is the user
            "default"'s, and finds no sessions of others.
        runs: How many of a session's newest runs are read; None: all. Agno shows a model 3 unless told otherwise.
        on_error: Called with each error of the methods that Agno calls, before it is raised.
        id: What Agno calls the database; made if not given.
    """

    def __init__(
        self,
        storage: PostgresStorage | str | None = None,
        *,
        user_id: str | None = None,
        runs: int | None = DEFAULT_RUNS,
        on_error: Callable[[Exception], object] | None = None,
        id: str | None = None,
    ) -> None:
        _check_agno("VoltMemDb", "VoltMemStorage", is_there=not IS_AGNO_1)
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
            user_id: Whose it must be; None: the user "default"'s, or those that these sessions are for.
            deserialize: False: as a dict.
            runs_limit: So many runs at most, and only those that a model may see; None: the newest, all of them.

        Raises:
            ConversationNotFoundError: It is another user's. Agno fails the run before the model is called.
        """
        with self._told():
            owner = self._sessions.owner(session_id, user_id)
            kind = getattr(session_type, "value", session_type)
            limit = self._sessions.runs if runs_limit is None else runs_limit
            loaded = await self._sessions.load(session_id, owner, _ALL_KINDS, kind or "agent", limit)
            if loaded is None:
                return None
            kept, runs = loaded
            if runs_limit is not None:
                runs = [each for each in runs if _parent_of(each) is None and each.get("status") not in _UNFINISHED]
                runs = runs[len(runs) - min(runs_limit, len(runs)) :]
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
            user_id: Only this user's; None: everybody's, unless these sessions are for one.
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
            bound = self._sessions.user_id
            if bound is not None and user_id not in (None, bound):
                return [] if deserialize else ([], 0)
            kind = getattr(session_type, "value", session_type)
            asked = _Asked(kind, component_id, session_name, start_timestamp, end_timestamp, sort_by, sort_order)
            start = 0 if limit is None else (max(page or 1, 1) - 1) * limit
            if deserialize and asked == _Asked():
                chosen = found = await self._listed(user_id or bound, limit, start)
            else:
                found = asked.of(await self._listed(user_id or bound, None, 0))
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
            document = _document(session, "session")
            runs = _listed(document, "runs")
            document = {**document, "runs": None, "session_type": _kind_of(session)}
            owner = self._sessions.owner(session.session_id, session.user_id)
            await self._sessions.save(
                session.session_id, owner, _ALL_KINDS, runs, document, resource_id=_resource_id(document)
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
            document = _document(run, "run")
            named = document.get("user_id") if user_id is None else user_id
            owner = self._sessions.owner(session_id, named)
            await self._sessions.save(session_id, owner, _ALL_KINDS, [document], resource_id=_resource_id(document))

    async def rename_session(
        self,
        session_id: str,
        session_type: SessionType | None,
        session_name: str,
        user_id: str | None = None,
        deserialize: bool | None = True,
    ) -> AgentSession | TeamSession | WorkflowSession | dict[str, Any] | None:
        """Return the session, named so, and so the conversation; None if there is none, of the user if one is given."""
        with self._told():
            conversation = await self.storage.get_conversation(session_id)
            asked_by = self._sessions.user_id or user_id
            if conversation is None or asked_by not in (None, conversation.user_id):
                return None
            await self.storage.update_conversation(session_id, title=session_name, touch=False)
            return await self.get_session(session_id, session_type, conversation.user_id, deserialize)

    async def delete_session(self, session_id: str, user_id: str | None = None) -> bool:
        """Return whether there was such a session, of the user if one is given; its messages go with it."""
        with self._told():
            return await self._sessions.delete(session_id, self._sessions.user_id or user_id)

    async def delete_sessions(self, session_ids: list[str], user_id: str | None = None) -> None:
        """Delete the sessions that there are, of the user if one is given."""
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
        twin._sessions = Sessions(self.storage, user_id, self._sessions.runs)
        return twin

    async def keep_input(self, run_input: Any, run_context: Any, agent: Any = None, team: Any = None) -> None:
        """
        Store what the user says before the model is called: ``Agent(db=db, pre_hooks=[db.keep_input])``.

        Agno itself stores a run at its end, if it comes to one. The message of a run that never ended stays, with
        ``{"status": "RUNNING"}`` as its metadata; Agno is not shown it. A hook of teams, too.
        """
        with self._told():
            said = plain_json(run_input.input_content, "input")
            owner = self._sessions.owner(run_context.session_id, run_context.user_id)
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

    async def _listed(self, user_id: str | None, limit: int | None, offset: int) -> list[tuple[Payload, JsonObject]]:
        listed = await list_payloads(self.storage, [_ALL_KINDS.session], user_id=user_id, limit=limit, offset=offset)
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


def _session_of_2(kept: Payload, runs: Sequence[JsonObject], kind: str | None) -> JsonObject:
    """Return the session as Agno's own databases do: a dict, with its runs."""
    conversation = kept.conversation
    document: JsonObject = kept.payload if isinstance(kept.payload, dict) else {"user_id": conversation.user_id}
    return {
        **_named(document, conversation.title),
        "session_id": conversation.id,
        "session_type": kind or document.get("session_type") or "agent",
        "created_at": document.get("created_at") or _seconds(conversation.created_at),
        "updated_at": _seconds(conversation.updated_at),
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
            and (self.component_id is None or self.component_id in (session.get(key) for key in _COMPONENT_IDS))
            and (self.name is None or self.name.lower() in (session_name(session) or "").lower())
            and (self.start is None or created_at >= self.start)
            and (self.end is None or created_at <= self.end)
        )

    def _key(self, session: JsonObject) -> tuple[bool, Any, str]:
        value = session_name(session) if self.sort_by == "session_name" else session.get(self.sort_by or "")
        return (value is not None, value if isinstance(value, int | str) else "", str(session["session_id"]))


# --- what an application calls --------------------------------------------------------------------------------------


async def import_sessions(storage: PostgresStorage, table_name: str, *, schema: str = "ai") -> int:
    """
    Copy the sessions of a table of Agno 1's PostgresStorage, in the same database; return how many.

    What was copied before is brought up to date; what was said since stays. The table is only read.

    Args:
        storage: Where they go: that of a VoltMemStorage on Agno 1.
        table_name: Agno's.
        schema: Where Agno has its tables.

    Raises:
        ConversationNotFoundError: A session with this id is here already, and another user's.
    """
    source = Tables(schema, table_name)  # checks both names, which stand in a statement
    name = f'"{source.schema}"."{source.prefix}"'
    async with storage.transaction() as tx:
        # The one that was used last comes last, and is the first in the lists.
        rows = await tx.connection.fetch(
            f"SELECT to_jsonb(t)::text AS session FROM {name} AS t "
            "ORDER BY coalesce(updated_at, created_at), session_id"
        )
    for row in rows:
        session = from_stored_json(row["session"])
        assert isinstance(session, dict)
        await _import_session(storage, session)
    return len(rows)


async def _import_session(storage: PostgresStorage, session: JsonObject) -> None:
    modes = {"agent_data": "agent", "team_data": "team", "workflow_data": "workflow", "runs": "workflow_v2"}
    mode = next(mode for key, mode in reversed(modes.items()) if key in session)
    document, runs = _split(session)
    session_id, user_id = str(session["session_id"]), str(session.get("user_id") or DEFAULT_USER_ID)
    made = session.get("created_at")
    conversation: dict[str, object] = {"id": session_id, "user_id": user_id, "resource_id": _resource_id(document)}
    if isinstance(made, int):
        conversation["created_at"] = datetime.fromtimestamp(made, UTC)
    await storage.ensure_conversation(conversation)
    sessions, where = Sessions(storage, None, None), (session_id, user_id, _formats_of_1(mode))
    save = sessions.save_of_member if document.get("team_session_id") else sessions.save
    await save(*where, runs, document, resource_id=_resource_id(document))

"""Agno's sessions in a storage, for both of Agno's protocols."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from pydantic import JsonValue

from voltmem._agents.compact_when import CompactWhen, background_of
from voltmem._agents.looks import Looks
from voltmem._agents.native import NativeMemory, Payload
from voltmem._agents.windows import check_window
from voltmem._areas.recall import check_recall
from voltmem._values import ANY_USER, UNSET, AnyUser, JsonObject, Unset, check_count, check_owner, check_user
from voltmem.adapters.agno._documents import objects_of
from voltmem.adapters.agno._runs import (
    Formats,
    is_stopped,
    own_runs,
    parent_of,
    plain_message,
    row_id,
    run_id_of,
    text_of,
    to_history,
    to_messages,
    to_runs,
)
from voltmem.errors import ConversationNotFoundError, InvalidInputError
from voltmem.models import NativeMessage, Owner
from voltmem.options import DEFAULT_RESOURCE_ID, Window
from voltmem.storage import PostgresStorage, Storage

_log = logging.getLogger("voltmem")

DEFAULT_RUNS: Final = 20
DEFAULT_USER_ID: Final = "default"  # Agno's own name for an unnamed user

# The fields that identify a session's component. An agent and a team that share a session each set only their own.
_COMPONENTS: Final = ("agent_id", "team_id", "workflow_id", "workflow_name", "agent_data", "team_data", "workflow_data")
COMPONENT_IDS: Final = ("agent_id", "team_id", "workflow_id")

_KNOWN_RUNS: Final = 10_000
_ROWS_OF_A_RUN: Final = 50


class Sessions:
    """
    Agno's sessions in a storage, for both of Agno's protocols. Each save is one transaction.

    Agno passes all runs that it has in memory with each save. Only runs that differ from what this object has stored or
    read are stored. Stored runs that Agno does not pass stay as they are. A session that was deleted for good is not
    created again by a run that has read it, or stored something in it. Nor is one that a run has found missing, if the
    user was deleted since.

    Args:
        storage: The storage.
        user_id: Limits the sessions to this user's. Not given: a call that names no user concerns the sessions of the
            user "default". ANY_USER: such a call concerns all users' sessions.
        runs: The number of newest runs to read from a session; None: all.
        compact_when: When to summarise what is old in a session, beside the runs; None: never.
        recall: Whether windows begin with what was recalled for the question.
        window: What windows have, as in ``memory.messages()``.
    """

    def __init__(
        self,
        storage: PostgresStorage,
        user_id: str | AnyUser | Unset,
        runs: int | None,
        compact_when: CompactWhen | None = None,
        recall: bool = False,
        window: Window | None = None,
    ) -> None:
        if user_id is not UNSET:
            check_owner("user_id", user_id)
        if runs is not None:
            check_count("runs", runs)
        background_of(storage, compact_when)  # checks it
        self.storage = storage
        self.runs = runs
        self._compact_when = compact_when
        check_recall(recall, storage)
        self._recall = recall
        self._window: Window = window or {}
        check_window(self._window)
        self._is_of_one_user = isinstance(user_id, str)
        self._default_owner: Owner = DEFAULT_USER_ID if user_id is UNSET else user_id
        # By session and run. A run whose input was stored, and a session that was read (with "" as its run), have no
        # digest.
        self._known: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._looks = Looks()

    def for_user(self, user_id: str) -> Sessions:
        """Return the same sessions, limited to one user."""
        user_id = check_user("user_id", user_id, "for_user() is for one user")
        return Sessions(self.storage, user_id, self.runs, self._compact_when, self._recall, self._window)

    def resolve_owner(self, user_id: object, *, default: Owner | None = None) -> Owner | None:
        """
        Return the user whose sessions a call concerns; None if it names a user who has none of these sessions.

        Args:
            user_id: The user that Agno names, or None.
            default: The user if Agno names none and these sessions are not limited to one user. None: the user_id of
                these sessions.
        """
        named = None if user_id is None else check_user("user_id", user_id, "a session belongs to one user")
        if self._is_of_one_user:
            return self._default_owner if named in (None, self._default_owner) else None
        return named or default or self._default_owner

    async def require_owner(self, session_id: str, user_id: object, *, default: Owner | None = None) -> str:
        """
        Return the user that the session belongs to, or will belong to when it is created.

        Raises:
            ConversationNotFoundError: resolve_owner() returns None.
        """
        owner = self.resolve_owner(user_id, default=default)
        if owner is None:
            raise ConversationNotFoundError(session_id, str(user_id))
        if owner is not ANY_USER:
            return owner
        conversation = await self.storage.get_conversation(session_id)
        return DEFAULT_USER_ID if conversation is None else conversation.user_id

    async def load(
        self, session_id: str, user_id: str, formats: Formats, kind: str | None, runs: int | None
    ) -> tuple[Payload, list[JsonObject]] | None:
        """
        Return the session's document and its newest runs; None if the conversation has neither.

        Args:
            session_id: The id of the conversation.
            user_id: The user the conversation must belong to.
            formats: The formats of the session.
            kind: "agent", "team" or "workflow": messages that Agno did not store become runs of this kind. None: they
                are left out.
            runs: The maximum number of finished runs. Unfinished runs since the first of them are returned, too.
                None: all runs.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        memory = NativeMemory(self.storage, user_id, session_id)
        self._looks.look(session_id)
        kept = await memory.payload(formats.session)
        if kept is None:
            self._known.pop((session_id, ""), None)  # what begins now may create it
            return None
        self._keep((session_id, ""), b"")
        if runs is None:
            rows = await memory.newest_messages()
        else:
            rows = await memory.messages_since(formats.run, runs, limit=runs * _ROWS_OF_A_RUN) if runs else []
        document = kept.payload if isinstance(kept.payload, dict) else {}
        component: JsonObject = {} if kind is None else {f"{kind}_id": document.get(f"{kind}_id")}
        found = to_runs(
            await memory.with_files(rows), formats, {**component, "session_id": session_id} if component else {}
        )
        for run in found:
            if is_stopped(run) and (session_id, run_id_of(run)) not in self._known:
                _log.warning(
                    "run %s waited for somebody and cannot be continued, because its messages were changed or deleted "
                    "elsewhere: Agno is shown it as cancelled",
                    run_id_of(run),
                )
        self._remember(session_id, found)
        return (kept, found) if found or kept.payload is not None else None

    async def window(
        self, session_id: str, user_id: str, formats: Formats, question: JsonObject | None
    ) -> list[JsonObject]:
        """
        Return the window of ``memory.messages()`` for a question, as messages of Agno's.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        memory = NativeMemory(self.storage, user_id, session_id)
        asked = text_of(question) if self._recall and question is not None else None
        found = await memory.native_messages(recall=asked, **self._window)
        return to_history(await memory.with_files(found), formats)

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
        Store the new and changed runs, and the session's document if it is given.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            InvalidInputError: A run of a team's member is given before the team's run is stored.
        """
        given = own_runs(runs)
        changed = [run for run in given if not self._is_known(session_id, run)]
        if session is None and not changed:
            return
        async with self.storage.transaction() as tx:
            memory = self._memory(tx, session_id, user_id, resource_id, given)
            is_there = await memory.lock()
            messages, surplus = await _messages_to_save(memory, changed, formats)
            await memory.add_turn(messages)
            await tx.delete_messages(surplus, user_id, session_id)
            if session is not None:
                kept = await memory.payload(formats.session) if is_there else None
                await _save_document(memory, session, kept, formats, touch=not messages)
        self._remember(session_id, changed)
        self._keep((session_id, ""), b"")
        if messages and self._compact_when is not None:
            NativeMemory(self.storage, user_id, session_id, compact_when=self._compact_when).compact_after(messages[-1])

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
        Store the session of a team's member in the team's conversation, with its newest runs in the document.

        No messages are stored: a member takes no part in the conversation, and the team's run has its answers.
        """
        async with self.storage.transaction() as tx:
            memory = self._memory(tx, session_id, user_id, resource_id)
            kept = await memory.payload(formats.session) if await memory.lock() else None
            stored = {run_id_of(each): each for each in objects_of(kept.payload if kept else None, "runs")}
            merged = stored | {run_id_of(each): each for each in own_runs(runs)}
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
        """Store a user's message before its run. A run that is already stored is not changed."""
        role, type, content = plain_message(message)
        id = row_id(run_id, 0)
        metadata: JsonObject = {"status": status}
        async with self.storage.transaction() as tx:
            memory = self._memory(tx, session_id, user_id, resource_id)
            await memory.lock()
            kept = (await memory.messages_by_id([id])).get(id)
            if kept is None or kept.format == formats.input:
                await memory.add(
                    NativeMessage(id=id, role=role, type=type, content=content, metadata=metadata, format=formats.input)
                )
        self._keep((session_id, run_id), b"")

    async def delete(self, session_id: str, owner: Owner | None) -> bool:
        """Delete the owner's conversation with its messages. Returns whether there was one. None: no owner."""
        # If the session is saved again, all its runs must be stored again. But a run under way, whose input was stored,
        # does not create it again.
        kept = [(key, each) for key, each in self._known.items() if key[0] != session_id or (key[1] and not each)]
        self._known = OrderedDict(kept)
        return owner is not None and await self.storage.delete_conversation(session_id, owner=owner)

    def forget(self) -> None:
        """Forget which runs are stored, so that the next save stores all of them."""
        self._known.clear()

    def _memory(
        self, storage: Storage, session_id: str, user_id: str, resource_id: str, runs: Iterable[JsonObject] = ()
    ) -> NativeMemory:
        """Return the memory to save runs with: it creates the conversation unless it has existed for these runs."""
        memory = NativeMemory(storage, user_id, session_id, resource_id=resource_id)
        memory.since(self._looks.last(session_id))
        return memory.expect_existing() if self._has_seen(session_id, runs) else memory

    def _is_known(self, session_id: str, run: JsonObject) -> bool:
        return self._known.get((session_id, run_id_of(run))) == _digest(run)

    def _has_seen(self, session_id: str, runs: Iterable[JsonObject]) -> bool:
        """Return whether the session has existed for these runs, or when it was last read."""
        return any((session_id, run_id) in self._known for run_id in ("", *map(run_id_of, runs)))

    def _remember(self, session_id: str, runs: Iterable[JsonObject]) -> None:
        for run in runs:
            self._keep((session_id, run_id_of(run)), _digest(run))

    def _keep(self, key: tuple[str, str], digest: bytes) -> None:
        self._known[key] = digest
        self._known.move_to_end(key)
        while len(self._known) > _KNOWN_RUNS:
            self._known.popitem(last=False)


def _digest(run: JsonObject) -> bytes:
    # Agno changes the order of the keys of runs that it has read, and may add or drop empty values.
    filled = {key: each for key, each in run.items() if each not in (None, [], {})}
    return blake2b(json.dumps(filled, sort_keys=True).encode(), digest_size=16).digest()


async def _messages_to_save(
    memory: NativeMemory, runs: Sequence[JsonObject], formats: Formats
) -> tuple[list[NativeMessage], list[str]]:
    """Return the messages of the runs, and the ids of stored messages that the runs no longer have."""
    groups = _runs_by_root(runs)
    stored = await memory.messages_by_id([row_id(root, 0) for root in groups]) if groups else {}
    messages: list[NativeMessage] = []
    surplus: list[str] = []
    for root, group in groups.items():
        first = stored.get(row_id(root, 0))
        payload = first.payload if first is not None and formats.is_first_of_run(first) else None
        before: JsonObject = payload if isinstance(payload, dict) else {}
        run = group.pop(root, None)
        members = {run_id_of(each): each for each in objects_of(before, "members")} | group
        if run is not None:
            rows = to_messages(run, list(members.values()), formats)
            count = before.get("rows")
            surplus += [row_id(root, each) for each in range(len(rows), count if isinstance(count, int) else 0)]
        elif first is not None and before:
            rows = [_with_payload(first, {**before, "members": list(members.values())})]
        else:
            raise InvalidInputError(
                f"run {next(iter(group))!r} is part of run {root!r}, which is not stored: store {root!r} first"
            )
        messages += rows
    return messages, surplus


def _runs_by_root(runs: Sequence[JsonObject]) -> dict[str, dict[str, JsonObject]]:
    """Return the runs by id, grouped by the id of the outermost run that they are part of."""
    parents = {run_id_of(run): parent_of(run) for run in runs}
    groups: dict[str, dict[str, JsonObject]] = {}
    for run in runs:
        root = run_id_of(run)
        for _ in parents:  # a chain of parents is at most this long
            root = parents.get(root) or root
        groups.setdefault(root, {})[run_id_of(run)] = run
    return groups


def _with_payload(message: NativeMessage, payload: JsonValue) -> NativeMessage:
    fields = {name: getattr(message, name) for name in ("id", "role", "type", "content", "metadata", "format")}
    return NativeMessage(**fields, payload=payload)


async def _save_document(
    memory: NativeMemory, session: JsonObject, kept: Payload | None, formats: Formats, *, touch: bool
) -> None:
    before: JsonObject = kept.payload if kept is not None and isinstance(kept.payload, dict) else {}
    parts = {key: before[key] for key in _COMPONENTS if session.get(key) is None and before.get(key) is not None}
    if "session_type" in before:  # the kind that created the session
        parts["session_type"] = before["session_type"]
    name = session_name(session)
    # A title set in the application stays until the session is renamed in Agno.
    is_renamed = name is not None and name != session_name(before)
    await memory.save_payload({**session, **parts}, formats.session, title=name if is_renamed else UNSET, touch=touch)


def session_name(session: JsonObject) -> str | None:
    """Return the session's name; None if it has none."""
    data = session.get("session_data")
    name = data.get("session_name") if isinstance(data, dict) else None
    return name if isinstance(name, str) and name else None


def with_title(session: JsonObject, title: str | None) -> JsonObject:
    """Return the session with the conversation's title as its name, because the application may have changed it."""
    if title is None or title == session_name(session):
        return session
    data = session.get("session_data")
    return {**session, "session_data": {**(data if isinstance(data, dict) else {}), "session_name": title}}


def resource_id_of(session: JsonObject) -> str:
    """Return the id of the agent, team or workflow that a session or a run belongs to."""
    ids = (session.get(key) for key in COMPONENT_IDS)
    return next((each for each in ids if isinstance(each, str) and each), DEFAULT_RESOURCE_ID)

"""Changes: a user's conversations, watched across processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from voltmem._areas.area import Access, Area
from voltmem._areas.queries import ON_LINE
from voltmem._areas.sidebar import ConversationItem, items_where
from voltmem._areas.working_memory import WorkingMemory, WorkingMemoryStatements
from voltmem._model import Key, Model
from voltmem._postgres.listening import UNREACHABLE, Watcher, Watching
from voltmem._tables import Tables
from voltmem._values import check_seconds, check_user
from voltmem.errors import InvalidInputError, StorageClosedError
from voltmem.options import DEFAULT_POLL_INTERVAL

ChangeKind: TypeAlias = Literal[
    "ready", "created", "updated", "message-added", "deleted", "memory-changed", "reconnected"
]


class Change(Model):
    """A change of a conversation or of a working memory, or the beginning or an interruption of watching."""

    kind: ChangeKind
    """
    - "ready": always first. No change after it is missed; list the conversations now.
    - "created": a conversation was created, restored, or given to the user.
    - "message-added": its newest message is newer than before.
    - "updated": another change of it or of its messages: an edit, a deletion, a rewind.
    - "deleted": a conversation was deleted, soft-deleted, or given to another user.
    - "memory-changed": a working memory has a new version: that of the conversation, or that of the user.
    - "reconnected": the connection was lost and is back. The changes meanwhile follow, one for each conversation, with
      its current state.
    """
    conversation_id: Key | None = None
    """The conversation; None for "ready" and "reconnected", and for the working memory of the user."""
    conversation: ConversationItem | None = None
    """The conversation's current state; None for "deleted", "memory-changed", "ready" and "reconnected"."""
    memory: WorkingMemory | None = None
    """The working memory's current state; None if it was deleted, and for other changes."""


class ChangeStatements:
    """The statements whose text does not depend on the arguments."""

    def __init__(self, tables: Tables) -> None:
        conversations = tables.conversations

        def newest(conversation_id: str) -> str:
            """Return the join that adds the time and seq of each conversation's newest message."""
            return f"""
            LEFT JOIN LATERAL (
                SELECT m.created_at, m.seq FROM {tables.messages} AS m
                WHERE m.conversation_id = {conversation_id} AND {ON_LINE}
                ORDER BY m.created_at DESC, m.seq DESC LIMIT 1
            ) AS newest ON true"""

        # Every write of a row changes its xmin, the id of the writing transaction.
        self.begin = f"""
            SELECT c.id, c.xmin::text AS version, newest.created_at AS newest_at, newest.seq AS newest_seq
            FROM {conversations} AS c {newest("c.id")}
            WHERE c.user_id = $1 AND c.deleted_at IS NULL"""
        # The known versions are sent, and only the differences are returned, mostly none.
        self.look = f"""
            WITH there AS (
                SELECT id, xmin::text AS version FROM {conversations} WHERE user_id = $1 AND deleted_at IS NULL
            ), changed AS (
                SELECT id, there.version
                FROM there FULL JOIN unnest($2::text[], $3::text[]) AS known (id, version) USING (id)
                WHERE there.version IS DISTINCT FROM known.version
            ), newest AS (
                SELECT c.id, newest.created_at, newest.seq FROM {conversations} AS c {newest("c.id")}
                WHERE c.id = ANY (ARRAY(SELECT id FROM changed))
            )
            SELECT changed.id, changed.version, newest.created_at AS newest_at, newest.seq AS newest_seq, item.*
            FROM changed
            LEFT JOIN ({items_where(tables, "c.id = ANY (ARRAY(SELECT id FROM changed))")}) AS item
                ON item.id = changed.id
            LEFT JOIN newest ON newest.id = changed.id
            ORDER BY item.updated_at NULLS FIRST, changed.id"""


class MemoryLookStatements:
    """The statement about the working memories of a user, whose place is '', and of the user's conversations."""

    def __init__(self, tables: Tables) -> None:
        self.newest = f"""
            SELECT ''::text AS place, pg_catalog.max(m.version) AS version
            FROM {tables.user_memory} AS m WHERE m.user_id = $1 HAVING pg_catalog.max(m.version) IS NOT NULL
            UNION ALL
            SELECT m.conversation_id AS place, pg_catalog.max(m.version) AS version
            FROM {tables.conversation_memory} AS m JOIN {tables.conversations} AS c ON c.id = m.conversation_id
            WHERE c.user_id = $1 AND c.deleted_at IS NULL GROUP BY m.conversation_id"""


_OWN: Final = ""
"""The place of the user's own memory."""


class Known(NamedTuple):
    """The known state of a conversation, from which a change is seen."""

    version: str
    newest: tuple[datetime, int] | None
    """Time and seq of the newest message; None: there are none."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Known:
        """Return the state in a row: version, newest_at, newest_seq."""
        version, newest_at, newest_seq = row
        return cls(version, None if newest_at is None else (newest_at, newest_seq))

    def has_newer_message_than(self, before: Known) -> bool:
        """Return whether a message was added since an earlier state."""
        return self.newest is not None and (before.newest is None or self.newest > before.newest)


class Changes(Area):
    """The verb about changes. PostgresStorage inherits from all areas."""

    _watching: Watching | None

    def watch(self, user_id: str, *, poll_interval: float = DEFAULT_POLL_INTERVAL) -> AsyncGenerator[Change, None]:
        """
        Return an iterator over the changes of a user's conversations and working memories, made in any process.

        ::

            async for change in storage.watch("ada"):
                if change.kind == "ready":
                    show(await storage.list_conversations("ada"))
                elif change.conversation is not None:
                    show_again(change.conversation)

        The first change is "ready": list the conversations then; no change after it is missed. Changes found by one
        query come in order of activity, deletions first, and those of working memories last. The iterator ends when the
        storage is closed; like any other, it can be left with break.

        Args:
            user_id: The user.
            poll_interval: Seconds between two queries where no notifications arrive: behind a pooler in transaction
                mode, on a standby, with Citus, or while the listening connection is lost.

        Raises:
            InvalidInputError: The storage is bound to a connection or a transaction.
            ConnectionFailedError: No server could be reached at the beginning. Later the iterator waits for the server.

        All watchers of a storage share one connection outside the pool, or one of the pool if the caller passed a pool.
        It is held while there is a watcher. The watchers of a user share one query, after a notification, at most ten
        times a second, and every 30 seconds: one round trip, which reads the user's conversations by index. It is
        another one, which reads the newest versions of the user's working memories, if one of them has changed or
        nobody can say so, and then one for each that has. For an iterator that is slow, the changes of a conversation
        become one, and so do those of a memory. If another program changes only messages, and not the row of their
        conversation, the change is not seen; if VoltAgent changes a working memory, it is seen when somebody reads it.
        """
        check_user("user_id", user_id, "watch() follows one user's conversations")
        check_seconds("poll_interval", poll_interval)
        if self._watching is None:
            raise InvalidInputError(
                "watch() needs a connection of its own, and this storage is bound to one, or to a transaction: call it "
                "on the PostgresStorage"
            )
        return self._changes(self._watching, user_id, poll_interval)

    async def _changes(self, watching: Watching, user_id: str, poll_interval: float) -> AsyncGenerator[Change, None]:
        looks = _LOOKS.setdefault(watching, {})
        look = looks.get(user_id)
        if look is None or not look.is_open():
            look = looks[user_id] = _Look(watching, Access(self._options, self._executor), user_id)
        place = look.join(poll_interval)
        try:
            await look.has_begun()
            yield Change(kind="ready")
            while (change := await place.next()) is not None:
                yield change
        finally:
            if look.leave(place):
                if looks.get(user_id) is look:
                    del looks[user_id]
                await look.stop()


class _Place:
    """The changes that one iterator has not yielded yet: of each conversation the last, with its current state."""

    def __init__(self, poll_interval: float) -> None:
        self.poll_interval = poll_interval
        self._changes: dict[tuple[bool, str | None], Change] = {}
        self._more = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    def put(self, change: Change) -> None:
        """Add a change. It replaces one of the same conversation, or memory, that was not yielded yet."""
        of = change.kind == "memory-changed", change.conversation_id
        before = self._changes.pop(of, None)
        # "created" and "message-added" say more than "updated"; what came and went is still known to somebody.
        if before is not None and change.kind == "updated" and before.kind in ("created", "message-added"):
            change = change.model_copy(update={"kind": before.kind})
        elif before is not None and before.kind == "created" and change.kind == "message-added":
            change = change.model_copy(update={"kind": "created"})
        self._changes[of] = change
        self._more.set()

    def end(self, error: Exception | None = None) -> None:
        """End the iterator: at once, since the storage was closed, or with an error after the changes so far."""
        self._ended, self._error = True, error
        if error is None:
            self._changes.clear()
        self._more.set()

    async def next(self) -> Change | None:
        """Return the next change; None at the end."""
        while not self._changes and not self._ended:
            self._more.clear()
            await self._more.wait()
        if self._changes:
            return self._changes.pop(next(iter(self._changes)))
        if self._error is not None:
            raise self._error
        return None


class _Look:
    """One user's changes, queried once for all iterators of a storage: it runs from the first of them to the last."""

    def __init__(self, watching: Watching, access: Access, user_id: str) -> None:
        self._watching = watching
        self._executor = access.executor
        self._sql = access.sql(ChangeStatements)
        self._sql_of_memory = access.sql(MemoryLookStatements)
        self._get = access.sql(WorkingMemoryStatements).get
        self._user_id = user_id
        self._loop = asyncio.get_running_loop()
        self._places: set[_Place] = set()
        self._known: dict[str, Known] = {}
        self._memories: dict[str, int] = {}
        self._begun = self._loop.create_future()
        self._watcher: Watcher | None = None
        self._task = asyncio.create_task(self._run(), name="voltmem: looks for a user's changes")

    def is_open(self) -> bool:
        """Return whether one more iterator can join: it is not ended, and belongs to this event loop."""
        return self._loop is asyncio.get_running_loop() and not self._task.done()

    def join(self, poll_interval: float) -> _Place:
        """Add an iterator. It is given all changes from now on."""
        place = _Place(poll_interval)
        if self._watcher is not None and poll_interval < self._poll_interval():
            self._watcher.hint()  # it waits longer than this iterator wants
        self._places.add(place)
        return place

    def _poll_interval(self) -> float:
        return min((place.poll_interval for place in self._places), default=DEFAULT_POLL_INTERVAL)

    def leave(self, place: _Place) -> bool:
        """Remove an iterator. Returns whether it was the last."""
        self._places.discard(place)
        return not self._places

    async def has_begun(self) -> None:
        """Wait for the first query. Raises its error."""
        await asyncio.shield(self._begun)

    async def stop(self) -> None:
        """Stop looking. Returns when nothing of it is left."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            await self._look()
        except Exception as error:  # each iterator raises it
            self._end(error)
        else:
            self._end()
        finally:
            if not self._begun.done():
                self._begun.cancel()

    def _end(self, error: Exception | None = None) -> None:
        if not self._begun.done() and error is not None:
            self._begun.set_exception(error)
            self._begun.exception()  # an iterator that was left meanwhile does not raise it
        for place in self._places:
            place.end(error)

    async def _look(self) -> None:
        async with self._watching.watcher(self._user_id) as watcher:
            rows = await self._executor.fetch(self._sql.begin, self._user_id)
            self._known = {row["id"]: Known.from_row(tuple(row)[1:]) for row in rows}
            self._memories = await self._newest_memories()
            self._begun.set_result(None)
            self._watcher = watcher
            while await watcher.wait(self._poll_interval()):
                versions = [each.version for each in self._known.values()]
                of_memory: list[Change] = []
                try:
                    rows = await self._executor.fetch(self._sql.look, self._user_id, list(self._known), versions)
                    # delete_user() says no more than that something has changed.
                    may_be_gone = _OWN in self._memories and all(row["version"] is None for row in rows)
                    if watcher.is_of_memory() or may_be_gone:
                        of_memory = await self._changed_memories()
                except UNREACHABLE:
                    watcher.missed = True
                    continue
                except StorageClosedError:
                    return
                changes = [Change(kind="reconnected")] if watcher.is_back() else []
                changes += [_change(self._known, tuple(row)) for row in rows]
                changes += of_memory
                for place in self._places:
                    for change in changes:
                        place.put(change)

    async def _newest_memories(self) -> dict[str, int]:
        rows = await self._executor.fetch(self._sql_of_memory.newest, self._user_id)
        return {row["place"]: row["version"] for row in rows}

    async def _changed_memories(self) -> list[Change]:
        """Return a change for each memory that has another version than it was known to have."""
        newest, changes = await self._newest_memories(), list[Change]()
        changed = {place for place, version in newest.items() if self._memories.get(place) != version}
        changed |= {_OWN} & self._memories.keys() - newest.keys()
        for place in sorted(changed):
            row = await self._executor.fetchrow(self._get, self._user_id, place or None)
            memory = None if row is None else WorkingMemory.from_row(row)
            if memory is not None:
                newest[place] = memory.version  # it may have changed again
            changes.append(Change(kind="memory-changed", conversation_id=place or None, memory=memory))
        self._memories = newest
        return changes


_LOOKS: Final[WeakKeyDictionary[Watching, dict[str, _Look]]] = WeakKeyDictionary()
"""Of each storage, the users who are being watched."""


def _change(known: dict[str, Known], row: tuple[Any, ...]) -> Change:
    """Return the change in a row, and update the known state."""
    conversation_id = row[0]
    before = known.pop(conversation_id, None)
    if row[1] is None:
        return Change(kind="deleted", conversation_id=conversation_id)
    now = known[conversation_id] = Known.from_row(row[1:4])
    item = ConversationItem.from_row(row[4:])
    if before is None:
        return Change(kind="created", conversation_id=conversation_id, conversation=item)
    kind: ChangeKind = "message-added" if now.has_newer_message_than(before) else "updated"
    return Change(kind=kind, conversation_id=conversation_id, conversation=item)

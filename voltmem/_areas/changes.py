"""Changes: a user's conversations, watched across processes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from voltmem._areas.area import Area
from voltmem._areas.queries import ON_LINE
from voltmem._areas.sidebar import ConversationItem, items
from voltmem._model import Key, Model
from voltmem._postgres.listening import UNREACHABLE, Watching
from voltmem._tables import Tables
from voltmem._values import check_seconds, check_user
from voltmem.errors import InvalidInputError, StorageClosedError
from voltmem.options import DEFAULT_POLL_INTERVAL

ChangeKind: TypeAlias = Literal["ready", "created", "updated", "message-added", "deleted", "reconnected"]


class Change(Model):
    """A change of a conversation, or the beginning or an interruption of watching."""

    kind: ChangeKind
    """
    - "ready": always first. No change after it is missed; list the conversations now.
    - "created": a conversation was created, restored, or given to the user.
    - "message-added": its newest message is newer than before.
    - "updated": another change of it or of its messages: an edit, a deletion, a rewind.
    - "deleted": a conversation was deleted, soft-deleted, or given to another user.
    - "reconnected": the connection was lost and is back. The changes meanwhile follow, one for each conversation, with
      its current state.
    """
    conversation_id: Key | None = None
    """The conversation; None for "ready" and "reconnected"."""
    conversation: ConversationItem | None = None
    """The conversation's current state; None for "deleted", "ready" and "reconnected"."""


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
        changed = f"(SELECT * FROM {conversations} WHERE id = ANY (ARRAY(SELECT id FROM changed)))"
        self.look = f"""
            WITH there AS (
                SELECT id, xmin::text AS version FROM {conversations} WHERE user_id = $1 AND deleted_at IS NULL
            ), changed AS (
                SELECT id, there.version
                FROM there FULL JOIN unnest($2::text[], $3::text[]) AS known (id, version) USING (id)
                WHERE there.version IS DISTINCT FROM known.version
            )
            SELECT changed.id, changed.version, newest.created_at AS newest_at, newest.seq AS newest_seq, item.*
            FROM changed
            LEFT JOIN ({items(tables, changed)}) AS item ON item.id = changed.id {newest("item.id")}
            ORDER BY item.updated_at NULLS FIRST, changed.id"""


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
        Return an iterator over the changes of a user's conversations, made by any user in any process.

        ::

            async for change in storage.watch("ada"):
                if change.kind == "ready":
                    show(await storage.list_conversations("ada"))
                elif change.conversation is not None:
                    show_again(change.conversation)

        The first change is "ready": list the conversations then; no change after it is missed. Changes found by one
        query come in order of activity, deletions first. The iterator ends when the storage is closed; like any other,
        it can be left with break.

        Args:
            user_id: The user.
            poll_interval: Seconds between two queries where no notifications arrive: behind a pooler in transaction
                mode, on a standby, with Citus, or while the listening connection is lost.

        Raises:
            InvalidInputError: The storage is bound to a connection or a transaction.
            ConnectionFailedError: No server could be reached at the beginning. Later the iterator waits for the server.

        All watchers of a storage share one connection outside the pool, or one of the pool if the caller passed a pool.
        It is held while there is a watcher. A watcher queries after a notification, at most ten times a second, and
        every 30 seconds: one round trip, which reads the user's conversations by index. If another program changes only
        messages, and not the row of their conversation, the change is not seen.
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
        async with watching.watcher(user_id) as watcher:
            rows = await self._executor.fetch(self._sql(ChangeStatements).begin, user_id)
            known = {row["id"]: Known.from_row(tuple(row)[1:]) for row in rows}
            yield Change(kind="ready")
            while await watcher.wait(poll_interval):
                versions = [each.version for each in known.values()]
                try:
                    rows = await self._executor.fetch(self._sql(ChangeStatements).look, user_id, list(known), versions)
                except UNREACHABLE:
                    watcher.missed = True
                    continue
                except StorageClosedError:
                    return
                if watcher.is_back():
                    yield Change(kind="reconnected")
                for row in rows:
                    yield _change(known, tuple(row))


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

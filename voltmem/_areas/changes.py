"""What changes while one looks: a user's conversations, watched across processes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from voltmem._areas.area import Area
from voltmem._areas.sidebar import ConversationItem, items
from voltmem._postgres.listening import UNREACHABLE, Watching
from voltmem._tables import Tables
from voltmem._values import check_seconds, check_user
from voltmem.errors import InvalidInputError, StorageClosedError
from voltmem.models import Key, Model
from voltmem.options import DEFAULT_POLL_INTERVAL

ChangeKind: TypeAlias = Literal["ready", "created", "updated", "message-added", "deleted", "reconnected"]


class Change(Model):
    """What watch() tells of: a conversation that changed, or that watching has begun or was interrupted."""

    kind: ChangeKind
    """
    - "ready": from here on nothing is missed. It comes first; list the conversations now.
    - "created": there is one more: a new one, one that was restored, or one that somebody gave to the user.
    - "message-added": its newest message is newer than before.
    - "updated": something else of it changed, or of its messages: they were edited, deleted, rewound.
    - "deleted": there is one less: deleted with a way back or without, or given to somebody else.
    - "reconnected": the connection was lost and is back. What changed meanwhile follows, merged: of several changes of
      one conversation only the last state is seen.
    """
    conversation_id: Key | None = None
    """Which one; None where the change is none of a conversation."""
    conversation: ConversationItem | None = None
    """As the sidebar shows it now; None where it is deleted."""


class ChangeStatements:
    """The statements with one shape."""

    def __init__(self, tables: Tables) -> None:
        conversations = tables.conversations

        def newest(conversation_id: str) -> str:
            """Return the join that gives each conversation the place of its newest message."""
            return f"""
            LEFT JOIN LATERAL (
                SELECT m.created_at, m.seq FROM {tables.messages} AS m
                WHERE m.conversation_id = {conversation_id} AND NOT m.archived
                ORDER BY m.created_at DESC, m.seq DESC LIMIT 1
            ) AS newest ON true"""

        # Whoever writes a row leaves the number of the transaction in it, whatever the change.
        self.begin = f"""
            SELECT c.id, c.xmin::text AS version, newest.created_at AS newest_at, newest.seq AS newest_seq
            FROM {conversations} AS c {newest("c.id")}
            WHERE c.user_id = $1 AND c.deleted_at IS NULL"""
        # What is known is sent, and only the differences come back: mostly none.
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
    """What a watcher keeps of a conversation: enough to see that it changed."""

    version: str
    newest: tuple[datetime, int] | None
    """The place of the newest message; None: there are none."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Known:
        """Return what is to be known of a row: version, newest_at, newest_seq."""
        version, newest_at, newest_seq = row
        return cls(version, None if newest_at is None else (newest_at, newest_seq))

    def has_newer_message_than(self, before: Known) -> bool:
        """Whether a message was added since."""
        return self.newest is not None and (before.newest is None or self.newest > before.newest)


class Changes(Area):
    """The method about changes; PostgresStorage puts the areas together."""

    _watching: Watching | None

    def watch(self, user_id: str, *, poll_interval: float = DEFAULT_POLL_INTERVAL) -> AsyncGenerator[Change, None]:
        """
        Return an iterator of what changes in a user's conversations, whoever changes it, in whatever process.

        ::

            async for change in storage.watch("ada"):
                if change.kind == "ready":
                    show(await storage.list_conversations("ada"))
                elif change.conversation is not None:
                    show_again(change.conversation)

        The first is "ready": list the conversations then, for from there on nothing is missed. What is found together
        comes in order of activity, what was deleted first. It ends when the storage is closed; leave it as any other
        iterator.

        Args:
            user_id: Whose.
            poll_interval: Seconds between two looks where no notification arrives (behind a pooler in transaction
                mode, on a standby, with Citus, or while the connection that listens is lost).

        Raises:
            InvalidInputError: On a storage that is bound to a connection, or in a transaction.
            ConnectionFailedError: No server there at the beginning. One that goes away later is waited for.

        One connection of its own for all who watch on a storage, from the first to the last; a pool that was given
        lends one. A look is one round trip, on a notification and every half a minute, at most ten a second, and reads
        the user's conversations by index. A change that another program makes to messages only, not to the row of
        their conversation, is not seen.
        """
        check_user("user_id", user_id, "watch() follows one user's conversations")
        check_seconds("poll_interval", poll_interval)
        if self._watching is None:
            raise InvalidInputError(
                "watch() needs a connection of its own: call it on the PostgresStorage, not on one that is bound to a "
                "connection or a transaction"
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
    """Return the change that a row tells of, which is known from now on."""
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

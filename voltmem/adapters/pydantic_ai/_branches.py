"""
Conversations with branches, as a framework reads them that links each message to its parent, the message before it.

A message that was added without a link, by another framework or by the application, is loose. It is on the line and
follows the message before it, and is linked when a framework with branches next reads the conversation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from voltmem._agents.files import with_files
from voltmem._agents.native import NativeMemory, Payload
from voltmem._areas.area import access
from voltmem._areas.files import FileStatements
from voltmem._areas.queries import CONVERSATION_COLUMNS, ON_LINE, authored, message_columns, owner_of
from voltmem._tables import Tables
from voltmem._values import ANY_USER, check_count, check_id, check_id_or_none, check_owner, check_texts
from voltmem.errors import ConversationNotFoundError, RevisionConflictError
from voltmem.models import NativeMessage, Owner
from voltmem.options import DEFAULT_RESOURCE_ID
from voltmem.parts._settled import Settling
from voltmem.storage import Storage


class BranchStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages, payloads = tables.conversations, tables.messages, tables.payloads
        columns = ", ".join(f"c.{column.strip()}" for column in CONVERSATION_COLUMNS.split(","))
        # Of one conversation, every message of the line is examined; of a list, only the newest of each.
        is_any_loose = f"""EXISTS (
                    SELECT 1 FROM {messages} AS m
                    WHERE m.conversation_id = $2 AND {ON_LINE} AND m.parent_id IS NULL)"""

        def tips(id: str, is_loose: str) -> str:
            """Return the SELECT of tips. *id* is $2 where that is known, so that Citus asks one worker."""
            return f"""
            SELECT {columns}, p.payload::text AS payload, p.revision,
                newest.message_id AS newest_id, {is_loose} AS is_loose
            FROM {conversations} AS c
            LEFT JOIN {payloads} AS p ON p.conversation_id = {id} AND p.format = $1
            LEFT JOIN LATERAL (
                SELECT m.message_id, m.parent_id FROM {messages} AS m
                WHERE m.conversation_id = {id} AND {ON_LINE}
                ORDER BY m.created_at DESC, m.seq DESC LIMIT 1
            ) AS newest ON true"""

        self.tip = f"{tips('$2', is_any_loose)} WHERE c.id = $2 AND c.deleted_at IS NULL"
        is_newest_loose = "newest.message_id IS NOT NULL AND newest.parent_id IS NULL"
        self.tips = f"""{tips("c.id", is_newest_loose)}
            WHERE ($2::text IS NULL OR c.user_id = $2) AND c.deleted_at IS NULL
            ORDER BY c.updated_at DESC, c.id DESC
            LIMIT $3::bigint"""
        self.lock = f"SELECT 1 FROM {conversations} WHERE id = $1 FOR UPDATE"
        self.present = f"""
            SELECT message_id FROM {messages}
            WHERE conversation_id = $1 AND message_id = ANY($2::text[]) AND NOT archived"""

        def line(home: str, of_it: str) -> str:
            """Return the CTE and the SELECT of a line of the conversation *home*, up to the message $2."""
            return f"""line AS MATERIALIZED (
                SELECT each.step, each.message_id AS id FROM {of_it}
            )
            SELECT conversation_id, {message_columns(tables)} FROM line
            JOIN {authored(tables)} AS m ON conversation_id = {home} AND message_id = line.id
            WHERE author IS NULL OR author = {owner_of(tables, home)}
            ORDER BY step DESC"""

        # The ledger is on the coordinator of Citus alone, so the function is called there, and one worker has the rest.
        of_it = f"{tables.line_to}($1, $2, $3::bigint) AS each WHERE EXISTS (SELECT 1 FROM {tables.migrations})"
        self.line = f"WITH {line('$1::text', of_it)}"
        # Of any conversation of user $4 that has the message in format $1.
        of_it = f"home CROSS JOIN LATERAL {tables.line_to}(home.id, $2, $3::bigint) AS each"
        self.line_anywhere = f"""
            WITH home AS MATERIALIZED (
                SELECT m.conversation_id AS id
                FROM {messages} AS m JOIN {conversations} AS c ON c.id = m.conversation_id
                WHERE m.message_id = $2 AND m.parent_id IS NOT NULL AND m.format = $1 AND NOT m.archived
                    AND c.deleted_at IS NULL AND ($4::text IS NULL OR c.user_id = $4)
                LIMIT 1
            ), {line("(SELECT id FROM home)", of_it)}"""
        self.link = f"""
            UPDATE {messages} AS m SET parent_id = coalesce(line.before, '')
            FROM (
                SELECT message_id, pg_catalog.lag(message_id) OVER (ORDER BY created_at, seq) AS before
                FROM {messages} WHERE conversation_id = $1 AND {ON_LINE}
            ) AS line
            WHERE m.conversation_id = $1 AND m.message_id = line.message_id AND m.parent_id IS NULL"""
        self.ends = f"""
            SELECT m.message_id FROM {messages} AS m
            WHERE m.conversation_id = $1 AND NOT m.archived AND m.aside AND NOT EXISTS (
                SELECT 1 FROM {messages} AS next WHERE next.conversation_id = $1 AND next.parent_id = m.message_id
            )
            ORDER BY m.created_at, m.seq"""


@dataclass(frozen=True)
class Tip:
    """A conversation with the framework's form of it, and its newest message."""

    kept: Payload
    newest_id: str | None
    """The id of the newest message of the line; None: the line is empty."""
    is_loose: bool
    """Whether a message of the line has no link yet; in a list of tips: whether the newest has none."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Tip:
        """Build the tip from a row: a payload's columns, the newest message's id, and whether it is loose."""
        *kept, newest_id, is_loose = row
        return cls(Payload.from_row(kept), newest_id, is_loose)


class Branches:
    """
    The conversations of a storage with their branches, for one framework.

    Args:
        storage: The storage.
        format: The framework's format, in which the conversations' payloads are read and written.
        user_id: The user of the conversations; ANY_USER: all users, for trusted code.
        resource_id: The agent or project of new conversations.
    """

    def __init__(
        self, storage: Storage, format: str, *, user_id: Owner, resource_id: str = DEFAULT_RESOURCE_ID
    ) -> None:
        check_id(format=format, resource_id=resource_id)
        self._storage = storage
        self._format = format
        self._owner = user_id
        self._user_id = check_owner("user_id", user_id)
        self._resource_id = resource_id
        self._executor = access(storage).executor
        self._sql = access(storage).sql(BranchStatements)
        self._file_sql = access(storage).sql(FileStatements)

    # --- reading ----------------------------------------------------------------------------------------------

    async def tip(self, conversation_id: str) -> Tip | None:
        """
        Return the conversation with the framework's form of it; None if there is no conversation.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        check_id(conversation_id=conversation_id)
        row = await self._executor.fetchrow(self._sql.tip, self._format, conversation_id)
        if row is not None and self._user_id not in (None, row["user_id"]):
            raise ConversationNotFoundError(conversation_id, self._user_id)
        return None if row is None else Tip.from_row(row)

    async def tips(self, user_id: Owner = ANY_USER, *, limit: int | None = None) -> list[Tip]:
        """Return the user's conversations, or those of all users this object may read, the last active first."""
        owner = check_owner("user_id", user_id)
        if limit is not None:
            check_count("limit", limit)
        checked = owner if self._user_id is None else self._user_id
        rows = await self._executor.fetch(self._sql.tips, self._format, checked, limit)
        return list(map(Tip.from_row, rows))

    async def present(self, conversation_id: str, message_ids: Iterable[str]) -> set[str]:
        """Return the ids that the conversation has messages for. Sends nothing if no ids are given."""
        check_id(conversation_id=conversation_id)
        ids = check_texts("message_ids", message_ids)
        rows = await self._executor.fetch(self._sql.present, conversation_id, ids) if ids else []
        return {row["message_id"] for row in rows}

    async def line(
        self, conversation_id: str | None, message_id: str, *, limit: int | None = None
    ) -> tuple[str | None, list[NativeMessage]]:
        """
        Return the message's conversation, and the messages of its branch up to the message, the oldest first.

        Returns None and an empty list if there is no such message.

        Args:
            conversation_id: The conversation. Its owner is not checked, because tip() has checked it. None: any
                conversation that has the message in the format, by index ``{prefix}_messages_in_branches``.
            message_id: The last message.
            limit: The maximum number of messages; None: all.

        One round trip for any number of messages, by the messages' primary key.
        """
        check_id_or_none(conversation_id=conversation_id)
        check_id(message_id=message_id)
        if limit is not None:
            check_count("limit", limit)
        if limit == 0:
            return conversation_id, []
        if conversation_id is not None:
            rows = await self._executor.fetch(self._sql.line, conversation_id, message_id, limit)
        else:
            arguments = self._format, message_id, limit, self._user_id
            rows = await self._executor.fetch(self._sql.line_anywhere, *arguments)
        messages = [NativeMessage.from_row(tuple(row)[1:]) for row in rows]
        return (rows[0]["conversation_id"] if rows else None), messages

    async def with_files(self, conversation_id: str, messages: Sequence[NativeMessage]) -> list[NativeMessage]:
        """Return messages of a conversation with the bytes of stored files in them. One round trip if there are any."""
        return await with_files(self._executor, self._file_sql, None, conversation_id, messages)

    # --- writing ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Branches]:
        """Yield the same conversations, bound to a transaction."""
        async with self._storage.transaction() as bound:
            yield Branches(bound, self._format, user_id=self._owner, resource_id=self._resource_id)

    async def lock(self, conversation_id: str) -> None:
        """Lock the conversation's row until the transaction ends."""
        check_id(conversation_id=conversation_id)
        await self._executor.fetchrow(self._sql.lock, conversation_id)

    async def link(self, conversation_id: str) -> None:
        """Link each loose message of a conversation, locked by lock(), to the message before it."""
        await self._executor.execute(self._sql.link, conversation_id)

    async def ends(self, conversation_id: str) -> list[str]:
        """Return the last messages of the branches that are off the line, oldest first."""
        return [row["message_id"] for row in await self._executor.fetch(self._sql.ends, conversation_id)]

    async def move_head(self, conversation_id: str, message_id: str | None) -> None:
        """End the line with this message; None: make it empty."""
        await self._storage.branch_conversation(conversation_id, message_id)

    async def save(
        self,
        conversation_id: str,
        user_id: str,
        payload: JsonValue,
        *,
        revision: str,
        expected_revision: str | None,
        touch: bool = True,
        began_at: float | None = None,
    ) -> None:
        """
        Store the framework's form of the conversation. Creates the conversation if needed.

        In a transaction, the conversation's row is locked until it ends. began_at: as in NativeMemory.since().

        Raises:
            ConversationNotFoundError: The conversation is another user's; or there is none, and the user was deleted
                since began_at.
            RevisionConflictError: The stored revision is not the expected one: it differs, there is none, or there is
                one although None is expected.
        """
        memory = NativeMemory(self._storage, user_id, conversation_id, resource_id=self._resource_id)
        await memory.since(began_at).save_payload(
            payload, self._format, revision=revision, expected_revision=expected_revision, touch=touch
        )

    async def add(self, conversation_id: str, user_id: str, messages: Sequence[NativeMessage]) -> None:
        """Store the messages with their links. The storage_limit applies."""
        await self._storage.add_messages(messages, user_id, conversation_id)

    async def delete(self, conversation_id: str, *, expected_revision: str) -> None:
        """
        Delete the conversation with all its messages.

        Raises:
            RevisionConflictError: The stored revision is not the expected one, or there is none.
        """
        async with self.transaction() as bound:
            await bound.lock(conversation_id)
            tip = await bound.tip(conversation_id)
            if tip is None or tip.kept.revision != expected_revision:
                raise RevisionConflictError(conversation_id, expected_revision)
            await bound._storage.delete_conversation(conversation_id)


def from_the_last_gap(line: Sequence[NativeMessage]) -> list[NativeMessage]:
    """Return the messages after the last tool result whose call is missing: models refuse such a result."""
    gaps = {position for position, _ in Settling(line).orphans}
    return list(line[max(gaps, default=-1) + 1 :])

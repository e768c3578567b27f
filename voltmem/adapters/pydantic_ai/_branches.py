"""
Conversations with branches: each message names the one before it, so that a history can be left, and taken up again.

A message that was added without branches (another framework's, or the application's) is loose: it follows what stands
before it, and gets its link when somebody who keeps branches comes by.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from voltmem._agents.native import NativeMemory, Payload
from voltmem._areas.area import access
from voltmem._areas.queries import CONVERSATION_COLUMNS, NATIVE_COLUMNS
from voltmem._parts import tool_calls, tool_results
from voltmem._tables import Tables
from voltmem._values import ANY_USER, check_count, check_id, check_id_or_none, check_owner, check_texts
from voltmem.errors import ConversationNotFoundError, RevisionConflictError
from voltmem.models import NativeMessage, Owner
from voltmem.options import DEFAULT_RESOURCE_ID
from voltmem.storage import Storage


class BranchStatements:
    """The statements with one shape. A NULL owner is trusted code: no check."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages, payloads = tables.conversations, tables.messages, tables.payloads
        columns = ", ".join(f"c.{column.strip()}" for column in CONVERSATION_COLUMNS.split(","))
        tips = f"""
            SELECT {columns}, p.payload::text AS payload, p.revision,
                newest.message_id AS newest_id, newest.message_id IS NOT NULL AND newest.parent_id IS NULL AS is_loose
            FROM {conversations} AS c
            LEFT JOIN {payloads} AS p ON p.conversation_id = c.id AND p.format = $1
            LEFT JOIN LATERAL (
                SELECT m.message_id, m.parent_id FROM {messages} AS m
                WHERE m.conversation_id = c.id AND NOT m.archived
                ORDER BY m.created_at DESC, m.seq DESC LIMIT 1
            ) AS newest ON true"""
        self.tip = f"{tips} WHERE c.id = $2 AND c.deleted_at IS NULL"
        self.tips = f"""{tips}
            WHERE ($2::text IS NULL OR c.user_id = $2) AND c.deleted_at IS NULL
            ORDER BY c.updated_at DESC, c.id DESC
            LIMIT $3::bigint"""
        self.lock = f"SELECT FROM {conversations} WHERE id = $1 FOR UPDATE"
        self.present = f"""
            SELECT message_id FROM {messages}
            WHERE conversation_id = $1 AND message_id = ANY($2::text[]) AND NOT archived"""
        # $1 NULL: whatever conversation has the message, in the format $4, if it is the user's, $5. Ids only: what a
        # message says is read when all of them are known.
        self.line = f"""
            WITH RECURSIVE home AS MATERIALIZED (
                SELECT coalesce($1::text, (
                    SELECT m.conversation_id FROM {messages} AS m JOIN {conversations} AS c ON c.id = m.conversation_id
                    WHERE m.message_id = $2 AND m.parent_id IS NOT NULL AND m.format = $4 AND NOT m.archived
                        AND c.deleted_at IS NULL AND ($5::text IS NULL OR c.user_id = $5)
                    LIMIT 1
                )) AS id
            ), line AS (
                SELECT 1::bigint AS step, m.message_id AS id, m.parent_id FROM {messages} AS m
                WHERE m.conversation_id = (SELECT id FROM home) AND m.message_id = $2 AND NOT m.archived
                UNION ALL
                SELECT line.step + 1, m.message_id, m.parent_id
                FROM line JOIN {messages} AS m
                    ON m.conversation_id = (SELECT id FROM home) AND m.message_id = line.parent_id
                WHERE NOT m.archived AND ($3::bigint IS NULL OR line.step < $3)
            )
            SELECT conversation_id, {NATIVE_COLUMNS} FROM (SELECT step, id FROM line) AS line
            JOIN {messages} ON conversation_id = (SELECT id FROM home) AND message_id = line.id
            ORDER BY step DESC"""
        # $2 is what the first of them follows, if it is still there; NULL: it follows nothing.
        in_order = "ORDER BY created_at DESC, seq DESC"
        self.link = f"""
            WITH linked AS (
                SELECT message_id, created_at, seq FROM {messages}
                WHERE conversation_id = $1 AND NOT archived AND parent_id IS NOT NULL {in_order} LIMIT 1
            ), loose AS (
                SELECT message_id, lag(message_id) OVER (ORDER BY created_at, seq) AS before FROM {messages}
                WHERE conversation_id = $1 AND NOT archived AND parent_id IS NULL
                    AND (created_at, seq) > (
                        (SELECT coalesce(max(created_at), '-infinity') FROM linked),
                        (SELECT coalesce(max(seq), 0) FROM linked)
                    )
            ), first AS (
                SELECT CASE WHEN $2::text IS NOT NULL THEN coalesce(
                    (
                        SELECT message_id FROM {messages}
                        WHERE conversation_id = $1 AND message_id = $2 AND NOT archived AND parent_id IS NOT NULL
                    ),
                    (SELECT message_id FROM linked)
                ) END AS before
            )
            UPDATE {messages} AS m SET parent_id = coalesce(loose.before, first.before, '')
            FROM loose, first WHERE m.conversation_id = $1 AND m.message_id = loose.message_id"""


@dataclass(frozen=True)
class Tip:
    """A conversation, what is kept of it as a whole, and how its messages end."""

    kept: Payload
    newest_id: str | None
    """The newest message, whatever branch it is in; None: there are no messages."""
    is_loose: bool
    """Whether it has no link yet."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Tip:
        """Return the tip of a row: a payload's columns, the newest message's id, whether that is loose."""
        *kept, newest_id, is_loose = row
        return cls(Payload.from_row(kept), newest_id, is_loose)


class Branches:
    """
    The conversations of a storage as somebody sees them who keeps branches, in one format.

    Args:
        storage: Where.
        format: Whose records of whole conversations it reads and writes.
        user_id: Whose conversations; ANY_USER: everybody's, for trusted code.
        resource_id: The agent or project that conversations are made with.
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

    # --- reading ----------------------------------------------------------------------------------------------

    async def tip(self, conversation_id: str) -> Tip | None:
        """
        Return the conversation with what is kept of it; None where there is no conversation.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        check_id(conversation_id=conversation_id)
        row = await self._executor.fetchrow(self._sql.tip, self._format, conversation_id)
        if row is not None and self._user_id not in (None, row["user_id"]):
            raise ConversationNotFoundError(conversation_id, self._user_id)
        return None if row is None else Tip.from_row(row)

    async def tips(self, user_id: Owner = ANY_USER, *, limit: int | None = None) -> list[Tip]:
        """Return the conversations, the last active first: this user's, or all that it may see."""
        owner = check_owner("user_id", user_id)
        if limit is not None:
            check_count("limit", limit)
        whose = owner if self._user_id is None else self._user_id
        rows = await self._executor.fetch(self._sql.tips, self._format, whose, limit)
        return list(map(Tip.from_row, rows))

    async def present(self, conversation_id: str, message_ids: Iterable[str]) -> set[str]:
        """Return which of the messages the conversation has; nothing is sent where none is asked for."""
        check_id(conversation_id=conversation_id)
        ids = check_texts("message_ids", message_ids)
        rows = await self._executor.fetch(self._sql.present, conversation_id, ids) if ids else []
        return {row["message_id"] for row in rows}

    async def line(
        self, conversation_id: str | None, message_id: str, *, limit: int | None = None
    ) -> tuple[str | None, list[NativeMessage]]:
        """
        Return the message's conversation, and those before it in its branch up to itself, the oldest first.

        None and an empty list where the message isn't there.

        Args:
            conversation_id: Where. Whose it is, is not looked at: tip() has said so. None: any that has the message, in
                the format, by index ``{prefix}_messages_in_branches``.
            message_id: The last of them.
            limit: How many at most; None: all.

        One round trip, whatever the number, by the messages' primary key.
        """
        check_id_or_none(conversation_id=conversation_id)
        check_id(message_id=message_id)
        if limit is not None:
            check_count("limit", limit)
        if limit == 0:
            return conversation_id, []
        arguments = conversation_id, message_id, limit, self._format, self._user_id
        rows = await self._executor.fetch(self._sql.line, *arguments)
        messages = [NativeMessage.from_row(tuple(row)[1:]) for row in rows]
        return (rows[0]["conversation_id"] if rows else None), messages

    # --- writing ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Branches]:
        """The same in a transaction."""
        async with self._storage.transaction() as bound:
            yield Branches(bound, self._format, user_id=self._owner, resource_id=self._resource_id)

    async def lock(self, conversation_id: str) -> None:
        """Keep the conversation as it is until the transaction ends."""
        check_id(conversation_id=conversation_id)
        await self._executor.fetchrow(self._sql.lock, conversation_id)

    async def link(self, conversation_id: str, *, after: str | None) -> None:
        """
        Link each loose message to the one before it.

        Args:
            conversation_id: Where; lock() has locked it.
            after: What the first of them follows; if it is gone, the newest that is linked. None: nothing.
        """
        await self._executor.execute(self._sql.link, conversation_id, after)

    async def save(
        self,
        conversation_id: str,
        user_id: str,
        payload: JsonValue,
        *,
        revision: str,
        expected_revision: str | None,
        touch: bool = True,
    ) -> None:
        """
        Keep this of the conversation as a whole, which is made if it is missing, and locked in a transaction.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            RevisionConflictError: What is kept has another revision, or there is none (None: there is one).
        """
        memory = NativeMemory(self._storage, user_id, conversation_id, resource_id=self._resource_id)
        await memory.save_payload(
            payload, self._format, revision=revision, expected_revision=expected_revision, touch=touch
        )

    async def add(self, conversation_id: str, user_id: str, messages: Sequence[NativeMessage]) -> None:
        """Store the messages, with their links; storage_limit holds as everywhere."""
        await self._storage.add_messages(messages, user_id, conversation_id)

    async def delete(self, conversation_id: str, *, expected_revision: str) -> None:
        """
        Delete the conversation with all its messages.

        Raises:
            RevisionConflictError: What is kept has another revision, or there is none.
        """
        async with self.transaction() as bound:
            await bound.lock(conversation_id)
            tip = await bound.tip(conversation_id)
            if tip is None or tip.kept.revision != expected_revision:
                raise RevisionConflictError(conversation_id, expected_revision)
            await bound._storage.delete_conversation(conversation_id)


def from_the_last_gap(line: Sequence[NativeMessage]) -> list[NativeMessage]:
    """Return the newest of the messages that no model refuses for a result whose call is not among them."""
    asked, begin = set[str](), 0
    for position, message in enumerate(line, 1):
        if any(result.id not in asked for result in tool_results(message)):
            begin = position
        asked.update(call.id for call in tool_calls(message))
    return list(line[begin:])

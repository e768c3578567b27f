"""
What adapters keep of their framework beside the plain messages: its own form of each, and of the whole conversation.

Everybody else sees the conversation and its plain messages in it; the framework gets back, bit for bit, what it stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from voltmem._tables import Tables
from voltmem._values import (
    UNSET,
    Unset,
    check_count,
    check_flag,
    check_id,
    check_id_or_none,
    check_text,
    check_texts,
    from_stored_json,
    json_value,
    to_json,
)
from voltmem.errors import ConversationNotFoundError, RevisionConflictError
from voltmem.memory import ConversationMemory
from voltmem.messages import Messages
from voltmem.models import Conversation, NativeMessage
from voltmem.query import CONVERSATION_COLUMNS, NATIVE_COLUMNS, WindowQuery


class NativeStatements:
    """The statements with one shape. A NULL owner is trusted code: no check."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages, payloads = tables.conversations, tables.messages, tables.payloads
        # As a queue is taken from: of those who pop at once, each locks another message. Whose the conversation is,
        # is told in any case.
        self.pop = f"""
            WITH newest AS (
                SELECT message_id FROM {messages}
                WHERE conversation_id = $1 AND NOT archived
                    AND EXISTS (SELECT FROM {conversations} WHERE id = $1 AND user_id = $2)
                ORDER BY created_at DESC, seq DESC LIMIT 1
                FOR UPDATE SKIP LOCKED
            ), popped AS (
                DELETE FROM {messages}
                WHERE conversation_id = $1 AND message_id IN (SELECT message_id FROM newest)
                RETURNING {NATIVE_COLUMNS}
            )
            SELECT c.user_id AS owner, p.* FROM {conversations} AS c LEFT JOIN popped AS p ON true WHERE c.id = $1"""
        columns = ", ".join(f"c.{column.strip()}" for column in CONVERSATION_COLUMNS.split(","))
        self.get = f"""
            SELECT {columns}, p.payload::text AS payload, p.revision
            FROM {conversations} AS c
            LEFT JOIN {payloads} AS p ON p.conversation_id = c.id AND p.format = $2
            WHERE c.id = $1"""
        # $9 says whether the revision must be $10 (NULL: that there is none yet). Where it isn't, nothing is made.
        self.save = f"""
            WITH conversation AS (
                INSERT INTO {conversations} AS existing (id, user_id, resource_id, title)
                SELECT $1, $2, $3, $4
                WHERE NOT $9 OR $10::text IS NULL
                    OR EXISTS (SELECT FROM {payloads} WHERE conversation_id = $1 AND format = $6 AND revision = $10)
                ON CONFLICT (id) DO UPDATE SET
                    title = CASE WHEN $5 THEN excluded.title ELSE existing.title END,
                    updated_at = CASE WHEN $11 THEN excluded.updated_at ELSE existing.updated_at END
                    WHERE existing.user_id = excluded.user_id
                RETURNING id
            ), saved AS (
                INSERT INTO {payloads} AS existing (conversation_id, format, payload, revision)
                SELECT id, $6, $7::text::json, $8 FROM conversation
                ON CONFLICT (conversation_id, format) DO UPDATE SET
                    payload = excluded.payload, revision = excluded.revision, updated_at = excluded.updated_at
                    WHERE NOT $9 OR existing.revision = $10
                RETURNING conversation_id
            )
            SELECT
                EXISTS (SELECT FROM saved) AS saved,
                (SELECT user_id FROM {conversations} WHERE id = $1) AS owner"""
        self.list = f"""
            SELECT {columns}, p.payload::text AS payload, p.revision
            FROM {conversations} AS c
            JOIN {payloads} AS p ON p.conversation_id = c.id
            WHERE p.format = ANY($1::text[])
                AND ($2::text IS NULL OR c.user_id = $2) AND ($3::text IS NULL OR c.resource_id = $3)
            ORDER BY c.updated_at DESC, c.id DESC
            LIMIT $4::bigint OFFSET $5::bigint"""


@dataclass(frozen=True)
class Payload:
    """A conversation, and what a framework keeps of it as a whole."""

    conversation: Conversation
    payload: JsonValue
    """None: the framework has kept nothing of it."""
    revision: str | None

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Payload:
        """Return the payload of a row: the conversation's columns, payload (JSON text), revision."""
        *conversation, payload, revision = row
        return cls(
            Conversation.from_row(conversation), None if payload is None else from_stored_json(payload), revision
        )


class NativeMemory(ConversationMemory):
    """
    One conversation of one user for an adapter: the memory that agents have, and the framework's own forms.

    ``NativeMessage`` in ``add()`` and ``add_turn()`` stores both forms of a message.
    """

    async def native_messages(
        self, *, limit: int | Unset | None = UNSET, turns: int | None = None
    ) -> list[NativeMessage]:
        """Return what messages() returns, with the framework's form of each that has one."""
        return await self._window(NativeMessage, NATIVE_COLUMNS, limit, turns)

    async def newest_messages(
        self, limit: int | None = None, *, beginnings: int | None = None, format: str | None = None
    ) -> list[NativeMessage]:
        """
        Return the newest messages just as they were stored, the oldest of them first, whether a model may see them.

        Args:
            limit: How many at most; None: all.
            beginnings: Only from the last but so many of the messages in *format*: runs, that begin with one.
            format: Which format that is.

        Raises:
            ConversationNotFoundError: The conversation is another user's. One that is not there yet is empty.
        """
        query = WindowQuery(
            self._id, self._user_id, limit=limit, beginnings=beginnings, format=format, columns=NATIVE_COLUMNS
        )
        _, found = await self._read(NativeMessage, query)
        return found if beginnings != 0 else []

    async def pop(self) -> NativeMessage | None:
        """
        Return the newest message, which is deleted; None if there is none.

        Of any number of callers at once, each gets another one.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            OutcomeUnknownError: The connection broke before the answer.
        """
        row = await self._storage._executor.fetchrow(self._native_sql.pop, self._id, self._user_id, repeatable=False)
        if row is not None and row["owner"] != self._user_id:
            raise ConversationNotFoundError(self._id, self._user_id)
        return None if row is None or row["message_id"] is None else NativeMessage.from_row(tuple(row)[1:])

    async def payload(self, format: str) -> Payload | None:
        """
        Return the conversation with what the framework keeps of it; None where there is no conversation.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        check_id(format=format)
        row = await self._storage._executor.fetchrow(self._native_sql.get, self._id, format)
        if row is not None and row["user_id"] != self._user_id:
            raise ConversationNotFoundError(self._id, self._user_id)
        return None if row is None else Payload.from_row(row)

    async def save_payload(
        self,
        payload: JsonValue,
        format: str,
        *,
        title: str | Unset | None = UNSET,
        revision: str | None = None,
        expected_revision: str | Unset | None = UNSET,
        touch: bool = True,
    ) -> None:
        """
        Keep what the framework has of the conversation as a whole, instead of what was kept; make the conversation.

        Args:
            payload: Any JSON value but None. Comes back equal, type and order of keys included.
            format: Whose form it is; a conversation may have one in each.
            title: Names the conversation.
            revision: Names this state of it.
            expected_revision: Which state it must replace; None: there must be none yet; not given: any.
            touch: Whether the conversation's updated_at becomes now.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            RevisionConflictError: What is kept has another revision, or there is none.
        """
        check_id(format=format)
        check_id_or_none(revision=revision)
        check_flag("touch", touch)
        if title is not UNSET and title is not None:
            check_text(title=title)
        expected = None if expected_revision is UNSET else expected_revision
        check_id_or_none(expected_revision=expected)
        row = await self._storage._executor.fetchrow(
            self._native_sql.save,
            self._id,
            self._user_id,
            self._resource_id,
            None if title is UNSET else title,
            title is not UNSET,
            format,
            to_json(json_value(payload, "payload")),
            revision,
            expected_revision is not UNSET,
            expected,
            touch,
            # A second time, the expected revision is the one that the first has stored.
            repeatable=expected_revision is UNSET,
        )
        if row is None or not row["saved"]:
            if row is not None and row["owner"] not in (None, self._user_id):
                raise ConversationNotFoundError(self._id, self._user_id)
            raise RevisionConflictError(self._id, expected)

    @property
    def _native_sql(self) -> NativeStatements:
        return NativeStatements(self._storage._options.tables)


async def list_payloads(
    storage: Messages,
    formats: Sequence[str],
    *,
    user_id: str | None = None,
    resource_id: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[Payload]:
    """
    Return the conversations of which something is kept in one of the formats, the last active first.

    Args:
        storage: Where.
        formats: Which ones; a conversation comes once for each that it has.
        user_id: Only this user's; None: everybody's.
        resource_id: Only those with this agent or project.
        limit: How many at most; None: all.
        offset: How many to skip.
    """
    check_id_or_none(user_id=user_id, resource_id=resource_id)
    if limit is not None:
        check_count("limit", limit)
    check_count("offset", offset)
    sql = NativeStatements(storage._options.tables).list
    formats = check_texts("formats", formats)
    rows = await storage._executor.fetch(sql, formats, user_id, resource_id, limit, offset)
    return [Payload.from_row(row) for row in rows]

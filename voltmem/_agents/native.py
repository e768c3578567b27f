"""
What adapters store beside the plain messages: the framework's own form of a message, and of the whole conversation.

The framework gets back exactly what it stored. All other readers get the plain messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, Unpack

from pydantic import JsonValue

from voltmem._agents.memory import ConversationMemory
from voltmem._areas.area import access
from voltmem._areas.messages import Messages
from voltmem._areas.queries import (
    CONVERSATION_COLUMNS,
    IS_THEIRS,
    ON_LINE,
    authored,
    message_columns,
    owner_of,
)
from voltmem._areas.quotas import room
from voltmem._areas.window_query import WindowQuery
from voltmem._tables import Tables
from voltmem._values import (
    ANY_USER,
    UNSET,
    Unset,
    check_count,
    check_flag,
    check_id,
    check_id_or_none,
    check_ids,
    check_key_or_none,
    check_owner,
    check_text,
    check_texts,
    from_stored_json,
    json_value,
    to_json,
)
from voltmem.errors import ConversationNotFoundError, InvalidInputError, RevisionConflictError
from voltmem.models import Conversation, Message, NativeMessage, Owner
from voltmem.options import Window
from voltmem.parts import SYSTEM_ROLES


class NativeStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages, payloads = tables.conversations, tables.messages, tables.payloads

        # Concurrent calls wait for each other's row lock, and each pops another message. The conversation's row is
        # updated without a change, so that watchers see one. The owner is returned even if nothing was popped.
        def before(part: str) -> str:
            """Return the SELECT of the message before the newest in a part of the line, as message_before finds it."""
            return f"""
                    SELECT message_id FROM {messages}
                    WHERE conversation_id = $1 AND {part} AND NOT aside
                        AND (created_at, seq) < ((SELECT created_at FROM newest), (SELECT seq FROM newest))
                    ORDER BY created_at DESC, seq DESC LIMIT 1"""

        self.pop = f"""
            WITH owned AS (
                SELECT id FROM {conversations} WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL FOR UPDATE
            ), newest AS (
                SELECT message_id, parent_id, created_at, seq FROM {authored(tables)} AS m
                WHERE conversation_id = $1 AND {ON_LINE} AND coalesce(author, $2) = $2 AND EXISTS (SELECT 1 FROM owned)
                ORDER BY created_at DESC, seq DESC LIMIT 1
                FOR UPDATE
            ), before AS (
                SELECT coalesce(({before("NOT archived")}), ({before("archived")}), '') AS id
            ), relinked AS (
                UPDATE {messages} AS m SET parent_id = coalesce(newest.parent_id, (SELECT id FROM before))
                FROM newest
                WHERE m.conversation_id = $1 AND m.parent_id = newest.message_id
            ), popped AS (
                DELETE FROM {messages}
                WHERE conversation_id = $1 AND message_id IN (SELECT message_id FROM newest)
                RETURNING *
            ), touched AS (
                UPDATE {conversations} SET updated_at = updated_at WHERE id = $1 AND EXISTS (SELECT 1 FROM popped)
            )
            SELECT c.user_id AS owner, p.* FROM {conversations} AS c
            LEFT JOIN (SELECT {message_columns(tables)} FROM popped) AS p ON true
            WHERE c.id = $1 AND c.deleted_at IS NULL"""
        columns = ", ".join(f"c.{column.strip()}" for column in CONVERSATION_COLUMNS.split(","))
        self.get = f"""
            SELECT {columns}, p.payload::text AS payload, p.revision
            FROM {conversations} AS c
            LEFT JOIN {payloads} AS p ON p.conversation_id = c.id AND p.format = $2
            WHERE c.id = $1 AND c.deleted_at IS NULL"""
        # $3 is the format, $4 the count. Scans the index from the newest message, so no more is read than is returned.
        # The comparison is in a CASE, because without statistics the planner expects equality to be so rare that it
        # sorts everything.
        newest_first = "ORDER BY created_at DESC, seq DESC"
        self.since = f"""
            WITH start AS (
                SELECT created_at, seq FROM {messages}
                WHERE conversation_id = $1 AND {ON_LINE}
                    AND CASE WHEN format = $3 THEN NOT {IS_THEIRS} ELSE false END
                {newest_first} OFFSET $4::bigint - 1 LIMIT 1
            )
            SELECT c.user_id AS owner, m.*
            FROM {conversations} AS c
            LEFT JOIN LATERAL (
                SELECT {message_columns(tables)} FROM {authored(tables)} AS m
                WHERE conversation_id = $1 AND {ON_LINE} AND c.user_id = $2 AND coalesce(author, $2) = $2
                    AND (created_at, seq) >= (
                        (SELECT coalesce(pg_catalog.max(created_at), '-infinity') FROM start),
                        (SELECT coalesce(pg_catalog.max(seq), 0) FROM start)
                    )
                {newest_first} LIMIT $5::bigint
            ) AS m ON true
            WHERE c.id = $1 AND c.deleted_at IS NULL"""
        self.lock = f"SELECT user_id FROM {conversations} WHERE id = $1 AND deleted_at IS NULL FOR UPDATE"
        # Two limits, because the index has the order of the line and of the other messages, but not of both together.
        owner = owner_of(tables, "$1")
        newest = f"""SELECT aside, seq, {message_columns(tables)} FROM {authored(tables)} AS m
                WHERE conversation_id = $1 AND NOT archived AND coalesce(author, {owner}) = {owner}"""
        self.tree = f"""
            SELECT c.user_id AS owner, m.*
            FROM {conversations} AS c
            LEFT JOIN (
                ({newest} AND NOT aside {newest_first} LIMIT $2::bigint)
                UNION ALL
                ({newest} AND aside {newest_first} LIMIT $2::bigint)
            ) AS m ON true
            WHERE c.id = $1 AND c.deleted_at IS NULL
            ORDER BY m.created_at, m.seq"""
        self.get_messages = f"""
            SELECT {message_columns(tables)} FROM {authored(tables)} AS m
            WHERE conversation_id = $1 AND message_id = ANY($3::text[]) AND coalesce(author, $2) = $2
                AND EXISTS (SELECT 1 FROM {conversations} WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL)"""
        self.save = f"""
            SELECT saved, user_deleted_at, owner, is_deleted
            FROM {tables.save_payload}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
            {room(tables, "ARRAY[$2]", before="WHERE ", conversations="is_new")}"""
        self.list = f"""
            SELECT {columns}, p.payload::text AS payload, p.revision
            FROM {conversations} AS c
            JOIN {payloads} AS p ON p.conversation_id = c.id
            WHERE p.format = ANY($1::text[]) AND c.deleted_at IS NULL
                AND ($2::text IS NULL OR c.user_id = $2) AND ($3::text IS NULL OR c.resource_id = $3)
            ORDER BY c.updated_at DESC, c.id DESC, p.format
            LIMIT $4::bigint OFFSET $5::bigint"""


@dataclass(frozen=True)
class Payload:
    """A conversation, and a framework's form of it as a whole."""

    conversation: Conversation
    payload: JsonValue
    """The framework's form; None: it has stored none."""
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
    A ConversationMemory for adapters, which also stores the framework's own forms.

    To store both forms of a message, pass a ``NativeMessage`` to ``add()`` or ``add_turn()``.
    """

    def expect_existing(self) -> Self:
        """
        Never create the conversation. Returns the memory itself.

        For an adapter that makes a memory for each of its calls, and knows that the conversation existed in an earlier
        one: if it was deleted for good meanwhile, writes raise ConversationNotFoundError.
        """
        self._seen.conversation = True
        return self

    def since(self, moment: float | None) -> Self:
        """
        Count the run from an earlier moment of time.monotonic(). Returns the memory itself.

        For an adapter that makes a memory for each of its calls: the memory does not create the conversation if the
        user was deleted since the run began.

        Args:
            moment: When the run first looked for the conversation; None: when the memory was made.
        """
        if moment is not None:
            self._seen.began_at = moment
        return self

    def compact_after(self, answer: Message) -> None:
        """
        Begin to compact the conversation in the background, if it is time, as add() does after an answer.

        For an adapter that has stored the answer in a transaction, which is committed now.
        """
        self._compact_beside(answer)

    async def native_messages(self, *, recall: str | None = None, **window: Unpack[Window]) -> list[NativeMessage]:
        """Return what messages() returns for these arguments, with the framework's form of each that has one."""
        _, found = await self.first_and_native_messages(recall=recall, **window)
        return found

    async def first_and_native_messages(
        self, *, recall: str | None = None, **window: Unpack[Window]
    ) -> tuple[NativeMessage | None, list[NativeMessage]]:
        """Return the conversation's first message, which the window may be without, and native_messages()."""
        read: list[NativeMessage] = []

        def from_row(row: Iterable[Any]) -> NativeMessage:
            read.append(NativeMessage.from_row(row))  # of a window, the first message is the first row
            return read[-1]

        if recall is None:
            found = await self._window(from_row, **window)
        else:
            found = await self._with_recalled(from_row, NativeMessage.of, recall, window)
        return (read[0] if read else None), found

    async def newest_messages(self, limit: int | None = None) -> list[NativeMessage]:
        """
        Return the newest messages exactly as stored, oldest first, also those that messages() leaves out.

        Args:
            limit: The maximum number; None: all.

        Raises:
            ConversationNotFoundError: The conversation is another user's. One that does not exist yet is empty.
        """
        query = WindowQuery(self._id, self._user_id, limit=limit)
        _, found = await self._read(NativeMessage.from_row, query)
        return found

    async def newest_after_summary(
        self, limit: int | None = None, *, format: str | None = None
    ) -> tuple[list[NativeMessage], list[NativeMessage]]:
        """
        Return what a window begins with, and the newest messages after it exactly as stored, oldest first.

        It begins with the summary in use, after the system message of the conversation, if there are both; without a
        summary with nothing.

        Args:
            limit: The maximum number of messages; None: all.
            format: Of the framework whose own summaries are used, too; None: only those that are text.

        Raises:
            ConversationNotFoundError: The conversation is another user's. One that does not exist yet is empty.
        """
        query = WindowQuery(self._id, self._user_id, limit=limit, summarised=self._begins(), format=format)
        first, found = await self._read(NativeMessage.from_row, query)
        begin = first[:1] if first and first[0].role in SYSTEM_ROLES else []
        return ([*begin, *first[1:]] if first[1:] else []), found

    async def messages_since(self, format: str, count: int, *, limit: int | None = None) -> list[NativeMessage]:
        """
        Return the newest messages, starting at the count-th newest message of this format.

        An adapter gives this format to the first message of each run, for example, to read the last runs.

        Args:
            format: The format.
            count: How many messages of the format to go back. If there are fewer, all messages are returned.
            limit: The maximum number of messages; None: all.

        Raises:
            ConversationNotFoundError: The conversation is another user's. One that does not exist yet is empty.
        """
        check_id(format=format)
        check_count("count", count, minimum=1)
        if limit is not None:
            check_count("limit", limit)
        rows = await self._access.executor.fetch(
            self._access.sql(NativeStatements).since, self._id, self._user_id, format, count, limit
        )
        self._check_owner(rows[0]["owner"] if rows else None)
        newest_first = [NativeMessage.from_row(tuple(row)[1:]) for row in rows if row["message_id"] is not None]
        return newest_first[::-1]

    async def messages_by_id(self, ids: Sequence[str]) -> dict[str, NativeMessage]:
        """
        Return the messages with these ids, by id, exactly as stored. Ids without a message are left out.

        If the conversation is another user's, the result is empty.
        """
        ids = check_ids("ids", ids)
        rows = await self._access.executor.fetch(
            self._access.sql(NativeStatements).get_messages, self._id, self._user_id, ids
        )
        return {message.id: message for message in map(NativeMessage.from_row, rows)}

    async def messages_of_all_branches(self, limit: int) -> list[tuple[NativeMessage, bool]]:
        """
        Return messages in all branches exactly as stored, oldest first, each with whether it is off the line.

        Args:
            limit: The maximum number of messages on the line, and again off it; the newest are returned.

        Raises:
            ConversationNotFoundError: The conversation is another user's. One that does not exist yet is empty.
        """
        check_count("limit", limit)
        rows = await self._access.executor.fetch(self._access.sql(NativeStatements).tree, self._id, limit)
        if rows and rows[0]["owner"] != self._user_id:
            raise ConversationNotFoundError(self._id, self._user_id)
        return [(NativeMessage.from_row(tuple(row)[3:]), row["aside"]) for row in rows if row["message_id"] is not None]

    async def lock(self) -> bool:
        """
        Lock the conversation's row until the transaction ends. Returns whether the conversation exists.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        row = await self._access.executor.fetchrow(self._access.sql(NativeStatements).lock, self._id)
        self._check_owner(None if row is None else row["user_id"])
        return row is not None

    async def pop(self) -> NativeMessage | None:
        """
        Delete the newest message. Returns it, or None if there is none.

        Each of any number of concurrent callers gets another message.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
            OutcomeUnknownError: The connection broke before the answer.
        """
        row = await self._access.executor.fetchrow(
            self._access.sql(NativeStatements).pop, self._id, self._user_id, repeatable=False
        )
        self._check_owner(None if row is None else row["owner"])
        if row is None or row["message_id"] is None:
            return None
        self._seen.messages.pop(row["message_id"], None)
        return NativeMessage.from_row(tuple(row)[1:])

    async def payload(self, format: str) -> Payload | None:
        """
        Return the conversation with the framework's form of it; None if the conversation does not exist.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        check_id(format=format)
        row = await self._access.executor.fetchrow(self._access.sql(NativeStatements).get, self._id, format)
        self._check_owner(None if row is None else row["user_id"])
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
        Store the framework's form of the conversation, or replace it. The first write creates the conversation.

        Args:
            payload: Any JSON value except None. It is returned equal, type and order of keys included.
            format: The name of the form; a conversation may have one form of each name.
            title: The title of the conversation; None clears it; not given: unchanged.
            revision: The new revision, a string of the caller's own.
            expected_revision: The revision that must be stored now; None: none yet; not given: any.
            touch: Whether the conversation's updated_at becomes now.

        Raises:
            ConversationNotFoundError: The conversation is another user's, or deleted; or as in add().
            RevisionConflictError: The stored revision is another one, or there is none. Nothing was changed.

        A second round trip only if another session is creating the conversation at the same time.
        """
        check_id(format=format)
        check_key_or_none(revision=revision)
        check_flag("touch", touch)
        if title is not UNSET and title is not None:
            check_text(title=title)
        expected = None if expected_revision is UNSET else expected_revision
        check_key_or_none(expected_revision=expected)
        if payload is None:
            raise InvalidInputError("payload is None, which means that nothing is kept: pass another JSON value")
        arguments = (
            None if title is UNSET else title,
            title is not UNSET,
            format,
            to_json(json_value(payload, "payload")),
            revision,
            *(expected_revision is not UNSET, expected, touch),
            *self._run(),
        )
        # With an expected revision, a repeated statement would conflict with the first, which has stored another one.
        repeatable = expected_revision is UNSET
        statement = self._access.sql(NativeStatements).save
        while True:
            creates = self._creates()
            row = await self._access.executor.fetchrow(
                statement, self._id, self._user_id, creates, *arguments, repeatable=repeatable
            )
            if row is None or row["saved"]:
                self._seen.conversation = True
                return
            self._check_user_exists(row["user_deleted_at"])
            self._check_not_gone(row["owner"], is_deleted=row["is_deleted"], creates=creates is not None)
            if expected is not None or (row["owner"] is not None and not repeatable):
                raise RevisionConflictError(self._id, expected)

    def _check_not_gone(self, owner: str | None, *, is_deleted: bool, creates: bool) -> None:
        """Raise ConversationNotFoundError if a payload was not saved because there is no such conversation."""
        is_anothers = owner not in (None, self._user_id)
        if is_anothers or is_deleted or (owner is None and not creates):
            raise ConversationNotFoundError(self._id, self._user_id, is_deleted=is_deleted and not is_anothers)


async def list_payloads(
    storage: Messages,
    formats: Sequence[str],
    *,
    user_id: Owner = ANY_USER,
    resource_id: str | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> list[Payload]:
    """
    Return the conversations with a framework's form in one of these formats, last active first.

    Args:
        storage: The storage.
        formats: The formats. A conversation is returned once for each of them that it has.
        user_id: Only this user's; ANY_USER: all users', for trusted code.
        resource_id: Only those with this agent or project.
        limit: The maximum number; None: all.
        offset: How many to skip.
    """
    owner = check_owner("user_id", user_id)
    check_id_or_none(resource_id=resource_id)
    if limit is not None:
        check_count("limit", limit)
    check_count("offset", offset)
    formats = check_texts("formats", formats)
    reach = access(storage)
    rows = await reach.executor.fetch(reach.sql(NativeStatements).list, formats, owner, resource_id, limit, offset)
    return [Payload.from_row(row) for row in rows]

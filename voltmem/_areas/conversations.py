"""The conversations: the verbs that read and write their table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from pydantic import JsonValue

from voltmem._areas.area import Area
from voltmem._areas.queries import CONVERSATION_COLUMNS, ConversationQuery, require_found, with_is_deleted
from voltmem._areas.quotas import room
from voltmem._tables import Tables
from voltmem._values import (
    ANY_USER,
    MAX_BIGINT,
    UNSET,
    Unset,
    check_count,
    check_flag,
    check_id,
    check_not_ahead,
    check_owner,
    check_text,
    check_user,
    metadata_text,
)
from voltmem.errors import ConversationExistsError
from voltmem.models import Conversation, ConversationLike, ConversationPage, OrderBy, OrderDirection, Owner
from voltmem.options import CONVERSATION_LIMIT

ROWS_PER_FETCH: Final = 200


class ConversationStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        table, columns = tables.conversations, CONVERSATION_COLUMNS
        owned = "id = $1 AND ($2::text IS NULL OR user_id = $2) AND deleted_at IS NULL"
        names = "id, resource_id, user_id, title, metadata, created_at, updated_at"
        new_row = """$1, $2, $3, $4, $5::text::jsonb,
                coalesce($6::timestamptz, pg_catalog.statement_timestamp()),
                coalesce($7::timestamptz, $6::timestamptz, pg_catalog.statement_timestamp())"""
        # ON CONFLICT, not a unique violation: an error would abort the caller's own transaction. VALUES, not SELECT,
        # for which Citus would send the row by way of the coordinator and commit in two phases.
        self.create = f"""
            WITH made AS (
                INSERT INTO {table} ({names}) VALUES ({new_row})
                ON CONFLICT (id) DO NOTHING
                RETURNING {columns}{room(tables, "ARRAY[$3]", conversations="true")}
            ){with_is_deleted(tables, f"SELECT {names} FROM made", owner="$3")}"""
        # The usual case, an existing conversation, is one look-up, and waits for nobody.
        self.ensure = f"""
            SELECT is_deleted, {names} FROM {tables.ensure_conversation}($1, $3, $2, $4, $5, $6, $7)
            {room(tables, "ARRAY[$3]", before="WHERE ", conversations="is_new")}"""
        self.get = f"""
            SELECT {columns} FROM {table}
            WHERE {owned}"""
        self.by_resource = f"""
            SELECT {columns} FROM {table}
            WHERE resource_id = $1 AND deleted_at IS NULL
            ORDER BY created_at DESC, id DESC"""
        # Before the value of each column, a flag: whether it was given. Other columns keep their values.
        # Citus refuses the function within the CASE.
        self.update = f"""
            WITH updated AS (
                UPDATE {table} AS c SET
                    title = CASE WHEN $3 THEN $4::text ELSE title END,
                    title_is_automatic = title_is_automatic AND NOT $3,
                    metadata = CASE WHEN $5 THEN $6::text::jsonb ELSE metadata END,
                    resource_id = CASE WHEN $7 THEN $8::text ELSE resource_id END,
                    updated_at = CASE WHEN $9 THEN greatest(updated_at, moment.now) ELSE updated_at END
                FROM (SELECT pg_catalog.statement_timestamp() AS now) AS moment
                WHERE {owned}
                RETURNING {columns}
            ){with_is_deleted(tables, f"SELECT {names} FROM updated")}"""
        given = "id IS NOT NULL"
        self.give = f"""
            SELECT is_deleted, {names}
            FROM {tables.give_conversation}($1, $2, $10, $3, $4, $5, $6, $7, $8, $9)
            {room(tables, "ARRAY[user_id]", before="WHERE ", conversations=given, messages=given, file_bytes=given)}"""
        self.merge_metadata = f"""
            WITH merged AS (
                UPDATE {table} SET metadata = {tables.merge_patch}(coalesce(metadata, '{{}}'), $3::text::jsonb)
                WHERE {owned}
                RETURNING {columns}
            ){with_is_deleted(tables, f"SELECT {names} FROM merged")}"""
        self.delete = f"""
            DELETE FROM {table}
            WHERE id = $1 AND ($2::text IS NULL OR user_id = $2)"""


def _new(conversation: ConversationLike) -> Conversation:
    """Return a conversation to create. A time in the future would keep it first in the list until then."""
    new = Conversation.of(conversation)
    for name in ("created_at", "updated_at"):
        check_not_ahead(name, new.given(name))
    return new


class Conversations(Area):
    """The verbs about conversations. PostgresStorage inherits from all areas."""

    # --- one conversation -------------------------------------------------------------------------------------

    async def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """
        Create a conversation. Returns it as stored.

        Args:
            conversation: A model or a dict in either spelling. Only user_id is required. The default id is a UUIDv7,
                the default times are the database's current time.

        Raises:
            ConversationExistsError: A conversation with this id exists: any user's, or a soft-deleted one.
            InvalidInputError: A field is missing, unknown or has the wrong type, or a time is more than a day ahead.
            OutcomeUnknownError: The connection broke before the answer. ensure_conversation() can be repeated safely.

        VoltAgent: ``createConversation``.
        """
        new = _new(conversation)
        row = await self._executor.fetchrow(self._sql(ConversationStatements).create, *new.to_row(), repeatable=False)
        if row is None or row["id"] is None:
            raise ConversationExistsError(new.id, is_deleted=row is not None and row["is_deleted"])
        return Conversation.from_row(tuple(row)[1:])

    async def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """
        Create a conversation unless its id exists. Returns the existing one, unchanged, or the new one.

        Atomic: of any number of concurrent callers, one creates it and all get it.

        Raises:
            ConversationNotFoundError: The conversation with this id is another user's, or was soft-deleted.
            InvalidInputError: A field is missing, unknown or has the wrong type, or a time is more than a day ahead.
        """
        new = _new(conversation)
        row = await self._executor.fetchrow(self._sql(ConversationStatements).ensure, *new.to_row())
        return Conversation.from_row(require_found(row, new.id, new.user_id))

    async def get_conversation(self, conversation_id: str) -> Conversation | None:
        """
        Return the conversation with this id, of any user, or None.

        For trusted code: get_user_conversation() and for_user() check the owner. VoltAgent: ``getConversation``.
        """
        return await self._get_conversation(conversation_id, ANY_USER)

    async def get_user_conversation(self, conversation_id: str, user_id: str) -> Conversation | None:
        """
        Return the conversation if it is this user's; None if it does not exist or is another user's.

        VoltAgent: ``getUserConversation`` (which fetches it first and compares the user afterwards).
        """
        check_user("user_id", user_id)
        return await self._get_conversation(conversation_id, user_id)

    async def _get_conversation(self, conversation_id: str, owner: Owner) -> Conversation | None:
        check_id(conversation_id=conversation_id)
        arguments = conversation_id, check_owner("owner", owner)
        row = await self._executor.fetchrow(self._sql(ConversationStatements).get, *arguments)
        return None if row is None else Conversation.from_row(row)

    async def update_conversation(
        self,
        conversation_id: str,
        *,
        title: str | Unset | None = UNSET,
        metadata: Mapping[str, JsonValue] | Unset | None = UNSET,
        resource_id: str | Unset = UNSET,
        user_id: str | Unset = UNSET,
        touch: bool = True,
        owner: Owner = ANY_USER,
    ) -> Conversation:
        """
        Update the given fields of a conversation. Returns it as stored.

        Args:
            conversation_id: The conversation.
            title: The new title; None clears it.
            metadata: The new metadata, which replaces the old; None empties it. merge_conversation_metadata() changes
                single fields.
            resource_id: The agent or project to move it to.
            user_id: The user to give it to. Its links are revoked.
            touch: Whether updated_at becomes now; False keeps its place in the sidebar.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            InvalidInputError: A value has the wrong type.

        VoltAgent: ``updateConversation``.
        """
        check_id(conversation_id=conversation_id)
        owner_id = check_owner("owner", owner)
        if title is not UNSET and title is not None:
            check_text(title=title)
        if resource_id is not UNSET:
            check_id(resource_id=resource_id)
        if user_id is not UNSET:
            check_user("user_id", user_id, "a conversation belongs to one user")
        check_flag("touch", touch)
        row = await self._executor.fetchrow(
            self._sql(ConversationStatements).update if user_id is UNSET else self._sql(ConversationStatements).give,
            conversation_id,
            owner_id,
            *_given(title),
            *_given(UNSET if metadata is UNSET else metadata_text({} if metadata is None else metadata)),
            *_given(resource_id),
            touch,
            *(() if user_id is UNSET else (user_id,)),
            # After the first try the conversation is no longer the owner's, so a second one would not find it.
            repeatable=owner_id is None or user_id in (UNSET, owner_id),
        )
        return Conversation.from_row(require_found(row, conversation_id, owner_id))

    async def merge_conversation_metadata(
        self, conversation_id: str, metadata: Mapping[str, JsonValue], *, owner: Owner = ANY_USER
    ) -> Conversation:
        """
        Change the given fields of a conversation's metadata. Returns it as stored, in its place in the sidebar.

        Args:
            conversation_id: The conversation.
            metadata: A JSON Merge Patch (RFC 7396): a dict is merged into the one of the same name, None removes the
                field, and any other value replaces it. Of two concurrent calls with different fields, neither is lost.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            InvalidInputError: The metadata cannot be stored.

        update_conversation() replaces the metadata.
        """
        check_id(conversation_id=conversation_id)
        owner_id = check_owner("owner", owner)
        arguments = conversation_id, owner_id, metadata_text(metadata)
        row = await self._executor.fetchrow(self._sql(ConversationStatements).merge_metadata, *arguments)
        return Conversation.from_row(require_found(row, conversation_id, owner_id))

    async def delete_conversation(self, conversation_id: str, *, owner: Owner = ANY_USER) -> bool:
        """
        Delete a conversation and its messages for good. Returns whether there was one.

        Also deletes a conversation that soft_delete_conversation() deleted.

        Args:
            conversation_id: The conversation.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        VoltAgent: ``deleteConversation``.
        """
        check_id(conversation_id=conversation_id)
        arguments = conversation_id, check_owner("owner", owner)
        return await self._executor.execute(self._sql(ConversationStatements).delete, *arguments) > 0

    # --- many conversations -----------------------------------------------------------------------------------

    async def get_conversations(self, resource_id: str) -> list[Conversation]:
        """
        Return all conversations of a resource, newest first by creation.

        Uses the index ``{prefix}_conversations_by_resource``. VoltAgent: ``getConversations``.
        """
        check_id(resource_id=resource_id)
        rows = await self._executor.fetch(self._sql(ConversationStatements).by_resource, resource_id)
        return [Conversation.from_row(row) for row in rows]

    async def get_conversations_by_user_id(
        self,
        user_id: str,
        *,
        resource_id: str | None = None,
        limit: int | None = CONVERSATION_LIMIT,
        offset: int = 0,
        order_by: OrderBy = "updated_at",
        order_direction: OrderDirection = "DESC",
    ) -> list[Conversation]:
        """
        Return a user's conversations; by default, last active first.

        Args and errors as in query_conversations(). VoltAgent: ``getConversationsByUserId``.
        """
        check_user("user_id", user_id)
        return await self._find(
            ConversationQuery(user_id, resource_id, limit, offset, order_by, order_direction),
        )

    async def query_conversations(
        self,
        *,
        user_id: Owner = ANY_USER,
        resource_id: str | None = None,
        limit: int | None = CONVERSATION_LIMIT,
        offset: int = 0,
        order_by: OrderBy = "updated_at",
        order_direction: OrderDirection = "DESC",
    ) -> list[Conversation]:
        """
        Return the conversations that match the filters.

        Args:
            user_id: Only this user's; ANY_USER: all users', for trusted code.
            resource_id: Only those with this agent or project.
            limit: The maximum number; None: all, 0: none.
            offset: How many to skip. The database reads the skipped rows, too.
            order_by: "created_at", "updated_at" or "title"; conversations without a title come last.
            order_direction: "ASC" or "DESC", upper or lower case. Ties are broken by id, in the same direction.

        Raises:
            InvalidQueryError: An argument is invalid. No SQL was run.

        VoltAgent: ``queryConversations``.
        """
        return await self._find(
            ConversationQuery(user_id, resource_id, limit, offset, order_by, order_direction),
        )

    async def count_conversations(self, *, user_id: Owner = ANY_USER, resource_id: str | None = None) -> int:
        """
        Return the number of conversations that match the filters; without filters, of all.

        Reads every row that it counts. VoltAgent: ``countConversations``.
        """
        sql, arguments = ConversationQuery(user_id, resource_id).count_sql(self._options.tables)
        row = await self._executor.fetchrow(sql, *arguments)
        return 0 if row is None else int(row[0])

    async def get_paginated_user_conversations(
        self, user_id: str, page: int = 1, page_size: int = 10
    ) -> ConversationPage:
        """
        Return one page of a user's conversations, last active first.

        Args:
            user_id: The user.
            page: The page number, from 1.
            page_size: The rows of a full page, at least 1.

        No COUNT: one row more than the page is read for has_more. VoltAgent: ``getPaginatedUserConversations``.
        """
        check_user("user_id", user_id)
        check_count("page_size", page_size, minimum=1, maximum=MAX_BIGINT - 1)
        check_count("page", page, minimum=1, maximum=MAX_BIGINT // page_size)
        found = await self._find(
            ConversationQuery(user_id, limit=page_size + 1, offset=(page - 1) * page_size),
        )
        return ConversationPage(
            conversations=found[:page_size], page=page, page_size=page_size, has_more=len(found) > page_size
        )

    async def get_last_conversation(self, user_id: str, *, resource_id: str | None = None) -> Conversation | None:
        """
        Return the user's last active conversation, or None.

        Args:
            user_id: The user.
            resource_id: Only with this agent or project.

        Agno: ``get_all_session_ids(user)[0]`` (which is the last created).
        """
        check_user("user_id", user_id)
        return next(iter(await self._find(ConversationQuery(user_id, resource_id, limit=1))), None)

    def get_user_conversations(self, user_id: str) -> UserConversations:
        """
        Return a query builder for a user's conversations; by default all of them, last active first.

        ``await storage.get_user_conversations("ada").limit(20).order_by("title", "ASC")``

        VoltAgent: ``getUserConversations``.
        """
        check_user("user_id", user_id)
        return UserConversations(self, ConversationQuery(user_id))

    async def _find(self, query: ConversationQuery) -> list[Conversation]:
        sql, arguments = query.sql(self._options.tables)
        return [Conversation.from_row(row) for row in await self._executor.fetch(sql, *arguments)]


@dataclass(frozen=True)
class UserConversations:
    """
    A query builder for one user's conversations. Each method returns a new builder; their order does not matter.

    ``await builder.execute()`` and ``await builder`` return a list. ``async for conversation in builder`` iterates over
    all of them in batches, each of which starts after the last row of the one before (no OFFSET).
    """

    _conversations: Conversations
    _query: ConversationQuery

    def limit(self, count: int | None) -> Self:
        """Return a builder that returns at most *count* conversations; None: all, 0: none."""
        return self._with(limit=count)

    def offset(self, count: int) -> Self:
        """Return a builder that skips *count* conversations."""
        return self._with(offset=count)

    def order_by(self, field: OrderBy = "updated_at", direction: OrderDirection = "DESC") -> Self:
        """Return a builder with another order. InvalidQueryError if the field or the direction is invalid."""
        return self._with(order_by=field, order_direction=direction)

    def orderBy(self, field: OrderBy = "updated_at", direction: OrderDirection = "DESC") -> Self:
        """VoltAgent's name for order_by."""
        return self.order_by(field, direction)

    def resource(self, resource_id: str | None) -> Self:
        """Return a builder for the conversations with one agent or project; None: with any."""
        return self._with(resource_id=resource_id)

    def _with(self, **changes: Any) -> Self:
        return replace(self, _query=replace(self._query, **changes))

    async def execute(self) -> list[Conversation]:
        """Return the conversations. One round trip."""
        return await self._conversations._find(self._query)

    def __await__(self) -> Generator[Any, None, list[Conversation]]:
        return self.execute().__await__()

    if not TYPE_CHECKING:  # type checkers say it themselves

        def __iter__(self) -> NoReturn:
            """Refuse ``for``: TypeError says what to use."""
            raise TypeError(
                "these conversations are read asynchronously: use 'async for', or 'await' for a list; in code that "
                "blocks, use voltmem.sync.PostgresStorage"
            )

    async def __aiter__(self) -> AsyncIterator[Conversation]:
        query, left = self._query, self._query.limit
        while left is None or left > 0:
            rows = ROWS_PER_FETCH if left is None else min(left, ROWS_PER_FETCH)
            batch = await self._conversations._find(replace(query, limit=rows))
            for conversation in batch:
                yield conversation
            if len(batch) < rows:
                return
            query = replace(query, offset=0, after=batch[-1])
            left = None if left is None else left - rows


def _given(value: object) -> tuple[bool, object]:
    return (False, None) if value is UNSET else (True, value)

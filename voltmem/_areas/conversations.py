"""The conversations: everything that reads or writes their table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from pydantic import JsonValue

from voltmem._areas.area import Area
from voltmem._areas.queries import CONVERSATION_COLUMNS, ConversationQuery, require_found, with_is_deleted
from voltmem._tables import Tables
from voltmem._values import (
    ANY_USER,
    UNSET,
    Unset,
    check_count,
    check_flag,
    check_id,
    check_owner,
    check_text,
    check_user,
    json_value,
    to_json,
)
from voltmem.errors import ConversationExistsError, InvalidInputError
from voltmem.models import Conversation, ConversationLike, ConversationPage, OrderBy, OrderDirection, Owner
from voltmem.options import CONVERSATION_LIMIT

ROWS_PER_FETCH: Final = 200


class ConversationStatements:
    """The statements with one shape. A NULL owner is trusted code: no check."""

    def __init__(self, tables: Tables) -> None:
        table, columns = tables.conversations, CONVERSATION_COLUMNS
        owned = "id = $1 AND ($2::text IS NULL OR user_id = $2) AND deleted_at IS NULL"
        names = "id, resource_id, user_id, title, metadata, created_at, updated_at"
        new_row = f"""({names})
            SELECT $1, $2, $3, $4, $5::text::jsonb,
                coalesce($6::timestamptz, statement_timestamp()),
                coalesce($7::timestamptz, $6::timestamptz, statement_timestamp())"""
        # ON CONFLICT rather than a unique violation: an error would end the caller's own transaction.
        self.create = f"""
            WITH made AS (
                INSERT INTO {table} {new_row}
                ON CONFLICT (id) DO NOTHING
                RETURNING {columns}
            ){with_is_deleted(tables, f"SELECT {names} FROM made", owner="$3")}"""
        # The usual case, found, writes nothing. DO UPDATE (of nothing) rather than DO NOTHING: a row that another
        # session committed a moment ago is not in this statement's snapshot, but it is returned by the update.
        self.ensure = f"""
            WITH found AS (
                SELECT {columns} FROM {table} WHERE id = $1 AND user_id = $3 AND deleted_at IS NULL
            ), made AS (
                INSERT INTO {table} AS existing {new_row}
                WHERE NOT EXISTS (SELECT FROM found)
                ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id
                    WHERE existing.user_id = excluded.user_id AND existing.deleted_at IS NULL
                RETURNING {columns}
            ){with_is_deleted(tables, f"SELECT {names} FROM found UNION ALL SELECT {names} FROM made", owner="$3")}"""
        self.get = f"""
            SELECT {columns} FROM {table}
            WHERE {owned}"""
        self.by_resource = f"""
            SELECT {columns} FROM {table}
            WHERE resource_id = $1 AND deleted_at IS NULL
            ORDER BY created_at DESC, id DESC"""
        # Each column with a flag before its value: only what is given changes.
        update = f"""
            UPDATE {table} SET
                title = CASE WHEN $3 THEN $4::text ELSE title END,
                title_is_automatic = title_is_automatic AND NOT $3,
                metadata = CASE WHEN $5 THEN $6::text::jsonb ELSE metadata END,
                resource_id = CASE WHEN $7 THEN $8::text ELSE resource_id END,
                user_id = CASE WHEN $9 THEN $10::text ELSE user_id END,
                updated_at = CASE WHEN $11 THEN statement_timestamp() ELSE updated_at END"""

        def updated(source: str = "") -> str:
            """Return the statement that updates a conversation, and answers with it."""
            return f"""
            WITH updated AS ({update} {source}
            WHERE {owned}
            RETURNING {columns}
            ){with_is_deleted(tables, f"SELECT {names} FROM updated")}"""

        self.update = updated()
        # The function locks the row before the update finds it.
        self.give = updated(f"FROM {tables.hand_over}($1, $2, $10) AS handed_over")
        self.delete = f"""
            DELETE FROM {table}
            WHERE id = $1 AND ($2::text IS NULL OR user_id = $2)"""


class Conversations(Area):
    """The methods about conversations; PostgresStorage puts the areas together."""

    # --- one conversation -------------------------------------------------------------------------------------

    async def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """
        Return the conversation as it was stored.

        Args:
            conversation: A model or a dict in either spelling; only user_id must be there. Without an id it gets
                a UUIDv7, without times the database's.

        Raises:
            ConversationExistsError: The id is taken, by whomever, or by a conversation that is deleted.
            InvalidInputError: A field is missing, unknown or of the wrong type.
            OutcomeUnknownError: The connection broke before the answer; ensure_conversation may be repeated.

        VoltAgent: ``createConversation``.
        """
        new = Conversation.of(conversation)
        row = await self._executor.fetchrow(self._sql(ConversationStatements).create, *new.to_row(), repeatable=False)
        if row is None or row["id"] is None:
            raise ConversationExistsError(new.id, is_deleted=row is not None and row["is_deleted"])
        return Conversation.from_row(tuple(row)[1:])

    async def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """
        Return the conversation with this id: the one that is there, unchanged, or the given one, stored.

        Atomic: of any number of callers at once, one makes it and all get it.

        Raises:
            ConversationNotFoundError: The id is another user's, or of a conversation that is deleted.
            InvalidInputError: A field is missing, unknown or of the wrong type.
        """
        new = Conversation.of(conversation)
        row = await self._executor.fetchrow(self._sql(ConversationStatements).ensure, *new.to_row())
        return Conversation.from_row(require_found(row, new.id, new.user_id))

    async def get_conversation(self, conversation_id: str) -> Conversation | None:
        """
        Return the conversation, whoever's it is, or None.

        For trusted code: get_user_conversation() and for_user() check whose it is. VoltAgent: ``getConversation``.
        """
        return await self._get_conversation(conversation_id, ANY_USER)

    async def get_user_conversation(self, conversation_id: str, user_id: str) -> Conversation | None:
        """
        Return the conversation if it is this user's; None when it is absent or another's.

        VoltAgent: ``getUserConversation`` (which fetches first and compares afterwards).
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
        Return the conversation after the update. Only what is given changes.

        Args:
            conversation_id: Which one.
            title: The new title; None clears it.
            metadata: The new metadata, instead of the old; None empties it.
            resource_id: Moves it to another agent or project.
            user_id: Gives it to another user. Links to it end.
            touch: Whether updated_at becomes now; False keeps its place in the sidebar.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            InvalidInputError: A value of the wrong type.

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
            *_given(UNSET if metadata is UNSET else _metadata_text(metadata)),
            *_given(resource_id),
            *_given(user_id),
            touch,
            # Given away by its owner, it is not the owner's the second time.
            repeatable=owner_id is None or user_id in (UNSET, owner_id),
        )
        return Conversation.from_row(require_found(row, conversation_id, owner_id))

    async def delete_conversation(self, conversation_id: str, *, owner: Owner = ANY_USER) -> bool:
        """
        Return whether there was one to delete. Its messages go with it, and there is no way back.

        One that was deleted with a way back, by soft_delete_conversation(), ends by it.

        Args:
            conversation_id: Which one.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        VoltAgent: ``deleteConversation``.
        """
        check_id(conversation_id=conversation_id)
        arguments = conversation_id, check_owner("owner", owner)
        return await self._executor.execute(self._sql(ConversationStatements).delete, *arguments) > 0

    # --- many conversations -----------------------------------------------------------------------------------

    async def get_conversations(self, resource_id: str) -> list[Conversation]:
        """
        Return all conversations of a resource, the newest created first.

        Read by index ``{prefix}_conversations_by_resource``. VoltAgent: ``getConversations``.
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
        Return a user's conversations, the last active first unless told otherwise.

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
        Return the conversations that match; without a filter all users' (the admin's view).

        Args:
            user_id: Only this user's; ANY_USER: everybody's, for trusted code.
            resource_id: Only those with this agent or project.
            limit: How many at most; None: all, 0: none.
            offset: How many to skip; the database walks over them all the same.
            order_by: "created_at", "updated_at" or "title"; conversations without a title come last.
            order_direction: "ASC" or "DESC", in any case. Ties are broken by id, in the same direction.

        Raises:
            InvalidQueryError: Anything else, before any SQL runs.

        VoltAgent: ``queryConversations``.
        """
        return await self._find(
            ConversationQuery(user_id, resource_id, limit, offset, order_by, order_direction),
        )

    async def count_conversations(self, *, user_id: Owner = ANY_USER, resource_id: str | None = None) -> int:
        """
        Return how many conversations match; without a filter all.

        Counting reads every row it counts. VoltAgent: ``countConversations``.
        """
        sql, arguments = ConversationQuery(user_id, resource_id).count_sql(self._options.tables)
        row = await self._executor.fetchrow(sql, *arguments)
        return 0 if row is None else int(row[0])

    async def get_paginated_user_conversations(
        self, user_id: str, page: int = 1, page_size: int = 10
    ) -> ConversationPage:
        """
        Return one page of a user's conversations, the last active first.

        Args:
            user_id: Whose.
            page: 1 or more.
            page_size: 1 or more rows.

        Nothing is counted: has_more is known by reading one row more. VoltAgent: ``getPaginatedUserConversations``.
        """
        check_user("user_id", user_id)
        check_count("page", page, minimum=1)
        check_count("page_size", page_size, minimum=1)
        found = await self._find(
            ConversationQuery(user_id, limit=page_size + 1, offset=(page - 1) * page_size),
        )
        return ConversationPage(
            conversations=found[:page_size], page=page, page_size=page_size, has_more=len(found) > page_size
        )

    async def get_last_conversation(self, user_id: str, *, resource_id: str | None = None) -> Conversation | None:
        """
        Return the conversation that the user was last active in, or None: the one to go on with.

        Args:
            user_id: Whose.
            resource_id: Only with this agent or project.

        Agno: ``get_all_session_ids(user)[0]`` (which is the last that was made).
        """
        check_user("user_id", user_id)
        return next(iter(await self._find(ConversationQuery(user_id, resource_id, limit=1))), None)

    def get_user_conversations(self, user_id: str) -> UserConversations:
        """
        Return a builder over a user's conversations: all of them, the last active first, until told otherwise.

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
    A question about one user's conversations, asked step by step, in any order; each step is a new value.

    ``await builder.execute()`` and ``await builder`` return a list; ``async for conversation in builder`` walks
    all of them, a batch of rows at a time, each batch starting where the last one ended (no OFFSET).
    """

    _conversations: Conversations
    _query: ConversationQuery

    def limit(self, count: int | None) -> Self:
        """Return a builder that stops after so many; None: all, 0: none."""
        return self._with(limit=count)

    def offset(self, count: int) -> Self:
        """Return a builder that skips so many."""
        return self._with(offset=count)

    def order_by(self, field: OrderBy = "updated_at", direction: OrderDirection = "DESC") -> Self:
        """Return a builder with another order; InvalidQueryError for a field that is none."""
        return self._with(order_by=field, order_direction=direction)

    def orderBy(self, field: OrderBy = "updated_at", direction: OrderDirection = "DESC") -> Self:
        """VoltAgent's name for order_by."""
        return self.order_by(field, direction)

    def resource(self, resource_id: str | None) -> Self:
        """Return a builder for one agent or project only; None: for all."""
        return self._with(resource_id=resource_id)

    def _with(self, **changes: Any) -> Self:
        return replace(self, _query=replace(self._query, **changes))

    async def execute(self) -> list[Conversation]:
        """Return the conversations. One round trip."""
        return await self._conversations._find(self._query)

    def __await__(self) -> Generator[Any, None, list[Conversation]]:
        return self.execute().__await__()

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


def _metadata_text(metadata: Mapping[str, JsonValue] | Unset | None) -> str:
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidInputError(f"metadata must be a dict, not a {type(metadata).__name__}")
    return to_json(json_value(dict(metadata or {}), "metadata", for_jsonb=True))

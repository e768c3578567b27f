"""The sidebar: a user's conversations as a list, and what a person does to them there, none of which reorders it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from pydantic import Field

from voltmem._areas.area import Area
from voltmem._areas.cursors import SidebarCursor
from voltmem._areas.queries import CONVERSATION_COLUMNS, Select, require_found, with_is_deleted
from voltmem._tables import Tables
from voltmem._values import (
    ANY_USER,
    MAX_BIGINT,
    check_count,
    check_flag,
    check_id,
    check_id_or_none,
    check_key,
    check_key_or_none,
    check_owner,
    check_text,
    check_texts,
    check_time,
    check_user,
)
from voltmem.errors import (
    InvalidInputError,
    InvalidQueryError,
)
from voltmem.models import Conversation, Key, Model, Owner, Time, construct_unchecked
from voltmem.options import SIDEBAR_LIMIT


class Marks(Model):
    """What a person has done to a conversation in a sidebar, and where it comes from."""

    pinned: bool = False
    """Whether it stands before those that are not."""
    archived: bool = False
    """Whether it was put away; the list shows it only if asked to."""
    tags: list[Key] = Field(default_factory=list)
    """In the order in which they were given."""
    read_at: Time | None = None
    """The time of the last thing that its user has read; None: never marked."""
    deleted_at: Time | None = None
    """When it was deleted, with a way back; None: it is not."""
    title_is_automatic: bool = False
    """Whether a model made the title: only such a one may be replaced by another automatic one."""
    forked_from: Key | None = None
    """The conversation that it is a copy of, up to one of its messages."""
    forked_up_to: Key | None = None
    """The last message of the copy."""


MARKS: Final = tuple(Marks.model_fields)
"""Their names, as columns have them."""


class ConversationItem(Marks, Conversation):
    """A conversation as a sidebar shows it."""

    preview: str | None = None
    """How the last thing begins that the user or the assistant said; None: nothing was said, or not asked for."""
    unread: bool = False
    """Whether the last thing was said by another than the user, and bears a later time than what the user has read."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the item of a row, in the order of ITEM_COLUMNS."""
        columns = tuple(row)
        marks = dict(zip((*MARKS, "preview", "unread"), columns[7:], strict=True))
        return construct_unchecked(cls, {**super().from_row(columns[:7]).__dict__, **marks})


class ConversationList(Model):
    """A stretch of a user's sidebar."""

    items: list[ConversationItem]
    """The conversations, in the list's order, at most as many as were asked for."""
    next_cursor: str | None
    """For after=: what follows. None where the list ends, unless it was walked backwards."""
    has_more: bool
    """Whether more follows in the direction of the walk."""


PREVIEW_CHARACTERS: Final = 200


@dataclass(frozen=True)
class SidebarQuery:
    """Which stretch of whose list. InvalidQueryError or InvalidInputError for what no list can be."""

    user_id: str
    limit: int = SIDEBAR_LIMIT
    after: str | None = None
    before: str | None = None
    archived: bool = False
    pinned: bool | None = None
    resource_id: str | None = None
    tag: str | None = None
    preview: bool = True

    def __post_init__(self) -> None:
        check_user("user_id", self.user_id)
        check_id_or_none(resource_id=self.resource_id)
        check_key_or_none(tag=self.tag)
        check_count("limit", self.limit, minimum=1)
        check_flag("archived", self.archived)
        check_flag("preview", self.preview)
        if self.pinned is not None:
            check_flag("pinned", self.pinned)
        if self.after is not None and self.before is not None:
            raise InvalidQueryError("after and before are two directions; give one of them")
        for name in ("after", "before"):
            if getattr(self, name) is not None:
                SidebarCursor.of(name, getattr(self, name))

    def sql(self, tables: Tables) -> tuple[str, list[object]]:
        """Return the statement and its arguments; it reads one row more than the limit. Pure: no I/O."""
        statement = Select()
        statement.where("user_id = {}", self.user_id)
        statement.where("archived = {}", self.archived)
        statement.where("deleted_at IS NULL")
        if self.pinned is not None:
            statement.where("pinned = {}", self.pinned)
        if self.resource_id is not None:
            statement.where("resource_id = {}", self.resource_id)
        if self.tag is not None:
            statement.where("tags @> ARRAY[{}::text]", self.tag)
        for name, beyond in (("after", "<"), ("before", ">")):
            if getattr(self, name) is not None:
                place = SidebarCursor.of(name, getattr(self, name))
                statement.where(
                    f"(pinned, updated_at, id) {beyond} ({{}}, {{}}, {{}})", place.pinned, place.updated_at, place.id
                )
        direction = "DESC" if self.before is None else "ASC"
        order = f"pinned {direction}, updated_at {direction}, id {direction}"
        found = statement.text("*", tables.conversations, order, min(self.limit + 1, MAX_BIGINT), 0)
        return f"{items(tables, f'({found})', preview=self.preview)} ORDER BY {order}", statement.arguments


def items(tables: Tables, conversations: str, *, preview: bool = True) -> str:
    """Return the SELECT of ITEM_COLUMNS for rows of the conversations, each with what was said last."""
    # VoltAgent 2 keeps a message's text in its parts.
    text = f"""left(coalesce(m.content, (
                    SELECT string_agg(part ->> 'text', ' ') FROM jsonb_array_elements(m.parts) AS part
                    WHERE jsonb_typeof(m.parts) = 'array')), {PREVIEW_CHARACTERS})"""
    return f"""
        SELECT {CONVERSATION_COLUMNS.replace("created_at", "c.created_at")}, {", ".join(MARKS)},
            {"last.text" if preview else "NULL::text"} AS preview,
            coalesce(last.role <> 'user' AND (c.read_at IS NULL OR last.created_at > c.read_at), false) AS unread
        FROM {conversations} AS c
        LEFT JOIN LATERAL ({last_said(tables, f"m.role, m.created_at, {text} AS text", "c.id")}
        ) AS last ON true"""


def last_said(tables: Tables, columns: str, conversation_id: str) -> str:
    """Return the SELECT of what the user or the assistant said last in a conversation."""
    return f"""
            SELECT {columns}
            FROM {tables.messages} AS m
            WHERE m.conversation_id = {conversation_id} AND NOT m.archived AND m.role IN ('user', 'assistant')
                AND coalesce(m.type, 'text') NOT IN ('tool-call', 'tool-result')
            ORDER BY m.created_at DESC, m.seq DESC LIMIT 1"""


class SidebarStatements:
    """The statements with one shape. A NULL owner is trusted code: no check."""

    def __init__(self, tables: Tables) -> None:
        conversations = tables.conversations
        owned = "id = $1 AND ($2::text IS NULL OR user_id = $2)"

        def marked(changes: str, there: str = " AND deleted_at IS NULL") -> str:
            """Return the statement that changes one conversation so, and answers with it as the list has it."""
            return f"""
                WITH changed AS (UPDATE {conversations} SET {changes} WHERE {owned}{there} RETURNING *)
                {with_is_deleted(tables, items(tables, "changed"))}"""

        there = f"(SELECT * FROM {conversations} WHERE {owned} AND deleted_at IS NULL)"
        self.get = with_is_deleted(tables, items(tables, there))
        self.pin = marked("pinned = $3")
        self.archive = marked("archived = $3")
        self.tag = marked("tags = $3::text[]")
        # Up to the time that the last thing said bears, rather than now: another clock may be ahead, and an answer that
        # is stored later may bear the time at which it began.
        last_time = f"({last_said(tables, 'm.created_at', '$1')})"
        self.read = marked(
            f"read_at = greatest(read_at, coalesce($3::timestamptz, {last_time}, statement_timestamp()))"
        )
        # A model's title replaces none but a model's.
        self.rename = marked(
            """title = CASE WHEN NOT $4 OR title IS NULL OR title_is_automatic THEN $3 ELSE title END,
                title_is_automatic = $4 AND (title IS NULL OR title_is_automatic)"""
        )
        # A second time, each finds what it has made of it.
        self.delete = marked("deleted_at = coalesce(deleted_at, statement_timestamp())", "")
        self.restore = marked("deleted_at = NULL", "")
        self.purge = f"""
            DELETE FROM {conversations}
            WHERE ($1::text IS NULL OR user_id = $1)
                AND statement_timestamp() - deleted_at >= coalesce($2::interval, '0 seconds')"""
        self.deleted = f"""
            {items(tables, f"(SELECT * FROM {conversations} WHERE user_id = $1 AND deleted_at IS NOT NULL)")}
            ORDER BY c.deleted_at DESC, c.id DESC LIMIT $2::bigint"""


def _cursor(item: ConversationItem) -> str:
    return str(SidebarCursor(item.pinned, item.updated_at, item.id))


class Sidebar(Area):
    """The methods about a user's sidebar; PostgresStorage puts the areas together."""

    # --- the list ---------------------------------------------------------------------------------------------

    async def list_conversations(
        self,
        user_id: str,
        *,
        limit: int = SIDEBAR_LIMIT,
        after: str | None = None,
        before: str | None = None,
        archived: bool = False,
        pinned: bool | None = None,
        resource_id: str | None = None,
        tag: str | None = None,
        preview: bool = True,
    ) -> ConversationList:
        """
        Return a stretch of a user's sidebar: the pinned conversations first, then by activity, the last first.

        Args:
            user_id: Whose.
            limit: How many at most.
            after: A next_cursor: what follows. It holds whatever is added, deleted or moved meanwhile: nothing is shown
                twice, and nothing is missed but what moved to the front.
            before: A next_cursor of the item to go back from: what stands right before it, in the list's order.
            archived: The archived ones instead.
            pinned: Only those that are pinned, or only those that aren't.
            resource_id: Only those with this agent or project.
            tag: Only those with this tag.
            preview: Whether each comes with the beginning of what was said last.

        Raises:
            InvalidQueryError: A cursor that is none of ours, a limit below 1.

        Reads no more rows than it returns, and one, by index ``{prefix}_conversations_in_sidebar``, and of each the
        last message; with a resource or a tag also those in between that have it not.
        """
        query = SidebarQuery(user_id, limit, after, before, archived, pinned, resource_id, tag, preview)
        sql, arguments = query.sql(self._options.tables)
        found = [ConversationItem.from_row(row) for row in await self._executor.fetch(sql, *arguments)]
        shown = found[:limit] if before is None else found[:limit][::-1]
        has_more = len(found) > limit
        follows = shown and (has_more or before is not None)
        return ConversationList(items=shown, next_cursor=_cursor(shown[-1]) if follows else None, has_more=has_more)

    async def get_conversation_item(self, conversation_id: str, *, owner: Owner = ANY_USER) -> ConversationItem:
        """Read one conversation as the sidebar shows it. Args and errors as in rename_conversation()."""
        return await self._mark(self._sql(SidebarStatements).get, conversation_id, owner)

    # --- marks ------------------------------------------------------------------------------------------------

    async def rename_conversation(
        self, conversation_id: str, title: str, *, automatic: bool = False, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """
        Return the conversation with its title. Its place in the list stays, as with every mark.

        Args:
            conversation_id: Which one.
            title: What the sidebar shows.
            automatic: A model made the title: it replaces none that a person, or the application, gave.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
        """
        check_text(title=title)
        check_flag("automatic", automatic)
        return await self._mark(self._sql(SidebarStatements).rename, conversation_id, owner, title, automatic)

    async def pin_conversation(
        self, conversation_id: str, pinned: bool = True, *, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """Return the conversation, pinned or not. Args and errors as in rename_conversation()."""
        check_flag("pinned", pinned)
        return await self._mark(self._sql(SidebarStatements).pin, conversation_id, owner, pinned)

    async def archive_conversation(
        self, conversation_id: str, archived: bool = True, *, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """Return the conversation, archived or not. Args and errors as in rename_conversation()."""
        check_flag("archived", archived)
        return await self._mark(self._sql(SidebarStatements).archive, conversation_id, owner, archived)

    async def tag_conversation(
        self, conversation_id: str, tags: Sequence[str], *, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """Return the conversation with these tags instead of those it had. Otherwise as rename_conversation()."""
        given = list(dict.fromkeys(check_texts("tags", tags)))
        for tag in given:
            check_key(tags=tag)  # as list_conversations() asks for one
        return await self._mark(self._sql(SidebarStatements).tag, conversation_id, owner, given)

    async def mark_conversation_read(
        self, conversation_id: str, *, at: datetime | None = None, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """
        Return the conversation, read up to what was said last, or up to *at*; never less far than before.

        Args and errors as in rename_conversation().
        """
        if at is not None:
            check_time("at", at)
        return await self._mark(self._sql(SidebarStatements).read, conversation_id, owner, at)

    # --- deleting, with a way back ----------------------------------------------------------------------------

    async def soft_delete_conversation(self, conversation_id: str, *, owner: Owner = ANY_USER) -> ConversationItem:
        """
        Return the conversation, which from now on looks absent: to every method but those that name the deleted.

        Its messages stay with it until it is purged, and its id is not free for another. Args and errors as in
        rename_conversation().
        """
        return await self._mark(self._sql(SidebarStatements).delete, conversation_id, owner)

    async def restore_conversation(self, conversation_id: str, *, owner: Owner = ANY_USER) -> ConversationItem:
        """
        Return the conversation, which is no more deleted, in its place in the list.

        Raises:
            ConversationNotFoundError: There is none with this id, deleted or not, or it is not the owner's.
        """
        return await self._mark(self._sql(SidebarStatements).restore, conversation_id, owner)

    async def list_deleted_conversations(self, user_id: str, *, limit: int | None = None) -> list[ConversationItem]:
        """
        Return what a user deleted and can restore, the last deleted first.

        Args:
            user_id: Whose.
            limit: How many at most; None: all.

        Reads all of the user's conversations.
        """
        check_user("user_id", user_id)
        if limit is not None:
            check_count("limit", limit)
        rows = await self._executor.fetch(self._sql(SidebarStatements).deleted, user_id, limit)
        return [ConversationItem.from_row(row) for row in rows]

    async def purge_deleted_conversations(
        self, user_id: Owner = ANY_USER, *, older_than: timedelta | None = None
    ) -> int:
        """
        Return how many of the deleted conversations are now gone for good, with their messages.

        Args:
            user_id: Only this user's; ANY_USER: everybody's, for a task that cleans up.
            older_than: Only those that were deleted longer ago; None: all.
        """
        owner = check_owner("user_id", user_id)
        if older_than is not None and not isinstance(older_than, timedelta):
            raise InvalidInputError(f"older_than must be a timedelta, not a {type(older_than).__name__}")
        return await self._executor.execute(self._sql(SidebarStatements).purge, owner, older_than)

    async def _mark(self, statement: str, conversation_id: str, owner: Owner, *values: object) -> ConversationItem:
        check_id(conversation_id=conversation_id)
        owner_id = check_owner("owner", owner)
        row = await self._executor.fetchrow(statement, conversation_id, owner_id, *values)
        return ConversationItem.from_row(require_found(row, conversation_id, owner_id))

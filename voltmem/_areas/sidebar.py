"""The sidebar: the list of a user's conversations, and the verbs that mark them without changing their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from pydantic import Field

from voltmem._areas.cursors import SidebarCursor
from voltmem._areas.queries import (
    CONVERSATION_COLUMNS,
    ON_LINE,
    ROLE,
    TEXT,
    TYPE,
    Select,
    authored,
    mostly,
    owner_of,
    require_found,
    with_is_deleted,
)
from voltmem._areas.tags import Tags
from voltmem._model import Key, Model, Time, construct_unchecked
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
    short_repr,
)
from voltmem.errors import (
    InvalidInputError,
    InvalidQueryError,
)
from voltmem.models import Conversation, Owner
from voltmem.options import SIDEBAR_LIMIT


class Marks(Model):
    """The sidebar's marks of a conversation, and its origin if it is a fork."""

    pinned: bool = False
    """Whether it is listed before those that are not pinned."""
    archived: bool = False
    """Whether it is archived. The list shows archived conversations only on request."""
    tags: list[Key] = Field(default_factory=list)
    """The tags, in the order in which they were given."""
    read_at: Time | None = None
    """The time of the last message that its user has read; None: never marked as read."""
    deleted_at: Time | None = None
    """When it was soft-deleted; None: it is not deleted."""
    title_is_automatic: bool = False
    """Whether a model made the title. An automatic title replaces only an automatic one."""
    forked_from: Key | None = None
    """The conversation that it was copied from; None: it is not a fork."""
    forked_up_to: Key | None = None
    """The last message that was copied; None: all were."""


MARKS: Final = tuple(Marks.model_fields)
"""The names of the marks, which are also those of their columns."""


class ConversationItem(Marks, Conversation):
    """A conversation in the sidebar."""

    preview: str | None = None
    """The beginning of the last message of the user or the assistant; None: there is none, or preview=False."""
    unread: bool = False
    """Whether that message is not the user's and is newer than read_at."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the item of a row, in the order of ITEM_COLUMNS."""
        columns = tuple(row)
        marks = dict(zip((*MARKS, "preview", "unread"), columns[7:], strict=True))
        return construct_unchecked(cls, {**super().from_row(columns[:7]).__dict__, **marks})


class ConversationList(Model):
    """One page of a user's sidebar."""

    items: list[ConversationItem]
    """The conversations, in the order of the list; at most *limit*."""
    next_cursor: str | None
    """The cursor of the next page, for after=. None at the end of the list, except for a page read with before=."""
    has_more: bool
    """Whether there are more, in the direction of reading."""


PREVIEW_CHARACTERS: Final = 200


@dataclass(frozen=True)
class SidebarQuery:
    """A page of a user's list. Raises InvalidQueryError or InvalidInputError for invalid arguments."""

    user_id: str
    limit: int = SIDEBAR_LIMIT
    after: str | None = None
    before: str | None = None
    archived: bool = False
    pinned: bool | None = None
    resource_id: str | None = None
    tag: str | None = None
    preview: bool = True
    active_before: datetime | None = None

    def __post_init__(self) -> None:
        check_user("user_id", self.user_id)
        check_id_or_none(resource_id=self.resource_id)
        check_key_or_none(tag=self.tag)
        check_count("limit", self.limit, minimum=1)
        check_flag("archived", self.archived)
        check_flag("preview", self.preview)
        if self.active_before is not None:
            check_time("active_before", self.active_before)
        if self.pinned is not None:
            check_flag("pinned", self.pinned)
        if self.after is not None and self.before is not None:
            raise InvalidQueryError("after and before were both given: pass one of them")
        for name in ("after", "before"):
            if getattr(self, name) is not None:
                SidebarCursor.of(name, getattr(self, name))

    def sql(self, tables: Tables) -> tuple[str, list[object]]:
        """Return the statement, which reads one row more than the limit, and its arguments. No I/O."""
        statement = Select()
        statement.where("user_id = {}", self.user_id)
        statement.where("archived = {}", self.archived)
        statement.where("deleted_at IS NULL")
        if self.pinned is not None:
            statement.where("pinned = {}", self.pinned)
        if self.resource_id is not None:
            statement.where(mostly("resource_id = {}"), self.resource_id)
        if self.tag is not None:
            statement.where(mostly("tags OPERATOR(pg_catalog.@>) ARRAY[{}::text]"), self.tag)
        if self.active_before is not None:
            statement.where("updated_at < (SELECT {}::timestamptz)", self.active_before)
        for name, beyond in (("after", "<"), ("before", ">")):
            if getattr(self, name) is not None:
                place = SidebarCursor.of(name, getattr(self, name))
                # Subselects, so that the plan does not depend on how many rows the planner expects from here on.
                values = "(SELECT {}::boolean), (SELECT {}::timestamptz), (SELECT {}::text)"
                statement.where(
                    f"(pinned, updated_at, id) {beyond} ({values})", place.pinned, place.updated_at, place.id
                )
        direction = "DESC" if self.before is None else "ASC"
        order = f"pinned {direction}, updated_at {direction}, id {direction}"
        columns = f"c.*, {last_of_item(tables, preview=self.preview)}"
        found = statement.text(columns, f"{tables.conversations} AS c", order, min(self.limit + 1, MAX_BIGINT), 0)
        return f"{items(f'({found})')} ORDER BY {order}", statement.arguments


def items(conversations: str) -> str:
    """Return the SELECT of the items for some conversations: rows with "last", that of last_of_item()."""
    return f"""
        SELECT {CONVERSATION_COLUMNS}, {", ".join(MARKS)},
            last[1] AS preview, coalesce(last[2]::boolean, false) AS unread
        FROM {conversations} AS c"""


def items_where(tables: Tables, condition: str, conversation_id: str = "c.id") -> str:
    """
    Return the SELECT of the items for the conversations that meet a condition.

    conversation_id: the parameter with the id, if the condition is of one: so Citus asks its server only.
    """
    last = last_of_item(tables, conversation_id)
    return items(f"(SELECT c.*, {last} FROM {tables.conversations} AS c WHERE {condition})")


def last_of_item(
    tables: Tables,
    conversation_id: str = "c.id",
    owner: str = "c.user_id",
    read_at: str = "c.read_at",
    preview: bool = True,
) -> str:
    """
    Return the column "last" of a conversation: its preview, and whether it is unread.

    One scalar for both, because Citus can plan neither a lateral join nor a correlated subquery with rows that were
    limited or updated. PostgreSQL evaluates it after the LIMIT, for the rows of the page alone.
    """
    text = f"pg_catalog.left({TEXT}, {PREVIEW_CHARACTERS})" if preview else "NULL"
    unread = f"({ROLE} <> 'user' AND ({read_at} IS NULL OR m.created_at > {read_at}))"
    return f"""({last_said(tables, f"ARRAY[{text}, {unread}::text]", conversation_id, owner)}
            ) AS last"""


def last_said(tables: Tables, columns: str, conversation_id: str, owner: str) -> str:
    """Return the SELECT of the last message of the user or the assistant in a conversation of this owner."""
    is_said = f"{ROLE} IN ('user', 'assistant') AND {TYPE} NOT IN ('tool-call', 'tool-result')"
    return f"""
            SELECT {columns}
            FROM {authored(tables)} AS m
            WHERE m.conversation_id = {conversation_id} AND {ON_LINE}
                AND {mostly(f"(m.author IS NULL OR m.author = {owner}) AND {is_said}")}
            ORDER BY m.created_at DESC, m.seq DESC LIMIT 1"""


class SidebarStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        conversations = tables.conversations
        owned = "id = $1 AND ($2::text IS NULL OR user_id = $2)"

        def marked(changes: str, there: str = " AND deleted_at IS NULL", of_moment: str = "") -> str:
            """Return the statement that makes these changes to a conversation and returns its item."""
            return f"""
                WITH changed AS (UPDATE {conversations} AS c SET {changes}
                    FROM (SELECT pg_catalog.statement_timestamp() AS now{of_moment}) AS moment
                    WHERE {owned}{there} RETURNING c.*)
                {with_is_deleted(tables, items(f"(SELECT changed.*, {last} FROM changed)"))}"""

        last = last_of_item(tables, "$1", "(SELECT user_id FROM changed)", "(SELECT read_at FROM changed)")
        self.get = with_is_deleted(tables, items_where(tables, f"{owned} AND deleted_at IS NULL", "$1"))
        self.pin = marked("pinned = $3")
        self.archive = marked("archived = $3")
        self.tag = marked("tags = $3::text[]")
        # Up to the time of the last message, not the current time: another machine's clock may be ahead, and an answer
        # that is stored later may have the time at which it began.
        # In FROM: of a statement with a subquery in SET, Citus would run each part alone, in a transaction.
        last_time = f", ({last_said(tables, 'm.created_at', '$1', owner_of(tables, '$1'))}) AS last_time"
        self.read = marked(
            "read_at = greatest(read_at, coalesce($3::timestamptz, moment.last_time, moment.now))", of_moment=last_time
        )
        # An automatic title replaces only an automatic one.
        self.rename = marked(
            """title = CASE WHEN NOT $4 OR title IS NULL OR title_is_automatic THEN $3 ELSE title END,
                title_is_automatic = $4 AND (title IS NULL OR title_is_automatic)"""
        )
        # Repeatable: sent again, each statement finds the row as it left it, and returns it.
        self.delete = marked("deleted_at = coalesce(deleted_at, moment.now)", "")
        self.restore = marked("deleted_at = NULL", "")
        self.purge = f"""
            DELETE FROM {conversations}
            WHERE ($1::text IS NULL OR user_id = $1)
                AND ($3::text IS NULL OR id = $3)
                AND pg_catalog.statement_timestamp() - deleted_at >= coalesce($2::interval, '0 seconds')"""
        self.deleted = f"""
            {items_where(tables, "user_id = $1 AND deleted_at IS NOT NULL")}
            ORDER BY c.deleted_at DESC, c.id DESC LIMIT $2::bigint"""


def _cursor(item: ConversationItem) -> str:
    return str(SidebarCursor(item.pinned, item.updated_at, item.id))


class Sidebar(Tags):
    """The verbs about a user's sidebar. PostgresStorage inherits from all areas."""

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
        active_before: datetime | None = None,
    ) -> ConversationList:
        """
        Return one page of a user's sidebar: pinned conversations first, then the others, each last active first.

        Args:
            user_id: The user.
            limit: The maximum number of conversations.
            after: The next_cursor of the page before. It stays valid while conversations are added, deleted or moved:
                no conversation comes twice, and only those that moved to the front meanwhile are missed.
            before: A next_cursor, to read the page right before it, in the order of the list.
            archived: Archived conversations instead of the others.
            pinned: True: only pinned ones, False: only ones that are not pinned, None: both.
            resource_id: Only those with this agent or project.
            tag: Only those with this tag.
            preview: Whether to return the beginning of each conversation's last message.
            active_before: Only those that were last active before this time.

        Raises:
            InvalidQueryError: The cursor is malformed, or the limit is below 1.

        Reads one row more than it returns, by the index ``{prefix}_conversations_in_sidebar``, and the last message of
        each. With a resource or a tag, also rows in between that don't match.
        """
        query = SidebarQuery(user_id, limit, after, before, archived, pinned, resource_id, tag, preview, active_before)
        sql, arguments = query.sql(self._options.tables)
        found = [ConversationItem.from_row(row) for row in await self._executor.fetch(sql, *arguments)]
        page = found[:limit] if before is None else found[:limit][::-1]
        has_more = len(found) > limit
        follows = page and (has_more or before is not None)
        return ConversationList(items=page, next_cursor=_cursor(page[-1]) if follows else None, has_more=has_more)

    async def get_conversation_item(self, conversation_id: str, *, owner: Owner = ANY_USER) -> ConversationItem:
        """Return one conversation of the sidebar. Args and errors as in rename_conversation()."""
        return await self._mark(self._sql(SidebarStatements).get, conversation_id, owner)

    # --- marks ------------------------------------------------------------------------------------------------

    async def rename_conversation(
        self, conversation_id: str, title: str, *, automatic: bool = False, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """
        Rename a conversation. Returns it; its place in the list does not change, as with every mark.

        Args:
            conversation_id: The conversation.
            title: The new title.
            automatic: Whether a model made the title. Such a title never replaces one that a person or the application
                gave.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
        """
        check_text(title=title)
        check_flag("automatic", automatic)
        return await self._mark(self._sql(SidebarStatements).rename, conversation_id, owner, title, automatic)

    async def pin_conversation(
        self, conversation_id: str, pinned: bool = True, *, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """Pin or unpin a conversation. Returns it. Args and errors as in rename_conversation()."""
        check_flag("pinned", pinned)
        return await self._mark(self._sql(SidebarStatements).pin, conversation_id, owner, pinned)

    async def archive_conversation(
        self, conversation_id: str, archived: bool = True, *, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """Archive or unarchive a conversation. Returns it. Args and errors as in rename_conversation()."""
        check_flag("archived", archived)
        return await self._mark(self._sql(SidebarStatements).archive, conversation_id, owner, archived)

    async def tag_conversation(
        self, conversation_id: str, tags: Sequence[str], *, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """Replace the tags of a conversation. Returns it. Args and errors as in rename_conversation()."""
        given = list(dict.fromkeys(check_texts("tags", tags)))
        for tag in given:
            check_key(tags=tag)  # like list_conversations(tag=…)
        return await self._mark(self._sql(SidebarStatements).tag, conversation_id, owner, given)

    async def mark_conversation_read(
        self, conversation_id: str, *, at: datetime | None = None, owner: Owner = ANY_USER
    ) -> ConversationItem:
        """
        Mark a conversation as read, up to its last message or up to *at*. Returns it.

        The mark never moves back. Args and errors as in rename_conversation().
        """
        if at is not None:
            check_time("at", at)
        return await self._mark(self._sql(SidebarStatements).read, conversation_id, owner, at)

    # --- soft deletion ----------------------------------------------------------------------------------------

    async def soft_delete_conversation(self, conversation_id: str, *, owner: Owner = ANY_USER) -> ConversationItem:
        """
        Delete a conversation so that it can be restored. Returns it.

        Only the verbs about deleted conversations find it from now on. Its messages stay stored until it is purged, and
        its id stays taken. Args and errors as in rename_conversation().
        """
        return await self._mark(self._sql(SidebarStatements).delete, conversation_id, owner)

    async def restore_conversation(self, conversation_id: str, *, owner: Owner = ANY_USER) -> ConversationItem:
        """
        Undo a soft delete. Returns the conversation, which is in its former place in the list again.

        Raises:
            ConversationNotFoundError: There is none with this id, deleted or not, or it is not the owner's.
        """
        return await self._mark(self._sql(SidebarStatements).restore, conversation_id, owner)

    async def list_deleted_conversations(self, user_id: str, *, limit: int | None = None) -> list[ConversationItem]:
        """
        Return a user's soft-deleted conversations, last deleted first.

        Args:
            user_id: The user.
            limit: The maximum number; None: all.

        Reads all of the user's conversations.
        """
        check_user("user_id", user_id)
        if limit is not None:
            check_count("limit", limit)
        rows = await self._executor.fetch(self._sql(SidebarStatements).deleted, user_id, limit)
        return [ConversationItem.from_row(row) for row in rows]

    async def purge_deleted_conversations(
        self,
        user_id: Owner = ANY_USER,
        *,
        older_than: timedelta | None = None,
        conversation_id: str | None = None,
    ) -> int:
        """
        Delete soft-deleted conversations and their messages for good. Returns how many conversations.

        Args:
            user_id: Only this user's; ANY_USER: all users', for a cleanup task.
            older_than: Only those that were deleted at least this long ago; None: all.
            conversation_id: Only this one; None: all.
        """
        check_id_or_none(conversation_id=conversation_id)
        owner = check_owner("user_id", user_id)
        if older_than is not None and not isinstance(older_than, timedelta):
            raise InvalidInputError(f"older_than must be a timedelta, not {short_repr(older_than)}")
        return await self._executor.execute(self._sql(SidebarStatements).purge, owner, older_than, conversation_id)

    async def _mark(self, statement: str, conversation_id: str, owner: Owner, *values: object) -> ConversationItem:
        check_id(conversation_id=conversation_id)
        owner_id = check_owner("owner", owner)
        row = await self._executor.fetchrow(statement, conversation_id, owner_id, *values)
        return ConversationItem.from_row(require_found(row, conversation_id, owner_id))

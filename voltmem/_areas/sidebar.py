"""The sidebar: a user's conversations as a list, and what a person does to them there, none of which reorders it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from voltmem._areas.cursors import SidebarCursor
from voltmem._areas.queries import CONVERSATION_COLUMNS, Select, found, is_deleted, or_why_not, runs_of_user
from voltmem._areas.sidebar_models import MARKS, ConversationItem, ConversationList
from voltmem._postgres.conversation_schema import forget_in_backup, has_backup
from voltmem._postgres.database import Executor
from voltmem._postgres.listening import notify_sql
from voltmem._tables import Tables, rendered
from voltmem._values import (
    MAX_BIGINT,
    check_count,
    check_flag,
    check_id,
    check_id_or_none,
    check_text,
    check_texts,
    check_time,
    uuid7,
)
from voltmem.errors import (
    ConversationExistsError,
    ConversationNotFoundError,
    InvalidInputError,
    InvalidQueryError,
    MessageNotFoundError,
)
from voltmem.models import Conversation
from voltmem.options import StorageOptions

DEFAULT_LIMIT: Final = 20
PREVIEW_CHARACTERS: Final = 200


@dataclass(frozen=True)
class SidebarQuery:
    """Which stretch of whose list. InvalidQueryError or InvalidInputError for what no list can be."""

    user_id: str
    limit: int = DEFAULT_LIMIT
    after: str | None = None
    before: str | None = None
    archived: bool = False
    pinned: bool | None = None
    resource_id: str | None = None
    tag: str | None = None
    preview: bool = True

    def __post_init__(self) -> None:
        check_id(user_id=self.user_id)
        check_id_or_none(resource_id=self.resource_id, tag=self.tag)
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
        conversations, messages = tables.conversations, tables.messages
        owned = "id = $1 AND ($2::text IS NULL OR user_id = $2)"

        def marked(changes: str, there: str = " AND deleted_at IS NULL") -> str:
            """Return the statement that changes one conversation so, and answers with it as the list has it."""
            return f"""
                WITH changed AS (UPDATE {conversations} SET {changes} WHERE {owned}{there} RETURNING *)
                {or_why_not(tables, items(tables, "changed"))}"""

        there = f"(SELECT * FROM {conversations} WHERE {owned} AND deleted_at IS NULL)"
        self.get = or_why_not(tables, items(tables, there))
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
        # What the sequence gives follows the order of the SELECT. Of what the limit has put aside, the copy shows as
        # much as the limit, $5, allows. The setting is for tables that VoltAgent made, whose messages name the user,
        # too.
        columns = "role, content, content_json, type, metadata, parts, format, payload, parent_id, words"
        self.fork = f"""
            WITH source AS (
                SELECT *, set_config('voltmem.user_id', user_id, true)
                FROM {conversations} WHERE {owned} AND deleted_at IS NULL
            ), place AS (
                SELECT m.created_at, m.seq FROM {messages} AS m, source
                WHERE m.conversation_id = $1 AND m.message_id = $3
            ), made AS (
                INSERT INTO {conversations} AS c
                    (id, resource_id, user_id, title, title_is_automatic, metadata, tags, read_at, forked_from,
                     forked_up_to, created_at, updated_at)
                SELECT $4, resource_id, user_id, title, title_is_automatic, metadata, tags,
                    coalesce(
                        (SELECT created_at FROM place),
                        (SELECT max(m.created_at) FROM {messages} AS m WHERE m.conversation_id = $1)
                    ), id, $3, greatest(created_at, statement_timestamp()), statement_timestamp()
                FROM source WHERE $3::text IS NULL OR EXISTS (SELECT FROM place)
                ON CONFLICT (id) DO NOTHING
                RETURNING *
            ), copied AS (
                INSERT INTO {messages} (conversation_id, message_id, created_at, archived, {columns})
                SELECT $4, m.message_id, m.created_at,
                    m.archived AND coalesce(row_number() OVER newest_first > $5::bigint, false),
                    {", ".join(f"m.{name}" for name in columns.split(", "))}
                FROM {messages} AS m, made
                WHERE m.conversation_id = $1
                    AND ($3::text IS NULL OR (m.created_at, m.seq) <= (SELECT created_at, seq FROM place))
                WINDOW newest_first AS (ORDER BY m.created_at DESC, m.seq DESC)
                ORDER BY m.created_at, m.seq
            )
            SELECT EXISTS (SELECT FROM source) AS found, {is_deleted(tables, "$1", "$2")} AS is_deleted,
                $3::text IS NULL OR EXISTS (SELECT FROM place) AS has_message,
                {is_deleted(tables, "$4", "(SELECT user_id FROM source)")} AS is_taken_by_deleted,
                {CONVERSATION_COLUMNS}
            FROM (SELECT) AS one LEFT JOIN made ON true"""
        # Steps and events go with their entries; messages, payloads and links with their conversations. What is
        # somebody else's stays, and names none of the conversations that are gone. Who is watching is told here: the
        # trigger finds no watchers any more.
        self.delete_user = f"""
            WITH own AS (SELECT id FROM {conversations} WHERE user_id = $1)
            , runs AS (DELETE FROM {tables.agent_history} WHERE id IN ({runs_of_user(tables)}) RETURNING id)
            , steps AS (DELETE FROM {tables.agent_history_steps} WHERE history_id IN (SELECT id FROM runs))
            , events AS (DELETE FROM {tables.agent_history_timeline_events} WHERE history_id IN (SELECT id FROM runs))
            , others AS (
                UPDATE {tables.agent_history} SET conversationid = NULL
                WHERE conversationid IN (SELECT id FROM own) AND userid <> $1
            ), copies AS (
                UPDATE {conversations} SET forked_from = NULL, forked_up_to = NULL
                WHERE forked_from IN (SELECT id FROM own) AND user_id <> $1
            ), gone AS (DELETE FROM {conversations} WHERE user_id = $1 RETURNING id)
            , watchers AS (DELETE FROM {tables.watchers} WHERE user_id = $1 RETURNING until)
            SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM runs) AS deleted,
                {has_backup(tables)} AS has_backup,
                (
                    SELECT count({notify_sql(tables, "$1::text")}) FROM watchers WHERE until > statement_timestamp()
                ) AS told"""


def _cursor(item: ConversationItem) -> str:
    return str(SidebarCursor(item.pinned, item.updated_at, item.id))


class Sidebar:
    """The methods about a user's sidebar; PostgresStorage puts the areas together."""

    _executor: Executor
    _options: StorageOptions

    @property
    def _sidebar_sql(self) -> SidebarStatements:
        return rendered(SidebarStatements, self._options.tables)

    # --- the list ---------------------------------------------------------------------------------------------

    async def list_conversations(
        self,
        user_id: str,
        *,
        limit: int = DEFAULT_LIMIT,
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

    # --- marks ------------------------------------------------------------------------------------------------

    async def rename_conversation(
        self, conversation_id: str, title: str, *, automatic: bool = False, owner: str | None = None
    ) -> ConversationItem:
        """
        Return the conversation with its title. Its place in the list stays, as with every mark.

        Args:
            conversation_id: Which one.
            title: What the sidebar shows.
            automatic: A model made the title: it replaces none that a person, or the application, gave.
            owner: Only if it is this user's; None: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
        """
        check_text(title=title)
        check_flag("automatic", automatic)
        return await self._mark(self._sidebar_sql.rename, conversation_id, owner, title, automatic)

    async def pin_conversation(
        self, conversation_id: str, pinned: bool = True, *, owner: str | None = None
    ) -> ConversationItem:
        """Return the conversation, pinned or not. Args and errors as in rename_conversation()."""
        check_flag("pinned", pinned)
        return await self._mark(self._sidebar_sql.pin, conversation_id, owner, pinned)

    async def archive_conversation(
        self, conversation_id: str, archived: bool = True, *, owner: str | None = None
    ) -> ConversationItem:
        """Return the conversation, archived or not. Args and errors as in rename_conversation()."""
        check_flag("archived", archived)
        return await self._mark(self._sidebar_sql.archive, conversation_id, owner, archived)

    async def tag_conversation(
        self, conversation_id: str, tags: Sequence[str], *, owner: str | None = None
    ) -> ConversationItem:
        """Return the conversation with these tags instead of those it had. Otherwise as rename_conversation()."""
        given = list(dict.fromkeys(check_texts("tags", tags)))
        for tag in given:
            check_id(tags=tag)  # as list_conversations() asks for one
        return await self._mark(self._sidebar_sql.tag, conversation_id, owner, given)

    async def mark_conversation_read(
        self, conversation_id: str, *, at: datetime | None = None, owner: str | None = None
    ) -> ConversationItem:
        """
        Return the conversation, read up to what was said last, or up to *at*; never less far than before.

        Args and errors as in rename_conversation().
        """
        if at is not None:
            check_time("at", at)
        return await self._mark(self._sidebar_sql.read, conversation_id, owner, at)

    # --- deleting, with a way back ----------------------------------------------------------------------------

    async def soft_delete_conversation(self, conversation_id: str, *, owner: str | None = None) -> ConversationItem:
        """
        Return the conversation, which from now on looks absent: to every method but those that name the deleted.

        Its messages stay with it until it is purged, and its id is not free for another. Args and errors as in
        rename_conversation().
        """
        return await self._mark(self._sidebar_sql.delete, conversation_id, owner)

    async def restore_conversation(self, conversation_id: str, *, owner: str | None = None) -> ConversationItem:
        """
        Return the conversation, which is no more deleted, in its place in the list.

        Raises:
            ConversationNotFoundError: There is none with this id, deleted or not, or it is not the owner's.
        """
        return await self._mark(self._sidebar_sql.restore, conversation_id, owner)

    async def list_deleted_conversations(self, user_id: str, *, limit: int | None = None) -> list[ConversationItem]:
        """
        Return what a user deleted and can restore, the last deleted first.

        Args:
            user_id: Whose.
            limit: How many at most; None: all.

        Reads all of the user's conversations.
        """
        check_id(user_id=user_id)
        if limit is not None:
            check_count("limit", limit)
        rows = await self._executor.fetch(self._sidebar_sql.deleted, user_id, limit)
        return [ConversationItem.from_row(row) for row in rows]

    async def purge_deleted_conversations(
        self, user_id: str | None = None, *, older_than: timedelta | None = None
    ) -> int:
        """
        Return how many of the deleted conversations are now gone for good, with their messages.

        Args:
            user_id: Only this user's; None: everybody's, for a task that cleans up.
            older_than: Only those that were deleted longer ago; None: all.
        """
        check_id_or_none(user_id=user_id)
        if older_than is not None and not isinstance(older_than, timedelta):
            raise InvalidInputError(f"older_than must be a timedelta, not a {type(older_than).__name__}")
        return await self._executor.execute(self._sidebar_sql.purge, user_id, older_than)

    async def delete_user(self, user_id: str) -> int:
        """
        Return how many conversations and recorded runs of a user were deleted: all, with everything that is in them.

        Deleted and archived conversations, too, and runs in a conversation of the user's that name nobody. Nothing of
        the user is left in the tables, nor in a backup that migrate_conversation_schema() made; what somebody else has
        that points there, a copy of a conversation or a run in it, stays and points nowhere. Whoever is watching the
        user is told, and hears of what comes later in half a minute or less.

        One statement, which reads all conversations for such copies; another where there is a backup.
        """
        check_id(user_id=user_id)
        row = await self._executor.fetchrow(self._sidebar_sql.delete_user, user_id, repeatable=False)
        if row is None:
            return 0
        if row["has_backup"]:
            await self._executor.execute(forget_in_backup(self._options.tables), user_id)
        return int(row["deleted"])

    # --- forks ------------------------------------------------------------------------------------------------

    async def fork_conversation(
        self,
        conversation_id: str,
        *,
        up_to: str | None = None,
        id: str | None = None,
        owner: str | None = None,
    ) -> Conversation:
        """
        Return a new conversation with the same messages, up to one of them, that remembers where it came from.

        Of what the storage limit put aside (on_limit="archive") the copy shows what led to its last message.

        Args:
            conversation_id: Which one is copied: messages with their ids and times, title, tags and metadata. The copy
                is read.
            up_to: The id of the last message of the copy; None: all.
            id: The id of the new conversation; None: a UUIDv7.
            owner: Only if it is this user's; None: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message.
            ConversationExistsError: The new id is taken.
        """
        check_id(conversation_id=conversation_id)
        check_id_or_none(up_to=up_to, id=id, owner=owner)
        new_id = uuid7() if id is None else id
        arguments = conversation_id, owner, up_to, new_id, self._options.storage_limit
        row = await self._executor.fetchrow(self._sidebar_sql.fork, *arguments, repeatable=False)
        if row is None or not row["found"]:
            raise ConversationNotFoundError(conversation_id, owner, is_deleted=row is not None and row["is_deleted"])
        if up_to is not None and not row["has_message"]:
            raise MessageNotFoundError(up_to, conversation_id)
        if row["id"] is None:
            raise ConversationExistsError(new_id, is_deleted=row["is_taken_by_deleted"])
        return Conversation.from_row(tuple(row)[4:])

    async def _get_item(self, conversation_id: str, owner: str | None) -> ConversationItem:
        return await self._mark(self._sidebar_sql.get, conversation_id, owner)

    async def _mark(self, statement: str, conversation_id: str, owner: str | None, *values: object) -> ConversationItem:
        check_id(conversation_id=conversation_id)
        check_id_or_none(owner=owner)
        row = await self._executor.fetchrow(statement, conversation_id, owner, *values)
        return ConversationItem.from_row(found(row, conversation_id, owner))

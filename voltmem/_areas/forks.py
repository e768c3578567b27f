"""Forks: copies of a conversation, up to one of its messages."""

from __future__ import annotations

from voltmem._areas.area import Area
from voltmem._areas.queries import CONVERSATION_COLUMNS, authored, is_deleted
from voltmem._areas.quotas import room
from voltmem._areas.voltagent_tables import has_voltagent, show_conversation
from voltmem._tables import Tables
from voltmem._values import (
    ANY_USER,
    check_id,
    check_id_or_none,
    check_owner,
    uuid7,
)
from voltmem.errors import (
    ConversationExistsError,
    ConversationNotFoundError,
    MessageNotFoundError,
)
from voltmem.models import Conversation, Owner


class ForkStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages = tables.conversations, tables.messages
        owned = "id = $1 AND ($2::text IS NULL OR user_id = $2)"
        # The sequence numbers the copies in the order of the SELECT. Archived messages are unarchived in the copy, up
        # to the storage limit, $5. The setting is for tables that VoltAgent created, whose messages have a user_id.
        columns = "role, content, content_json, type, metadata, parts, format, payload, parent_id, words, file_ids"
        columns += ", own_role, parts_hash"
        self.lock = f"SELECT id FROM {conversations} WHERE id = $1 FOR SHARE"
        has_room = room(
            tables,
            "ARRAY(SELECT user_id FROM made)",
            before=" AND ",
            conversations="true",
            messages="true",
            added="ARRAY[(SELECT pg_catalog.count(*) FROM copied)::text]",
            stored="(SELECT pg_catalog.count(*) FROM made) + (SELECT pg_catalog.count(*) FROM copied)",
        )
        # Locked, so that no message is deleted, with its files, while it is copied.
        self.fork = f"""
            WITH source AS (
                SELECT *, pg_catalog.set_config('voltmem.user_id', user_id, true)
                FROM {conversations} WHERE {owned} AND deleted_at IS NULL
                FOR SHARE SKIP LOCKED
            ), place AS (
                SELECT m.created_at, m.seq FROM {messages} AS m, source
                WHERE m.conversation_id = $1 AND m.message_id = $3 AND NOT m.aside
            ), made AS (
                INSERT INTO {conversations} AS c
                    (id, resource_id, user_id, title, title_is_automatic, metadata, tags, read_at, forked_from,
                     forked_up_to, created_at, updated_at)
                SELECT $4, resource_id, user_id, title, title_is_automatic, coalesce(metadata, '{{}}'), tags,
                    coalesce(
                        (SELECT created_at FROM place),
                        (SELECT pg_catalog.max(m.created_at) FROM {messages} AS m WHERE m.conversation_id = $1)
                    ), id, $3, greatest(created_at, pg_catalog.statement_timestamp()),
                    greatest(created_at, pg_catalog.statement_timestamp())
                FROM source WHERE $3::text IS NULL OR EXISTS (SELECT 1 FROM place)
                ON CONFLICT (id) DO NOTHING
                RETURNING *
            ), copied AS (
                INSERT INTO {messages} (conversation_id, message_id, created_at, archived, {columns})
                SELECT $4, m.message_id, m.created_at,
                    m.archived AND coalesce(pg_catalog.row_number() OVER newest_first > $5::bigint, false),
                    {", ".join(f"m.{name}" for name in columns.split(", "))}
                FROM {authored(tables)} AS m, made
                WHERE m.conversation_id = $1 AND NOT m.aside AND (m.author IS NULL OR m.author = made.user_id)
                    AND ($3::text IS NULL OR (m.created_at, m.seq) <= (SELECT created_at, seq FROM place))
                WINDOW newest_first AS (ORDER BY m.created_at DESC, m.seq DESC)
                ORDER BY m.created_at, m.seq{" RETURNING 1" if has_room else ""}
            )
            SELECT EXISTS (SELECT 1 FROM source){has_room} AS found,
                EXISTS (SELECT 1 FROM {conversations} WHERE {owned} AND deleted_at IS NULL) AS is_there,
                {is_deleted(tables, "$1", "$2")} AS is_deleted,
                $3::text IS NULL OR EXISTS (SELECT 1 FROM place) AS has_message,
                {is_deleted(tables, "$4", "(SELECT user_id FROM source)")} AS is_taken_by_deleted,
                {has_voltagent(tables)} AS beside_voltagent,
                {CONVERSATION_COLUMNS}
            FROM (SELECT 1) AS one LEFT JOIN made ON true"""


class Forks(Area):
    """The verb about forks."""

    async def fork_conversation(
        self,
        conversation_id: str,
        *,
        up_to: str | None = None,
        id: str | None = None,
        owner: Owner = ANY_USER,
    ) -> Conversation:
        """
        Copy the line of a conversation, up to one of its messages. Returns the new conversation.

        Messages are copied with their ids and times, and so are title, tags and metadata. Other branches are not
        copied: choose_branch() first, to copy another one. The copy is marked as read, and its item names the original
        (forked_from, forked_up_to). Messages that the storage limit archived (on_limit="archive") are unarchived in the
        copy, up to the limit.

        Args:
            conversation_id: The conversation to copy.
            up_to: The id of the last message to copy, one of the line; None: all.
            id: The id of the new conversation; None: a UUIDv7.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message.
            ConversationExistsError: A conversation with the new id exists.

        One round trip; four more if somebody is changing the conversation at that moment, whom the copy waits for.
        """
        check_id(conversation_id=conversation_id)
        check_id_or_none(up_to=up_to, id=id)
        owner_id = check_owner("owner", owner)
        new_id = uuid7() if id is None else id
        arguments = conversation_id, owner_id, up_to, new_id, self._options.storage_limit
        sql = self._sql(ForkStatements)
        row = await self._executor.fetchrow(sql.fork, *arguments, repeatable=False)
        if row is not None and row["is_there"] and not row["found"]:
            # Somebody is changing the conversation. A snapshot that was taken before may have messages, and files, that
            # are gone: wait, then take another one.
            async with self._executor.transaction() as bound:
                await bound.fetchrow(sql.lock, conversation_id)
                row = await bound.fetchrow(sql.fork, *arguments)
        if row is None or not row["found"]:
            raise ConversationNotFoundError(conversation_id, owner_id, is_deleted=row is not None and row["is_deleted"])
        if up_to is not None and not row["has_message"]:
            raise MessageNotFoundError(up_to, conversation_id)
        if row["id"] is None:
            raise ConversationExistsError(new_id, is_deleted=row["is_taken_by_deleted"])
        if row["beside_voltagent"]:
            await show_conversation(self._executor, self._options.tables, new_id)
        return Conversation.from_row(tuple(row)[6:])

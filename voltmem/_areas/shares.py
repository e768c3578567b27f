"""The shares: links with which strangers read a conversation, up to one of its messages, until they are revoked."""

from __future__ import annotations

from typing import Final

from voltmem._areas.cursors import MessageCursor
from voltmem._areas.queries import MESSAGE_COLUMNS, is_deleted
from voltmem._areas.share_models import Share, SharedConversation, as_shared
from voltmem._postgres.database import Executor
from voltmem._tables import Tables, rendered
from voltmem._values import MAX_BIGINT, check_count, check_id, check_id_or_none, check_text
from voltmem.errors import ConversationNotFoundError, MessageNotFoundError
from voltmem.models import Message
from voltmem.options import StorageOptions

DEFAULT_LIMIT: Final = 100

_COLUMNS: Final = "token, conversation_id, up_to, created_at"


class ShareStatements:
    """The statements with one shape. A NULL owner is trusted code: no check."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages, shares = tables.conversations, tables.messages, tables.shares
        # Sent twice, it finds the link that it has made. Who deletes the conversation meanwhile is waited for.
        self.share = f"""
            WITH source AS (
                SELECT id FROM {conversations}
                WHERE id = $1 AND ($2::text IS NULL OR user_id = $2) AND deleted_at IS NULL
                FOR KEY SHARE
            ), place AS (
                SELECT m.message_id, m.created_at, m.seq FROM {messages} AS m, source
                WHERE m.conversation_id = $1 AND NOT m.archived AND ($3::text IS NULL OR m.message_id = $3)
                ORDER BY m.created_at DESC, m.seq DESC LIMIT 1
            ), made AS (
                INSERT INTO {shares} AS existing
                    (token, conversation_id, up_to, up_to_time, up_to_seq, newest_seq)
                SELECT $4, $1, place.message_id, place.created_at, place.seq,
                    (SELECT max(seq) FROM {messages} WHERE conversation_id = $1 AND NOT archived)
                FROM source LEFT JOIN place ON true
                WHERE $3::text IS NULL OR place.message_id IS NOT NULL
                ON CONFLICT (token, conversation_id) DO UPDATE SET up_to = existing.up_to
                RETURNING {_COLUMNS}
            )
            SELECT EXISTS (SELECT FROM source) AS found, {is_deleted(tables, "$1", "$2")} AS is_deleted, {_COLUMNS}
            FROM (SELECT) AS one LEFT JOIN made ON true"""
        # Without a message a row, too: the title. Nothing else of the conversation leaves the server.
        self.shared = f"""
            SELECT c.title, m.*
            FROM {shares} AS s
            JOIN {conversations} AS c ON c.id = s.conversation_id AND c.deleted_at IS NULL
            LEFT JOIN LATERAL (
                SELECT seq, {MESSAGE_COLUMNS}
                FROM {messages}
                WHERE conversation_id = s.conversation_id AND NOT archived
                    AND role IN ('user', 'assistant') AND coalesce(type, 'text') = 'text'
                    AND (created_at, seq) <= (s.up_to_time, s.up_to_seq) AND seq <= s.newest_seq
                    AND (created_at, seq) > (coalesce($3::timestamptz, '-infinity'), coalesce($4::bigint, 0))
                ORDER BY created_at, seq LIMIT $2::bigint
            ) AS m ON true
            WHERE s.token = $1
            ORDER BY m.created_at, m.seq"""
        self.list = f"""
            SELECT {", ".join(f"s.{column}" for column in _COLUMNS.split(", "))}
            FROM {conversations} AS c JOIN {shares} AS s ON s.conversation_id = c.id
            WHERE c.user_id = $1 AND c.deleted_at IS NULL
            ORDER BY s.created_at DESC, s.token"""
        self.list_of_conversation = self.list.replace("WHERE", "WHERE c.id = $2 AND")
        self.revoke = f"""
            DELETE FROM {shares} AS s
            USING {conversations} AS c
            WHERE s.token = $1 AND c.id = s.conversation_id AND ($2::text IS NULL OR c.user_id = $2)"""


class Shares:
    """The methods about links for strangers; PostgresStorage puts the areas together."""

    _executor: Executor
    _options: StorageOptions

    @property
    def _share_sql(self) -> ShareStatements:
        return rendered(ShareStatements, self._options.tables)

    async def share_conversation(
        self, conversation_id: str, *, up_to: str | None = None, owner: str | None = None
    ) -> Share:
        """
        Return a new link, with which strangers read the conversation: what was said so far, and nothing that follows.

        Args:
            conversation_id: Which one. It may have any number of links.
            up_to: The id of the last message that is shown; None: the newest.
            owner: Only if it is this user's; None: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message, or the storage limit put it aside.

        It is no copy: a message that is changed or deleted is so for strangers, too. It ends when the conversation is
        given to another user. Reads all of the conversation.
        """
        from secrets import token_urlsafe  # here: it brings hmac and base64 along, and few programs share

        check_id(conversation_id=conversation_id)
        check_id_or_none(up_to=up_to, owner=owner)
        row = await self._executor.fetchrow(self._share_sql.share, conversation_id, owner, up_to, token_urlsafe(32))
        if row is None or not row["found"]:
            raise ConversationNotFoundError(conversation_id, owner, is_deleted=row is not None and row["is_deleted"])
        if row["token"] is None and up_to is not None:
            raise MessageNotFoundError(up_to, conversation_id)
        return Share.from_row(tuple(row)[2:])

    async def get_shared_conversation(
        self, token: str, *, limit: int = DEFAULT_LIMIT, after: str | None = None
    ) -> SharedConversation | None:
        """
        Return what a link shows: title and messages, the oldest first; None where it leads nowhere (any more).

        It asks for no user: who has the token may read. Only what the user and the assistant said is shown, as text:
        no system message, no tools, no thoughts, no pictures, no metadata, and no id but the messages' own.

        Args:
            token: The link's. One that is none of ours, was revoked, or is of a deleted conversation: None, all alike.
            limit: How many messages at most; fewer where some say nothing.
            after: A next_cursor: what follows.

        Raises:
            InvalidQueryError: A cursor that is none of ours, a limit below 1.

        Read by index ``{prefix}_messages_in_order``, each page from where it begins.
        """
        check_text(token=token)
        check_count("limit", limit, minimum=1)
        place = None if after is None else MessageCursor.of("after", after)
        rows = await self._executor.fetch(
            self._share_sql.shared,
            token,
            min(limit + 1, MAX_BIGINT),
            *((None, None) if place is None else (place.created_at, place.seq)),
        )
        if not rows:
            return None
        shown = [row for row in rows[:limit] if row["message_id"] is not None]
        said = (as_shared(Message.from_row(columns)) for _, _, *columns in shown)
        return SharedConversation(
            title=rows[0]["title"],
            messages=[message for message in said if message is not None],
            next_cursor=str(MessageCursor(shown[-1]["created_at"], shown[-1]["seq"])) if len(rows) > limit else None,
        )

    async def list_shares(self, user_id: str, *, conversation_id: str | None = None) -> list[Share]:
        """
        Return the links to a user's conversations, or to one of them, the newest first; none to deleted ones.

        Reads all of the user's conversations, or the one.
        """
        check_id(user_id=user_id)
        check_id_or_none(conversation_id=conversation_id)
        if conversation_id is None:
            rows = await self._executor.fetch(self._share_sql.list, user_id)
        else:
            rows = await self._executor.fetch(self._share_sql.list_of_conversation, user_id, conversation_id)
        return [Share.from_row(row) for row in rows]

    async def revoke_share(self, token: str, *, owner: str | None = None) -> bool:
        """
        Return whether there was such a link; from now on it leads nowhere. Also to a deleted conversation.

        Args:
            token: Which one.
            owner: Only if the conversation is this user's; None: no check, for trusted code.
        """
        check_text(token=token)
        check_id_or_none(owner=owner)
        return await self._executor.execute(self._share_sql.revoke, token, owner) > 0

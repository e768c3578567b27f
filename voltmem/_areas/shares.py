"""The shares: links with which strangers read a conversation, up to one of its messages, until they are revoked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Self

from pydantic import JsonValue

from voltmem._areas.area import Area
from voltmem._areas.cursors import MessageCursor
from voltmem._areas.queries import MESSAGE_COLUMNS, is_deleted
from voltmem._tables import Tables
from voltmem._values import (
    ANY_USER,
    MAX_BIGINT,
    check_count,
    check_id,
    check_id_or_none,
    check_owner,
    check_text,
    check_user,
    plain_text,
)
from voltmem.errors import ConversationNotFoundError, MessageNotFoundError
from voltmem.models import Key, Message, Model, Owner, Text, Time, construct_unchecked
from voltmem.options import SHARED_LIMIT

# Named, not what is left when tools are taken away: a stranger sees no thoughts, and no part that is new to us.
_SAID: Final = ("text", "input_text", "output_text")


class Share(Model):
    """A link to a conversation, as its owner sees it."""

    token: Text
    """Who knows it may read: 256 random bits, ready to stand in a URL."""
    conversation_id: Key
    """Which conversation."""
    up_to: Key | None
    """The last message that is shown, also when it was deleted; None: there was none."""
    created_at: Time
    """When it was made."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the link of a row, in the order of the fields."""
        return construct_unchecked(cls, dict(zip(cls.model_fields, row, strict=True)))


class SharedConversation(Model):
    """What a link shows: what the user and the assistant said, and of nobody who they are."""

    title: Text | None
    """As it is now; None: it has none."""
    messages: list[Message]
    """The oldest first, each with its text and no more."""
    next_cursor: str | None
    """For after=: what follows; None where nothing does."""


def as_shared(message: Message) -> Message | None:
    """Return the message with what it says and no more, in a form that any page can show; None if it says nothing."""
    text = plain_text(_said(message.content))
    return construct_unchecked(Message, {**message.__dict__, "content": text, "metadata": {}}) if text else None


def _said(content: JsonValue) -> str:
    """Return the text itself, or that of the parts that are text, a line each."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "\n".join(filter(None, map(_text_of, parts)))


def _text_of(part: JsonValue) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type", "text") not in _SAID or part.get("thought"):
        return ""
    text = part.get("text")
    return text if isinstance(text, str) else ""


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


class Shares(Area):
    """The methods about links for strangers; PostgresStorage puts the areas together."""

    async def share_conversation(
        self, conversation_id: str, *, up_to: str | None = None, owner: Owner = ANY_USER
    ) -> Share:
        """
        Return a new link, with which strangers read the conversation: what was said so far, and nothing that follows.

        Args:
            conversation_id: Which one. It may have any number of links.
            up_to: The id of the last message that is shown; None: the newest.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message, or the storage limit put it aside.

        It is no copy: a message that is changed or deleted is so for strangers, too. It ends when the conversation is
        given to another user. Reads all of the conversation.
        """
        from secrets import token_urlsafe  # here: it brings hmac and base64 along, and few programs share

        check_id(conversation_id=conversation_id)
        check_id_or_none(up_to=up_to)
        owner_id = check_owner("owner", owner)
        statement = self._sql(ShareStatements).share
        row = await self._executor.fetchrow(statement, conversation_id, owner_id, up_to, token_urlsafe(32))
        if row is None or not row["found"]:
            raise ConversationNotFoundError(conversation_id, owner_id, is_deleted=row is not None and row["is_deleted"])
        if row["token"] is None and up_to is not None:
            raise MessageNotFoundError(up_to, conversation_id)
        return Share.from_row(tuple(row)[2:])

    async def get_shared_conversation(
        self, token: str, *, limit: int = SHARED_LIMIT, after: str | None = None
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
            self._sql(ShareStatements).shared,
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
        check_user("user_id", user_id)
        check_id_or_none(conversation_id=conversation_id)
        if conversation_id is None:
            rows = await self._executor.fetch(self._sql(ShareStatements).list, user_id)
        else:
            rows = await self._executor.fetch(self._sql(ShareStatements).list_of_conversation, user_id, conversation_id)
        return [Share.from_row(row) for row in rows]

    async def revoke_share(self, token: str, *, owner: Owner = ANY_USER) -> bool:
        """
        Return whether there was such a link; from now on it leads nowhere. Also to a deleted conversation.

        Args:
            token: Which one.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.
        """
        check_text(token=token)
        owner_id = check_owner("owner", owner)
        return await self._executor.execute(self._sql(ShareStatements).revoke, token, owner_id) > 0

"""Shares: public, read-only links to a conversation, up to one of its messages, until they are revoked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from voltmem import parts as said
from voltmem._areas.area import Area
from voltmem._areas.cursors import SharedCursor
from voltmem._areas.file_sweeps import has_triggers
from voltmem._areas.files import FileStatements, StoredFile, check_file_id, check_range, read_range
from voltmem._areas.queries import ON_LINE, PLAIN_COLUMNS, ROLE, TYPE, authored, is_deleted
from voltmem._model import Key, Model, String, Time, construct_unchecked
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
    storable_text,
)
from voltmem.errors import ConversationNotFoundError, MessageNotFoundError, StoredFileNotFoundError
from voltmem.models import Message, Owner
from voltmem.options import SHARED_LIMIT
from voltmem.parts._providers import spoken
from voltmem.parts._types import FILE_URL

if TYPE_CHECKING:
    from voltmem._postgres.driver import Record


class Share(Model):
    """A public, read-only link to a conversation."""

    token: String
    """The secret that gives access: 256 random bits, safe in a URL."""
    conversation_id: Key
    """The conversation."""
    up_to: Key | None
    """The id of the last message that is shown, even if it was deleted since; None: there was nothing to show."""
    created_at: Time
    """When the link was created."""

    @classmethod
    def from_row(cls, row: Iterable[Any]) -> Self:
        """Return the link of a row, in the order of the fields."""
        return construct_unchecked(cls, dict(zip(cls.model_fields, row, strict=True)))


class SharedConversation(Model):
    """What a link shows: the messages of the user and the assistant, without any user's id."""

    title: String | None
    """The current title; None: it has none."""
    messages: list[Message]
    """The messages, oldest first: text, or a list of text, file and source parts."""
    next_cursor: str | None
    """The cursor of the next page, for after=; None on the last page."""


def as_shared(message: Message) -> Message | None:
    """Return a plain message with the text, the files and the sources, no metadata; None if it has no text or file."""
    spoken_parts: list[said.Part] = []
    files: list[said.Part] = []
    sources: list[said.Part] = []
    for part in said.parts(message):
        if isinstance(part, said.Source) and part.url.startswith(_SHOWN[1:]):
            sources.append(said.Source(part.url, part.title))
        elif not isinstance(part, said.File):
            spoken_parts.append(part)
        elif part.url.startswith(_SHOWN):
            files.append(said.File(part.media_type, part.name, part.url))
        else:  # it is named, without its address or a provider's id
            spoken_parts.append(said.File(part.media_type, part.name))
    texts = storable_text(spoken(spoken_parts))
    shown = [said.Text(texts), *files] if texts else files
    if not shown:
        return None
    fields = {name: getattr(message, name) for name in Message.model_fields}
    return construct_unchecked(Message, {**fields, "metadata": {}}).saying([*shown, *sources])


# Bytes within a message are not shown, and other addresses are not a browser's.
_SHOWN: Final = (FILE_URL, "https://", "http://")
_COLUMNS: Final = "token, conversation_id, up_to, created_at"


class ShareStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages, shares = tables.conversations, tables.messages, tables.shares
        # An answer of the chat that goes on has a message that changes: the link ends before it.
        # Repeatable: sent again, it returns the link that it has created. FOR KEY SHARE waits for a concurrent deletion
        # of the conversation. On Citus, "c" lets one worker insert: the new row is beside the one that is read.
        self.share = f"""
            WITH source AS (
                SELECT id FROM {conversations}
                WHERE id = $1 AND ($2::text IS NULL OR user_id = $2) AND deleted_at IS NULL
                FOR KEY SHARE
            ), growing AS (
                SELECT m.created_at, m.seq FROM {messages} AS m
                WHERE m.conversation_id = $1 AND {ON_LINE} AND m.message_id = ANY (ARRAY(
                    SELECT a.answer_id FROM {tables.answers} AS a
                    WHERE a.conversation_id = $1 AND a.status IN ('streaming', 'approval')
                ))
                ORDER BY m.created_at, m.seq LIMIT 1
            ), asked AS (
                SELECT m.created_at, m.seq FROM {messages} AS m, source
                WHERE m.conversation_id = $1 AND {ON_LINE} AND ($3::text IS NULL OR m.message_id = $3)
                ORDER BY m.created_at DESC, m.seq DESC LIMIT 1
            ), place AS (
                SELECT m.message_id, m.created_at, m.seq FROM {messages} AS m, asked
                WHERE m.conversation_id = $1 AND {ON_LINE}
                    AND (m.created_at, m.seq) <= (asked.created_at, asked.seq)
                    AND (m.created_at, m.seq) < (
                        coalesce((SELECT g.created_at FROM growing AS g), 'infinity'),
                        coalesce((SELECT g.seq FROM growing AS g), 0)
                    )
                ORDER BY m.created_at DESC, m.seq DESC LIMIT 1
            ), made AS (
                INSERT INTO {shares} AS existing
                    (token, conversation_id, up_to, up_to_time, up_to_seq, newest_seq)
                SELECT $4, c.id, place.message_id, place.created_at, place.seq,
                    (SELECT pg_catalog.max(seq) FROM {messages} WHERE conversation_id = $1 AND {ON_LINE})
                FROM {conversations} AS c LEFT JOIN place ON true
                WHERE c.id = $1 AND EXISTS (SELECT 1 FROM source) AND ($3::text IS NULL OR EXISTS (SELECT 1 FROM asked))
                ON CONFLICT (token, conversation_id) DO UPDATE SET up_to = existing.up_to
                RETURNING {_COLUMNS}
            )
            SELECT EXISTS (SELECT 1 FROM source) AS found, {is_deleted(tables, "$1", "$2")} AS is_deleted, {_COLUMNS}
            FROM (SELECT 1) AS one LEFT JOIN made ON true"""
        # The line up to the last message that is shown. If that message is in a branch that is not chosen: the line up
        # to the branching point, and the branch up to the message. A branch that was not shared is never shown.
        # Without messages, one row with the title. Nothing else of the conversation leaves the server.
        # Scalar subqueries instead of a lateral join with the share, which Citus cannot plan.
        conversation, owner = "(SELECT conversation_id FROM share)", "(SELECT owner FROM share)"
        newest_seq = "(SELECT newest_seq FROM share)"
        up_to = "FROM share AS s LEFT JOIN branching_point AS b ON true"
        place = f"""(SELECT coalesce(b.created_at, s.up_to_time) {up_to}),
                            (SELECT coalesce(b.seq, s.up_to_seq) {up_to})"""
        said = f"(author IS NULL OR author = {owner}) AND {ROLE} IN ('user', 'assistant') AND {TYPE} = 'text'"
        path = f"""
            WITH share AS (
                SELECT c.title, c.user_id AS owner, s.conversation_id, s.up_to, s.up_to_time, s.up_to_seq, s.newest_seq
                FROM {shares} AS s
                JOIN {conversations} AS c ON c.id = s.conversation_id AND c.deleted_at IS NULL
                WHERE s.token = $1
            ), path AS (
                SELECT m.message_id, m.is_aside, m.created_at, m.seq
                FROM share CROSS JOIN LATERAL {tables.path_to_line}(share.conversation_id, share.up_to) AS m
            ), branching_point AS (
                SELECT coalesce(pg_catalog.min(created_at) FILTER (WHERE NOT is_aside), '-infinity') AS created_at,
                    coalesce(pg_catalog.min(seq) FILTER (WHERE NOT is_aside), 0) AS seq
                FROM path HAVING pg_catalog.bool_or(is_aside)
            )"""

        def shown(page: str) -> str:
            """Return the FROM items of the messages that are shown, those of the chosen branch and of another one."""
            return f"""share AS s LEFT JOIN (
                (
                    SELECT seq, {PLAIN_COLUMNS} FROM {authored(tables)} AS each
                    WHERE conversation_id = {conversation} AND {ON_LINE} AND {said} AND seq <= {newest_seq}
                        AND (created_at, seq) <= ({place})
                        {page}
                ) UNION ALL (
                    SELECT seq, {PLAIN_COLUMNS} FROM {authored(tables)} AS each
                    WHERE conversation_id = {conversation}
                        AND message_id = ANY (ARRAY(SELECT message_id FROM path WHERE is_aside))
                        AND NOT archived AND {said}
                        {page}
                )
            ) AS m ON true"""

        after = f"""SELECT pg_catalog.max(seq) FROM {messages}
                        WHERE conversation_id = {conversation} AND message_id = ANY ($4::text[]) AND created_at = $3"""
        page = f"""AND (created_at, seq) > (
                        coalesce($3::timestamptz, '-infinity'), coalesce(({after}), {-MAX_BIGINT})
                    )
                    ORDER BY created_at, seq LIMIT $2::bigint"""
        self.shared = f"""{path}
            SELECT s.title, m.* FROM {shown(page)}
            ORDER BY m.created_at, m.seq LIMIT $2::bigint"""
        # A row for each shown message that refers to the file.
        # Without the triggers, as on Citus, there are no references, and all messages of the conversation are read.
        referring = f"""AND message_id = ANY (ARRAY(
                            SELECT r.message_id FROM {tables.file_references} AS r
                            WHERE r.user_id = {owner} AND r.file_id = $2 AND r.conversation_id = {conversation}
                            UNION ALL
                            SELECT m.message_id FROM {messages} AS m
                            WHERE NOT {has_triggers(tables)} AND m.conversation_id = {conversation}
                                AND m.file_ids OPERATOR(pg_catalog.@>) ARRAY[$2::text]
                        ))"""
        self.shared_file = f"""{path}
            SELECT s.owner, f.id, f.size, f.created_at, m.* FROM {shown(referring)}
            JOIN {tables.files} AS f ON f.user_id = s.owner AND f.id = $2"""
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


def _end(page: Sequence[Record], before: SharedCursor | None) -> SharedCursor:
    """Return the place of the last message of a page that begins after a place."""
    moment = page[-1]["created_at"]
    same = [row["message_id"] for row in page if row["created_at"] == moment]
    begin = before if before is not None and before.created_at == moment else SharedCursor(moment, ())
    return begin.moved(same)


class Shares(Area):
    """The verbs about public links. PostgresStorage inherits from all areas."""

    async def share_conversation(
        self, conversation_id: str, *, up_to: str | None = None, owner: Owner = ANY_USER
    ) -> Share:
        """
        Create a public, read-only link to a conversation. Returns it.

        The link shows the messages up to now; later ones are not shown, nor an answer of the chat that is still written
        or waits for approval.

        Args:
            conversation_id: The conversation. It may have any number of links.
            up_to: The id of the last message to show; None: the newest.
            owner: Only if it is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message, or the storage limit archived it.

        A link is not a copy: it shows later edits and deletions of messages. It is revoked when the conversation is
        given to another user. Creating it reads the whole conversation.
        """
        from secrets import token_urlsafe  # here: it imports hmac and base64, and few programs share

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
        Return the title of a shared conversation and one page of its messages, oldest first.

        No user is needed: the token gives access. Only the text of the user's and the assistant's messages is returned,
        the pages that they name as sources, and their pictures and other files: by address, or named in the text where
        a message has the bytes itself. There are no system messages, tools, reasoning or metadata, and no ids except
        those of messages and files. Files: get_shared_file(), read_shared_file().

        Args:
            token: The token of the link. None is returned for an unknown token, a revoked link and a deleted
                conversation alike.
            limit: The maximum number of messages. Messages without text or files are left out, so there may be fewer.
            after: The next_cursor of the page before.

        Raises:
            InvalidQueryError: The cursor is malformed, or the limit is below 1.

        Uses the index ``{prefix}_messages_in_line``; each page is read from its first message on.
        """
        check_text(token=token)
        check_count("limit", limit, minimum=1)
        place = None if after is None else SharedCursor.of("after", after)
        rows = await self._executor.fetch(
            self._sql(ShareStatements).shared,
            token,
            min(limit + 1, MAX_BIGINT),
            *((None, None) if place is None else (place.created_at, place.ids)),
        )
        if not rows:
            return None
        page = [row for row in rows[:limit] if row["message_id"] is not None]
        shared = (as_shared(Message.from_row(columns)) for _, _, *columns in page)
        return SharedConversation(
            title=rows[0]["title"],
            messages=[message for message in shared if message is not None],
            next_cursor=str(_end(page, place)) if len(rows) > limit else None,
        )

    async def get_shared_file(self, token: str, file_id: str) -> StoredFile | None:
        """
        Return a file that a shared conversation shows, without its content; None if it shows no such file.

        No user is needed: the token gives access, to the files in the messages that get_shared_conversation() returns.

        Args:
            token: The token of the link.
            file_id: The id, without "voltmem:file/".
        """
        found = await self._shared_file(token, file_id)
        return None if found is None else found[1]

    async def _shared_file(self, token: str, file_id: str) -> tuple[str, StoredFile] | None:
        """Return the owner and the file, if the conversation shows it."""
        check_text(token=token)
        check_file_id(file_id)
        for owner, id, size, created_at, _, *columns in await self._executor.fetch(
            self._sql(ShareStatements).shared_file, token, file_id
        ):
            file = construct_unchecked(StoredFile, {"id": id, "size": size, "created_at": created_at})
            shown = None if columns[0] is None else as_shared(Message.from_row(columns))
            if shown is not None and any(
                isinstance(each, said.File) and each.url == file.url for each in said.parts(shown)
            ):
                return owner, file
        return None

    def read_shared_file(
        self, token: str, file_id: str, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """
        Return the content of a file that a shared conversation shows: yields pieces of at most 256 KiB.

        Args:
            token: The token of the link.
            file_id: The id, without "voltmem:file/".
            start: The first byte, counted from 0.
            end: The byte after the last one; None, or a number beyond the size: to the end.

        Raises:
            StoredFileNotFoundError: The conversation shows no such file, or it was deleted meanwhile.

        One round trip for each piece, and one before. No connection is held in between.
        """
        check_text(token=token)
        check_file_id(file_id)
        check_range(start, end)
        return self._read_shared_file(token, file_id, start, end)

    async def _read_shared_file(self, token: str, file_id: str, start: int, end: int | None) -> AsyncIterator[bytes]:
        found = await self._shared_file(token, file_id)
        if found is None:
            raise StoredFileNotFoundError(file_id, None)
        async for piece in read_range(self._executor, self._sql(FileStatements), found[0], file_id, start, end):
            yield piece

    async def list_shares(self, user_id: str, *, conversation_id: str | None = None) -> list[Share]:
        """
        Return the links to a user's conversations, or to one of them, newest first; without deleted conversations.

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
        Revoke a public link, also one to a deleted conversation. Returns whether there was one.

        Args:
            token: The token of the link.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.
        """
        check_text(token=token)
        owner_id = check_owner("owner", owner)
        return await self._executor.execute(self._sql(ShareStatements).revoke, token, owner_id) > 0

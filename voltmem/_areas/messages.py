"""The messages: the verbs that read and write their table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import cast

from pydantic import JsonValue

from voltmem._areas.appends import Appends, Noticed
from voltmem._areas.area import Area
from voltmem._areas.background import Background
from voltmem._areas.files import files_in
from voltmem._areas.queries import MessageQuery, authored, is_deleted, message_columns, owner_of
from voltmem._tables import Tables
from voltmem._values import (
    ANY_USER,
    UNSET,
    Unset,
    check_flag,
    check_id,
    check_id_or_none,
    check_ids,
    check_owner,
    check_user,
    metadata_text,
    short_repr,
)
from voltmem.errors import ConversationNotFoundError, InvalidInputError, MessageNotFoundError
from voltmem.models import Message, MessageLike, NativeMessage, Owner, messages_of
from voltmem.options import MESSAGE_LIMIT
from voltmem.parts._types import FILE_URL


class MessageStatements:
    """The statements whose text does not depend on the arguments. Owner NULL: no check, for trusted code."""

    def __init__(self, tables: Tables) -> None:
        messages, conversations = tables.messages, tables.conversations
        # Every change of messages locks their conversation first, so a statement that adds messages to several
        # conversations never waits for the lock of a message. The owner is returned, too, because ConversationMemory
        # raises an error for another user's conversation.
        dropped = f"SELECT owner, is_deleted, has_message, dropped FROM {tables.drop_messages}"
        self.delete = f"{dropped}($1, $2, $3, NULL, NULL)"
        self.clear = f"{dropped}($1, $2, NULL, NULL, NULL)"
        self.rewind = f"{dropped}($1, $2, NULL, $3, $4)"
        self.clear_user = f"SELECT {tables.drop_messages_of_user}($1) AS dropped"
        owner = owner_of(tables, "$1")
        owned = "id = $1 AND ($2::text IS NULL OR user_id = $2) AND deleted_at IS NULL"
        self.get = f"""
            SELECT {message_columns(tables)} FROM {authored(tables)} AS m
            WHERE conversation_id = $1 AND message_id = $3 AND (NOT archived OR $4) AND {owner} IS NOT NULL
                AND ($2::text IS NULL OR coalesce(author, {owner}) = $2)"""
        # The files that the message refers to afterwards, by the addresses in its texts, as files_in() finds them.
        patched = f"{tables.merge_patch}(coalesce(metadata, '{{}}'), $4::text::jsonb)"
        used = f"""(
                        SELECT pg_catalog.array_agg(DISTINCT used.id)
                        FROM pg_catalog.unnest(file_ids OPERATOR(pg_catalog.||) $5::text[]) AS used (id)
                        WHERE pg_catalog.strpos(
                            pg_catalog.concat(content, content_json, {patched}, payload), '{FILE_URL[1:]}' || used.id
                        ) > 0
                    )"""
        # The conversation's row is updated without a change, so that watchers see one. NULLs if there is no message.
        self.merge_metadata = f"""
            WITH owned AS (
                SELECT id FROM {conversations} WHERE {owned} FOR UPDATE
            ), merged AS (
                UPDATE {messages} SET metadata = {patched}, file_ids = {used}
                WHERE conversation_id = $1 AND message_id = $3 AND EXISTS (SELECT 1 FROM owned) AND EXISTS (
                    SELECT 1 FROM {authored(tables)} AS m
                    WHERE m.conversation_id = $1 AND m.message_id = $3 AND ($2 IS NULL OR coalesce(m.author, $2) = $2)
                )
                RETURNING *
            ), touched AS (
                UPDATE {conversations} SET updated_at = updated_at WHERE id = $1 AND EXISTS (SELECT 1 FROM merged)
            )
            SELECT EXISTS (SELECT 1 FROM owned) AS is_owned, {is_deleted(tables, "$1", "$2")} AS is_deleted,
                {message_columns(tables)}
            FROM (SELECT 1) AS one LEFT JOIN merged ON true"""
        # No row if the conversation does not exist, is deleted or is not the owner's.
        self.has = f"""
            SELECT EXISTS (
                SELECT 1 FROM {messages} WHERE conversation_id = $1 AND message_id = $3
            ) AS has_message
            FROM {conversations} WHERE {owned}"""


class Messages(Area):
    """The verbs about messages. PostgresStorage inherits from all areas."""

    _appends: Appends
    _background: Background | None = None
    """Where work is done beside the calls; None: the storage is bound to a connection."""

    # --- writing ----------------------------------------------------------------------------------------------

    async def add_message(
        self,
        message: MessageLike,
        user_id: Owner,
        conversation_id: str,
        *,
        resource_id: str | None = None,
        known: Collection[str] = (),
    ) -> Message:
        """
        Add a message to a conversation. Returns it as stored, with its id and time.

        Args:
            message: A model or a dict in either spelling. A message of the conversation with the same id is replaced in
                its place. So a streamed answer can be saved while it grows, and a retry stores a message once.
            user_id: The owner of the conversation; ANY_USER: no check, for trusted code.
            conversation_id: The conversation. Its updated_at becomes now.
            resource_id: If the conversation does not exist, create it for the user, with this agent or project; None:
                it must exist.
            known: Ids of messages that were stored before. If the message has one of them, it is only replaced: one
                that was deleted meanwhile is not created again.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is another user's. Nothing was stored.
            MessageNotFoundError: The message is a known one, and was deleted. Nothing was stored.
            InvalidInputError: A field is missing, unknown, or cannot be stored; created_at is more than a day ahead of
                the database's clock; or the id is that of a message which VoltAgent stored there for another user.

        The message is committed when the call returns. One round trip, which concurrent calls share; each call succeeds
        or fails on its own, and the order within a conversation is that of the calls. The same transaction deletes or
        archives the messages beyond storage_limit. VoltAgent: ``addMessage``.
        """
        (stored,) = await self._append([one_message(message)], user_id, conversation_id, resource_id, known)
        return stored

    async def add_messages(
        self,
        messages: Iterable[MessageLike],
        user_id: Owner,
        conversation_id: str,
        *,
        resource_id: str | None = None,
        known: Collection[str] = (),
    ) -> list[Message]:
        """
        Add messages to a conversation, in their order: all, or none and an error. Returns them as stored.

        One round trip for any number; an empty list sends nothing. Args and errors as in add_message(). A message comes
        after its parent, if the list has both, otherwise InvalidInputError.
        VoltAgent: ``addMessages``.
        """
        return await self._append(messages_of(messages), user_id, conversation_id, resource_id, known)

    async def _append(
        self,
        messages: list[Message],
        user_id: Owner,
        conversation_id: str,
        resource_id: str | None,
        known: Collection[str],
        began_at: float | None = None,
    ) -> list[Message]:
        """began_at: When the run of a handle began, by time.monotonic(); see appends.py."""
        check_id(conversation_id=conversation_id)
        known_ids = set(check_ids("known", known))
        if resource_id is None:
            owner = check_owner("user_id", user_id)
        else:
            check_id(resource_id=resource_id)
            owner = check_user(
                "user_id", user_id, "with a resource_id the conversation is made if absent, for one user"
            )
        if not messages:
            return []
        _check_parents_come_first(messages)
        return await self._appends.add(messages, owner, conversation_id, resource_id, known_ids, began_at)

    async def merge_message_metadata(
        self, metadata: Mapping[str, JsonValue], user_id: Owner, conversation_id: str, message_id: str
    ) -> Message:
        """
        Change the given fields of a message's metadata, and nothing else of the message. Returns it as stored.

        For what is said about a message, such as feedback:
        ``await storage.merge_message_metadata({"feedback": {"type": "positive"}}, "ada", "c1", "m1")``

        Args:
            metadata: A JSON Merge Patch (RFC 7396): a dict is merged into the one of the same name, None removes the
                field, and any other value replaces it. Of two concurrent calls with different fields, neither is lost.
            user_id: The owner of the conversation; ANY_USER: no check, for trusted code.
            conversation_id: The conversation. It stays in its place in the sidebar; watchers see an "updated".
            message_id: The message, which may be archived.

        Raises:
            ConversationNotFoundError: The conversation does not exist, is deleted, or is another user's.
            MessageNotFoundError: It has no such message.
            InvalidInputError: The metadata cannot be stored.

        Adding the message again replaces its metadata. One round trip.
        """
        check_id(conversation_id=conversation_id, message_id=message_id)
        owner = check_owner("user_id", user_id)
        patch = metadata_text(metadata)
        arguments = conversation_id, owner, message_id, patch, files_in(patch)
        row = await self._executor.fetchrow(self._sql(MessageStatements).merge_metadata, *arguments)
        if row is None or not row["is_owned"]:
            was_deleted = row is not None and row["is_deleted"]
            raise ConversationNotFoundError(conversation_id, owner, is_deleted=was_deleted)
        if row["message_id"] is None:
            raise MessageNotFoundError(message_id, conversation_id)
        return Message.from_row(tuple(row)[2:])

    async def delete_messages(self, ids: Sequence[str], user_id: Owner, conversation_id: str) -> int:
        """
        Delete messages of a conversation. Returns how many were deleted, archived ones included.

        Args:
            ids: Their ids. Ids that the conversation does not have are ignored; an empty list sends nothing.
            user_id: The owner; nothing of another user's is deleted. ANY_USER: no check, for trusted code.
            conversation_id: The conversation. Where VoltAgent lets several users write in it, it may be another's, of
                which the user's own messages are deleted.

        VoltAgent: ``deleteMessages``.
        """
        ids = check_ids("ids", ids)
        check_id(conversation_id=conversation_id)
        owner = check_owner("user_id", user_id)
        if not ids:
            return 0
        return await self._dropped(self._sql(MessageStatements).delete, conversation_id, owner, ids)

    async def rewind_conversation(self, conversation_id: str, message_id: str, *, owner: Owner = ANY_USER) -> int:
        """
        Delete the messages after a message. Returns how many were deleted, archived ones included.

        To regenerate an answer, rewind to the question. To edit the question, store it again with its id, then rewind
        to it. Messages that the storage limit archived (on_limit="archive") are restored, up to the limit.

        Args:
            conversation_id: The conversation.
            message_id: The last message to keep.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: It does not exist, is deleted, or is not the owner's.
            MessageNotFoundError: It has no such message. Nothing was deleted.
        """
        check_id(conversation_id=conversation_id, message_id=message_id)
        owner_id = check_owner("owner", owner)
        arguments = conversation_id, owner_id, message_id, self._options.storage_limit
        row = await self._executor.fetchrow(self._sql(MessageStatements).rewind, *arguments, repeatable=False)
        if row is None or row["dropped"] is None:
            raise ConversationNotFoundError(conversation_id, owner_id, is_deleted=row is not None and row["is_deleted"])
        if not row["has_message"]:
            raise MessageNotFoundError(message_id, conversation_id)
        return int(row["dropped"])

    async def clear_messages(self, user_id: Owner, conversation_id: str | None = None) -> int:
        """
        Delete the messages of a conversation, or of all of a user's. Returns how many; the conversations stay.

        Args:
            user_id: The owner. ANY_USER, only with a conversation_id: no check, for trusted code.
            conversation_id: Only this conversation's messages, as in delete_messages(); None: those of all of the
                user's conversations.

        Archived messages are deleted and counted, too.

        VoltAgent: ``clearMessages``.
        """
        check_id_or_none(conversation_id=conversation_id)
        if conversation_id is not None:
            owner = check_owner("user_id", user_id)
            return await self._dropped(self._sql(MessageStatements).clear, conversation_id, owner)
        check_user("user_id", user_id, "without a conversation_id all of one user's messages are deleted")
        return await self._dropped(self._sql(MessageStatements).clear_user, user_id)

    async def _dropped(self, statement: str, *arguments: object) -> int:
        row = await self._executor.fetchrow(statement, *arguments, repeatable=False)
        return 0 if row is None else row["dropped"] or 0

    # --- reading ----------------------------------------------------------------------------------------------

    async def get_message(
        self, user_id: Owner, conversation_id: str, message_id: str, *, include_archived: bool = False
    ) -> Message | None:
        """
        Return the message with this id, or None.

        Args:
            user_id: The owner; in another user's conversation there is none. ANY_USER: no check, for trusted code.
            conversation_id: The conversation.
            message_id: The message.
            include_archived: Also one that the storage limit archived (on_limit="archive").
        """
        check_id(conversation_id=conversation_id, message_id=message_id)
        check_flag("include_archived", include_archived)
        arguments = conversation_id, check_owner("user_id", user_id), message_id, include_archived
        row = await self._executor.fetchrow(self._sql(MessageStatements).get, *arguments)
        return None if row is None else Message.from_row(row)

    async def count_messages(
        self,
        user_id: Owner,
        conversation_id: str,
        *,
        roles: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        include_archived: bool = False,
    ) -> int:
        """
        Return the number of messages of a conversation.

        Args:
            user_id: The owner; of another user's conversation it is 0. ANY_USER: no check, for trusted code.
            conversation_id: The conversation. If it does not exist, the number is 0.
            roles: Only messages with these roles; an empty list: none.
            types: Only messages of these types; an empty list: none.
            include_archived: Also messages that the storage limit archived (on_limit="archive").

        Reads every row that it counts.
        """
        query = MessageQuery(conversation_id, user_id, roles=roles, types=types, include_archived=include_archived)
        sql, arguments = query.count_sql(self._options.tables)
        row = await self._executor.fetchrow(sql, *arguments)
        return 0 if row is None else int(row[0])

    async def get_messages(
        self,
        user_id: Owner,
        conversation_id: str,
        *,
        limit: int | Unset | None = UNSET,
        before: datetime | str | None = None,
        after: datetime | str | None = None,
        roles: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        include_archived: bool = False,
    ) -> list[Message]:
        """
        Return the newest messages of a conversation, oldest first.

        Args:
            user_id: The owner; another user's conversation gives an empty list. ANY_USER: no check, for trusted code.
            conversation_id: The conversation.
            limit: The maximum number; not given: the storage's storage_limit, None: all, 0: none.
            before: Only messages before this time, which must have a time zone, or before the message with this id. An
                id pages backwards exactly, even among messages with equal times.
            after: Only messages after this time, or after the message with this id.
            roles: Only messages with these roles; an empty list: none.
            types: Only messages of these types; an empty list: none.
            include_archived: Also messages that the storage limit archived (on_limit="archive"). Sorts the whole
                conversation.

        Raises:
            MessageNotFoundError: The conversation has no message with the id given as before or after.

        Uses the index ``{prefix}_messages_in_line``. VoltAgent: ``getMessages`` (which returned the oldest messages
        before its version 2.1.0).
        """
        query = MessageQuery(
            conversation_id,
            user_id,
            limit=self._options.storage_limit if limit is UNSET else limit,
            before=before,
            after=after,
            roles=roles,
            types=types,
            include_archived=include_archived,
            newest_first=True,
        )
        newest_first = await self._read(query)
        return newest_first[::-1]

    async def get_conversation_messages(
        self,
        conversation_id: str,
        *,
        limit: int | None = MESSAGE_LIMIT,
        offset: int = 0,
        before: datetime | str | None = None,
        after: datetime | str | None = None,
        include_archived: bool = False,
        owner: Owner = ANY_USER,
    ) -> list[Message]:
        """
        Return the oldest messages of a conversation, oldest first.

        Args:
            conversation_id: The conversation. If it does not exist, the list is empty.
            limit: The maximum number; None: all, 0: none.
            offset: How many to skip.
            before: Only messages before this time, or before the message with this id.
            after: Only messages after this time, or after the message with this id, to page forwards.
            include_archived: Also messages that the storage limit archived (on_limit="archive"). Sorts the whole
                conversation.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        VoltAgent: ``getConversationMessages``.
        """
        check_owner("owner", owner)
        return await self._read(
            MessageQuery(
                conversation_id,
                owner,
                limit=limit,
                offset=offset,
                before=before,
                after=after,
                include_archived=include_archived,
            )
        )

    async def _read(self, query: MessageQuery) -> list[Message]:
        sql, arguments = query.sql(self._options.tables)
        rows = await self._executor.fetch(sql, *arguments)
        found = list(map(Message.from_row, rows))
        rows.clear()  # they take as much memory, and the driver's future has them until this task waits again
        for place in (query.before, query.after):
            if not found and isinstance(place, str):  # the end of the conversation, or a missing message
                statement = self._sql(MessageStatements).has
                owner = check_owner("user_id", query.user_id)
                row = await self._executor.fetchrow(statement, query.conversation_id, owner, place)
                if row is not None and not row["has_message"]:
                    raise MessageNotFoundError(place, query.conversation_id)
        return found


def noticed_by(storage: Messages) -> Noticed:
    """Return what a storage has noticed, for code outside of the areas."""
    return storage._appends.noticed


def one_message(message: MessageLike) -> Message:
    """Return a message as a model; InvalidInputError for a list."""
    if isinstance(cast(object, message), list | tuple):
        raise InvalidInputError(f"message is {short_repr(message)}: pass several messages to add_messages()")
    return Message.of(message)


def _check_parents_come_first(messages: Sequence[Message]) -> None:
    """Check that no message is before its parent. Messages are added in their order, so it would lose its place."""
    places = {message.id: place for place, message in enumerate(messages)}
    for place, message in enumerate(messages):
        parent = message.parent_id if isinstance(message, NativeMessage) else None
        if parent is not None and places.get(parent, -1) > place:
            raise InvalidInputError(
                f"messages[{place}], {short_repr(message.id)}: its parent {short_repr(parent)} comes after it; "
                "put each message after its parent"
            )

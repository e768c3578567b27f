"""The messages: everything that reads or writes their table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from voltmem._areas.appends import Appends
from voltmem._areas.area import Area
from voltmem._areas.queries import MessageQuery
from voltmem._tables import Tables
from voltmem._values import ANY_USER, UNSET, Unset, check_id, check_id_or_none, check_ids, check_owner, check_user
from voltmem.errors import ConversationNotFoundError, InvalidInputError, MessageNotFoundError
from voltmem.models import Message, MessageLike, Owner
from voltmem.options import MESSAGE_LIMIT


class MessageStatements:
    """The statements with one shape. A NULL owner is trusted code: no check."""

    def __init__(self, tables: Tables) -> None:
        messages, conversations = tables.messages, tables.conversations
        # Whoever changes messages has locked their conversation first: adding some, in a statement for several
        # conversations, never waits for a message in one. Whose it is comes along: to the conversation's handle another
        # user's is an error, not empty.
        dropped = f"SELECT owner, is_deleted, has_message, dropped FROM {tables.drop_messages}"
        self.delete = f"{dropped}($1, $2, $3, NULL, NULL)"
        self.clear = f"{dropped}($1, $2, NULL, NULL, NULL)"
        self.rewind = f"{dropped}($1, $2, NULL, $3, $4)"
        self.clear_user = f"SELECT {tables.drop_messages_of_user}($1) AS dropped"
        # No row where the conversation looks absent.
        self.has = f"""
            SELECT EXISTS (
                SELECT FROM {messages} WHERE conversation_id = $1 AND message_id = $3
            ) AS has_message
            FROM {conversations} WHERE id = $1 AND ($2::text IS NULL OR user_id = $2) AND deleted_at IS NULL"""


class Messages(Area):
    """The methods about messages; PostgresStorage puts the areas together."""

    _appends: Appends

    # --- writing ----------------------------------------------------------------------------------------------

    async def add_message(
        self,
        message: MessageLike,
        user_id: Owner,
        conversation_id: str,
        *,
        resource_id: str | None = None,
    ) -> Message:
        """
        Return the message as it was stored: with its id and its time.

        Args:
            message: A model or a dict in either spelling. An id that the conversation has already replaces that
                message in its place, so a streamed answer can be saved as it grows and a retry stores it once.
            user_id: Whose conversation it must be; ANY_USER: no check, for trusted code.
            conversation_id: Where it goes. Its updated_at becomes now.
            resource_id: Makes the conversation if there is none, with this agent or project, for the user; None:
                there must be one.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is another user's. Nothing is
                stored.
            InvalidInputError: A field is missing, unknown, or cannot be stored.

        One round trip; calls that wait at the same time share it, each with the outcome that it has alone, and the
        order within a conversation is that of the calls. Stored means committed. In the same transaction what is
        beyond storage_limit is deleted or archived. VoltAgent: ``addMessage``.
        """
        (stored,) = await self._append([Message.of(message)], user_id, conversation_id, resource_id)
        return stored

    async def add_messages(
        self,
        messages: Iterable[MessageLike],
        user_id: Owner,
        conversation_id: str,
        *,
        resource_id: str | None = None,
    ) -> list[Message]:
        """
        Return the messages as they were stored, in their order: all of them, or none and an error.

        One round trip for any number; nothing is sent for an empty list. Args and errors as in add_message().
        VoltAgent: ``addMessages``.
        """
        if isinstance(messages, Mapping | str) or not isinstance(messages, Iterable):
            raise InvalidInputError(f"messages must be a list of messages, not a {type(messages).__name__}")
        return await self._append([Message.of(message) for message in messages], user_id, conversation_id, resource_id)

    async def _append(
        self, messages: list[Message], user_id: Owner, conversation_id: str, resource_id: str | None
    ) -> list[Message]:
        check_id(conversation_id=conversation_id)
        if resource_id is None:
            owner = check_owner("user_id", user_id)
        else:
            check_id(resource_id=resource_id)
            owner = check_user(
                "user_id", user_id, "with a resource_id the conversation is made if absent, for one user"
            )
        if not messages:
            return []
        return await self._appends.add(messages, owner, conversation_id, resource_id)

    async def delete_messages(self, ids: Sequence[str], user_id: Owner, conversation_id: str) -> int:
        """
        Return how many of these messages were there and are deleted, archived ones included.

        Args:
            ids: Which; ids that are not in the conversation do not matter. Nothing is sent for an empty list.
            user_id: Whose conversation it must be, else nothing is deleted; ANY_USER: no check, for trusted code.
            conversation_id: Where they are.

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
        Return how many messages were dropped: those that follow this one, archived ones included.

        To answer once more, rewind to the question. To edit it, store it again with its id, then rewind to it. What the
        storage limit put aside (on_limit="archive") comes back, as far as the limit allows.

        Args:
            conversation_id: Which one.
            message_id: The last message that stays.
            owner: Only if the conversation is this user's; ANY_USER: no check, for trusted code.

        Raises:
            ConversationNotFoundError: There is none with this id, it is deleted, or it is not the owner's.
            MessageNotFoundError: It has no such message. Nothing is dropped.
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
        Return how many messages were deleted, archived ones included. The conversations stay.

        Args:
            user_id: Whose messages; ANY_USER, with a conversation only: no check, for trusted code.
            conversation_id: Only those of this conversation; None: all of the user's.

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
        Return the newest messages of a conversation, the oldest of them first.

        Args:
            user_id: Whose conversation it must be, else the list is empty; ANY_USER: no check, for trusted code.
            conversation_id: Which one.
            limit: How many at most; not given: the storage's storage_limit, None: all, 0: none.
            before: Only messages earlier than this time, which must have a time zone, or than the message with this
                id: pages backwards, ties included.
            after: Only messages later than this.
            roles: Only messages by these; an empty list: none.
            types: Only messages of these types; an empty list: none.
            include_archived: Also what the storage limit put aside (on_limit="archive"). Sorts the conversation.

        Raises:
            MessageNotFoundError: The conversation has no message with the id given as before or after.

        Read by index ``{prefix}_messages_in_order``. VoltAgent: ``getMessages`` (which returned the oldest until
        its 2.1.0).
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
        Return a conversation's messages from the oldest on.

        Args:
            conversation_id: Which one; the list is empty when there is none.
            limit: How many at most; None: all, 0: none.
            offset: How many to skip.
            before: Only messages earlier than this time, or than the message with this id.
            after: Only messages later than this time, or than the message with this id: pages forwards.
            include_archived: Also what the storage limit put aside (on_limit="archive"). Sorts the conversation.
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
        found = list(map(Message.from_row, await self._executor.fetch(sql, *arguments)))
        for place in (query.before, query.after):
            if not found and isinstance(place, str):  # the end, or a message that is not there
                statement = self._sql(MessageStatements).has
                owner = check_owner("user_id", query.user_id)
                row = await self._executor.fetchrow(statement, query.conversation_id, owner, place)
                if row is not None and not row["has_message"]:
                    raise MessageNotFoundError(place, query.conversation_id)
        return found

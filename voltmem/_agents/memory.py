"""What an agent keeps as its memory: a handle on one conversation of one user, and the protocol that it fulfils."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Protocol, Self, TypeVar, runtime_checkable

from voltmem._areas.area import access
from voltmem._areas.messages import Messages, MessageStatements
from voltmem._areas.queries import CONVERSATION_COLUMNS, MESSAGE_COLUMNS, WindowQuery, require_found, with_is_deleted
from voltmem._parts import SYSTEM_ROLES, exchanges, tool_turns, window
from voltmem._tables import Tables
from voltmem._values import MAX_BIGINT, UNSET, Unset, check_flag, check_id, check_text, check_user, uuid7
from voltmem.errors import ConversationNotFoundError, InvalidQueryError
from voltmem.models import Conversation, Message, MessageLike
from voltmem.options import DEFAULT_RESOURCE_ID

# So many more rows are read than the window has: a tool turn that it divides is then known whole.
_ROWS_BEYOND: Final = 8
_ALL: Final = 2**31

MessageT = TypeVar("MessageT", bound=Message)


@runtime_checkable
class Memory(Protocol):
    """
    What an agent calls: type yours as ``memory: Memory``, and give its tests another.

    ``storage.conversation("ada", "c1")`` is one.
    """

    async def messages(self, *, limit: int | None = ..., turns: int | None = None) -> list[Message]:
        """Return the newest messages, the oldest of them first, as they may be handed to a model."""
        ...

    async def add(self, message: MessageLike) -> Message:
        """Return the message as it was stored."""
        ...

    async def add_turn(self, messages: Iterable[MessageLike]) -> list[Message]:
        """Return the messages as they were stored: all of them, or none and an error."""
        ...

    async def clear(self) -> int:
        """Return how many messages were deleted."""
        ...


class MemoryStatements:
    """The statements with one shape."""

    def __init__(self, tables: Tables) -> None:
        # The row is returned where the title was left alone, too; NULLs for another user's.
        self.title = f"""
            WITH named AS (
                INSERT INTO {tables.conversations} AS existing (id, user_id, resource_id, title, title_is_automatic)
                VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (id) DO UPDATE SET
                    title = CASE WHEN $5 THEN coalesce(existing.title, excluded.title) ELSE excluded.title END,
                    title_is_automatic = $5 AND (existing.title IS NULL OR existing.title_is_automatic)
                    WHERE existing.user_id = excluded.user_id AND existing.deleted_at IS NULL
                RETURNING {CONVERSATION_COLUMNS}
            ){with_is_deleted(tables, "SELECT * FROM named")}"""


class ConversationMemory:
    """
    What ``storage.conversation("ada", "c1")`` returns: one conversation of one user, as an agent's memory.

    ::

        memory = storage.conversation("ada", "c1")
        await memory.add({"role": "user", "content": "Hello"})
        answer = await model(await memory.messages(limit=20))
        await memory.add({"role": "assistant", "content": answer})

    The conversation is made on the first write. Another user's is a ConversationNotFoundError, in reading too. Making
    a handle does no I/O, and it has nothing to close: make one where you need it. Each method is one round trip.
    """

    def __init__(
        self,
        storage: Messages,
        user_id: str,
        conversation_id: str | None = None,
        *,
        resource_id: str = DEFAULT_RESOURCE_ID,
    ) -> None:
        check_user("user_id", user_id, "a conversation belongs to one user")
        check_id(resource_id=resource_id)
        self._storage = storage
        self._access = access(storage)
        self._user_id = user_id
        self._id = uuid7() if conversation_id is None else conversation_id
        self._resource_id = resource_id
        check_id(conversation_id=self._id)

    @classmethod
    def of(cls, memory: ConversationMemory) -> Self:
        """Return the same conversation as this kind of memory."""
        return cls(memory._storage, memory._user_id, memory._id, resource_id=memory._resource_id)

    @property
    def conversation_id(self) -> str:
        """Which conversation it is; a UUIDv7 where none was given."""
        return self._id

    @property
    def user_id(self) -> str:
        """Whose it is."""
        return self._user_id

    @property
    def resource_id(self) -> str:
        """The agent or project that it is made with, if it is made."""
        return self._resource_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id!r} of {self._user_id!r} in {self._storage!r}>"

    # --- reading ----------------------------------------------------------------------------------------------

    async def messages(self, *, limit: int | Unset | None = UNSET, turns: int | None = None) -> list[Message]:
        """
        Return the newest messages, the oldest of them first, as they may be handed to a model.

        No tool call without its result and no result without its call is among them; what somebody said between the
        two follows them. The system message that the conversation begins with is kept, as the first.

        Args:
            limit: How many at most, the system message included; not given: the storage's storage_limit, None: all.
                Fewer only where the next older tool turn would not fit as a whole.
            turns: From where so many turns begin instead, each with what a user says until the user speaks again;
                the one under way counts.

        Raises:
            ConversationNotFoundError: The conversation is another user's. One that is not there yet is empty.

        Reads a few rows more than it returns, by index ``{prefix}_messages_in_order``; a second round trip only where
        among these are more messages that no model may see.
        """
        return await self._window(Message, MESSAGE_COLUMNS, limit, turns)

    async def exchanges(self, limit: int | None = None) -> list[tuple[Message, Message]]:
        """
        Return what the user said and what was answered, pair by pair, the newest of them last.

        The answer is the last that the assistant said before the user went on. What has none yet is no exchange.

        Args:
            limit: How many pairs at most; None: all, 0: none.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        query = WindowQuery(self._id, self._user_id, exchanges=limit if limit is not None else _ALL)
        _, spoken = await self._read(Message, query)
        return exchanges(spoken) if limit != 0 else []

    async def _window(
        self, kind: type[MessageT], columns: str, limit: int | Unset | None, turns: int | None
    ) -> list[MessageT]:
        if turns is not None:
            if limit is not UNSET:
                raise InvalidQueryError("limit counts messages and turns counts turns; give one of them")
            query = WindowQuery(self._id, self._user_id, turns=turns, columns=columns)
            system, found = _without_system(*await self._read(kind, query))
            return [*system, *(message for group in tool_turns(found) for message in group)] if turns else []
        most = self._access.options.storage_limit if limit is UNSET else limit
        query = WindowQuery(self._id, self._user_id, limit=most, columns=columns)
        read = None if most is None else min(most + _ROWS_BEYOND, MAX_BIGINT)
        while True:
            first, newest = await self._read(kind, replace(query, limit=read))
            system, found = _without_system(first, newest)
            all_read = read is None or len(newest) < read
            room = None if most is None else max(most - len(system), 0)
            fitting, others_follow = window(tool_turns(found, cut_off=not all_read), room)
            if all_read or others_follow or read is None:
                return [*system, *fitting] if most != 0 else []
            read *= 4

    async def _read(self, kind: type[MessageT], query: WindowQuery) -> tuple[list[MessageT], list[MessageT]]:
        """Return the conversation's first message, if there is one, and those that the query is for, in order."""
        sql, arguments = query.sql(self._access.options.tables)
        rows = await self._access.executor.fetch(sql, *arguments)
        if rows and rows[0]["owner"] != self._user_id:
            raise ConversationNotFoundError(self._id, self._user_id)
        first = [kind.from_row(tuple(row)[2:]) for row in rows if row["is_first"]]
        newest_first = [kind.from_row(tuple(row)[2:]) for row in rows if row["is_first"] is False]
        return first, newest_first[::-1]

    # --- writing ----------------------------------------------------------------------------------------------

    async def add(self, message: MessageLike) -> Message:
        """
        Return the message as it was stored. An id that the conversation has already replaces that message.

        Raises:
            ConversationNotFoundError: The conversation is another user's, or deleted. Nothing is stored.
            InvalidInputError: A field is missing, unknown, or cannot be stored.
        """
        return await self._storage.add_message(message, self._user_id, self._id, resource_id=self._resource_id)

    async def add_turn(self, messages: Iterable[MessageLike]) -> list[Message]:
        """
        Return the messages as they were stored: all of them, or none and an error, as in add().

        A tool call and its results, added together, are never seen one without the other.
        """
        return await self._storage.add_messages(messages, self._user_id, self._id, resource_id=self._resource_id)

    async def clear(self) -> int:
        """
        Return how many messages were deleted, archived ones included; the conversation stays.

        Raises:
            ConversationNotFoundError: The conversation is another user's.
        """
        statement = self._access.sql(MessageStatements).clear
        row = await self._access.executor.fetchrow(statement, self._id, self._user_id, repeatable=False)
        if row is not None and row["owner"] not in (None, self._user_id):
            raise ConversationNotFoundError(self._id, self._user_id)
        return 0 if row is None else row["dropped"] or 0

    async def title(self, title: str, *, if_unset: bool = False) -> Conversation:
        """
        Return the conversation, named so; its place in the sidebar stays.

        Args:
            title: What a sidebar shows.
            if_unset: Leaves a title that is there alone: for one that a model makes.

        Raises:
            ConversationNotFoundError: The conversation is another user's, or deleted.
        """
        check_text(title=title)
        check_flag("if_unset", if_unset)
        row = await self._access.executor.fetchrow(
            self._access.sql(MemoryStatements).title,
            self._id,
            self._user_id,
            self._resource_id,
            title,
            if_unset,
        )
        return Conversation.from_row(require_found(row, self._id, self._user_id))


def _without_system(first: list[MessageT], found: list[MessageT]) -> tuple[list[MessageT], list[MessageT]]:
    """Return the system message that the conversation begins with, if it does, and the others of those found."""
    if not first or first[0].role not in SYSTEM_ROLES:
        return [], found
    return first, found[1:] if found and found[0].id == first[0].id else found

"""A view of the storage for one user: every verb, no user_id, and no way around it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pydantic import JsonValue

from voltmem._values import UNSET, Unset, check_id
from voltmem.camel import ConversationLike, MessageLike, VoltAgentNames
from voltmem.conversations import DEFAULT_LIMIT as CONVERSATION_LIMIT
from voltmem.conversations import UserConversations
from voltmem.errors import InvalidInputError
from voltmem.memory import DEFAULT_RESOURCE_ID, ConversationMemory
from voltmem.messages import DEFAULT_LIMIT as MESSAGE_LIMIT
from voltmem.models import Conversation, ConversationPage, Message
from voltmem.query import OrderBy, OrderDirection


class UserStorage:
    """
    What ``storage.for_user("ada")`` returns: each method does what the storage's does, for this user only.

    Whose a conversation is, is checked in the statement itself. Another user's looks absent: None, an empty list,
    False, 0, or ConversationNotFoundError.
    """

    def __init__(self, storage: VoltAgentNames, user_id: str) -> None:
        check_id(user_id=user_id)
        self._storage = storage
        self._user_id = user_id

    @property
    def user_id(self) -> str:
        """Whose view it is."""
        return self._user_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._user_id!r} of {self._storage!r}>"

    def _own(self, conversation: ConversationLike) -> Mapping[str, object]:
        """Return the conversation's fields with this user's id; another's is a mistake worth an error."""
        if isinstance(conversation, Conversation):
            fields = conversation.model_dump(include=conversation.model_fields_set | {"id"})
        elif isinstance(conversation, Mapping):
            fields = dict(conversation)
        else:
            raise InvalidInputError(f"a Conversation or a dict is needed, not a {type(conversation).__name__}")
        named = {fields.pop(name) for name in ("user_id", "userId") if fields.get(name) is not None}
        if named - {self._user_id}:
            raise InvalidInputError(f"this is the storage of user {self._user_id!r}; the conversation names another")
        return {**fields, "user_id": self._user_id}

    async def create_conversation(self, conversation: ConversationLike) -> Conversation:
        """Return the conversation as it was stored; user_id may be left out."""
        return await self._storage.create_conversation(self._own(conversation))

    async def ensure_conversation(self, conversation: ConversationLike) -> Conversation:
        """Return the conversation with this id, made if absent; user_id may be left out."""
        return await self._storage.ensure_conversation(self._own(conversation))

    async def get_conversation(self, conversation_id: str) -> Conversation | None:
        """Return the conversation, or None."""
        return await self._storage.get_user_conversation(conversation_id, self._user_id)

    async def update_conversation(
        self,
        conversation_id: str,
        *,
        title: str | Unset | None = UNSET,
        metadata: Mapping[str, JsonValue] | Unset | None = UNSET,
        resource_id: str | Unset = UNSET,
        touch: bool = True,
    ) -> Conversation:
        """Return the conversation after the update; only what is given changes."""
        return await self._storage.update_conversation(
            conversation_id,
            title=title,
            metadata=metadata,
            resource_id=resource_id,
            touch=touch,
            owner=self._user_id,
        )

    async def delete_conversation(self, conversation_id: str) -> bool:
        """Return whether there was one to delete; its messages go with it."""
        return await self._storage.delete_conversation(conversation_id, owner=self._user_id)

    async def query_conversations(
        self,
        *,
        resource_id: str | None = None,
        limit: int | None = CONVERSATION_LIMIT,
        offset: int = 0,
        order_by: OrderBy = "updated_at",
        order_direction: OrderDirection = "DESC",
    ) -> list[Conversation]:
        """Return the conversations that match, the last active first unless told otherwise."""
        return await self._storage.get_conversations_by_user_id(
            self._user_id,
            resource_id=resource_id,
            limit=limit,
            offset=offset,
            order_by=order_by,
            order_direction=order_direction,
        )

    async def count_conversations(self, *, resource_id: str | None = None) -> int:
        """Return how many conversations there are."""
        return await self._storage.count_conversations(user_id=self._user_id, resource_id=resource_id)

    async def get_paginated_conversations(self, page: int = 1, page_size: int = 10) -> ConversationPage:
        """Return one page, the last active first."""
        return await self._storage.get_paginated_user_conversations(self._user_id, page, page_size)

    def get_conversations(self) -> UserConversations:
        """Return a builder over all conversations, the last active first until told otherwise."""
        return self._storage.get_user_conversations(self._user_id)

    async def get_last_conversation(self, *, resource_id: str | None = None) -> Conversation | None:
        """Return the conversation that was last active, or None: the one to go on with."""
        return await self._storage.get_last_conversation(self._user_id, resource_id=resource_id)

    def conversation(
        self, conversation_id: str | None = None, *, resource_id: str = DEFAULT_RESOURCE_ID
    ) -> ConversationMemory:
        """Return a handle on one conversation, for an agent to keep as its memory; None: a new one."""
        return ConversationMemory(self._storage, self._user_id, conversation_id, resource_id=resource_id)

    async def add_message(
        self, message: MessageLike, conversation_id: str, *, resource_id: str | None = None
    ) -> Message:
        """Return the message as it was stored; with a resource_id, in a conversation that is made if absent."""
        return await self._storage.add_message(message, self._user_id, conversation_id, resource_id=resource_id)

    async def add_messages(
        self, messages: Iterable[MessageLike], conversation_id: str, *, resource_id: str | None = None
    ) -> list[Message]:
        """Return the messages as they were stored: all of them, or none and an error."""
        return await self._storage.add_messages(messages, self._user_id, conversation_id, resource_id=resource_id)

    async def get_messages(
        self,
        conversation_id: str,
        *,
        limit: int | Unset | None = UNSET,
        before: datetime | None = None,
        after: datetime | None = None,
        roles: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        include_archived: bool = False,
    ) -> list[Message]:
        """Return the newest messages of a conversation, the oldest of them first."""
        return await self._storage.get_messages(
            self._user_id,
            conversation_id,
            limit=limit,
            before=before,
            after=after,
            roles=roles,
            types=types,
            include_archived=include_archived,
        )

    async def get_conversation_messages(
        self,
        conversation_id: str,
        *,
        limit: int | None = MESSAGE_LIMIT,
        offset: int = 0,
        include_archived: bool = False,
    ) -> list[Message]:
        """Return a conversation's messages from the oldest on."""
        return await self._storage.get_conversation_messages(
            conversation_id, limit=limit, offset=offset, include_archived=include_archived, owner=self._user_id
        )

    async def delete_messages(self, ids: Sequence[str], conversation_id: str) -> int:
        """Return how many of these messages were there and are deleted."""
        return await self._storage.delete_messages(ids, self._user_id, conversation_id)

    async def clear_messages(self, conversation_id: str | None = None) -> int:
        """Return how many messages were deleted: a conversation's, or all of the user's."""
        return await self._storage.clear_messages(self._user_id, conversation_id)

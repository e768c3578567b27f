"""
VoltAgent's names of the storage's verbs, written out so that type checkers see them.

Each calls the snake_case verb, so a subclass that overrides a verb changes both. A test compares the names, parameters
and defaults of the two.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import ParamSpec, TypedDict, cast

from pydantic import JsonValue
from pydantic.alias_generators import to_camel, to_snake

from voltmem._areas.conversations import Conversations, UserConversations
from voltmem._areas.history.entries import AgentHistory
from voltmem._areas.history.models import AgentHistoryEntry, AgentHistoryStep, TimelineEvent
from voltmem._areas.messages import Messages
from voltmem._areas.working_memory import MemoryScope, WorkingMemories, WorkingMemory
from voltmem._values import ANY_USER, UNSET, Unset, describe_unknown
from voltmem.errors import InvalidOptionError
from voltmem.models import (
    Conversation,
    ConversationLike,
    ConversationPage,
    Message,
    MessageLike,
    OrderBy,
    OrderDirection,
    Owner,
)
from voltmem.options import CONVERSATION_LIMIT, MESSAGE_LIMIT


class CamelOptions(TypedDict, total=False):
    """The options in VoltAgent's spelling, where it differs."""

    maxConnections: int
    tablePrefix: str
    storageLimit: int | Unset | None


Arguments = ParamSpec("Arguments")


def in_both_spellings(init: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """
    Let a constructor accept options in both spellings. Both at once, or an unknown option, is an InvalidOptionError.

    The camelCase names are converted before defaults are filled in; after that, an option that was given with its
    default value could not be distinguished from one that was not given.
    """
    known = [name for name in inspect.signature(init).parameters if name not in ("self", "camel")]

    @functools.wraps(init)
    def spelled(*arguments: Arguments.args, **options: Arguments.kwargs) -> None:
        snake: dict[str, object] = {}
        for name, value in options.items():
            twin = to_snake(name) if name in CamelOptions.__annotations__ else name
            if twin not in known:
                raise InvalidOptionError(describe_unknown("option", name, [*known, *CamelOptions.__annotations__]))
            if twin in snake:
                raise InvalidOptionError(f"{to_camel(twin)} and {twin} are the same option: pass one of them")
            snake[twin] = value
        cast(Callable[..., None], init)(*arguments, **snake)

    return spelled


class VoltAgentNames(Conversations, Messages, WorkingMemories, AgentHistory):
    """The verbs that VoltAgent has, under VoltAgent's names."""

    async def createConversation(self, conversation: ConversationLike) -> Conversation:
        """VoltAgent's name for create_conversation."""
        return await self.create_conversation(conversation)

    async def getConversation(self, conversationId: str) -> Conversation | None:
        """VoltAgent's name for get_conversation."""
        return await self.get_conversation(conversationId)

    async def getUserConversation(self, conversationId: str, userId: str) -> Conversation | None:
        """VoltAgent's name for get_user_conversation."""
        return await self.get_user_conversation(conversationId, userId)

    async def updateConversation(
        self,
        conversationId: str,
        *,
        title: str | Unset | None = UNSET,
        metadata: Mapping[str, JsonValue] | Unset | None = UNSET,
        resourceId: str | Unset = UNSET,
        userId: str | Unset = UNSET,
        touch: bool = True,
        owner: Owner = ANY_USER,
    ) -> Conversation:
        """VoltAgent's name for update_conversation."""
        return await self.update_conversation(
            conversationId,
            title=title,
            metadata=metadata,
            resource_id=resourceId,
            user_id=userId,
            touch=touch,
            owner=owner,
        )

    async def deleteConversation(self, conversationId: str, *, owner: Owner = ANY_USER) -> bool:
        """VoltAgent's name for delete_conversation."""
        return await self.delete_conversation(conversationId, owner=owner)

    async def getConversations(self, resourceId: str) -> list[Conversation]:
        """VoltAgent's name for get_conversations."""
        return await self.get_conversations(resourceId)

    async def getConversationsByUserId(
        self,
        userId: str,
        *,
        resourceId: str | None = None,
        limit: int | None = CONVERSATION_LIMIT,
        offset: int = 0,
        orderBy: OrderBy = "updated_at",
        orderDirection: OrderDirection = "DESC",
    ) -> list[Conversation]:
        """VoltAgent's name for get_conversations_by_user_id."""
        return await self.get_conversations_by_user_id(
            userId,
            resource_id=resourceId,
            limit=limit,
            offset=offset,
            order_by=orderBy,
            order_direction=orderDirection,
        )

    async def queryConversations(
        self,
        *,
        userId: Owner = ANY_USER,
        resourceId: str | None = None,
        limit: int | None = CONVERSATION_LIMIT,
        offset: int = 0,
        orderBy: OrderBy = "updated_at",
        orderDirection: OrderDirection = "DESC",
    ) -> list[Conversation]:
        """VoltAgent's name for query_conversations."""
        return await self.query_conversations(
            user_id=userId,
            resource_id=resourceId,
            limit=limit,
            offset=offset,
            order_by=orderBy,
            order_direction=orderDirection,
        )

    async def countConversations(self, *, userId: Owner = ANY_USER, resourceId: str | None = None) -> int:
        """VoltAgent's name for count_conversations."""
        return await self.count_conversations(user_id=userId, resource_id=resourceId)

    async def getPaginatedUserConversations(self, userId: str, page: int = 1, pageSize: int = 10) -> ConversationPage:
        """VoltAgent's name for get_paginated_user_conversations."""
        return await self.get_paginated_user_conversations(userId, page, pageSize)

    def getUserConversations(self, userId: str) -> UserConversations:
        """VoltAgent's name for get_user_conversations."""
        return self.get_user_conversations(userId)

    async def addMessage(
        self,
        message: MessageLike,
        userId: Owner,
        conversationId: str,
        *,
        resourceId: str | None = None,
        known: Collection[str] = (),
    ) -> Message:
        """VoltAgent's name for add_message."""
        return await self.add_message(message, userId, conversationId, resource_id=resourceId, known=known)

    async def addMessages(
        self,
        messages: Iterable[MessageLike],
        userId: Owner,
        conversationId: str,
        *,
        resourceId: str | None = None,
        known: Collection[str] = (),
    ) -> list[Message]:
        """VoltAgent's name for add_messages."""
        return await self.add_messages(messages, userId, conversationId, resource_id=resourceId, known=known)

    async def deleteMessages(self, ids: Sequence[str], userId: Owner, conversationId: str) -> int:
        """VoltAgent's name for delete_messages."""
        return await self.delete_messages(ids, userId, conversationId)

    async def clearMessages(self, userId: Owner, conversationId: str | None = None) -> int:
        """VoltAgent's name for clear_messages."""
        return await self.clear_messages(userId, conversationId)

    async def getMessages(
        self,
        userId: Owner,
        conversationId: str,
        *,
        limit: int | Unset | None = UNSET,
        before: datetime | str | None = None,
        after: datetime | str | None = None,
        roles: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        includeArchived: bool = False,
    ) -> list[Message]:
        """VoltAgent's name for get_messages."""
        return await self.get_messages(
            userId,
            conversationId,
            limit=limit,
            before=before,
            after=after,
            roles=roles,
            types=types,
            include_archived=includeArchived,
        )

    async def getConversationMessages(
        self,
        conversationId: str,
        *,
        limit: int | None = MESSAGE_LIMIT,
        offset: int = 0,
        before: datetime | str | None = None,
        after: datetime | str | None = None,
        includeArchived: bool = False,
        owner: Owner = ANY_USER,
    ) -> list[Message]:
        """VoltAgent's name for get_conversation_messages."""
        return await self.get_conversation_messages(
            conversationId,
            limit=limit,
            offset=offset,
            before=before,
            after=after,
            include_archived=includeArchived,
            owner=owner,
        )

    async def getWorkingMemory(
        self, *, scope: MemoryScope, userId: Owner = ANY_USER, conversationId: str | None = None
    ) -> str | None:
        """VoltAgent's name for get_working_memory."""
        return await self.get_working_memory(scope=scope, user_id=userId, conversation_id=conversationId)

    async def setWorkingMemory(
        self, content: str, *, scope: MemoryScope, userId: Owner = ANY_USER, conversationId: str | None = None
    ) -> WorkingMemory:
        """VoltAgent's name for set_working_memory."""
        return await self.set_working_memory(content, scope=scope, user_id=userId, conversation_id=conversationId)

    async def deleteWorkingMemory(
        self, *, scope: MemoryScope, userId: Owner = ANY_USER, conversationId: str | None = None
    ) -> bool:
        """VoltAgent's name for delete_working_memory."""
        return await self.delete_working_memory(scope=scope, user_id=userId, conversation_id=conversationId)

    async def addHistoryEntry(
        self, key: str, value: AgentHistoryEntry | Mapping[str, object], agentId: str
    ) -> AgentHistoryEntry:
        """VoltAgent's name for add_history_entry."""
        return await self.add_history_entry(key, value, agentId)

    async def updateHistoryEntry(
        self, key: str, value: AgentHistoryEntry | Mapping[str, object], agentId: str, *, create: bool = False
    ) -> AgentHistoryEntry:
        """VoltAgent's name for update_history_entry."""
        return await self.update_history_entry(key, value, agentId, create=create)

    async def getHistoryEntry(self, key: str) -> AgentHistoryEntry | None:
        """VoltAgent's name for get_history_entry."""
        return await self.get_history_entry(key)

    async def getAllHistoryEntriesByAgent(
        self, agentId: str, *, limit: int | None = None, offset: int = 0
    ) -> list[AgentHistoryEntry]:
        """VoltAgent's name for get_all_history_entries_by_agent."""
        return await self.get_all_history_entries_by_agent(agentId, limit=limit, offset=offset)

    async def addHistoryStep(
        self, key: str, value: AgentHistoryStep | Mapping[str, object], historyId: str, agentId: str
    ) -> AgentHistoryStep:
        """VoltAgent's name for add_history_step."""
        return await self.add_history_step(key, value, historyId, agentId)

    async def updateHistoryStep(
        self, key: str, value: AgentHistoryStep | Mapping[str, object], historyId: str, agentId: str
    ) -> AgentHistoryStep:
        """VoltAgent's name for update_history_step."""
        return await self.update_history_step(key, value, historyId, agentId)

    async def getHistoryStep(self, key: str) -> AgentHistoryStep | None:
        """VoltAgent's name for get_history_step."""
        return await self.get_history_step(key)

    async def addTimelineEvent(
        self, key: str, value: TimelineEvent | Mapping[str, object], historyId: str, agentId: str
    ) -> TimelineEvent:
        """VoltAgent's name for add_timeline_event."""
        return await self.add_timeline_event(key, value, historyId, agentId)

"""
VoltAgent's spelling of the storage's methods: one explicit line a name, so that type checkers see it.

Each calls the snake_case method of the same name, so a subclass that overrides that one changes both. A test
compares names, parameters and defaults of the two.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import ParamSpec, TypedDict, cast

from pydantic import JsonValue
from pydantic.alias_generators import to_camel, to_snake

from voltmem._areas.changes import Changes
from voltmem._areas.conversations import DEFAULT_LIMIT as CONVERSATION_LIMIT
from voltmem._areas.conversations import Conversations, UserConversations
from voltmem._areas.history.entries import DEFAULT_LIMIT as HISTORY_LIMIT
from voltmem._areas.history.models import AgentHistoryEntry, AgentHistoryPage, AgentHistoryStep, TimelineEvent
from voltmem._areas.history.runs import AgentRun, AgentRuns
from voltmem._areas.messages import DEFAULT_LIMIT as MESSAGE_LIMIT
from voltmem._areas.messages import Messages
from voltmem._areas.queries import OrderBy, OrderDirection
from voltmem._areas.search import Search
from voltmem._areas.share_models import Share, SharedConversation
from voltmem._areas.shares import DEFAULT_LIMIT as SHARED_LIMIT
from voltmem._areas.shares import Shares
from voltmem._areas.sidebar import DEFAULT_LIMIT as SIDEBAR_LIMIT
from voltmem._areas.sidebar import Sidebar
from voltmem._areas.sidebar_models import ConversationItem, ConversationList
from voltmem._areas.transfer.models import ImportedConversations, ImportResult, Lines
from voltmem._areas.transfer.transfer import Transfer
from voltmem._values import UNSET, Unset
from voltmem.errors import InvalidOptionError
from voltmem.models import Conversation, ConversationPage, Message
from voltmem.options import OnLimit

ConversationLike = Conversation | Mapping[str, object]
MessageLike = Message | Mapping[str, object]


class CamelOptions(TypedDict, total=False):
    """VoltAgent's spelling of the storage's options; the names of one word are the same in both."""

    maxConnections: int
    tablePrefix: str
    storageLimit: int | None
    onLimit: OnLimit
    connectTimeout: float
    commandTimeout: float
    retryTimeout: float


Arguments = ParamSpec("Arguments")


def in_both_spellings(init: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """
    Let a constructor take each option in either spelling; InvalidOptionError for both at once, or an unknown one.

    The camelCase names become snake_case before the defaults are filled in: afterwards nobody could tell whether
    a default was given.
    """
    known = [name for name in inspect.signature(init).parameters if name not in ("self", "camel")]

    @functools.wraps(init)
    def spelled(*arguments: Arguments.args, **options: Arguments.kwargs) -> None:
        snake: dict[str, object] = {}
        for name, value in options.items():
            twin = to_snake(name) if name in CamelOptions.__annotations__ else name
            if twin not in known:
                names = ", ".join([*known, *CamelOptions.__annotations__])
                raise InvalidOptionError(f"unknown option {name!r}; known are {names}")
            if twin in snake:
                raise InvalidOptionError(f"{to_camel(twin)} and {twin} are one option; give one of them")
            snake[twin] = value
        cast(Callable[..., None], init)(*arguments, **snake)

    return spelled


class VoltAgentNames(Conversations, Messages, Sidebar, Search, Shares, Changes, Transfer, AgentRuns):
    """The camelCase twins of all areas."""

    async def createConversation(self, conversation: ConversationLike) -> Conversation:
        """VoltAgent's name for create_conversation."""
        return await self.create_conversation(conversation)

    async def ensureConversation(self, conversation: ConversationLike) -> Conversation:
        """ensure_conversation in VoltAgent's spelling."""
        return await self.ensure_conversation(conversation)

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
        owner: str | None = None,
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

    async def deleteConversation(self, conversationId: str, *, owner: str | None = None) -> bool:
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
        userId: str | None = None,
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

    async def countConversations(self, *, userId: str | None = None, resourceId: str | None = None) -> int:
        """VoltAgent's name for count_conversations."""
        return await self.count_conversations(user_id=userId, resource_id=resourceId)

    async def getPaginatedUserConversations(self, userId: str, page: int = 1, pageSize: int = 10) -> ConversationPage:
        """VoltAgent's name for get_paginated_user_conversations."""
        return await self.get_paginated_user_conversations(userId, page, pageSize)

    async def getLastConversation(self, userId: str, *, resourceId: str | None = None) -> Conversation | None:
        """get_last_conversation in VoltAgent's spelling."""
        return await self.get_last_conversation(userId, resource_id=resourceId)

    def getUserConversations(self, userId: str) -> UserConversations:
        """VoltAgent's name for get_user_conversations."""
        return self.get_user_conversations(userId)

    async def addMessage(
        self, message: MessageLike, userId: str | None, conversationId: str, *, resourceId: str | None = None
    ) -> Message:
        """VoltAgent's name for add_message."""
        return await self.add_message(message, userId, conversationId, resource_id=resourceId)

    async def addMessages(
        self,
        messages: Iterable[MessageLike],
        userId: str | None,
        conversationId: str,
        *,
        resourceId: str | None = None,
    ) -> list[Message]:
        """VoltAgent's name for add_messages."""
        return await self.add_messages(messages, userId, conversationId, resource_id=resourceId)

    async def deleteMessages(self, ids: Sequence[str], userId: str | None, conversationId: str) -> int:
        """VoltAgent's name for delete_messages."""
        return await self.delete_messages(ids, userId, conversationId)

    async def clearMessages(self, userId: str | None, conversationId: str | None = None) -> int:
        """VoltAgent's name for clear_messages."""
        return await self.clear_messages(userId, conversationId)

    async def getMessages(
        self,
        userId: str | None,
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
        owner: str | None = None,
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

    async def rewindConversation(self, conversationId: str, messageId: str, *, owner: str | None = None) -> int:
        """rewind_conversation in VoltAgent's spelling."""
        return await self.rewind_conversation(conversationId, messageId, owner=owner)

    async def listConversations(
        self,
        userId: str,
        *,
        limit: int = SIDEBAR_LIMIT,
        after: str | None = None,
        before: str | None = None,
        archived: bool = False,
        pinned: bool | None = None,
        resourceId: str | None = None,
        tag: str | None = None,
        preview: bool = True,
    ) -> ConversationList:
        """list_conversations in VoltAgent's spelling."""
        return await self.list_conversations(
            userId,
            limit=limit,
            after=after,
            before=before,
            archived=archived,
            pinned=pinned,
            resource_id=resourceId,
            tag=tag,
            preview=preview,
        )

    async def renameConversation(
        self, conversationId: str, title: str, *, automatic: bool = False, owner: str | None = None
    ) -> ConversationItem:
        """rename_conversation in VoltAgent's spelling."""
        return await self.rename_conversation(conversationId, title, automatic=automatic, owner=owner)

    async def pinConversation(
        self, conversationId: str, pinned: bool = True, *, owner: str | None = None
    ) -> ConversationItem:
        """pin_conversation in VoltAgent's spelling."""
        return await self.pin_conversation(conversationId, pinned, owner=owner)

    async def archiveConversation(
        self, conversationId: str, archived: bool = True, *, owner: str | None = None
    ) -> ConversationItem:
        """archive_conversation in VoltAgent's spelling."""
        return await self.archive_conversation(conversationId, archived, owner=owner)

    async def tagConversation(
        self, conversationId: str, tags: Sequence[str], *, owner: str | None = None
    ) -> ConversationItem:
        """tag_conversation in VoltAgent's spelling."""
        return await self.tag_conversation(conversationId, tags, owner=owner)

    async def markConversationRead(
        self, conversationId: str, *, at: datetime | None = None, owner: str | None = None
    ) -> ConversationItem:
        """mark_conversation_read in VoltAgent's spelling."""
        return await self.mark_conversation_read(conversationId, at=at, owner=owner)

    async def softDeleteConversation(self, conversationId: str, *, owner: str | None = None) -> ConversationItem:
        """soft_delete_conversation in VoltAgent's spelling."""
        return await self.soft_delete_conversation(conversationId, owner=owner)

    async def restoreConversation(self, conversationId: str, *, owner: str | None = None) -> ConversationItem:
        """restore_conversation in VoltAgent's spelling."""
        return await self.restore_conversation(conversationId, owner=owner)

    async def listDeletedConversations(self, userId: str, *, limit: int | None = None) -> list[ConversationItem]:
        """list_deleted_conversations in VoltAgent's spelling."""
        return await self.list_deleted_conversations(userId, limit=limit)

    async def purgeDeletedConversations(self, userId: str | None = None, *, olderThan: timedelta | None = None) -> int:
        """purge_deleted_conversations in VoltAgent's spelling."""
        return await self.purge_deleted_conversations(userId, older_than=olderThan)

    async def forkConversation(
        self, conversationId: str, *, upTo: str | None = None, id: str | None = None, owner: str | None = None
    ) -> Conversation:
        """fork_conversation in VoltAgent's spelling."""
        return await self.fork_conversation(conversationId, up_to=upTo, id=id, owner=owner)

    async def indexMessages(self) -> int:
        """index_messages in VoltAgent's spelling."""
        return await self.index_messages()

    async def forgetWords(self) -> int:
        """forget_words in VoltAgent's spelling."""
        return await self.forget_words()

    async def shareConversation(
        self, conversationId: str, *, upTo: str | None = None, owner: str | None = None
    ) -> Share:
        """share_conversation in VoltAgent's spelling."""
        return await self.share_conversation(conversationId, up_to=upTo, owner=owner)

    async def getSharedConversation(
        self, token: str, *, limit: int = SHARED_LIMIT, after: str | None = None
    ) -> SharedConversation | None:
        """get_shared_conversation in VoltAgent's spelling."""
        return await self.get_shared_conversation(token, limit=limit, after=after)

    async def listShares(self, userId: str, *, conversationId: str | None = None) -> list[Share]:
        """list_shares in VoltAgent's spelling."""
        return await self.list_shares(userId, conversation_id=conversationId)

    async def revokeShare(self, token: str, *, owner: str | None = None) -> bool:
        """revoke_share in VoltAgent's spelling."""
        return await self.revoke_share(token, owner=owner)

    async def deleteUser(self, userId: str) -> int:
        """delete_user in VoltAgent's spelling."""
        return await self.delete_user(userId)

    def exportUser(self, userId: str) -> AsyncIterator[str]:
        """export_user in VoltAgent's spelling."""
        return self.export_user(userId)

    async def importUser(self, userId: str, lines: Lines) -> ImportResult:
        """import_user in VoltAgent's spelling."""
        return await self.import_user(userId, lines)

    async def importConversations(self, userId: str, conversations: ImportedConversations) -> ImportResult:
        """import_conversations in VoltAgent's spelling."""
        return await self.import_conversations(userId, conversations)

    async def addHistoryEntry(
        self, key: str, value: AgentHistoryEntry | Mapping[str, object], agentId: str
    ) -> AgentHistoryEntry:
        """VoltAgent's name for add_history_entry."""
        return await self.add_history_entry(key, value, agentId)

    async def updateHistoryEntry(
        self, key: str, value: AgentHistoryEntry | Mapping[str, object], agentId: str
    ) -> AgentHistoryEntry:
        """VoltAgent's name for update_history_entry."""
        return await self.update_history_entry(key, value, agentId)

    async def getHistoryEntry(self, key: str) -> AgentHistoryEntry | None:
        """VoltAgent's name for get_history_entry."""
        return await self.get_history_entry(key)

    async def getAllHistoryEntriesByAgent(
        self, agentId: str, *, limit: int | None = None, offset: int = 0
    ) -> list[AgentHistoryEntry]:
        """VoltAgent's name for get_all_history_entries_by_agent."""
        return await self.get_all_history_entries_by_agent(agentId, limit=limit, offset=offset)

    async def listHistoryEntries(
        self,
        *,
        agentId: str | None = None,
        userId: str | None = None,
        conversationId: str | None = None,
        limit: int = HISTORY_LIMIT,
        after: str | None = None,
    ) -> AgentHistoryPage:
        """list_history_entries in VoltAgent's spelling."""
        return await self.list_history_entries(
            agent_id=agentId, user_id=userId, conversation_id=conversationId, limit=limit, after=after
        )

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

    def recordRun(
        self,
        agentId: str,
        *,
        input: JsonValue = None,
        userId: str | None = None,
        conversationId: str | None = None,
        metadata: JsonValue = None,
        id: str | None = None,
    ) -> AbstractAsyncContextManager[AgentRun]:
        """record_run in VoltAgent's spelling."""
        return self.record_run(
            agentId, input=input, user_id=userId, conversation_id=conversationId, metadata=metadata, id=id
        )

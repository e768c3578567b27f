"""A view of the storage for one user: every verb, no user_id, and no way around it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import JsonValue

from voltmem._agents.memory import ConversationMemory
from voltmem._areas.changes import Change
from voltmem._areas.conversations import UserConversations
from voltmem._areas.search import SearchResults
from voltmem._areas.shares import Share
from voltmem._areas.sidebar import ConversationItem, ConversationList
from voltmem._areas.transfer.models import ImportedConversations, ImportResult, Lines
from voltmem._values import UNSET, Unset, check_user
from voltmem.errors import InvalidInputError
from voltmem.models import (
    Conversation,
    ConversationLike,
    ConversationPage,
    Message,
    MessageLike,
    OrderBy,
    OrderDirection,
)
from voltmem.options import (
    CONVERSATION_LIMIT,
    DEFAULT_POLL_INTERVAL,
    DEFAULT_RESOURCE_ID,
    MESSAGE_LIMIT,
    SEARCH_LIMIT,
    SIDEBAR_LIMIT,
)

if TYPE_CHECKING:
    from voltmem.storage import Storage


class UserStorage:
    """
    What ``storage.for_user("ada")`` returns: each method does what the storage's does, for this user only.

    Whose a conversation is, is checked in the statement itself. Another user's looks absent: None, an empty list,
    False, 0, or ConversationNotFoundError.
    """

    def __init__(self, storage: Storage, user_id: str) -> None:
        check_user("user_id", user_id, "for_user() is the view of one user")
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
        """Return whether there was one to delete; its messages go with it, and there is no way back."""
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

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UserStorage]:
        """Run all calls of the block in one transaction: committed at its end, undone if it raises."""
        async with self._storage.transaction() as transaction:
            yield transaction.for_user(self._user_id)

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
        before: datetime | str | None = None,
        after: datetime | str | None = None,
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
        before: datetime | str | None = None,
        after: datetime | str | None = None,
        include_archived: bool = False,
    ) -> list[Message]:
        """Return a conversation's messages from the oldest on."""
        return await self._storage.get_conversation_messages(
            conversation_id,
            limit=limit,
            offset=offset,
            before=before,
            after=after,
            include_archived=include_archived,
            owner=self._user_id,
        )

    async def rewind_conversation(self, conversation_id: str, message_id: str) -> int:
        """Return how many messages were dropped: those that follow this one."""
        return await self._storage.rewind_conversation(conversation_id, message_id, owner=self._user_id)

    async def delete_messages(self, ids: Sequence[str], conversation_id: str) -> int:
        """Return how many of these messages were there and are deleted."""
        return await self._storage.delete_messages(ids, self._user_id, conversation_id)

    async def clear_messages(self, conversation_id: str | None = None) -> int:
        """Return how many messages were deleted: a conversation's, or all of the user's."""
        return await self._storage.clear_messages(self._user_id, conversation_id)

    # --- the sidebar ------------------------------------------------------------------------------------------

    async def list_conversations(
        self,
        *,
        limit: int = SIDEBAR_LIMIT,
        after: str | None = None,
        before: str | None = None,
        archived: bool = False,
        pinned: bool | None = None,
        resource_id: str | None = None,
        tag: str | None = None,
        preview: bool = True,
    ) -> ConversationList:
        """Return a stretch of the sidebar: the pinned conversations first, then by activity, the last first."""
        return await self._storage.list_conversations(
            self._user_id,
            limit=limit,
            after=after,
            before=before,
            archived=archived,
            pinned=pinned,
            resource_id=resource_id,
            tag=tag,
            preview=preview,
        )

    async def get_conversation_item(self, conversation_id: str) -> ConversationItem:
        """Read one conversation as the sidebar shows it."""
        return await self._storage.get_conversation_item(conversation_id, owner=self._user_id)

    async def rename_conversation(
        self, conversation_id: str, title: str, *, automatic: bool = False
    ) -> ConversationItem:
        """Return the conversation with its title; an automatic one replaces none that a person gave."""
        return await self._storage.rename_conversation(conversation_id, title, automatic=automatic, owner=self._user_id)

    async def pin_conversation(self, conversation_id: str, pinned: bool = True) -> ConversationItem:
        """Return the conversation, pinned or not."""
        return await self._storage.pin_conversation(conversation_id, pinned, owner=self._user_id)

    async def archive_conversation(self, conversation_id: str, archived: bool = True) -> ConversationItem:
        """Return the conversation, archived or not."""
        return await self._storage.archive_conversation(conversation_id, archived, owner=self._user_id)

    async def tag_conversation(self, conversation_id: str, tags: Sequence[str]) -> ConversationItem:
        """Return the conversation with these tags instead of those it had."""
        return await self._storage.tag_conversation(conversation_id, tags, owner=self._user_id)

    async def mark_conversation_read(self, conversation_id: str, *, at: datetime | None = None) -> ConversationItem:
        """Return the conversation, read up to what was said last, or up to *at*."""
        return await self._storage.mark_conversation_read(conversation_id, at=at, owner=self._user_id)

    async def soft_delete_conversation(self, conversation_id: str) -> ConversationItem:
        """Return the conversation, which looks absent until it is restored."""
        return await self._storage.soft_delete_conversation(conversation_id, owner=self._user_id)

    async def restore_conversation(self, conversation_id: str) -> ConversationItem:
        """Return the conversation, which was deleted and is back."""
        return await self._storage.restore_conversation(conversation_id, owner=self._user_id)

    async def list_deleted_conversations(self, *, limit: int | None = None) -> list[ConversationItem]:
        """Return what was deleted and can be restored, the last deleted first."""
        return await self._storage.list_deleted_conversations(self._user_id, limit=limit)

    async def purge_deleted_conversations(self, *, older_than: timedelta | None = None) -> int:
        """Return how many of the deleted conversations are now gone for good."""
        return await self._storage.purge_deleted_conversations(self._user_id, older_than=older_than)

    async def fork_conversation(
        self, conversation_id: str, *, up_to: str | None = None, id: str | None = None
    ) -> Conversation:
        """Return a new conversation with the same messages, up to one of them."""
        return await self._storage.fork_conversation(conversation_id, up_to=up_to, id=id, owner=self._user_id)

    async def search(self, text: str, *, limit: int = SEARCH_LIMIT, after: str | None = None) -> SearchResults:
        """Return the conversations that have the words, best first, each with the message that fits best."""
        return await self._storage.search(self._user_id, text, limit=limit, after=after)

    def watch(self, *, poll_interval: float = DEFAULT_POLL_INTERVAL) -> AsyncGenerator[Change, None]:
        """Return an iterator of what changes in the conversations, whoever changes it; InvalidInputError when bound."""
        return self._storage.watch(self._user_id, poll_interval=poll_interval)

    async def delete_user(self) -> int:
        """Return how many conversations and recorded runs were deleted: all that is this user's."""
        return await self._storage.delete_user(self._user_id)

    # --- links for strangers ----------------------------------------------------------------------------------

    # Without get_shared_conversation(): whoever has a link may read, and here is read what is the user's.

    async def share_conversation(self, conversation_id: str, *, up_to: str | None = None) -> Share:
        """Return a new link, with which strangers read what was said so far, or up to a message."""
        return await self._storage.share_conversation(conversation_id, up_to=up_to, owner=self._user_id)

    async def list_shares(self, *, conversation_id: str | None = None) -> list[Share]:
        """Return the links to the user's conversations, or to one of them, the newest first."""
        return await self._storage.list_shares(self._user_id, conversation_id=conversation_id)

    async def revoke_share(self, token: str) -> bool:
        """Return whether there was such a link; from now on it leads nowhere."""
        return await self._storage.revoke_share(token, owner=self._user_id)

    # --- out and in -------------------------------------------------------------------------------------------

    def export_user(self) -> AsyncIterator[str]:
        """Yield all that is stored of this user, as lines of JSON."""
        return self._storage.export_user(self._user_id)

    async def import_user(self, lines: Lines) -> ImportResult:
        """Return what came of the lines of an export, whoever's it was: all of it becomes this user's."""
        return await self._storage.import_user(self._user_id, lines)

    async def import_conversations(self, conversations: ImportedConversations) -> ImportResult:
        """Return what came of conversations from elsewhere, which become this user's."""
        return await self._storage.import_conversations(self._user_id, conversations)

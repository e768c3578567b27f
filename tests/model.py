"""
A model of PostgresStorage in plain Python: the specification for test_stateful.py.

It uses no SQL, and builds the package's own values field by field. The database's times, which it cannot know, are
passed to it by learn().
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from voltmem import (
    UNSET,
    Conversation,
    ConversationExistsError,
    ConversationNotFoundError,
    ConversationPage,
    Message,
    Unset,
)
from voltmem.options import OnLimit

Given = Mapping[str, Any]
"""Fields or arguments as a caller gives them, in snake_case. Those that are not given are missing."""

Value = TypeVar("Value")


@dataclass
class StoredMessage:
    """A message, with fields that are not visible."""

    value: Message
    added: int
    """Its number among all messages that were ever added, which decides between equal times."""
    archived: bool = False

    @property
    def place(self) -> tuple[datetime, int]:
        return self.value.created_at, self.added


@dataclass
class StoredConversation:
    """A conversation and its messages by id."""

    value: Conversation
    messages: dict[str, StoredMessage] = field(default_factory=dict)

    def change(self, **fields: object) -> None:
        self.value = self.value.model_copy(update=fields)

    def in_order(self, *, include_archived: bool) -> list[StoredMessage]:
        """Return the messages, the oldest first. Archived messages are only included on request."""
        chosen = (each for each in self.messages.values() if include_archived or not each.archived)
        return sorted(chosen, key=lambda each: each.place)


class Model:
    """Conversations with their messages, and the storage limit of each."""

    def __init__(self, storage_limit: int | None, on_limit: OnLimit) -> None:
        self.storage_limit = storage_limit
        self.on_limit = on_limit
        self.conversations: dict[str, StoredConversation] = {}
        self.now = self.began = datetime.min.replace(tzinfo=UTC)
        self._numbers = itertools.count()

    def learn(self, now: datetime) -> None:
        """Set the times of the last call to the database's time in it, which never goes back."""
        assert now >= self.now, f"the database set the time {now} after it had set {self.now}"
        self.now = now

    def learn_beginning(self, began: datetime) -> None:
        """Set the time for the first message of the next add(), if it has none of its own."""
        assert began >= self.now, f"the database set the time {began} after it had set {self.now}"
        self.began = began

    # --- one conversation -------------------------------------------------------------------------------------

    def create(self, given: Given) -> Conversation:
        if given["id"] in self.conversations:
            raise ConversationExistsError(given["id"])
        created_at = given.get("created_at", self.now)
        value = Conversation(
            id=given["id"],
            resource_id=given.get("resource_id", "default"),
            user_id=given["user_id"],
            title=given.get("title"),
            metadata=given.get("metadata", {}),
            created_at=created_at,
            updated_at=given.get("updated_at", created_at),
        )
        self.conversations[value.id] = StoredConversation(value)
        return value

    def ensure(self, given: Given) -> Conversation:
        if given["id"] not in self.conversations:
            return self.create(given)
        return self._require(given["id"], given["user_id"]).value

    def get(self, conversation_id: str, owner: str | None = None) -> Conversation | None:
        found = self._find(conversation_id, owner)
        return None if found is None else found.value

    def update(self, conversation_id: str, owner: str | None, given: Given) -> Conversation:
        conversation = self._require(conversation_id, owner)
        changes = dict(given)
        if changes.pop("touch", True):
            changes["updated_at"] = self.now
        if "metadata" in changes:
            changes["metadata"] = changes["metadata"] or {}
        conversation.change(**changes)
        return conversation.value

    def delete(self, conversation_id: str, owner: str | None) -> bool:
        existed = self._find(conversation_id, owner) is not None
        if existed:
            del self.conversations[conversation_id]
        return existed

    # --- many conversations -----------------------------------------------------------------------------------

    def query(
        self,
        *,
        user_id: str | None = None,
        resource_id: str | None = None,
        limit: int | None = 50,
        offset: int = 0,
        order_by: str = "updated_at",
        order_direction: str = "DESC",
    ) -> list[Conversation]:
        """Equal values are ordered by id, in the direction of the order; missing titles are last in both directions."""
        found = [
            each.value
            for each in self.conversations.values()
            if user_id in (None, each.value.user_id) and resource_id in (None, each.value.resource_id)
        ]
        known = [each for each in found if getattr(each, order_by) is not None]
        unknown = [each for each in found if getattr(each, order_by) is None]
        backwards = order_direction.upper() == "DESC"
        known.sort(key=lambda each: (getattr(each, order_by), each.id), reverse=backwards)
        unknown.sort(key=lambda each: each.id, reverse=backwards)
        return _part(known + unknown, limit, offset)

    def count(self, user_id: str | None, resource_id: str | None) -> int:
        return len(self.query(user_id=user_id, resource_id=resource_id, limit=None))

    def of_resource(self, resource_id: str) -> list[Conversation]:
        return self.query(resource_id=resource_id, limit=None, order_by="created_at")

    def page(self, user_id: str, page: int = 1, page_size: int = 10) -> ConversationPage:
        all_of_them = self.query(user_id=user_id, limit=None)
        return ConversationPage(
            conversations=_part(all_of_them, page_size, (page - 1) * page_size),
            page=page,
            page_size=page_size,
            has_more=len(all_of_them) > page * page_size,
        )

    # --- messages ---------------------------------------------------------------------------------------------

    def add(self, messages: Iterable[Given], user_id: str | None, conversation_id: str) -> list[Message]:
        """Add all messages or none. An empty list does nothing, and does not check the conversation."""
        messages = list(messages)
        if not messages:
            return []
        conversation = self._require(conversation_id, user_id, is_for_message=True)
        # A message without a time of its own follows the one before it, which may be ahead of the clock.
        live = conversation.in_order(include_archived=False)
        tick = timedelta(microseconds=1)
        moment = max([self.began, *(each.value.created_at + tick for each in live[-1:])])
        stored = list[Message]()
        for given in messages:
            stored.append(self._put(conversation, given, moment))
            moment = max(moment, stored[-1].created_at) + tick
        conversation.change(updated_at=self.now)
        self._keep_to_the_limit(conversation)
        return stored

    def _put(self, conversation: StoredConversation, given: Given, now: datetime) -> Message:
        """A replaced message keeps its place, unless it has its own time; an archived one stays archived."""
        old = conversation.messages.get(given["id"])
        value = Message(
            id=given["id"],
            role=given["role"],
            content=given["content"],
            type=given.get("type", "text"),
            metadata=given.get("metadata", {}),
            created_at=given.get("created_at", now if old is None else old.value.created_at),
        )
        if old is None:
            conversation.messages[value.id] = StoredMessage(value, added=next(self._numbers))
        else:
            old.value = value
        return value

    def _keep_to_the_limit(self, conversation: StoredConversation) -> None:
        """Keep the newest storage_limit of the messages that are not archived."""
        if self.storage_limit is None:
            return
        live = conversation.in_order(include_archived=False)
        for each in live[: max(0, len(live) - self.storage_limit)]:
            if self.on_limit == "archive":
                each.archived = True
            else:
                del conversation.messages[each.value.id]

    def delete_messages(self, ids: Collection[str], user_id: str | None, conversation_id: str) -> int:
        conversation = self._find(conversation_id, user_id)
        return 0 if conversation is None else _remove(conversation, lambda each: each.value.id in ids)

    def clear(self, user_id: str | None, conversation_id: str | None = None) -> int:
        cleared = [
            each
            for each in self.conversations.values()
            if conversation_id in (None, each.value.id) and user_id in (None, each.value.user_id)
        ]
        return sum(_remove(each, lambda message: True) for each in cleared)

    def newest(
        self,
        user_id: str | None,
        conversation_id: str,
        *,
        before: datetime | None = None,
        after: datetime | None = None,
        roles: Collection[str] | None = None,
        types: Collection[str] | None = None,
        include_archived: bool = False,
        limit: int | Unset | None = UNSET,
    ) -> list[Message]:
        """Return the newest matching messages, the oldest of them first; the default limit is the storage's."""
        conversation = self._find(conversation_id, user_id)
        if conversation is None:
            return []
        found = [
            each.value
            for each in conversation.in_order(include_archived=include_archived)
            if (before is None or each.value.created_at < before)
            and (after is None or each.value.created_at > after)
            and (roles is None or each.value.role in roles)
            and (types is None or each.value.type in types)
        ]
        return _part(found[::-1], self.storage_limit if isinstance(limit, Unset) else limit, 0)[::-1]

    def oldest(
        self,
        conversation_id: str,
        owner: str | None = None,
        *,
        limit: int | None = 100,
        offset: int = 0,
        include_archived: bool = False,
    ) -> list[Message]:
        conversation = self._find(conversation_id, owner)
        if conversation is None:
            return []
        return _part([each.value for each in conversation.in_order(include_archived=include_archived)], limit, offset)

    # --- the owner --------------------------------------------------------------------------------------------

    def _find(self, conversation_id: str, owner: str | None) -> StoredConversation | None:
        """Return the conversation. Another user's looks absent; None as owner is trusted code, and finds any."""
        found = self.conversations.get(conversation_id)
        return found if found is not None and owner in (None, found.value.user_id) else None

    def _require(self, conversation_id: str, owner: str | None, *, is_for_message: bool = False) -> StoredConversation:
        found = self._find(conversation_id, owner)
        if found is None:
            raise ConversationNotFoundError(conversation_id, owner, is_for_message=is_for_message)
        return found


def _part(values: list[Value], limit: int | None, offset: int) -> list[Value]:
    return values[offset:] if limit is None else values[offset : offset + limit]


def _remove(conversation: StoredConversation, chosen: Callable[[StoredMessage], bool]) -> int:
    """Remove the selected messages, archived ones included. Returns their number."""
    ids = [each.value.id for each in conversation.messages.values() if chosen(each)]
    for message_id in ids:
        del conversation.messages[message_id]
    return len(ids)

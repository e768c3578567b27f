"""VoltAgent's document: the conversations of a user, queries, pages, and their examples."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

import pytest

from tests.conftest import Numbered
from tests.document.spellings import hours, ids, in_both_spellings
from voltmem import Conversation, Message, PostgresStorage

# --- User-Centric Conversation Management ----------------------------------------------------------------------------


async def camel_users_conversations(storage: PostgresStorage) -> list[str]:
    conversations = await storage.getConversationsByUserId(
        "user-123",
        limit=50,
        orderBy="updated_at",
        orderDirection="DESC",
    )
    return [f"{conv.title} - {conv.updatedAt}" for conv in conversations]


async def snake_users_conversations(storage: PostgresStorage) -> list[str]:
    conversations = await storage.get_conversations_by_user_id(
        "user-123",
        limit=50,
        order_by="updated_at",
        order_direction="DESC",
    )
    return [f"{conv.title} - {conv.updated_at}" for conv in conversations]


@in_both_spellings(camel_users_conversations, snake_users_conversations)
async def test_get_users_conversations_is_a_sidebar(
    block: Callable[[PostgresStorage], Awaitable[list[str]]], storage: PostgresStorage
) -> None:
    """The sidebar has at most 50 recent conversations of a user with title and time, the last active first."""
    for number in range(52):
        await storage.create_conversation(
            {
                "user_id": "user-123",
                "title": f"Chat {number}",
                "created_at": hours(-number),
                "updated_at": hours(number),
            }
        )
    await storage.create_conversation({"user_id": "user-456", "title": "Not theirs", "updated_at": hours(60)})

    lines = await block(storage)

    assert lines == [f"Chat {number} - {hours(number)}" for number in range(51, 1, -1)]


async def camel_query_builder(storage: PostgresStorage) -> tuple[list[Conversation], str]:
    recent_chats = await storage.getUserConversations("user-123").limit(20).orderBy("updated_at", "DESC").execute()

    page1 = await storage.getPaginatedUserConversations("user-123", 1, 10)
    return recent_chats, f"Page 1 of {'many' if page1.hasMore else len(page1.conversations)}"


async def snake_query_builder(storage: PostgresStorage) -> tuple[list[Conversation], str]:
    recent_chats = await storage.get_user_conversations("user-123").limit(20).order_by("updated_at", "DESC").execute()

    page1 = await storage.get_paginated_user_conversations("user-123", 1, 10)
    return recent_chats, f"Page 1 of {'many' if page1.has_more else len(page1.conversations)}"


@in_both_spellings(camel_query_builder, snake_query_builder)
@pytest.mark.parametrize(("count", "pages"), [(0, "0"), (3, "3"), (10, "10"), (11, "many"), (21, "many")])
async def test_advanced_query_builder_and_pages(
    block: Callable[[PostgresStorage], Awaitable[tuple[list[Conversation], str]]],
    count: int,
    pages: str,
    storage: PostgresStorage,
) -> None:
    """The builder returns the 20 last active conversations; hasMore says whether another page of 10 follows."""
    for number in range(count):
        await storage.create_conversation({"id": f"c{number}", "user_id": "user-123", "updated_at": hours(number)})
    await storage.create_conversation({"id": "other", "user_id": "user-456"})

    recent_chats, line = await block(storage)

    assert ids(recent_chats) == [f"c{number}" for number in reversed(range(count))][:20]
    assert line == f"Page 1 of {pages}"


# --- Querying Conversations ------------------------------------------------------------------------------------------


class Queried(TypedDict):
    """The results of the block's four queries, by the block's names."""

    work: list[Conversation]
    user: list[Conversation]
    resource: list[Conversation]
    all: list[Conversation]


async def camel_querying(storage: PostgresStorage) -> Queried:
    return {
        "work": await storage.queryConversations(
            userId="user-123",
            resourceId="work-agent",
            limit=25,
            offset=0,
            orderBy="created_at",
            orderDirection="DESC",
        ),
        "user": await storage.queryConversations(userId="user-123", limit=50),
        "resource": await storage.queryConversations(resourceId="chatbot-v1", limit=100, orderBy="updated_at"),
        "all": await storage.queryConversations(limit=200, orderBy="created_at", orderDirection="ASC"),
    }


async def snake_querying(storage: PostgresStorage) -> Queried:
    return {
        "work": await storage.query_conversations(
            user_id="user-123",
            resource_id="work-agent",
            limit=25,
            offset=0,
            order_by="created_at",
            order_direction="DESC",
        ),
        "user": await storage.query_conversations(user_id="user-123", limit=50),
        "resource": await storage.query_conversations(resource_id="chatbot-v1", limit=100, order_by="updated_at"),
        "all": await storage.query_conversations(limit=200, order_by="created_at", order_direction="ASC"),
    }


@pytest.fixture
async def four_conversations(storage: PostgresStorage) -> PostgresStorage:
    """A storage whose conversations sort differently by created_at, updated_at and title."""
    for id, user, resource, created, updated, title in (
        ("work-1", "user-123", "work-agent", 1, 24, "Budget"),
        ("chat-1", "user-123", "chatbot-v1", 2, 22, None),
        ("work-2", "user-123", "work-agent", 3, 23, "Accounts"),
        ("chat-2", "user-456", "chatbot-v1", 4, 21, "Cats"),
    ):
        await storage.create_conversation(
            {
                "id": id,
                "user_id": user,
                "resource_id": resource,
                "title": title,
                "created_at": hours(created),
                "updated_at": hours(updated),
            }
        )
    return storage


@in_both_spellings(camel_querying, snake_querying)
async def test_querying_conversations_filters_and_orders(
    block: Callable[[PostgresStorage], Awaitable[Queried]], four_conversations: PostgresStorage
) -> None:
    """Filters can be combined and left out (without any: the admin's view); the order is the requested one."""
    queried = await block(four_conversations)

    assert ids(queried["work"]) == ["work-2", "work-1"]
    assert ids(queried["user"]) == ["work-1", "work-2", "chat-1"]
    assert ids(queried["resource"]) == ["chat-1", "chat-2"]
    assert ids(queried["all"]) == ["work-1", "chat-1", "work-2", "chat-2"]


@pytest.mark.parametrize(
    ("order_by", "ascending"),
    [
        ("created_at", ["work-1", "chat-1", "work-2", "chat-2"]),
        ("updated_at", ["chat-2", "chat-1", "work-2", "work-1"]),
        ("title", ["work-2", "work-1", "chat-2", "chat-1"]),
    ],
)
async def test_querying_conversations_orders_by_each_documented_field_in_both_directions(
    order_by: Any, ascending: list[str], four_conversations: PostgresStorage
) -> None:
    """orderBy is created_at, updated_at or title, orderDirection ASC or DESC; missing titles are last in both."""
    storage = four_conversations
    titled = [id for id in ascending if order_by != "title" or id != "chat-1"]
    descending = [*reversed(titled), *(id for id in ascending if id not in titled)]

    for direction, expected in (("ASC", ascending), ("DESC", descending)):
        options: dict[str, Any] = {"orderBy": order_by, "orderDirection": direction}
        assert ids(await storage.queryConversations(**options)) == expected
        options = {"order_by": order_by, "order_direction": direction}
        assert ids(await storage.query_conversations(**options)) == expected


async def test_querying_conversations_has_the_documented_defaults(storage: PostgresStorage) -> None:
    """Without options a query returns the first 50 of all conversations, the last updated first."""
    for number in range(51):
        await storage.create_conversation(
            {"id": f"c{number}", "user_id": "ada", "created_at": hours(-number), "updated_at": hours(number)}
        )

    in_camel_case, in_snake_case = await storage.queryConversations(), await storage.query_conversations()

    assert ids(in_camel_case) == [f"c{number}" for number in range(50, 0, -1)]
    assert in_snake_case == in_camel_case


# --- Examples: Multi-Tenant Application ------------------------------------------------------------------------------


async def camel_multi_tenant(storage: PostgresStorage) -> tuple[list[Conversation], list[Conversation]]:
    user_a_conversations = await storage.getConversationsByUserId("user-a")
    user_b_conversations = await storage.getConversationsByUserId("user-b")

    assert all(c.userId == "user-a" for c in user_a_conversations)
    assert all(c.userId == "user-b" for c in user_b_conversations)
    return user_a_conversations, user_b_conversations


async def snake_multi_tenant(storage: PostgresStorage) -> tuple[list[Conversation], list[Conversation]]:
    user_a_conversations = await storage.get_conversations_by_user_id("user-a")
    user_b_conversations = await storage.get_conversations_by_user_id("user-b")

    assert all(c.user_id == "user-a" for c in user_a_conversations)
    assert all(c.user_id == "user-b" for c in user_b_conversations)
    return user_a_conversations, user_b_conversations


@in_both_spellings(camel_multi_tenant, snake_multi_tenant)
async def test_multi_tenant_application_shows_each_user_their_own(
    block: Callable[[PostgresStorage], Awaitable[tuple[list[Conversation], list[Conversation]]]],
    storage: PostgresStorage,
) -> None:
    """Each user sees their own conversations only, and all of them."""
    for user, count in (("user-a", 2), ("user-b", 3)):
        for number in range(count):
            await storage.create_conversation({"user_id": user, "title": f"{user} {number}"})

    user_a, user_b = await block(storage)

    assert sorted(str(conversation.title) for conversation in user_a) == ["user-a 0", "user-a 1"]
    assert sorted(str(conversation.title) for conversation in user_b) == ["user-b 0", "user-b 1", "user-b 2"]


# --- Examples: Conversation Management UI ----------------------------------------------------------------------------


async def camel_conversation_list(storage: PostgresStorage, user_id: str, page: int = 1) -> dict[str, Any]:
    result = await storage.getPaginatedUserConversations(user_id, page, 20)

    return {
        "conversations": [
            {
                "id": conv.id,
                "title": conv.title or "Untitled Conversation",
                "lastMessage": conv.updatedAt,
                "preview": conv.metadata.get("preview", ""),
            }
            for conv in result.conversations
        ],
        "hasMore": result.hasMore,
        "currentPage": page,
    }


async def snake_conversation_list(storage: PostgresStorage, user_id: str, page: int = 1) -> dict[str, Any]:
    result = await storage.get_paginated_user_conversations(user_id, page, 20)

    return {
        "conversations": [
            {
                "id": conv.id,
                "title": conv.title or "Untitled Conversation",
                "lastMessage": conv.updated_at,
                "preview": conv.metadata.get("preview", ""),
            }
            for conv in result.conversations
        ],
        "hasMore": result.has_more,
        "currentPage": page,
    }


@in_both_spellings(camel_conversation_list, snake_conversation_list)
async def test_conversation_management_ui_lists_conversations_page_by_page(
    block: Callable[..., Awaitable[dict[str, Any]]], storage: PostgresStorage
) -> None:
    """A page has twenty conversations with title, time and preview, or placeholders; hasMore until the last page."""
    for number in range(1, 20):
        await storage.create_conversation({"id": f"c{number}", "user_id": "ada", "updated_at": hours(number)})
    await storage.create_conversation({"id": "untitled", "user_id": "ada", "updated_at": hours(30)})
    await storage.create_conversation(
        {"id": "full", "user_id": "ada", "title": "Engines", "metadata": {"preview": "On…"}, "updated_at": hours(40)}
    )

    first, second = await block(storage, "ada"), await block(storage, "ada", 2)

    assert first["conversations"][:2] == [
        {"id": "full", "title": "Engines", "lastMessage": hours(40), "preview": "On…"},
        {"id": "untitled", "title": "Untitled Conversation", "lastMessage": hours(30), "preview": ""},
    ]
    listed = [conversation["id"] for conversation in first["conversations"] + second["conversations"]]
    assert listed == ["full", "untitled", *(f"c{number}" for number in range(19, 0, -1))]
    assert (len(first["conversations"]), first["hasMore"], first["currentPage"]) == (20, True, 1)
    assert (len(second["conversations"]), second["hasMore"], second["currentPage"]) == (1, False, 2)


Opened = tuple[Conversation, list[Message]]


async def camel_open_conversation(storage: PostgresStorage, conversation_id: str, user_id: str) -> Opened:
    conversation = await storage.getUserConversation(conversation_id, user_id)
    if not conversation:
        raise LookupError("Conversation not found or access denied")

    messages = await storage.getConversationMessages(conversation_id)
    return conversation, messages


async def snake_open_conversation(storage: PostgresStorage, conversation_id: str, user_id: str) -> Opened:
    conversation = await storage.get_user_conversation(conversation_id, user_id)
    if not conversation:
        raise LookupError("Conversation not found or access denied")

    messages = await storage.get_conversation_messages(conversation_id)
    return conversation, messages


@in_both_spellings(camel_open_conversation, snake_open_conversation)
async def test_conversation_management_ui_opens_a_conversation_for_its_owner(
    block: Callable[..., Awaitable[Opened]], storage: PostgresStorage, numbered: Numbered
) -> None:
    """A user who opens one of their conversations gets it with its messages."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "Engines"})
    await storage.add_messages([numbered(1), numbered(2)], "ada", "c1")

    conversation, messages = await block(storage, "c1", "ada")

    assert (conversation.id, conversation.title) == ("c1", "Engines")
    assert ids(messages) == ["m1", "m2"]


@in_both_spellings(camel_open_conversation, snake_open_conversation)
@pytest.mark.parametrize(("conversation_id", "user_id"), [("c1", "grace"), ("c2", "ada")])
async def test_conversation_management_ui_denies_a_conversation_of_another(
    block: Callable[..., Awaitable[Opened]], conversation_id: str, user_id: str, storage: PostgresStorage
) -> None:
    """Another user's conversation and a missing one look the same."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    with pytest.raises(LookupError, match="not found or access denied"):
        await block(storage, conversation_id, user_id)


# --- Examples: Analytics and Reporting -------------------------------------------------------------------------------


async def camel_user_stats(storage: PostgresStorage, user_id: str) -> dict[str, float]:
    conversations = await storage.getConversationsByUserId(user_id)
    stats: dict[str, float] = {
        "totalConversations": len(conversations),
        "thisWeek": len([c for c in conversations if c.createdAt > datetime.now(UTC) - timedelta(days=7)]),
        "averageMessagesPerConversation": 0,
    }

    total_messages = 0
    for conv in conversations:
        messages = await storage.getConversationMessages(conv.id)
        total_messages += len(messages)
    stats["averageMessagesPerConversation"] = total_messages / len(conversations) if conversations else 0
    return stats


async def snake_user_stats(storage: PostgresStorage, user_id: str) -> dict[str, float]:
    conversations = await storage.get_conversations_by_user_id(user_id)
    stats: dict[str, float] = {
        "totalConversations": len(conversations),
        "thisWeek": len([c for c in conversations if c.created_at > datetime.now(UTC) - timedelta(days=7)]),
        "averageMessagesPerConversation": 0,
    }

    total_messages = 0
    for conv in conversations:
        messages = await storage.get_conversation_messages(conv.id)
        total_messages += len(messages)
    stats["averageMessagesPerConversation"] = total_messages / len(conversations) if conversations else 0
    return stats


@in_both_spellings(camel_user_stats, snake_user_stats)
async def test_analytics_and_reporting_counts_a_users_conversations_and_messages(
    block: Callable[[PostgresStorage, str], Awaitable[dict[str, float]]], storage: PostgresStorage, numbered: Numbered
) -> None:
    """Times can be compared with now, messages are counted per conversation, and a user without any has zeros."""
    now = datetime.now(UTC)
    for id, age, count in (("new", 1, 3), ("empty", 6, 0), ("old", 8, 2)):
        await storage.create_conversation({"id": id, "user_id": "ada", "created_at": now - timedelta(days=age)})
        await storage.add_messages([numbered(number) for number in range(count)], "ada", id)

    stats, of_nobody = await block(storage, "ada"), await block(storage, "nobody")

    assert stats == {"totalConversations": 3, "thisWeek": 2, "averageMessagesPerConversation": 5 / 3}
    assert of_nobody == {"totalConversations": 0, "thisWeek": 0, "averageMessagesPerConversation": 0}

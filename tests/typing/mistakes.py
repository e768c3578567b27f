# pyright: reportUnnecessaryTypeIgnoreComment=true
"""
Misuse that both type checkers must report, one mistake per line. Read by type checkers, never run.

mypy must report each under the code in its comment, pyright under any. For a mistake that one of them does not report,
it reports the comment as unused instead.
"""

from __future__ import annotations

import asyncpg

from voltmem import (
    AgentHistoryEntry,
    AgentRun,
    BoundStorage,
    Conversation,
    ConversationMemory,
    ConversationPage,
    Message,
    PostgresStorage,
    UserStorage,
)
from voltmem import sync as blocking
from voltmem._agents.native import NativeMemory
from voltmem.testing import temporary_storage


def options() -> None:
    PostgresStorage(max_connection=3)  # type: ignore[call-arg]
    PostgresStorage(maxConnection=3)  # type: ignore[call-arg]
    PostgresStorage(tableprefix="app")  # type: ignore[call-arg]
    PostgresStorage(max_connections="10")  # type: ignore[arg-type]
    PostgresStorage(maxConnections="10")  # type: ignore[arg-type]
    PostgresStorage(table_prefix=None)  # type: ignore[arg-type]
    PostgresStorage(storageLimit=2.5)  # type: ignore[arg-type]
    PostgresStorage(on_limit="drop")  # type: ignore[arg-type]
    PostgresStorage(onLimit="archive")  # type: ignore[call-arg]
    PostgresStorage(migrate=True)  # type: ignore[arg-type]
    PostgresStorage(5432)  # type: ignore[arg-type]
    PostgresStorage("postgresql://localhost/app", None)  # type: ignore[call-arg]
    PostgresStorage(pool="postgresql://localhost/app")  # type: ignore[arg-type]
    temporary_storage(tableprefix="app")  # type: ignore[call-arg]
    temporary_storage(migrate="never")  # type: ignore[arg-type]


def models(conversation: Conversation, message: Message, page: ConversationPage) -> None:
    Conversation()  # type: ignore[call-overload]
    Conversation("ada")  # type: ignore[call-overload]
    Conversation(user_id=7)  # type: ignore[call-overload]
    Conversation(userId=7)  # type: ignore[call-overload]
    Conversation(userID="ada")  # type: ignore[call-overload]
    Conversation(user_id="ada", metadata=["a", "list"])  # type: ignore[call-overload]
    Conversation(user_id="ada", created_at="2026-01-01")  # type: ignore[call-overload]
    Message(content="Hello")  # type: ignore[call-overload]
    Message(role="user")  # type: ignore[call-overload]
    Message(role="user", content=object())  # type: ignore[call-overload]
    Message(role="user", content="Hello", createdat=conversation.created_at)  # type: ignore[call-overload]
    str(conversation.userid)  # type: ignore[attr-defined]
    conversation.userId = "grace"  # type: ignore[assignment]
    str(message.createdat)  # type: ignore[attr-defined]
    message.createdAt = conversation.createdAt  # type: ignore[assignment]
    bool(page.hasmore)  # type: ignore[attr-defined]
    page.hasMore = True  # type: ignore[assignment]


async def history(storage: PostgresStorage, entry: AgentHistoryEntry, run: AgentRun) -> None:
    AgentHistoryEntry(status="working")  # type: ignore[call-overload]
    AgentHistoryEntry(agent_id="cook", userid="ada")  # type: ignore[call-overload]
    entry.agentId = "waiter"  # type: ignore[assignment]
    await storage.add_history_entry("h1", "working", "cook")  # type: ignore[arg-type]
    await storage.add_history_step("s1", {}, "h1")  # type: ignore[call-arg]
    await storage.list_history_entries(limit=None)  # type: ignore[arg-type]
    storage.record_run("cook", userId="ada")  # type: ignore[call-arg]
    run.output = object()  # type: ignore[assignment]
    await run.add_step(content="Hi")  # type: ignore[call-arg]


async def conversations(storage: PostgresStorage) -> None:
    await storage.create_conversation("c1")  # type: ignore[arg-type]
    await storage.create_conversation(user_id="ada")  # type: ignore[call-arg]
    await storage.get_conversation(7)  # type: ignore[arg-type]
    await storage.get_user_conversation("c1")  # type: ignore[call-arg]
    await storage.update_conversation("c1", "Engines")  # type: ignore[call-arg]
    await storage.update_conversation("c1", titel="Engines")  # type: ignore[call-arg]
    await storage.update_conversation("c1", resource_id=None)  # type: ignore[arg-type]
    await storage.updateConversation("c1", resource_id="work")  # type: ignore[call-arg]
    await storage.get_conversations_by_user_id(7)  # type: ignore[arg-type]
    await storage.get_conversations_by_user_id("ada", "work")  # type: ignore[call-arg]
    await storage.query_conversations("ada")  # type: ignore[call-arg]
    await storage.query_conversations(userId="ada")  # type: ignore[call-arg]
    await storage.queryConversations(user_id="ada")  # type: ignore[call-arg]
    await storage.query_conversations(order_by="name")  # type: ignore[arg-type]
    await storage.queryConversations(orderBy="updatedAt")  # type: ignore[arg-type]
    await storage.query_conversations(order_direction="descending")  # type: ignore[arg-type]
    await storage.queryConversations(orderDirection=-1)  # type: ignore[arg-type]
    await storage.query_conversations(limit="50")  # type: ignore[arg-type]
    await storage.get_paginated_user_conversations("ada", 1, pageSize=10)  # type: ignore[call-arg]
    await storage.queryconversations()  # type: ignore[attr-defined]
    str((await storage.get_conversation("c1")).title)  # type: ignore[union-attr]
    str(storage.get_conversation("c1").title)  # type: ignore[attr-defined]


async def builder(storage: PostgresStorage) -> None:
    storage.get_user_conversations(7)  # type: ignore[arg-type]
    storage.get_user_conversations("ada").order_by("name")  # type: ignore[arg-type]
    storage.get_user_conversations("ada").orderBy("title", "up")  # type: ignore[arg-type]
    storage.get_user_conversations("ada").limit("20")  # type: ignore[arg-type]
    storage.get_user_conversations("ada").orderby("title")  # type: ignore[attr-defined]
    storage.get_user_conversations("ada").execute().limit(20)  # type: ignore[attr-defined]
    for _ in storage.get_user_conversations("ada"):  # type: ignore[attr-defined]
        pass
    async for _ in storage.query_conversations():  # type: ignore[attr-defined]
        pass


async def shares(storage: PostgresStorage, ada: UserStorage) -> None:
    await storage.share_conversation("c1", "m1")  # type: ignore[call-arg]
    await storage.get_shared_conversation("token", limit=None)  # type: ignore[arg-type]
    await ada.share_conversation("c1", owner="bob")  # type: ignore[call-arg]
    await ada.get_shared_conversation("token")  # type: ignore[attr-defined]


async def messages(storage: PostgresStorage, message: Message) -> None:
    await storage.add_message(message, 7, "c1")  # type: ignore[arg-type]
    await storage.add_message(message, "ada")  # type: ignore[call-arg]
    await storage.add_message("Hello", "ada", "c1")  # type: ignore[arg-type]
    await storage.add_message([message], "ada", "c1")  # type: ignore[arg-type]
    await storage.add_messages(message, "ada", "c1")  # type: ignore[arg-type]
    await storage.addMessage(message, user_id="ada", conversation_id="c1")  # type: ignore[call-arg]
    await storage.get_messages("c1")  # type: ignore[call-arg]
    await storage.get_messages("ada", "c1", 10)  # type: ignore[call-arg]
    await storage.get_messages("ada", "c1", limit="10")  # type: ignore[arg-type]
    await storage.get_messages("ada", "c1", before=20260101)  # type: ignore[arg-type]
    await storage.get_messages("ada", "c1", roles=[1])  # type: ignore[list-item]
    await storage.getMessages("ada", "c1", include_archived=True)  # type: ignore[call-arg]
    await storage.get_conversation_messages("c1", roles=None)  # type: ignore[call-arg]
    await storage.delete_messages([1], "ada", "c1")  # type: ignore[list-item]
    await storage.clear_messages()  # type: ignore[call-arg]


async def memory(storage: PostgresStorage, ada: UserStorage, memory: ConversationMemory, message: Message) -> None:
    storage.conversation()  # type: ignore[call-arg]
    storage.conversation("ada", resource="docs")  # type: ignore[call-arg]
    ada.conversation("ada", "c1")  # type: ignore[call-arg]
    await ada.conversation("c1")  # type: ignore[misc]
    await memory.messages(10)  # type: ignore[call-arg]
    await memory.messages(limit="10")  # type: ignore[arg-type]
    await memory.add(message, "ada")  # type: ignore[call-arg]
    await memory.add("Hello")  # type: ignore[arg-type]
    await memory.add_turn(message)  # type: ignore[arg-type]
    await memory.title(None)  # type: ignore[arg-type]
    await memory.compact("a summary")  # type: ignore[arg-type]
    await memory.compact(lambda messages, before: 7)  # type: ignore[arg-type, return-value]


async def scopes(storage: PostgresStorage, bound: BoundStorage, ada: UserStorage, message: Message) -> None:
    await storage.for_user("ada")  # type: ignore[misc]
    storage.bind(storage)  # type: ignore[arg-type]
    await storage.transaction()  # type: ignore[misc]
    storage.for_user(7)  # type: ignore[arg-type]
    with storage:  # type: ignore[attr-defined]
        pass
    with storage.transaction():  # type: ignore[attr-defined]
        pass
    async with ada:  # type: ignore[attr-defined]
        pass
    await bound.close()  # type: ignore[attr-defined]
    await storage.watch("ada")  # type: ignore[misc]
    storage.watch()  # type: ignore[call-arg]
    ada.watch(user_id="ada")  # type: ignore[call-arg]
    for _ in storage.watch("ada"):  # type: ignore[attr-defined]
        pass
    await ada.add_message(message, "ada", "c1")  # type: ignore[call-arg]
    await ada.get_messages("c1", user_id="grace")  # type: ignore[call-arg]
    await ada.update_conversation("c1", user_id="grace")  # type: ignore[call-arg]
    await ada.pin_conversation("c1", owner="grace")  # type: ignore[call-arg]
    await ada.pin_conversation("c1", pinned="yes")  # type: ignore[arg-type]
    await ada.list_conversations(user_id="grace")  # type: ignore[call-arg]
    await ada.pinConversation("c1")  # type: ignore[attr-defined]
    await storage.pinConversation("c1")  # type: ignore[attr-defined]


def threads(storage: blocking.PostgresStorage, ada: blocking.UserStorage, pool: asyncpg.Pool[asyncpg.Record]) -> None:
    blocking.PostgresStorage(pool=pool)  # type: ignore[call-arg]
    blocking.PostgresStorage(maxConnections=3)  # type: ignore[call-arg]
    blocking.PostgresStorage(on_limit="drop")  # type: ignore[arg-type]
    storage.addMessage({}, "ada", "c1")  # type: ignore[attr-defined]
    storage.bind(pool)  # type: ignore[attr-defined]
    storage.add_message("Hello", "ada", "c1")  # type: ignore[arg-type]
    storage.get_messages("ada", "c1", 10)  # type: ignore[call-arg]
    storage.count_conversations(user=1)  # type: ignore[call-arg]
    ada.update_conversation("c1", user_id="grace")  # type: ignore[call-arg]
    ada.conversation("c1").messages(10)  # type: ignore[call-arg]
    len(storage.get_user_conversations("ada"))  # type: ignore[arg-type]
    storage.transaction().add_message({}, "ada", "c1")  # type: ignore[attr-defined]
    NativeMemory(storage, "ada", "c1")  # type: ignore[arg-type]


async def waited_for(storage: blocking.PostgresStorage) -> None:
    await storage.count_conversations()  # type: ignore[misc]
    async with storage:  # type: ignore[attr-defined]
        pass
    async for _ in storage.get_user_conversations("ada"):  # type: ignore[attr-defined]
        pass

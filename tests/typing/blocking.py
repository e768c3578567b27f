# pyright: strict
"""Uses of voltmem.sync with the resulting types. Read by type checkers, never run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import Any, assert_type

import asyncpg
from pydantic import JsonValue

import voltmem
from voltmem import (
    AgentHistoryEntry,
    AgentHistoryStep,
    Change,
    Conversation,
    ConversationItem,
    ConversationList,
    ConversationPage,
    ImportResult,
    Message,
    SearchResults,
    Share,
    SharedConversation,
    Summary,
    TimelineEvent,
)
from voltmem.importers import from_openai
from voltmem.sync import (
    AgentRun,
    BoundStorage,
    Connection,
    ConversationMemory,
    PostgresStorage,
    RunEvent,
    Storage,
    UserConversations,
    UserStorage,
)


class OurStorage(PostgresStorage):
    """An application's subclass."""


def life() -> None:
    storage = PostgresStorage("postgresql://localhost/app", max_connections=5, on_limit="archive", migrate="check")
    assert_type(PostgresStorage({"host": "localhost", "ssl": True}), PostgresStorage)
    assert_type(storage.open(), None)
    assert_type(storage.upgrade_schema(), list[str])
    assert_type(storage.close(), None)
    with PostgresStorage() as opened:
        assert_type(opened, PostgresStorage)
    with OurStorage(table_prefix="ours") as ours:
        assert_type(ours, OurStorage)


def conversations(storage: Storage, new: Conversation) -> None:
    assert_type(storage.create_conversation(new), Conversation)
    assert_type(storage.ensure_conversation({"id": "c1", "user_id": "ada"}), Conversation)
    assert_type(storage.get_user_conversation("c1", "ada"), Conversation | None)
    assert_type(storage.update_conversation("c1", title=None, metadata={"a": [1]}, touch=False), Conversation)
    assert_type(storage.delete_conversation("c1", owner="ada"), bool)
    assert_type(storage.query_conversations(user_id="ada", order_by="title", order_direction="asc"), list[Conversation])
    assert_type(storage.get_paginated_user_conversations("ada", 2), ConversationPage)
    assert_type(storage.list_conversations("ada", pinned=True), ConversationList)
    assert_type(storage.pin_conversation("c1"), ConversationItem)
    assert_type(storage.search("ada", "coat"), SearchResults)
    assert_type(storage.share_conversation("c1"), Share)
    assert_type(storage.get_shared_conversation("token"), SharedConversation | None)


def builder(storage: Storage) -> None:
    every = storage.get_user_conversations("ada")
    assert_type(every, UserConversations)
    assert_type(every.limit(20).order_by("title", "ASC").offset(5).resource("work"), UserConversations)
    assert_type(every.execute(), list[Conversation])
    assert_type(list(every), list[Conversation])
    for conversation in every.limit(3):
        assert_type(conversation, Conversation)


def messages(storage: Storage, ada: UserStorage, message: Message) -> None:
    assert_type(storage.add_message(message, "ada", "c1"), Message)
    assert_type(storage.add_messages((each for each in [message]), "ada", "c1"), list[Message])
    assert_type(storage.get_messages("ada", "c1", limit=None, roles=["user"]), list[Message])
    assert_type(storage.clear_messages("ada"), int)
    assert_type(ada.add_message({"role": "user", "content": "Hello"}, "c1"), Message)
    assert_type(ada.get_messages("c1"), list[Message])
    assert_type(ada.get_conversations(), UserConversations)


def memory(storage: Storage, ada: UserStorage, message: Message) -> None:
    memory = storage.conversation("ada", "c1", resource_id="docs")
    assert_type(memory, ConversationMemory)
    assert_type(ada.conversation(), ConversationMemory)
    assert_type(memory.conversation_id, str)
    assert_type(memory.add(message), Message)
    assert_type(memory.add_turn([message]), list[Message])
    assert_type(memory.messages(turns=3), list[Message])
    assert_type(memory.exchanges(3), list[tuple[Message, Message]])
    assert_type(memory.compact(lambda messages, before: "a summary"), Summary | None)


def iterators(storage: Storage, ada: UserStorage) -> None:
    assert_type(storage.export_user("ada"), Iterator[str])
    assert_type(storage.watch("ada", poll_interval=5), Generator[Change, None, None])
    for change in ada.watch():
        assert_type(change, Change)
    with closing(ada.watch()) as changes:
        assert_type(next(changes), Change)
    assert_type(storage.import_user("ada", storage.export_user("eve")), ImportResult)
    assert_type(storage.import_user("ada", ["{}", b"{}"]), ImportResult)
    assert_type(storage.import_conversations("ada", from_openai([{"role": "user", "content": "x"}])), ImportResult)


def scopes(storage: PostgresStorage) -> None:
    with storage.transaction() as transaction:
        assert_type(transaction, BoundStorage)
        assert_type(transaction.connection, Connection)
        assert_type(transaction.connection.execute("DELETE FROM orders"), str)
        assert_type(transaction.connection.fetch("SELECT $1::int", 1), list[asyncpg.Record])
        assert_type(transaction.connection.fetchrow("SELECT 1"), asyncpg.Record | None)
        with transaction.transaction() as savepoint:
            assert_type(savepoint, BoundStorage)
    assert_type(storage.for_user("ada"), UserStorage)
    assert_type(storage.for_user("ada").user_id, str)


def recorded(storage: Storage) -> None:
    with storage.record_run("cook", input=["Hi"], user_id="ada") as run:
        assert_type(run, AgentRun)
        assert_type(run.id, str)
        assert_type(run.add_step("text", content="Hi", role="user"), AgentHistoryStep)
        assert_type(run.add_event("memory:read"), TimelineEvent)
        with run.event("tool:search", input={"q": 1}) as event:
            assert_type(event, RunEvent)
            assert_type(event.run, AgentRun)
            event.output = ["a recipe"]
        run.output = {"text": "Hello"}
        assert_type(run.usage, JsonValue)
    assert_type(storage.get_history_entry(run.id), AgentHistoryEntry | None)


def asynchronous_work(storage: PostgresStorage) -> None:
    async def count(asynchronous: voltmem.Storage) -> int:
        return await asynchronous.count_conversations()

    async def status(asynchronous: voltmem.PostgresStorage) -> dict[str, Any]:
        return {each.name: each.applied_at for each in await asynchronous.schema_status()}

    assert_type(storage.run(count), int)
    assert_type(storage.submit(count), Future[int])
    assert_type(storage.run(status), dict[str, Any])

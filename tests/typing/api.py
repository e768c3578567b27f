# pyright: strict
"""Uses of the public API in both spellings, with the resulting types. Read by type checkers, never run."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar, assert_type

import asyncpg
from pydantic import JsonValue

from voltmem import (
    ANY_USER,
    UNSET,
    AgentHistoryEntry,
    AgentHistoryPage,
    AgentHistoryStep,
    AgentRun,
    BoundStorage,
    Change,
    CompactWhen,
    ConnectionOptions,
    Conversation,
    ConversationItem,
    ConversationList,
    ConversationMemory,
    ConversationNotFoundError,
    ConversationPage,
    DatabaseError,
    ImportedConversation,
    ImportResult,
    Memory,
    Message,
    PostgresStorage,
    SchemaNotReadyError,
    SearchResults,
    Share,
    SharedConversation,
    Skipped,
    Storage,
    Summarize,
    Summary,
    TagCount,
    TimelineEvent,
    Unset,
    UserConversations,
    UserStorage,
)
from voltmem.importers import from_chatgpt, from_openai
from voltmem.testing import temporary_storage
from voltmem.tokens import CountTokens, Encoding

MessageT = TypeVar("MessageT", bound=Message)

NOW = datetime.now(UTC)

# --- options ------------------------------------------------------------------------------------------------------

BY_PARTS: ConnectionOptions = {
    "host": "localhost",
    "port": 5432,
    "database": "app",
    "user": "ada",
    "password": "secret",
    "ssl": ssl.create_default_context(),
}


def options(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    assert_type(PostgresStorage(), PostgresStorage)
    PostgresStorage("postgresql://localhost/app")
    PostgresStorage(connection=BY_PARTS)
    PostgresStorage(connection={"host": "localhost", "port": 5432, "ssl": True, "password": None})
    PostgresStorage(pool=pool)
    PostgresStorage(
        max_connections=10,
        table_prefix="app",
        storage_limit=None,
        on_limit="archive",
        schema="memory",
        migrate="check",
        debug=True,
        connect_timeout=5,
        command_timeout=2.5,
        retry_timeout=30.0,
    )
    PostgresStorage(
        "postgresql://localhost/app",
        maxConnections=10,
        tablePrefix="app",
        storageLimit=None,
        schema="memory",
        migrate="auto",
        debug=False,
    )


# --- models -------------------------------------------------------------------------------------------------------


def new_models(conversation: Conversation) -> None:
    Conversation(user_id="ada")
    Conversation(
        id="c1",
        resource_id="work",
        user_id="ada",
        title="Engines",
        metadata={"pinned": True, "tags": ["a", 1, None]},
        created_at=NOW,
        updated_at=NOW,
    )
    Conversation(userId="ada")
    Conversation(
        id="c1",
        resourceId="work",
        userId="ada",
        title=None,
        metadata={"preview": "Hello"},
        createdAt=NOW,
        updatedAt=NOW,
    )
    Message(role="user", content="Hello")
    Message(id="m1", role="tool", content={"answer": 42}, type="tool-result", metadata={"ms": 3}, created_at=NOW)
    Message(id="m1", role="tool", content=["a", 1, None], type="tool-result", metadata={}, createdAt=NOW)
    ConversationPage(conversations=[conversation], page=1, page_size=10, has_more=False)
    ConversationPage(conversations=[conversation], page=1, pageSize=10, hasMore=False)


def models(conversation: Conversation, message: Message, page: ConversationPage) -> None:
    assert_type(conversation.id, str)
    assert_type(conversation.resource_id, str)
    assert_type(conversation.resourceId, str)
    assert_type(conversation.user_id, str)
    assert_type(conversation.userId, str)
    assert_type(conversation.title, str | None)
    assert_type(conversation.metadata, dict[str, JsonValue])
    assert_type(conversation.created_at, datetime)
    assert_type(conversation.createdAt, datetime)
    assert_type(conversation.updated_at, datetime)
    assert_type(conversation.updatedAt, datetime)

    assert_type(message.id, str)
    assert_type(message.role, str)
    assert_type(message.content, JsonValue)
    assert_type(message.text, str)
    assert_type(message.type, str)
    assert_type(message.metadata, dict[str, JsonValue])
    assert_type(message.created_at, datetime)
    assert_type(message.createdAt, datetime)

    assert_type(page.conversations, list[Conversation])
    assert_type(page.page, int)
    assert_type(page.page_size, int)
    assert_type(page.pageSize, int)
    assert_type(page.has_more, bool)
    assert_type(page.hasMore, bool)
    assert_type(page.model_dump(by_alias=True), dict[str, Any])


# --- conversations ------------------------------------------------------------------------------------------------


async def one_conversation(storage: Storage, new: Conversation) -> None:
    assert_type(await storage.create_conversation(new), Conversation)
    assert_type(await storage.create_conversation({"id": "c1", "user_id": "ada"}), Conversation)
    assert_type(await storage.ensure_conversation(new), Conversation)
    assert_type(await storage.get_conversation("c1"), Conversation | None)
    assert_type(await storage.get_user_conversation("c1", "ada"), Conversation | None)
    assert_type(await storage.update_conversation("c1", title=None, touch=False), Conversation)
    assert_type(
        await storage.update_conversation(
            "c1", title="Engines", metadata={"pinned": True}, resource_id="work", user_id="grace", owner="ada"
        ),
        Conversation,
    )
    assert_type(await storage.delete_conversation("c1", owner="ada"), bool)

    assert_type(await storage.createConversation(new), Conversation)
    assert_type(await storage.createConversation({"id": "c1", "userId": "ada"}), Conversation)
    assert_type(await storage.getConversation("c1"), Conversation | None)
    assert_type(await storage.getUserConversation("c1", "ada"), Conversation | None)
    assert_type(await storage.updateConversation("c1", title=None, touch=False), Conversation)
    assert_type(
        await storage.updateConversation(
            "c1", title="Engines", metadata={"pinned": True}, resourceId="work", userId="grace", owner="ada"
        ),
        Conversation,
    )
    assert_type(await storage.deleteConversation("c1", owner="ada"), bool)


async def shares(storage: Storage, ada: UserStorage) -> None:
    share = await storage.share_conversation("c1", up_to="m1", owner="ada")
    assert_type(share, Share)
    assert_type(share.up_to, str | None)
    shown = await storage.get_shared_conversation(share.token, limit=10, after=None)
    assert_type(shown, SharedConversation | None)
    if shown is not None:
        assert_type(shown.messages, list[Message])
    assert_type(await storage.list_shares("ada", conversation_id="c1"), list[Share])
    assert_type(await storage.revoke_share(share.token, owner="ada"), bool)

    assert_type(await ada.share_conversation("c1", up_to="m1"), Share)
    assert_type(await ada.list_shares(), list[Share])
    assert_type(await ada.revoke_share(share.token), bool)


async def out_and_in(
    storage: Storage, conversations: Iterator[ImportedConversation], lines: AsyncIterator[bytes]
) -> None:
    assert_type(storage.export_user("ada"), AsyncIterator[str])
    assert_type(await storage.import_user("ada", storage.export_user("eve")), ImportResult)
    assert_type(await storage.import_user("ada", ["{}", b"{}"]), ImportResult)
    assert_type(await storage.import_user("ada", lines), ImportResult)
    assert_type(await storage.import_conversations("ada", conversations), ImportResult)
    assert_type(await storage.import_conversations("ada", from_chatgpt("[]")), ImportResult)
    assert_type(await storage.import_conversations("ada", from_chatgpt(Path("export.zip"))), ImportResult)
    assert_type(list(from_openai(Path("chats.jsonl"))), list[ImportedConversation | Skipped])
    assert_type([each async for each in from_chatgpt([])], list[ImportedConversation | Skipped])
    assert_type(
        await storage.import_conversations("ada", from_openai([{"role": "user", "content": "x"}])), ImportResult
    )
    assert_type(storage.for_user("ada").export_user(), AsyncIterator[str])
    assert_type(await storage.for_user("ada").import_user([""]), ImportResult)
    assert_type(await storage.for_user("ada").import_conversations(conversations), ImportResult)
    ImportedConversation(title="Coats", messages=[Message(role="user", content="Hello")], created_at=NOW)


async def rename(storage: Storage, title: str | Unset | None = UNSET) -> Conversation:
    """Pass on an argument that may be "not given"."""
    return await storage.update_conversation("c1", title=title)


async def many_conversations(storage: Storage) -> None:
    assert_type(await storage.get_conversations("work"), list[Conversation])
    assert_type(
        await storage.get_conversations_by_user_id(
            "ada", resource_id="work", limit=None, offset=10, order_by="created_at", order_direction="asc"
        ),
        list[Conversation],
    )
    assert_type(
        await storage.query_conversations(
            user_id="ada", resource_id=None, limit=25, offset=0, order_by="title", order_direction="ASC"
        ),
        list[Conversation],
    )
    assert_type(await storage.count_conversations(user_id="ada", resource_id="work"), int)
    assert_type(await storage.get_paginated_user_conversations("ada", page=2, page_size=20), ConversationPage)

    assert_type(await storage.getConversations("work"), list[Conversation])
    assert_type(
        await storage.getConversationsByUserId(
            "ada", resourceId="work", limit=None, offset=10, orderBy="created_at", orderDirection="desc"
        ),
        list[Conversation],
    )
    assert_type(
        await storage.queryConversations(
            userId="ada", resourceId=None, limit=25, offset=0, orderBy="title", orderDirection="DESC"
        ),
        list[Conversation],
    )
    assert_type(await storage.countConversations(userId="ada", resourceId="work"), int)
    assert_type(await storage.getPaginatedUserConversations("ada", page=2, pageSize=20), ConversationPage)


async def builder(storage: Storage) -> None:
    assert_type(storage.get_user_conversations("ada"), UserConversations)
    assert_type(storage.getUserConversations(userId="ada"), UserConversations)
    every = storage.get_user_conversations("ada")
    assert_type(every.limit(20).order_by("title", "ASC").offset(5).resource("work"), UserConversations)
    assert_type(every.resource(None).offset(5).orderBy("updated_at").limit(None), UserConversations)
    assert_type(await every, list[Conversation])
    assert_type(await every.limit(20), list[Conversation])
    assert_type(await every.orderBy("created_at", "DESC").execute(), list[Conversation])
    async for conversation in every.order_by(direction="ASC"):
        assert_type(conversation, Conversation)


# --- an agent's memory --------------------------------------------------------------------------------------------


async def memory(storage: Storage, ada: UserStorage, message: Message, several: Sequence[Message]) -> None:
    memory = storage.conversation("ada", "c1", resource_id="docs")
    assert_type(memory, ConversationMemory)
    assert_type(ada.conversation(), ConversationMemory)
    assert_type(memory.conversation_id, str)
    assert_type(await memory.add(message), Message)
    assert_type(await memory.add({"role": "user", "content": "Hello"}), Message)
    assert_type(await memory.add_turn(several), list[Message])
    assert_type(await memory.add_turn(each for each in several), list[Message])
    assert_type(await memory.messages(), list[Message])
    assert_type(await memory.messages(limit=None), list[Message])
    assert_type(await memory.messages(turns=3), list[Message])
    assert_type(await memory.exchanges(3), list[tuple[Message, Message]])
    assert_type(await memory.title("Named", if_unset=True), Conversation)
    storage.conversation("ada", compact_when=CompactWhen(summarise, tokens=8_000, keep_turns=3))
    ada.conversation(compact_when=CompactWhen(summarise, when=lambda messages: len(messages) > 5))
    assert_type(await memory.compact(summarise, keep_turns=3), Summary | None)
    assert_type(await memory.compact(lambda messages, before: f"{before}{messages[0].text}"), Summary | None)
    assert_type(await memory.clear(), int)


async def summarise(messages: list[Message], before: str | None) -> tuple[str, dict[str, int]]:
    return "a summary", {"input_tokens": len(messages)}


class Notes:
    """A memory implementation of an application."""

    def __init__(self) -> None:
        self._kept: list[Message] = []
        self.conversation_id, self.user_id, self.resource_id = "c1", "ada", "docs"

    async def messages(
        self,
        *,
        limit: int | None = None,
        turns: int | None = None,
        tokens: int | None = None,
        count: Encoding | CountTokens = "o200k",
        shorten_results: int | None = None,
        recall: str | None = None,
    ) -> list[Message]:
        return self._kept

    async def add(self, message: Message | Mapping[str, object]) -> Message:
        self._kept.append(Message.of(message))
        return self._kept[-1]

    async def add_turn(self, messages: Iterable[Message | Mapping[str, object]]) -> list[Message]:
        return [await self.add(message) for message in messages]

    async def compact(self, summarize: Summarize, *, keep_turns: int = 6) -> Summary | None:
        return None

    async def clear(self) -> int:
        self._kept.clear()
        return 0

    async def with_files(self, messages: Sequence[MessageT]) -> list[MessageT]:
        return list(messages)

    async def exchanges(self, limit: int | None = None) -> list[tuple[Message, Message]]:
        return []

    async def title(self, title: str, *, if_unset: bool = False) -> Conversation:
        return Conversation(id=self.conversation_id, user_id=self.user_id, title=title)


async def agent(memory: Memory) -> list[Message]:
    await memory.add({"role": "user", "content": "Hello"})
    return await memory.messages(limit=20)


async def agents(storage: Storage, ada: UserStorage) -> None:
    assert_type(await agent(storage.conversation("ada", "c1")), list[Message])
    assert_type(await agent(ada.conversation("c1")), list[Message])
    assert_type(await agent(Notes()), list[Message])
    memories: list[Memory] = [Notes(), storage.conversation("ada")]
    for memory in memories:
        assert_type(await memory.clear(), int)
        assert_type(await memory.exchanges(3), list[tuple[Message, Message]])
        assert_type(await memory.title("Mine", if_unset=True), Conversation)
        assert_type(memory.conversation_id, str)


# --- messages -----------------------------------------------------------------------------------------------------


async def messages(storage: Storage, message: Message, several: Sequence[Message]) -> None:
    assert_type(await storage.add_message(message, "ada", "c1"), Message)
    assert_type(await storage.add_message({"role": "user", "content": "Hello"}, ANY_USER, "c1"), Message)
    assert_type(await storage.add_messages(several, "ada", "c1"), list[Message])
    assert_type(await storage.add_messages([{"role": "user", "content": "Hello"}, message], "ada", "c1"), list[Message])
    assert_type(await storage.get_messages("ada", "c1"), list[Message])
    assert_type(
        await storage.get_messages(
            ANY_USER,
            conversation_id="c1",
            limit=None,
            before=NOW,
            after=NOW,
            roles=["user", "assistant"],
            types=("text",),
            include_archived=True,
        ),
        list[Message],
    )
    assert_type(
        await storage.get_conversation_messages("c1", limit=50, offset=50, include_archived=True, owner="ada"),
        list[Message],
    )
    assert_type(await storage.delete_messages(["m1"], "ada", "c1"), int)
    assert_type(await storage.clear_messages("ada"), int)
    assert_type(await storage.clear_messages(ANY_USER, "c1"), int)


async def messages_in_camel_case(storage: Storage, message: Message, several: Sequence[Message]) -> None:
    assert_type(await storage.addMessage(message, userId="ada", conversationId="c1"), Message)
    assert_type(await storage.addMessages(several, userId="ada", conversationId="c1"), list[Message])
    assert_type(await storage.getMessages("ada", "c1", limit=10), list[Message])
    assert_type(
        await storage.getMessages(
            ANY_USER,
            conversationId="c1",
            limit=UNSET,
            before=NOW,
            after=NOW,
            roles=["user"],
            types=["text"],
            includeArchived=True,
        ),
        list[Message],
    )
    assert_type(
        await storage.getConversationMessages("c1", limit=50, offset=50, includeArchived=True, owner="ada"),
        list[Message],
    )
    assert_type(await storage.deleteMessages(("m1",), userId="ada", conversationId="c1"), int)
    assert_type(await storage.clearMessages(userId="ada", conversationId=None), int)


# --- agent history ------------------------------------------------------------------------------------------------


def history_models(entry: AgentHistoryEntry, step: AgentHistoryStep, event: TimelineEvent) -> None:
    AgentHistoryEntry(agent_id="cook", user_id="ada", conversation_id="c1", input={"text": "Hi"}, timestamp=NOW)
    AgentHistoryEntry(agentId="cook", userId="ada", conversationId="c1", usage={"totalTokens": 7}, steps=[step])
    AgentHistoryStep(type="tool_call", name="search", arguments={"q": 1}, role="assistant")
    TimelineEvent(type="tool", name="tool:search", start_time=NOW, status_message={"code": 1}, tags=["web"])
    TimelineEvent(type="tool", name="tool:search", startTime=NOW, statusMessage=None, parentEventId="e1")
    AgentHistoryPage(entries=[entry], next_cursor=None, has_more=False)
    AgentHistoryPage(entries=[entry], nextCursor="x", hasMore=True)

    assert_type(entry.agent_id, str)
    assert_type(entry.agentId, str)
    assert_type(entry.userId, str | None)
    assert_type(entry.output, JsonValue)
    assert_type(entry.steps, list[AgentHistoryStep])
    assert_type(entry.events, list[TimelineEvent])
    assert_type(entry.event_tree(), list[tuple[int, TimelineEvent]])
    assert_type(step.content, JsonValue)
    assert_type(step.more, dict[str, JsonValue])
    assert_type(event.startTime, datetime)
    assert_type(event.end_time, datetime | None)
    assert_type(event.tags, list[str] | None)


async def history(storage: Storage, entry: AgentHistoryEntry, step: AgentHistoryStep, event: TimelineEvent) -> None:
    assert_type(await storage.add_history_entry("h1", entry, "cook"), AgentHistoryEntry)
    assert_type(await storage.update_history_entry("h1", {"status": "completed"}, "cook"), AgentHistoryEntry)
    assert_type(await storage.get_history_entry("h1"), AgentHistoryEntry | None)
    assert_type(await storage.get_all_history_entries_by_agent("cook", limit=5, offset=5), list[AgentHistoryEntry])
    assert_type(await storage.list_history_entries(user_id="ada", limit=5, after=None), AgentHistoryPage)
    assert_type(await storage.add_history_step("s1", step, "h1", "cook"), AgentHistoryStep)
    assert_type(await storage.update_history_step("s1", {"content": 1}, "h1", "cook"), AgentHistoryStep)
    assert_type(await storage.get_history_step("s1"), AgentHistoryStep | None)
    assert_type(await storage.add_timeline_event("e1", event, "h1", "cook"), TimelineEvent)

    assert_type(await storage.addHistoryEntry("h1", {"status": "working"}, agentId="cook"), AgentHistoryEntry)
    assert_type(await storage.updateHistoryEntry("h1", entry, agentId="cook"), AgentHistoryEntry)
    assert_type(await storage.getHistoryEntry("h1"), AgentHistoryEntry | None)
    assert_type(await storage.getAllHistoryEntriesByAgent(agentId="cook"), list[AgentHistoryEntry])
    assert_type(await storage.addHistoryStep("s1", step, historyId="h1", agentId="cook"), AgentHistoryStep)
    assert_type(await storage.updateHistoryStep("s1", step, historyId="h1", agentId="cook"), AgentHistoryStep)
    assert_type(await storage.getHistoryStep("s1"), AgentHistoryStep | None)
    assert_type(await storage.addTimelineEvent("e1", event, historyId="h1", agentId="cook"), TimelineEvent)


async def recorded(storage: Storage) -> None:
    async with storage.record_run("cook", input=["Hi"], user_id="ada", conversation_id="c1", id="h1") as run:
        assert_type(run, AgentRun)
        assert_type(run.id, str)
        assert_type(await run.add_step("text", content="Hi", role="user"), AgentHistoryStep)
        assert_type(await run.add_step("tool_call", arguments={"q": 1}), AgentHistoryStep)
        assert_type(await run.add_event("memory:read", type="memory", output=[1]), TimelineEvent)
        assert_type(await run.add_event("memory:read", tags=("fast",)), TimelineEvent)
        async with run.event("tool:search", type="tool", input={"q": 1}) as event:
            event.output = ["a recipe"]
        run.output = {"text": "Hello"}
        run.usage = {"totalTokens": 7}
        run.metadata = None


# --- lifetime and scopes ------------------------------------------------------------------------------------------


class OurStorage(PostgresStorage):
    """An application's subclass."""


async def life() -> None:
    storage = PostgresStorage()
    assert_type(await storage.open(), None)
    assert_type(await storage.upgrade_schema(), list[str])
    assert_type(await storage.close(), None)
    async with PostgresStorage() as opened:
        assert_type(opened, PostgresStorage)
    async with OurStorage(tablePrefix="ours") as ours:
        assert_type(ours, OurStorage)
    async with temporary_storage() as temporary:
        assert_type(temporary, PostgresStorage)
    async with temporary_storage(table_prefix="app", storage_limit=None, on_limit="archive", migrate="auto"):
        pass


async def scopes(storage: PostgresStorage, pool: asyncpg.Pool[asyncpg.Record]) -> None:
    async with storage.transaction() as transaction:
        assert_type(transaction, BoundStorage)
        await transaction.createConversation({"userId": "ada"})
        await transaction.connection.execute("SELECT 1")
        async with transaction.transaction() as savepoint:
            assert_type(savepoint, BoundStorage)
    connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect("postgresql://localhost/app")
    assert_type(storage.bind(connection), BoundStorage)
    async with pool.acquire() as pooled:
        assert_type(await storage.bind(pooled).count_conversations(), int)
    assert_type(storage.for_user("ada"), UserStorage)
    assert_type(storage.bind(connection).for_user("ada"), UserStorage)


async def one_user(ada: UserStorage, new: Conversation, message: Message) -> None:
    assert_type(ada.user_id, str)
    assert_type(await ada.create_conversation({"id": "c1"}), Conversation)
    assert_type(await ada.ensure_conversation(new), Conversation)
    assert_type(await ada.get_conversation("c1"), Conversation | None)
    assert_type(await ada.update_conversation("c1", title="Engines", metadata=None, touch=False), Conversation)
    assert_type(await ada.delete_conversation("c1"), bool)
    assert_type(await ada.query_conversations(limit=5, order_by="title", order_direction="ASC"), list[Conversation])
    assert_type(await ada.count_conversations(resource_id="work"), int)
    assert_type(await ada.get_paginated_conversations(1, 10), ConversationPage)
    assert_type(await ada.get_conversations().limit(3), list[Conversation])
    assert_type(await ada.add_message(message, "c1"), Message)
    assert_type(await ada.add_messages([message], "c1"), list[Message])
    assert_type(await ada.get_messages("c1", limit=10, before=NOW, roles=["user"]), list[Message])
    assert_type(await ada.get_conversation_messages("c1", limit=None, offset=3), list[Message])
    assert_type(await ada.delete_messages(["m1"], "c1"), int)
    assert_type(await ada.clear_messages(), int)
    assert_type(await ada.rewind_conversation("c1", "m1"), int)
    assert_type(await ada.get_last_conversation(resource_id="work"), Conversation | None)
    assert_type(await ada.delete_user(), int)
    async with ada.transaction() as together:
        assert_type(together, UserStorage)


async def sidebar(ada: UserStorage) -> None:
    assert_type(await ada.list_conversations(limit=20, after=None, tag="work", preview=False), ConversationList)
    assert_type(await ada.get_conversation_item("c1"), ConversationItem)
    assert_type(await ada.rename_conversation("c1", "Engines", automatic=True), ConversationItem)
    assert_type(await ada.pin_conversation("c1"), ConversationItem)
    assert_type(await ada.archive_conversation("c1", False), ConversationItem)
    assert_type(await ada.tag_conversation("c1", ["work"]), ConversationItem)
    assert_type(await ada.mark_conversation_read("c1", at=NOW), ConversationItem)
    assert_type(await ada.soft_delete_conversation("c1"), ConversationItem)
    assert_type(await ada.restore_conversation("c1"), ConversationItem)
    assert_type(await ada.list_deleted_conversations(limit=5), list[ConversationItem])
    assert_type(await ada.purge_deleted_conversations(older_than=timedelta(days=30)), int)
    assert_type(await ada.fork_conversation("c1", up_to="m1", id="c2"), Conversation)
    assert_type(await ada.list_tags(), list[TagCount])
    assert_type(await ada.replace_tag("work", None, conversation_ids=["c1"]), list[str])
    assert_type(await ada.search("engines", limit=5, tag="work", before=None), SearchResults)


async def watched(storage: Storage, ada: UserStorage) -> None:
    async for change in storage.watch("ada", poll_interval=5):
        assert_type(change, Change)
        assert_type(change.conversation_id, str | None)
        assert_type(change.conversation, ConversationItem | None)
    async with aclosing(ada.watch(poll_interval=0.5)) as changes:
        assert_type(await anext(changes), Change)


def errors(
    missing: ConversationNotFoundError, refused: DatabaseError, not_ready: SchemaNotReadyError
) -> tuple[str, str | None, list[str]]:
    assert_type(missing.conversation_id, str)
    assert_type(refused.sqlstate, str | None)
    assert_type(not_ready.missing, list[str])
    return missing.conversation_id, refused.sqlstate, not_ready.missing

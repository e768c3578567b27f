"""
VoltAgent's page "PostgreSQL Memory", block by block: what it shows in TypeScript works here, in both spellings.

Each test is named after the section that its block stands in. Where the page has code, its twins in camelCase and
in snake_case stand right above the test that runs them. The section "Schema Migration" is run on VoltAgent's own
databases, in test_voltagent_databases.py.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any, TypedDict, get_type_hints
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import MakeStorage, Numbered
from tests.proxy import Proxy
from voltmem import (
    ConnectionFailedError,
    ConnectionOptions,
    Conversation,
    Message,
    PostgresStorage,
    VoltMemError,
)
from voltmem._voltagent import CamelOptions
from voltmem.testing import drop_schema, temporary_schema_name

if TYPE_CHECKING:
    from tests.conftest import Connection

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def hours(count: int) -> datetime:
    return NEW_YEAR + timedelta(hours=count)


def in_both_spellings(camel: Callable[..., object], snake: Callable[..., object]) -> pytest.MarkDecorator:
    """Run the test with each of a block's twins as its argument *block*."""
    return pytest.mark.parametrize("block", [camel, snake], ids=["camelCase", "snake_case"])


def ids(values: Sequence[Conversation | Message]) -> list[str]:
    return [value.id for value in values]


# --- Configuration ------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that the block reads, for the tests' server: the URL, and its parts where it has them."""
    parts = urlsplit(dsn)
    monkeypatch.setenv("DATABASE_URL", dsn)
    for variable, value in {
        "DB_HOST": parts.hostname,
        "DB_PORT": parts.port,
        "DB_NAME": parts.path.lstrip("/"),
        "DB_USER": parts.username,
        "DB_PASSWORD": parts.password,
    }.items():
        monkeypatch.delenv(variable, raising=False)
        if value:
            monkeypatch.setenv(variable, unquote(str(value)))


def camel_connection_string(schema: str) -> PostgresStorage:
    return PostgresStorage(
        connection=os.environ.get("DATABASE_URL", "postgresql://postgres:password@localhost:5432/mydb"),
        maxConnections=10,
        tablePrefix="voltagent_memory",
        storageLimit=100,
        schema=schema,
    )


def snake_connection_string(schema: str) -> PostgresStorage:
    return PostgresStorage(
        connection=os.environ.get("DATABASE_URL", "postgresql://postgres:password@localhost:5432/mydb"),
        max_connections=10,
        table_prefix="voltagent_memory",
        storage_limit=100,
        schema=schema,
    )


def camel_connection_object(schema: str) -> PostgresStorage:
    return PostgresStorage(
        connection={
            "host": os.environ.get("DB_HOST", "localhost"),
            "port": int(os.environ.get("DB_PORT", "5432")),
            "database": os.environ.get("DB_NAME", "mydb"),
            "user": os.environ.get("DB_USER", "postgres"),
            "password": os.environ.get("DB_PASSWORD"),
            "ssl": os.environ.get("NODE_ENV") == "production",
        },
        maxConnections=10,
        tablePrefix="voltagent_memory",
        storageLimit=100,
        schema=schema,
    )


def snake_connection_object(schema: str) -> PostgresStorage:
    return PostgresStorage(
        connection={
            "host": os.environ.get("DB_HOST", "localhost"),
            "port": int(os.environ.get("DB_PORT", "5432")),
            "database": os.environ.get("DB_NAME", "mydb"),
            "user": os.environ.get("DB_USER", "postgres"),
            "password": os.environ.get("DB_PASSWORD"),
            "ssl": os.environ.get("NODE_ENV") == "production",
        },
        max_connections=10,
        table_prefix="voltagent_memory",
        storage_limit=100,
        schema=schema,
    )


class Agent:
    """What the block hands its storage to."""

    def __init__(self, name: str, memory: PostgresStorage) -> None:
        self.name = name
        self.memory = memory

    async def hear(self, text: str) -> list[Message]:
        await self.memory.ensure_conversation({"id": "c1", "user_id": "ada"})
        await self.memory.add_message({"role": "user", "content": text}, "ada", "c1")
        return await self.memory.get_messages("ada", "c1")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "block",
    [camel_connection_string, snake_connection_string, camel_connection_object, snake_connection_object],
)
async def test_configuration_by_string_or_object_is_an_agents_memory(
    block: Callable[[str], PostgresStorage], schema: str
) -> None:
    """A storage made from a connection string, or from an object with its parts, is ready for an agent as it is."""
    memory = block(schema)
    agent = Agent(name="PostgreSQL Memory Agent", memory=memory)

    heard = await agent.hear("Hello")

    await memory.close()
    assert [message.content for message in heard] == ["Hello"]


@pytest.mark.parametrize(
    ("camel", "snake", "default"),
    [
        ("maxConnections", "max_connections", 10),
        ("tablePrefix", "table_prefix", "voltagent_memory"),
        ("storageLimit", "storage_limit", 100),
        ("debug", "debug", False),
    ],
)
def test_configuration_options_have_the_documented_defaults(camel: str, snake: str, default: object) -> None:
    """PostgresStorageOptions: each option is there in both spellings, is optional, and defaults to what it says."""
    parameters = signature(PostgresStorage).parameters

    assert parameters[snake].default == default
    assert camel in {*CamelOptions.__optional_keys__, *parameters}


def test_configuration_options_of_the_connection_object_are_the_documented_ones() -> None:
    """PostgresStorageOptions: a connection object has host, port, database, user, password and ssl, of these types."""
    kinds = get_type_hints(ConnectionOptions)

    ssl = kinds.pop("ssl")

    assert kinds == {"host": str, "port": int, "database": str, "user": str, "password": str}
    assert bool in ssl.__args__


async def test_configuration_ssl_true_never_falls_back_to_plain_text(proxy: Proxy, schema: str) -> None:
    """ "ssl: true" enables TLS with a verified certificate: a server that cannot show one gets no login."""
    parts = urlsplit(proxy.dsn)
    storage = PostgresStorage({"host": "127.0.0.1", "port": parts.port, "user": "ada", "ssl": True}, schema=schema)

    with pytest.raises(ConnectionFailedError, match=r"SSL upgrade|CERTIFICATE"):
        await storage.open()


@pytest.mark.parametrize(
    "options", [{"maxConnections": 2}, {"max_connections": 2}], ids=lambda options: next(iter(options))
)
async def test_configuration_max_connections_bounds_the_pool(options: Any, proxy: Proxy, schema: str) -> None:
    """Twenty calls at once share the maximum of connections that maxConnections allows."""
    async with PostgresStorage(proxy.dsn, schema=schema, **options) as storage:
        await asyncio.gather(*(storage.get_conversations("chatbot-v1") for _ in range(20)))

        assert proxy.connections == 2


@pytest.mark.parametrize(
    ("options", "kept"),
    [({}, 100), ({"storageLimit": 3}, 3), ({"storage_limit": 3}, 3)],
    ids=["the default", "storageLimit", "storage_limit"],
)
async def test_configuration_storage_limit_is_the_number_of_messages_kept_per_conversation(
    options: Any, kept: int, dsn: str, schema: str, numbered: Numbered
) -> None:
    """Of each conversation the newest messages are retained, as many as storageLimit says, whatever others hold."""
    async with PostgresStorage(dsn, schema=schema, **options) as storage:
        for conversation in ("full", "short"):
            await storage.create_conversation({"id": conversation, "user_id": "user-123"})

        await storage.add_messages([numbered(number) for number in range(kept + 5)], "user-123", "full")
        await storage.add_messages([numbered(number) for number in range(2)], "user-123", "short")

        full = await storage.get_conversation_messages("full", limit=None)
        assert ids(full) == [f"m{number}" for number in range(5, kept + 5)]
        assert ids(await storage.get_conversation_messages("short", limit=None)) == ["m0", "m1"]


# --- Automatic Table Creation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "prefix"),
    [
        ({}, "voltagent_memory"),
        ({"tablePrefix": "assistant"}, "assistant"),
        ({"table_prefix": "assistant"}, "assistant"),
    ],
    ids=["the default", "tablePrefix", "table_prefix"],
)
async def test_automatic_table_creation_makes_the_tables_with_the_configured_prefix(
    options: Any, prefix: str, dsn: str, schema: str, connection: Connection
) -> None:
    """Opening a storage on an empty database makes the five tables, named with the prefix, and no other's."""
    async with PostgresStorage(dsn, schema=schema, **options):
        pass

    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    names = {row["tablename"] for row in rows}
    assert names >= {
        f"{prefix}_messages",
        f"{prefix}_conversations",
        f"{prefix}_agent_history",
        f"{prefix}_agent_history_steps",
        f"{prefix}_agent_history_timeline_events",
    }
    assert all(name.startswith(f"{prefix}_") for name in names)


async def test_automatic_table_creation_leaves_tables_that_exist_as_they_are(make_storage: MakeStorage) -> None:
    """ "If they don't already exist": the next storage finds the first one's tables, with what is in them."""
    await make_storage().create_conversation({"id": "c1", "user_id": "ada"})

    again = make_storage()

    await again.open()
    assert await again.get_conversation("c1") is not None


# --- User-Centric Conversation Management -------------------------------------------------------------------------


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
    """A user's recent conversations, at most 50, come with title and time, the last active first."""
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
    """The builder returns the 20 that were active last; hasMore says whether another page of 10 follows."""
    for number in range(count):
        await storage.create_conversation({"id": f"c{number}", "user_id": "user-123", "updated_at": hours(number)})
    await storage.create_conversation({"id": "other", "user_id": "user-456"})

    recent_chats, line = await block(storage)

    assert ids(recent_chats) == [f"c{number}" for number in reversed(range(count))][:20]
    assert line == f"Page 1 of {pages}"


# --- Querying Conversations ---------------------------------------------------------------------------------------


class Queried(TypedDict):
    """The results of the block's four queries, by its names."""

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
    """A storage whose conversations have another order by each of created_at, updated_at and title."""
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
    """Filters combine, each may be left out, none of them is the admin's view; the order is the one asked for."""
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
    """orderBy is created_at, updated_at or title, orderDirection ASC or DESC; what has no title comes last in both."""
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


# --- Getting Conversation Messages --------------------------------------------------------------------------------


class Batches(TypedDict):
    """The results of the block's first three calls, by its names."""

    messages: list[Message]
    first_batch: list[Message]
    next_batch: list[Message]


async def camel_messages(storage: PostgresStorage) -> Batches:
    return {
        "messages": await storage.getConversationMessages("conversation-456"),
        "first_batch": await storage.getConversationMessages("conversation-456", limit=50, offset=0),
        "next_batch": await storage.getConversationMessages("conversation-456", limit=50, offset=50),
    }


async def snake_messages(storage: PostgresStorage) -> Batches:
    return {
        "messages": await storage.get_conversation_messages("conversation-456"),
        "first_batch": await storage.get_conversation_messages("conversation-456", limit=50, offset=0),
        "next_batch": await storage.get_conversation_messages("conversation-456", limit=50, offset=50),
    }


@pytest.fixture
def long_conversation(make_storage: MakeStorage, numbered: Numbered) -> Callable[[int], Awaitable[PostgresStorage]]:
    """A storage without a limit, with so many messages in conversation-456."""

    async def make(count: int) -> PostgresStorage:
        storage = make_storage(storage_limit=None)
        await storage.create_conversation({"id": "conversation-456", "user_id": "user-123"})
        await storage.add_messages([numbered(number) for number in range(count)], "user-123", "conversation-456")
        return storage

    return make


LongConversation = Callable[[int], Awaitable[PostgresStorage]]


@in_both_spellings(camel_messages, snake_messages)
async def test_getting_conversation_messages_returns_them_from_the_oldest_on(
    block: Callable[[PostgresStorage], Awaitable[Batches]], long_conversation: LongConversation
) -> None:
    """Without options come the first 100 messages; with limit and offset, that part; always the oldest first."""
    storage = await long_conversation(101)

    batches = await block(storage)

    assert ids(batches["messages"]) == [f"m{number}" for number in range(100)]
    assert ids(batches["first_batch"]) == [f"m{number}" for number in range(50)]
    assert ids(batches["next_batch"]) == [f"m{number}" for number in range(50, 100)]


async def camel_batch_loop(storage: PostgresStorage, process_batch: Callable[[list[Message]], None]) -> None:
    batch_size = 100
    offset = 0
    has_more = True
    while has_more:
        batch = await storage.getConversationMessages("conversation-456", limit=batch_size, offset=offset)
        process_batch(batch)
        has_more = len(batch) == batch_size
        offset += batch_size


async def snake_batch_loop(storage: PostgresStorage, process_batch: Callable[[list[Message]], None]) -> None:
    batch_size = 100
    offset = 0
    has_more = True
    while has_more:
        batch = await storage.get_conversation_messages("conversation-456", limit=batch_size, offset=offset)
        process_batch(batch)
        has_more = len(batch) == batch_size
        offset += batch_size


@in_both_spellings(camel_batch_loop, snake_batch_loop)
@pytest.mark.parametrize(("count", "sizes"), [(0, [0]), (99, [99]), (100, [100, 0]), (250, [100, 100, 50])], ids=str)
async def test_getting_conversation_messages_in_batches_meets_each_once(
    block: Callable[..., Awaitable[None]], count: int, sizes: list[int], long_conversation: LongConversation
) -> None:
    """The loop that goes on while a batch is full ends, and has processed every message once, in order."""
    storage = await long_conversation(count)
    batches: list[list[Message]] = []

    def process_batch(batch: list[Message]) -> None:
        batches.append(batch)
        assert len(batches) <= len(sizes), "the loop does not end"

    await block(storage, process_batch)

    assert [len(batch) for batch in batches] == sizes
    assert ids([message for batch in batches for message in batch]) == [f"m{number}" for number in range(count)]


async def test_getting_conversation_messages_is_chronological_whatever_the_order_of_adding(
    storage: PostgresStorage, numbered: Numbered
) -> None:
    """Messages are returned in chronological order (oldest first) for natural conversation flow."""
    await storage.create_conversation({"id": "conversation-456", "user_id": "user-123"})
    for number in (2, 0, 1):
        await storage.add_message({**numbered(number), "createdAt": hours(number)}, "user-123", "conversation-456")

    messages = await storage.get_conversation_messages("conversation-456")

    assert ids(messages) == ["m0", "m1", "m2"]


# --- Schema Changes -----------------------------------------------------------------------------------------------

DOCUMENTED_SQL = """
CREATE TABLE voltagent_memory_conversations (
  id TEXT PRIMARY KEY,
  resource_id TEXT NOT NULL,
  user_id TEXT NOT NULL,  -- NEW: Associates conversation with user
  title TEXT,
  metadata JSONB,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE voltagent_memory_messages (
  conversation_id TEXT NOT NULL REFERENCES voltagent_memory_conversations(id) ON DELETE CASCADE,
  message_id TEXT NOT NULL,
  -- user_id REMOVED: Now derived through conversation relationship
  role TEXT NOT NULL,
  content TEXT NOT NULL,
  type TEXT NOT NULL,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  PRIMARY KEY (conversation_id, message_id)
);

-- Optimized indexes for user-centric queries
CREATE INDEX idx_conversations_user ON voltagent_memory_conversations(user_id);
CREATE INDEX idx_conversations_resource ON voltagent_memory_conversations(resource_id);
CREATE INDEX idx_messages_lookup ON voltagent_memory_messages(conversation_id, created_at);
"""
"""The three SQL blocks as they stand in the document."""

CONVERSATIONS, MESSAGES = "voltagent_memory_conversations", "voltagent_memory_messages"
both_tables = pytest.mark.parametrize("table", [CONVERSATIONS, MESSAGES])


@pytest.fixture
async def documented(connection: Connection) -> AsyncIterator[str]:
    """A schema with the tables and indexes that PostgreSQL makes of the document's SQL."""
    name = temporary_schema_name()
    async with connection.transaction():
        await connection.execute(f"CREATE SCHEMA {name}; SET LOCAL search_path = {name}; {DOCUMENTED_SQL}")
    yield name
    await drop_schema(name)


async def columns_of(connection: Connection, schema: str, table: str) -> dict[str, tuple[str, str, str | None]]:
    """Type, nullability and default of each column."""
    rows = await connection.fetch(
        """
        SELECT column_name, data_type, is_nullable, column_default
        FROM information_schema.columns
        WHERE table_schema = $1 AND table_name = $2""",
        schema,
        table,
    )
    return {name: (kind, nullable, default) for name, kind, nullable, default in rows}


async def keys_of(connection: Connection, schema: str, table: str) -> set[str]:
    """The definitions of the primary key and of the foreign keys, without the schema's name."""
    rows = await connection.fetch(
        """
        SELECT pg_get_constraintdef(oid) AS definition
        FROM pg_constraint
        WHERE conrelid = format('%I.%I', $1::text, $2::text)::regclass AND contype IN ('p', 'f')""",
        schema,
        table,
    )
    return {row["definition"].replace(f"{schema}.", "") for row in rows}


async def indexes_of(connection: Connection, schema: str, table: str) -> dict[str, list[str]]:
    """The columns of each index that is whole (no WHERE) and is not the primary key's."""
    rows = await connection.fetch(
        """
        SELECT indexrelid::regclass::text AS name,
            ARRAY(
                SELECT pg_get_indexdef(indexrelid, position, true)
                FROM generate_series(1, indnkeyatts) AS position
                ORDER BY position) AS columns
        FROM pg_index
        WHERE indrelid = format('%I.%I', $1::text, $2::text)::regclass
            AND NOT indisprimary AND indisvalid AND indpred IS NULL""",
        schema,
        table,
    )
    return {row["name"]: row["columns"] for row in rows}


@both_tables
async def test_new_schema_has_the_documented_columns(
    table: str, documented: str, storage: PostgresStorage, schema: str, connection: Connection
) -> None:
    """Each documented column has its type, nullability and default; what is more never stands in a writer's way."""
    expected = await columns_of(connection, documented, table)

    columns = await columns_of(connection, schema, table)

    assert expected
    assert {name: columns.get(name) for name in expected} == expected
    added = {name: column for name, column in columns.items() if name not in expected}
    assert all(nullable == "YES" or default is not None for _, nullable, default in added.values()), added
    assert "user_id" not in added


@both_tables
async def test_new_schema_has_the_documented_keys(
    table: str, documented: str, storage: PostgresStorage, schema: str, connection: Connection
) -> None:
    """Primary and foreign keys are the documented ones, ON DELETE CASCADE included, and no others."""
    expected = await keys_of(connection, documented, table)

    keys = await keys_of(connection, schema, table)

    assert expected
    assert keys == expected


@both_tables
async def test_indexes_lead_with_the_documented_columns(
    table: str, documented: str, storage: PostgresStorage, schema: str, connection: Connection
) -> None:
    """Each documented index has a twin that begins with the same columns in the same order."""
    expected = await indexes_of(connection, documented, table)

    indexes = await indexes_of(connection, schema, table)

    # Every read of ours holds "archived" constant (NOT archived), so behind it the order is that of the document's.
    searched = [[column for column in columns if column != "archived"] for columns in indexes.values()]
    assert expected
    for name, columns in expected.items():
        assert any(each[: len(columns)] == columns for each in searched), f"{name}: {columns} not in {indexes}"


async def test_new_schema_takes_and_gives_rows_with_the_documented_columns_alone(
    storage: PostgresStorage, schema: str, connection: Connection
) -> None:
    """What another program writes with the document's columns is read, and what is stored is read by it."""
    await connection.execute(
        f"INSERT INTO {schema}.{CONVERSATIONS} (id, resource_id, user_id) VALUES ('c1', 'chatbot-v1', 'user-123')"
    )
    await connection.execute(
        f"""
        INSERT INTO {schema}.{MESSAGES} (conversation_id, message_id, role, content, type, created_at)
        VALUES ('c1', 'theirs', 'user', 'Hello', 'text', $1)""",
        hours(0),
    )

    await storage.addMessage({"id": "ours", "role": "assistant", "content": "Hi"}, "user-123", "c1")

    assert ids(await storage.getMessages("user-123", "c1")) == ["theirs", "ours"]
    rows = await connection.fetch(f"SELECT role, content, type FROM {schema}.{MESSAGES} ORDER BY created_at")
    assert [tuple(row) for row in rows] == [("user", "Hello", "text"), ("assistant", "Hi", "text")]


async def test_new_schema_deletes_a_conversations_messages_with_it(
    storage: PostgresStorage, schema: str, connection: Connection, numbered: Numbered
) -> None:
    """ON DELETE CASCADE: no message outlives its conversation, and no other conversation loses one."""
    for id in ("c1", "c2"):
        await storage.create_conversation({"id": id, "user_id": "user-123"})
        await storage.add_message(numbered(1), "user-123", id)

    await connection.execute(f"DELETE FROM {schema}.{CONVERSATIONS} WHERE id = 'c1'")

    left = await connection.fetch(f"SELECT conversation_id FROM {schema}.{MESSAGES}")
    assert [row["conversation_id"] for row in left] == ["c2"]


# --- Examples: Multi-Tenant Application ---------------------------------------------------------------------------


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
    """Each user only sees their own conversations, and all of them."""
    for user, count in (("user-a", 2), ("user-b", 3)):
        for number in range(count):
            await storage.create_conversation({"user_id": user, "title": f"{user} {number}"})

    user_a, user_b = await block(storage)

    assert sorted(str(conversation.title) for conversation in user_a) == ["user-a 0", "user-a 1"]
    assert sorted(str(conversation.title) for conversation in user_b) == ["user-b 0", "user-b 1", "user-b 2"]


# --- Examples: Conversation Management UI -------------------------------------------------------------------------


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
    """Twenty to a page, with title, time and preview, or what stands in for them; hasMore until the last page."""
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
    """A user who clicks on a conversation of theirs gets it with its messages."""
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
    """Another user's conversation and one that does not exist look the same."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    with pytest.raises(LookupError, match="not found or access denied"):
        await block(storage, conversation_id, user_id)


# --- Examples: Analytics and Reporting ----------------------------------------------------------------------------


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
    """Times can be compared with now, messages counted per conversation, and a user without any has zeros."""
    now = datetime.now(UTC)
    for id, age, count in (("new", 1, 3), ("empty", 6, 0), ("old", 8, 2)):
        await storage.create_conversation({"id": id, "user_id": "ada", "created_at": now - timedelta(days=age)})
        await storage.add_messages([numbered(number) for number in range(count)], "ada", id)

    stats, of_nobody = await block(storage, "ada"), await block(storage, "nobody")

    assert stats == {"totalConversations": 3, "thisWeek": 2, "averageMessagesPerConversation": 5 / 3}
    assert of_nobody == {"totalConversations": 0, "thisWeek": 0, "averageMessagesPerConversation": 0}


# --- Error Handling -----------------------------------------------------------------------------------------------


async def camel_error_handling(
    storage: PostgresStorage, message: Mapping[str, object], user_id: str, conversation_id: str
) -> str:
    try:
        await storage.addMessage(message, user_id, conversation_id)
    except VoltMemError as error:
        if "foreign key constraint" in str(error):
            return "Conversation does not exist"
        return f"Database error: {error}"
    return "stored"


async def snake_error_handling(
    storage: PostgresStorage, message: Mapping[str, object], user_id: str, conversation_id: str
) -> str:
    try:
        await storage.add_message(message, user_id, conversation_id)
    except VoltMemError as error:
        if "foreign key constraint" in str(error):
            return "Conversation does not exist"
        return f"Database error: {error}"
    return "stored"


ErrorHandling = Callable[[PostgresStorage, Mapping[str, object], str, str], Awaitable[str]]


@in_both_spellings(camel_error_handling, snake_error_handling)
@pytest.mark.parametrize(
    ("user_id", "conversation_id", "told"),
    [
        ("ada", "c1", "stored"),
        ("ada", "c2", "Conversation does not exist"),
        ("grace", "c1", "Conversation does not exist"),
    ],
)
async def test_error_handling_tells_a_missing_conversation_by_its_words(
    block: ErrorHandling, user_id: str, conversation_id: str, told: str, storage: PostgresStorage, numbered: Numbered
) -> None:
    """A handler that looks for "foreign key constraint" in the message recognises a conversation that is not there."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    answer = await block(storage, numbered(1), user_id, conversation_id)

    assert answer == told
    assert len(await storage.get_conversation_messages("c1")) == (1 if told == "stored" else 0)


@in_both_spellings(camel_error_handling, snake_error_handling)
async def test_error_handling_tells_other_errors_apart(
    block: ErrorHandling, make_storage: MakeStorage, numbered: Numbered
) -> None:
    """An error of the database itself has no "foreign key constraint" in it."""
    nowhere = make_storage("postgresql://ada@127.0.0.1:1/nowhere")

    answer = await block(nowhere, numbered(1), "ada", "c1")

    assert answer.startswith("Database error: cannot reach PostgreSQL")

"""VoltAgent's document on PostgreSQL memory: configuration and the tables it creates."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import MakeStorage, Numbered
from tests.document.spellings import ids
from tests.proxy import Proxy
from voltmem import ConnectionFailedError, ConnectionOptions, Message, PostgresStorage
from voltmem._values import UNSET
from voltmem._voltagent import CamelOptions

if TYPE_CHECKING:
    from tests.conftest import Connection


# --- Configuration ---------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that the block reads, for the tests' server: the URL, and its parts if it has them."""
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
    """The agent that the block passes its storage to."""

    def __init__(self, name: str, memory: PostgresStorage) -> None:
        self.name = name
        self.memory = memory

    async def remember(self, text: str) -> list[Message]:
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
    """A storage made from a connection string or object works as an agent's memory."""
    memory = block(schema)
    agent = Agent(name="PostgreSQL Memory Agent", memory=memory)

    answer = await agent.remember("Hello")

    await memory.close()
    assert [message.content for message in answer] == ["Hello"]


@pytest.mark.parametrize(
    ("camel", "snake", "default"),
    [
        ("maxConnections", "max_connections", 10),
        ("tablePrefix", "table_prefix", "voltagent_memory"),
        ("storageLimit", "storage_limit", UNSET),  # 100, but not in tables of VoltAgent 1 and 2, which have no limit
        ("debug", "debug", False),
    ],
)
def test_configuration_options_have_the_documented_defaults(camel: str, snake: str, default: object) -> None:
    """PostgresStorageOptions: each option exists in both spellings, is optional, and has the documented default."""
    parameters = signature(PostgresStorage).parameters

    assert parameters[snake].default == default
    assert PostgresStorage()._options.storage_limit == 100
    assert camel in {*CamelOptions.__optional_keys__, *parameters}


def test_configuration_options_of_the_connection_object_are_the_documented_ones() -> None:
    """
    A connection object of PostgresStorageOptions has host, port, database, user, password and ssl, of these types.

    Beside them it has libpq's parameters of the socket, which are ours.
    """
    kinds = get_type_hints(ConnectionOptions)

    ssl = kinds.pop("ssl")
    sockets = {name: kinds.pop(name) for name in ("keepalives", "tcp_user_timeout")}
    sockets |= {name: kinds.pop(name) for name in ("keepalives_idle", "keepalives_interval", "keepalives_count")}

    assert kinds == {"host": str, "port": int, "database": str, "user": str, "password": str}
    assert set(sockets.values()) == {int}
    assert bool in ssl.__args__


async def test_configuration_ssl_true_never_falls_back_to_plain_text(proxy: Proxy, schema: str) -> None:
    """ "ssl: true" enables TLS with a verified certificate: a server without one gets no login."""
    parts = urlsplit(proxy.dsn)
    storage = PostgresStorage({"host": "127.0.0.1", "port": parts.port, "user": "ada", "ssl": True}, schema=schema)

    with pytest.raises(ConnectionFailedError, match=r"SSL upgrade|CERTIFICATE"):
        await storage.open()


@pytest.mark.parametrize(
    "options", [{"maxConnections": 2}, {"max_connections": 2}], ids=lambda options: next(iter(options))
)
async def test_configuration_max_connections_bounds_the_pool(options: Any, proxy: Proxy, schema: str) -> None:
    """Twenty concurrent calls share at most maxConnections connections."""
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
    """Each conversation keeps its newest storageLimit messages, independent of others."""
    async with PostgresStorage(dsn, schema=schema, **options) as storage:
        for conversation in ("full", "short"):
            await storage.create_conversation({"id": conversation, "user_id": "user-123"})

        await storage.add_messages([numbered(number) for number in range(kept + 5)], "user-123", "full")
        await storage.add_messages([numbered(number) for number in range(2)], "user-123", "short")

        full = await storage.get_conversation_messages("full", limit=None)
        assert ids(full) == [f"m{number}" for number in range(5, kept + 5)]
        assert ids(await storage.get_conversation_messages("short", limit=None)) == ["m0", "m1"]


# --- Automatic Table Creation ----------------------------------------------------------------------------------------


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
    """Opening a storage on an empty database creates the five tables with the prefix."""
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
    """ "If they don't already exist": a second storage uses the existing tables with their rows."""
    await make_storage().create_conversation({"id": "c1", "user_id": "ada"})

    again = make_storage()

    await again.open()
    assert await again.get_conversation("c1") is not None

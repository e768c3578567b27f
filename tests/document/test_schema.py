"""VoltAgent's document: the columns, keys and indexes of its schema."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Numbered
from tests.document.spellings import hours, ids
from voltmem import PostgresStorage
from voltmem.testing import drop_schema, temporary_schema_name

if TYPE_CHECKING:
    from tests.conftest import Connection

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
"""The three SQL blocks of the document."""

CONVERSATIONS, MESSAGES = "voltagent_memory_conversations", "voltagent_memory_messages"
both_tables = pytest.mark.parametrize("table", [CONVERSATIONS, MESSAGES])


@pytest.fixture
async def documented(connection: Connection) -> AsyncIterator[str]:
    """A schema with the tables and indexes of the document's SQL."""
    name = temporary_schema_name()
    async with connection.transaction():
        await connection.execute(f"CREATE SCHEMA {name}; SET LOCAL search_path = {name}; {DOCUMENTED_SQL}")
    yield name
    await drop_schema(name)


async def columns_of(connection: Connection, schema: str, table: str) -> dict[str, tuple[str, str, str | None]]:
    """Return type, nullability and default of each column."""
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
    """Return the definitions of the primary key and of the foreign keys, without the schema's name."""
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
    """Return the columns of each index, without partial indexes and the primary key's."""
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
    """Each documented column has its type, nullability and default; other columns do not hinder a writer."""
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
    """Primary and foreign keys are exactly the documented ones, ON DELETE CASCADE included."""
    expected = await keys_of(connection, documented, table)

    keys = await keys_of(connection, schema, table)

    assert expected
    assert keys == expected


@both_tables
async def test_indexes_lead_with_the_documented_columns(
    table: str, documented: str, storage: PostgresStorage, schema: str, connection: Connection
) -> None:
    """For each documented index there is one that begins with the same columns in the same order."""
    expected = await indexes_of(connection, documented, table)

    indexes = await indexes_of(connection, schema, table)

    # Every query of a line has constants for "archived" and "aside", so the order after them is the document's.
    searched = [[column for column in columns if column not in ("archived", "aside")] for columns in indexes.values()]
    assert expected
    for name, columns in expected.items():
        assert any(each[: len(columns)] == columns for each in searched), f"{name}: {columns} not in {indexes}"


async def test_new_schema_takes_and_gives_rows_with_the_documented_columns_alone(
    storage: PostgresStorage, schema: str, connection: Connection
) -> None:
    """Rows with only the documented columns are read, and stored rows can be read by them."""
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
    """ON DELETE CASCADE: messages are deleted with their conversation, and only those."""
    for id in ("c1", "c2"):
        await storage.create_conversation({"id": id, "user_id": "user-123"})
        await storage.add_message(numbered(1), "user-123", id)

    await connection.execute(f"DELETE FROM {schema}.{CONVERSATIONS} WHERE id = 'c1'")

    left = await connection.fetch(f"SELECT conversation_id FROM {schema}.{MESSAGES}")
    assert [row["conversation_id"] for row in left] == ["c2"]

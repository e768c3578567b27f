"""Every earlier state of our own schema becomes the current one, with the rows that are in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from voltmem._postgres.migrations import migrations
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

KNOWN = migrations()
ALL = [migration.name for migration in KNOWN]
RELEASED = range(3, len(ALL))


async def database_at(connection: Connection, schema: str, count: int) -> None:
    """Make the schema as the first so many migrations left it, and the ledger with them."""
    tables = Tables(schema, "voltagent_memory")
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.execute(
        f"CREATE TABLE {tables.migrations} ("
        "name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    for migration in KNOWN[:count]:
        for statement in migration.statements(tables):
            await connection.execute(statement)
        await connection.execute(f"INSERT INTO {tables.migrations} VALUES ($1, $2)", migration.name, migration.checksum)


async def fill(connection: Connection, schema: str, count: int) -> None:
    """Add rows as the release of that time did: by its append function, and to the tables it had."""
    tables = Tables(schema, "voltagent_memory")
    await connection.execute(
        f"INSERT INTO {tables.conversations} (id, resource_id, user_id, title, metadata) "
        "VALUES ('c1', 'docs', 'ada', 'One', '{\"n\": 1}')"
    )
    contents = ["hello", '[1, "typed by a person"]', '{"a": 1}', '[{"type": "text", "text": "typed"}]', "", "[half"]
    as_json = [json.dumps(text) if count >= 7 and text[:1] in ("[", "{") else None for text in contents]
    texts, jsons = [*contents, "parts"], [*as_json, '["parts"]']
    types = ["text", "text", "tool-call", "text", "text", "tool-result", "text"]
    await connection.execute(
        f"SELECT {tables.schema}.{tables.prefix}_append($1, $2, $3, $4, $5, $6, $7, $8, $9, 100, false)",
        ["c1"] * 7,
        ["ada"] * 7,
        [f"m{number}" for number in range(7)],
        ["user"] * 7,
        texts,
        jsons,
        types,
        [None] * 7,
        [None] * 7,
    )


@pytest.mark.parametrize("count", RELEASED, ids=[ALL[count - 1] for count in RELEASED])
async def test_every_released_state_is_upgraded_with_its_rows(
    make_storage: MakeStorage, connection: Connection, schema: str, count: int
) -> None:
    """What was stored is read as it was, text that looks like JSON included, and the database is a current one."""
    await database_at(connection, schema, count)
    await fill(connection, schema, count)
    storage = make_storage()

    done = await storage.upgrade_schema()

    read = await storage.get_messages("ada", "c1")
    conversation = await storage.get_user_conversation("c1", "ada")
    assert done == ALL[count:]
    assert [(message.id, message.content) for message in read] == [
        ("m0", "hello"),
        ("m1", '[1, "typed by a person"]'),
        ("m2", '{"a": 1}'),
        ("m3", '[{"type": "text", "text": "typed"}]'),
        ("m4", ""),
        ("m5", "[half"),
        ("m6", ["parts"]),
    ]
    assert conversation is not None
    assert (conversation.title, conversation.metadata) == ("One", {"n": 1})
    await storage.add_message({"id": "m7", "role": "user", "content": "[new]"}, "ada", "c1")
    assert (await storage.get_messages("ada", "c1"))[-1].content == "[new]"


async def test_what_was_said_before_there_were_marks_counts_as_read(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """No list begins with all of it unread; no row is written for it; what is said from then on is unread."""
    await database_at(connection, schema, ALL.index("0010_sidebar"))
    await fill(connection, schema, ALL.index("0010_sidebar"))
    tables = Tables(schema, "voltagent_memory")
    await connection.execute(f"UPDATE {tables.messages} SET role = 'assistant'")
    rows = f"SELECT id, ctid, xmin::text FROM {tables.conversations}"
    before = await connection.fetch(rows)
    storage = make_storage()

    (item,) = (await storage.list_conversations("ada")).items

    assert not item.unread
    assert await connection.fetch(rows) == before
    await storage.add_message({"role": "assistant", "content": "new"}, "ada", "c1")
    await storage.conversation("ada", "c2").add({"role": "assistant", "content": "new"})
    assert [item.unread for item in (await storage.list_conversations("ada")).items] == [True, True]


@pytest.mark.parametrize("count", range(len(ALL)), ids=["nothing", *ALL[:-1]])
async def test_every_way_leads_to_the_same_schema(
    make_storage: MakeStorage, connection: Connection, schema: str, count: int
) -> None:
    """Whatever it began with, an upgraded database has the columns, indexes, functions and triggers of a new one."""
    await database_at(connection, schema, count)
    await make_storage().open()
    # As long as the other: PostgreSQL shortens the names of constraints as it likes.
    await make_storage(table_prefix="voltagent_newest").open()

    assert await looks(connection, schema, "voltagent_memory") == await looks(connection, schema, "voltagent_newest")


async def test_every_migration_bears_being_repeated(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """All statements may be run again on the schema that they made: a migration that was not recorded is."""
    await make_storage().open()
    before = await looks(connection, schema, "voltagent_memory")
    await connection.execute(f"DELETE FROM {schema}.voltagent_memory_migrations")

    assert await make_storage().upgrade_schema() == ALL
    assert await looks(connection, schema, "voltagent_memory") == before


async def looks(connection: Connection, schema: str, prefix: str) -> list[str]:
    """Return all columns, indexes, constraints, functions and triggers of a prefix, without it."""
    rows = await connection.fetch(
        """
        SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default) AS look
        FROM information_schema.columns WHERE table_schema = $1 AND table_name LIKE $2
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = $1 AND tablename LIKE $2
        UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = $1::text::regnamespace AND conname LIKE $2
        UNION ALL SELECT proname || prosrc FROM pg_proc
            WHERE pronamespace = $1::text::regnamespace AND proname LIKE $2
        UNION ALL SELECT pg_get_triggerdef(t.oid) FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid
            WHERE relnamespace = $1::text::regnamespace AND relname LIKE $2 AND NOT tgisinternal""",
        schema,
        f"{prefix}%",
    )
    return sorted(row["look"].replace(prefix, "") for row in rows)

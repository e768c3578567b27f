"""Every start of an upgrade leads to the schema of a new database, and keeps its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import pytest

from tests.catalog import catalog, ledger
from tests.starts import ADOPTED, STARTS, UNRELEASED, begin
from voltmem._postgres.migrations import voltagent
from voltmem._postgres.migrations.files import migrations
from voltmem._postgres.schema import script
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

ALL = [migration.name for migration in migrations()]
# As long as the other prefix, since PostgreSQL shortens the names of constraints.
PREFIX, NEW_PREFIX = "voltagent_memory", "voltagent_newest"

# How a VoltAgent database differs from a new one: columns with another default, or that may be NULL.
TIMES: Final = {"_conversations.created_at", "_conversations.updated_at", "_messages.created_at"}
CONTENT: Final = {"_messages.content", "_messages.type"}
DIFFERENT: Final[Mapping[str, set[str]]] = {
    "0.1.0": TIMES | {"_agent_history.timestamp"},
    "0.1.7": TIMES | {"_agent_history.timestamp"},
    "1.0.0": TIMES | {"_agent_history.timestamp"} | CONTENT,
    "2.1.2": TIMES | {"_conversations.metadata"} | CONTENT,
}
# What an upgrade adds or changes in it that no new database has.
ADDED: Final[Mapping[str, set[str]]] = {"1.0.0": {"_messages.user_id"}, "2.1.2": {"_messages.user_id"} | CONTENT}


@pytest.fixture
def tables(schema: str) -> Tables:
    return Tables(schema, PREFIX)


async def new_catalog(make_storage: MakeStorage, connection: Connection, schema: str, *, positions: bool) -> list[str]:
    """Return the catalog of a database that was empty."""
    await make_storage(table_prefix=NEW_PREFIX).open()
    return await catalog(connection, Tables(schema, NEW_PREFIX), positions=positions)


def names_of_columns(lines: set[str]) -> set[str]:
    assert all(line.startswith("column ") for line in lines), lines
    return {line.removeprefix("column ").partition(":")[0] for line in lines}


@pytest.mark.parametrize("start", ["empty", UNRELEASED])
async def test_our_own_tables_become_those_of_a_new_database(
    make_storage: MakeStorage, connection: Connection, tables: Tables, start: str
) -> None:
    """Tables of older voltmem versions become those of a new database, with an equal catalog and order of columns."""
    await begin(start, connection, tables)

    await make_storage().open()

    new = await new_catalog(make_storage, connection, tables.schema, positions=True)
    assert await catalog(connection, tables) == new
    assert await ledger(connection, tables) == await ledger(connection, Tables(tables.schema, NEW_PREFIX))


@pytest.mark.parametrize("start", STARTS)
async def test_every_start_leads_to_the_schema_of_a_new_database(
    make_storage: MakeStorage, connection: Connection, tables: Tables, start: str
) -> None:
    """VoltAgent's tables become those of a new database; only the order of columns may differ."""
    await begin(start, connection, tables)
    before = set(await catalog(connection, tables, positions=False))

    await make_storage().open()

    new = set(await new_catalog(make_storage, connection, tables.schema, positions=False))
    after = set(await catalog(connection, tables, positions=False))
    added = {line for line in after - before - new if "_backup" not in line}
    assert names_of_columns(added) == ADDED.get(start, set())
    assert names_of_columns(new - after) == DIFFERENT.get(start, set())


@pytest.mark.parametrize("start", STARTS)
async def test_the_printed_script_makes_what_opening_makes(
    make_storage: MakeStorage, connection: Connection, tables: Tables, start: str
) -> None:
    """From every start, the printed script leads to the same catalog and ledger as opening, also when repeated."""
    await begin(start, connection, tables)
    await make_storage().open()
    # What only opening does: showing VoltAgent the messages that it could not read.
    await connection.execute(f"DELETE FROM {tables.migrations} WHERE name = $1", voltagent.MESSAGES)
    opened = [*await catalog(connection, tables), *await ledger(connection, tables)]
    await connection.execute(f"DROP SCHEMA {tables.schema} CASCADE")
    await begin(start, connection, tables)

    for _ in range(2):
        await connection.execute(script(tables))

        assert [*await catalog(connection, tables), *await ledger(connection, tables)] == opened
    await make_storage(migrate="check").open()
    assert set(await make_storage(migrate="check").upgrade_schema()) <= {voltagent.MESSAGES}


async def test_every_migration_can_be_repeated(
    make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """All statements of a migration can be repeated on the schema that they made, since its record may be missing."""
    await make_storage().open()
    before = await catalog(connection, tables)
    await connection.execute(f"DELETE FROM {tables.migrations}")

    assert await make_storage().upgrade_schema() == ALL
    assert await catalog(connection, tables) == before


async def test_what_was_said_before_there_were_marks_counts_as_read(
    make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """Existing conversations count as read, without a write to their rows; later messages are unread."""
    await begin(ADOPTED, connection, tables)
    rows = f"SELECT id, ctid, xmin::text FROM {tables.conversations}"
    before = await connection.fetch(rows)
    storage = make_storage()

    (item,) = (await storage.list_conversations("ada")).items

    assert not item.unread
    assert await connection.fetch(rows) == before
    await storage.add_message({"role": "assistant", "content": "new"}, "ada", "c1")
    await storage.conversation("ada", "c2").add({"role": "assistant", "content": "new"})
    assert [item.unread for item in (await storage.list_conversations("ada")).items] == [True, True]


async def test_adopted_messages_of_one_time_keep_their_order(
    make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """Adopted messages with equal times are read in the order of insertion, before later messages of the same time."""
    await begin(ADOPTED, connection, tables)
    storage = make_storage()

    await storage.add_message(
        {"id": "new", "role": "user", "content": "new", "created_at": "2025-06-01T12:00Z"}, "ada", "c1"
    )

    read = await storage.get_messages("ada", "c1")
    assert [message.id for message in read] == [*(f"m{number}" for number in range(1, 21)), "new"]

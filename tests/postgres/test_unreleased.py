"""Unreleased databases are converted: today's files replace their fourteen migrations, and every row stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.catalog import catalog
from tests.starts import UNRELEASED, begin
from tests.watched import Side, killed
from tests.worker import Worker, workers
from voltmem import MigrationError, SchemaNotReadyError
from voltmem._agents.native import NativeMemory
from voltmem._postgres.migrations.conversation_schema import NAME as CONVERSATION_SCHEMA
from voltmem._postgres.migrations.files import migrations
from voltmem._postgres.migrations.unreleased import LAST_FILE, NAME
from voltmem._postgres.schema import script
from voltmem._tables import Tables
from voltmem.testing import drop_schema

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

PREFIX = "voltagent_memory"
FOURTEEN = 14
LATER = [each.name for each in migrations() if not each.is_function and each.name > LAST_FILE]
NEW_COLUMNS = {"aside", "own_role", "parts_hash", "file_ids", "line_length", "line_end", "tokens", "summary_id"}
NEW_COLUMNS |= {"from_messages"}
NEW_TABLES = (
    *("files", "file_chunks", "file_references", "deleted_users", "quota_counts", "changed_lines"),
    *("user_memory", "conversation_memory", "summaries", "user_items", "leases", "answers", "answer_pieces"),
)


@pytest.fixture
async def tables(connection: Connection, schema: str) -> Tables:
    """The tables of an unreleased database, with rows in each."""
    tables = Tables(schema, PREFIX)
    await begin(UNRELEASED, connection, tables)
    return tables


@pytest.fixture(scope="module")
def processes() -> Iterator[list[Worker]]:
    with workers(8) as processes:
        yield processes


async def rows(connection: Connection, tables: Tables) -> dict[str, list[dict[str, object]]]:
    """Return all rows except the ledger's, without the tables and columns that later migrations add."""
    names = set(tables.all_tables()) - {tables.migrations, *(getattr(tables, name) for name in NEW_TABLES)}
    found = {name: await connection.fetch(f"SELECT * FROM {name} ORDER BY 1, 2") for name in names}
    return {name: [without_new_columns(row) for row in rows] for name, rows in found.items()}


def without_new_columns(row: asyncpg.Record) -> dict[str, object]:
    return {column: value for column, value in row.items() if column not in NEW_COLUMNS}


async def state(connection: Connection, tables: Tables) -> object:
    """Return the catalog, the rows and the ledger."""
    ledger = await connection.fetch(f"SELECT * FROM {tables.migrations} ORDER BY name")
    return await catalog(connection, tables), await rows(connection, tables), ledger


async def names(connection: Connection, tables: Tables) -> list[str]:
    return [row["name"] for row in await connection.fetch(f"SELECT name FROM {tables.migrations} ORDER BY name")]


# --- the result of a conversion -----------------------------------------------------------------------------------


async def test_an_unreleased_database_keeps_every_row(
    make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """Only the rows of the ledger change; all other tables, each of which has rows, stay the same."""
    before = await rows(connection, tables)
    assert all(before.values())
    assert len(await names(connection, tables)) == FOURTEEN

    assert await make_storage().upgrade_schema() == [NAME, *LATER]

    assert await rows(connection, tables) == before
    assert await names(connection, tables) == sorted(each.name for each in migrations())
    assert await make_storage().upgrade_schema() == []


async def test_an_unreleased_database_is_read_as_it_was_written(make_storage: MakeStorage, tables: Tables) -> None:
    """Every kind of content is readable: marks, archive, shares, forks, payloads, search and runs."""
    storage = make_storage(search=True)

    read = await storage.get_messages("ada", "pinned")
    items = {item.id: item for item in (await storage.list_conversations("ada")).items}
    (archived,) = (await storage.list_conversations("ada", archived=True)).items
    (deleted,) = await storage.list_deleted_conversations("ada")
    entry = await storage.get_history_entry("run1")
    native = NativeMemory(storage, "ada", "native")
    kept = await native.payload("framework")

    assert [message.content for message in read] == [
        "Where is the café?",
        [{"type": "text", "text": "In the Breite Straße."}],
        {"tool": "map", "args": {"z": 1, "a": [True, None, 1.5]}},
        None,
        "[typed by a person]",
        "a NUL \0 and a \ud800 in it",
        "",
        "It opens at nine.",
    ]
    assert (items["pinned"].pinned, items["pinned"].unread) == (True, True)
    assert items["pinned"].tags == ["work", 'trip, and "more"']
    assert (items["forked"].forked_from, items["forked"].title) == ("pinned", "Café in Köln")
    assert (archived.id, archived.title) == ("archived", "Breakfast")
    assert deleted.id == "deleted"
    assert [message.id for message in await storage.get_conversation_messages("long")] == ["m2", "m3"]
    assert len(await storage.get_conversation_messages("long", include_archived=True)) == 4
    assert len(await storage.list_shares("ada")) == 2
    assert [hit.message_id for hit in (await storage.search("ada", "cafe")).hits if hit.message_id] == ["m1", "m1"]
    assert [message.payload for message in await native.native_messages()] == [{"z": "Hello", "a": [1, "\0"]}]
    assert kept is not None
    assert (kept.payload, kept.revision) == ({"state": {"step": 2}}, "r1")
    assert entry is not None
    assert [step.id for step in entry.steps] == ["step1", "step2"]
    assert [event.output for event in entry.events] == [["a \0 in it"]]


async def test_an_unreleased_database_goes_on_being_written(
    make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """New messages are added after the existing ones, and only functions that are still called remain."""
    storage = make_storage()

    added = await storage.add_message({"role": "user", "content": "new"}, "ada", "pinned")

    assert (await storage.get_messages("ada", "pinned"))[-1] == added
    found = await connection.fetch(
        "SELECT proname::text AS name, count(*) FROM pg_proc WHERE pronamespace = to_regnamespace($1) GROUP BY proname",
        tables.schema,
    )
    assert {f'"{tables.schema}".{row["name"]}': row["count"] for row in found} == dict.fromkeys(
        tables.all_functions(), 1
    )


async def test_a_process_of_the_unreleased_version_goes_on_beside(
    make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """A process of the unreleased version continues: its function has the same arguments and results."""
    await make_storage().open()

    stored = await connection.fetch(
        f"SELECT item, stored_at FROM {tables.add_messages}("
        "$1, $2, $3, $4, $5, $6, $7, NULL, $8, NULL, NULL, NULL, NULL, NULL, NULL, 100, false, false)",
        *(["pinned"], ["ada"], [None], ["1"], ["beside"], ["user"], ["beside"], ["text"]),
    )

    assert [row["item"] for row in stored] == [1]


# --- checking -----------------------------------------------------------------------------------------------------


async def test_check_names_the_step(make_storage: MakeStorage, connection: Connection, tables: Tables) -> None:
    """With migrate="check" the database is not ready, nothing is changed, and the status names the missing step."""
    before = await state(connection, tables)
    storage = make_storage(migrate="check")

    with pytest.raises(SchemaNotReadyError) as caught:
        await storage.open()

    assert caught.value.missing == [NAME]
    assert [each.name for each in await storage.schema_status() if each.applied_at is None] == [NAME]
    assert await state(connection, tables) == before


INCOMPLETE = {
    "first": "DELETE FROM {} WHERE name > '0001_z'",
    "half": "DELETE FROM {} WHERE name > '0007_z'",
    "not the last": "DELETE FROM {} WHERE name = '0014_after_waiting'",
    "one in between": "DELETE FROM {} WHERE name = '0005_agent_history_lists'",
    "edited": "UPDATE {} SET checksum = 'another' WHERE name = '0010_sidebar'",
    "one more": "INSERT INTO {} VALUES ('0015_more', 'unknown')",
}


@pytest.mark.parametrize("change", INCOMPLETE.values(), ids=INCOMPLETE)
async def test_a_partial_ledger_is_an_error_that_says_what_to_do(
    make_storage: MakeStorage, connection: Connection, tables: Tables, change: str
) -> None:
    """A partial ledger is an error for open, check, upgrade, status and the script; nothing is changed."""
    await connection.execute(change.format(tables.migrations))
    before = await state(connection, tables)
    what_to_do = r"unreleased_ledger: .*Open it once with commit f020f2e of voltmem"

    for storage in (make_storage(), make_storage(migrate="check")):
        for verb in (storage.open, storage.upgrade_schema, storage.schema_status):
            with pytest.raises(MigrationError, match=what_to_do) as caught:
                await verb()
            assert caught.value.name == NAME
    with pytest.raises(asyncpg.RaiseError, match=what_to_do.partition(".*")[2]):
        await connection.execute(script(tables))

    assert await state(connection, tables) == before


@pytest.mark.parametrize("rest", [[], [CONVERSATION_SCHEMA]], ids=["nothing", "conversation_schema"])
async def test_a_ledger_without_any_of_the_fourteen_is_begun_anew(
    make_storage: MakeStorage, connection: Connection, tables: Tables, rest: list[str]
) -> None:
    """A ledger without any of the fourteen, as after restoring the conversation schema, is created anew; rows stay."""
    before = await rows(connection, tables)
    await connection.execute(f"DELETE FROM {tables.migrations}")
    for name in rest:
        await connection.execute(f"INSERT INTO {tables.migrations} VALUES ($1, '')", name)

    assert await make_storage().upgrade_schema() == [NAME, *(each.name for each in migrations())]

    assert await names(connection, tables) == sorted([*rest, *(each.name for each in migrations())])
    assert await rows(connection, tables) == before


# --- concurrent and failed conversions ----------------------------------------------------------------------------


async def test_a_conversion_that_fails_in_the_middle_leaves_nothing_of_itself(
    make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """If the conversion fails, the functions and the fourteen rows of the ledger are rolled back."""
    await connection.execute(f"DROP FUNCTION {tables.plain}")
    await connection.execute(
        f"CREATE FUNCTION {tables.plain}(title text, separators text, unspaced text) RETURNS integer "
        "LANGUAGE sql AS 'SELECT 1'"
    )
    before = await state(connection, tables)

    with pytest.raises(
        MigrationError, match=r"(?s)unreleased_ledger: cannot change return type.*Nothing of it was kept"
    ):
        await make_storage().open()

    assert await state(connection, tables) == before
    await connection.execute(f"DROP FUNCTION {tables.plain}")
    await make_storage().open()


@pytest.mark.parametrize("side", ["server", "client"])
async def test_a_conversion_that_is_killed_is_there_or_not_at_all(
    dsn: str, connection: Connection, tables: Tables, side: Side
) -> None:
    """Whatever statement it is killed at, the ledger has the fourteen rows or today's, never some of both."""
    before, after = await names(connection, tables), sorted(each.name for each in migrations())
    converted = set(after) - set(LATER)
    number = 1

    while await killed(dsn, connection, tables, side, number):
        found = await names(connection, tables)
        assert found == before or converted <= set(found) <= set(after)
        number += 1
        if found == after:
            await drop_schema(tables.schema)
            await begin(UNRELEASED, connection, tables)

    assert number > 5
    assert await names(connection, tables) == after


async def test_processes_that_start_together_convert_once(
    dsn: str, connection: Connection, schema: str, processes: list[Worker]
) -> None:
    """Of eight processes that start together, one converts, and the others find it done."""
    tables = Tables(schema, PREFIX)
    for _ in range(5):
        await begin(UNRELEASED, connection, tables)

        for process in processes:
            process.send("upgrade", dsn, schema=schema)
        answers = [process.answer() for process in processes]

        assert sorted(name for answer in answers for name in answer) == sorted([NAME, *LATER])
        assert await names(connection, tables) == sorted(each.name for each in migrations())
        await drop_schema(schema)


async def test_the_printed_script_converts(make_storage: MakeStorage, connection: Connection, tables: Tables) -> None:
    """The printed script converts as opening does; a second run changes nothing."""
    before = await rows(connection, tables)

    for _ in range(2):
        await connection.execute(script(tables))

    assert await rows(connection, tables) == before
    await make_storage(migrate="check").open()

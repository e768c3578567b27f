"""Functions have versions: a higher one replaces the function, a lower one does not, and an edited one is an error."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.catalog import catalog, ledger
from voltmem import MigrationError, SchemaNotReadyError
from voltmem._postgres.migrations.apply import apply_missing
from voltmem._postgres.migrations.files import Migration, migrations
from voltmem._postgres.schema import script
from voltmem._tables import Tables, bare

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

NAMES = [migration.name for migration in migrations()]
FUNCTIONS = [migration for migration in migrations() if migration.is_function]
NUMBERED = [migration for migration in migrations() if not migration.is_function]
PREFIX = "voltagent_memory"
TABLES = Tables("app", "chat")

Release = Callable[..., None]


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Release:
    """Act as a release that also has these files from here on."""

    def be(*more: Migration) -> None:
        known = sorted([*more, *FUNCTIONS], key=lambda each: each.name) + NUMBERED
        monkeypatch.setattr("voltmem._postgres.schema.migrations", lambda: known)

    return be


def answering(version: int, answer: int | None = None) -> Migration:
    """A function that returns its version, and counts the messages of a table that the numbered files create."""
    return Migration(
        "functions/answer",
        f"-- version {version}\n"
        "CREATE OR REPLACE FUNCTION {schema}.{prefix}_answer() RETURNS bigint LANGUAGE sql AS $answer$\n"
        f"    SELECT {version if answer is None else answer} + count(*) FROM {{schema}}.{{prefix}}_messages\n"
        "$answer$;\n",
    )


async def answer(connection: Connection, schema: str) -> int:
    return int(await connection.fetchval(f"SELECT {schema}.{PREFIX}_answer()"))


async def test_functions_are_applied_before_the_tables_that_they_read(
    make_storage: MakeStorage, connection: Connection, schema: str, release: Release
) -> None:
    """Functions are created before the tables that they read: triggers find theirs, and none is refused."""
    release(answering(1))

    done = await make_storage().upgrade_schema()

    assert done == sorted(["functions/answer", *NAMES], key=lambda name: (name[0].isdigit(), name))
    rows = await connection.fetch(f"SELECT name FROM {schema}.{PREFIX}_migrations ORDER BY applied_at")
    assert [row["name"] for row in rows] == done
    assert await answer(connection, schema) == 1


async def test_a_function_of_a_higher_version_replaces_the_one_that_is_there(
    make_storage: MakeStorage, connection: Connection, schema: str, release: Release
) -> None:
    """A higher version is named by migrate="check", applied alone by upgrade_schema(), and recorded in the ledger."""
    release(answering(2))
    await make_storage().open()
    release(answering(10))

    with pytest.raises(SchemaNotReadyError) as caught:
        await make_storage(migrate="check").open()
    assert caught.value.missing == ["functions/answer"]
    assert await answer(connection, schema) == 2

    assert await make_storage().upgrade_schema() == ["functions/answer"]
    assert await answer(connection, schema) == 10
    version = f"SELECT version FROM {schema}.{PREFIX}_migrations WHERE name = 'functions/answer'"
    assert await connection.fetchval(version) == 10
    await make_storage(migrate="check").open()


@pytest.mark.parametrize("older", [[answering(1)], []], ids=["lower version", "no such function"])
@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_an_older_release_leaves_a_newer_function_alone(
    make_storage: MakeStorage,
    connection: Connection,
    schema: str,
    release: Release,
    older: list[Migration],
    migrate: str,
) -> None:
    """An older release opens the database as current; opening, upgrading and the script leave the newer function."""
    release(answering(2))
    await make_storage().open()
    tables = Tables(schema, PREFIX)
    before = [*await catalog(connection, tables), *await ledger(connection, tables)]
    release(*older)
    storage = make_storage(migrate="auto" if migrate == "auto" else "check")

    await storage.open()

    assert await storage.upgrade_schema() == []
    await connection.execute(script(tables))
    assert [*await catalog(connection, tables), *await ledger(connection, tables)] == before
    assert await answer(connection, schema) == 2


@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_another_text_of_the_same_version_is_an_error_that_says_what_to_do(
    make_storage: MakeStorage, connection: Connection, schema: str, release: Release, migrate: str
) -> None:
    """A function's file that was edited without a new version is an error with advice, and nothing is changed."""
    release(answering(3))
    await make_storage().open()
    release(answering(3, answer=4))
    storage = make_storage(migrate="auto" if migrate == "auto" else "check")

    with pytest.raises(MigrationError, match=r"functions/answer: .*Install the release.*raise the number") as caught:
        await storage.open()

    assert caught.value.name == "functions/answer"
    assert await answer(connection, schema) == 3


def test_a_functions_file_without_a_version_is_an_error() -> None:
    """A function's file that does not begin with a version is an error that names it."""
    for text in ("SELECT 1;\n", "-- version 0\nSELECT 1;\n", "\n-- version 1\nSELECT 1;\n"):
        with pytest.raises(MigrationError, match=r"functions/answer: .*begin the file with"):
            _ = Migration("functions/answer", text).version


async def test_an_older_and_a_newer_release_that_start_together_end_with_the_newer_function(
    dsn: str, connection: Connection, schema: str
) -> None:
    """When an older and a newer release start together, the higher version remains, whichever is first."""
    tables = Tables(schema, PREFIX)
    other: Connection = await asyncpg.connect(dsn)
    for _ in range(10):
        await asyncio.gather(
            apply_missing(connection, tables, [answering(1), *migrations()]),
            apply_missing(other, tables, [answering(2), *migrations()]),
        )

        assert await answer(connection, schema) == 2
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    await other.close()


async def test_the_script_applies_a_function_of_a_higher_version(
    make_storage: MakeStorage, connection: Connection, schema: str, release: Release
) -> None:
    """The script applies a higher version of a function as opening does, with and without existing tables."""
    tables = Tables(schema, PREFIX)
    for version in (1, 2):
        release(answering(version))

        await connection.execute(script(tables))

        assert await answer(connection, schema) == version
        await make_storage(migrate="check").open()


async def test_schema_status_lists_a_function_that_is_behind_as_missing(
    make_storage: MakeStorage, release: Release
) -> None:
    """schema_status() lists a function with a lower version once, as missing, in its place."""
    release(answering(1))
    storage = make_storage()
    await storage.open()
    release(answering(2))

    found = await storage.schema_status()

    assert [each.name for each in found if each.applied_at is None] == ["functions/answer"]
    assert [each.name for each in found] == [
        *sorted(["functions/answer", *(function.name for function in FUNCTIONS)]),
        *(migration.name for migration in NUMBERED),
    ]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.name)
def test_a_functions_file_begins_with_its_version_and_creates_what_it_is_called(function: Migration) -> None:
    """One function per file: the first line is "-- version N", and Tables has its name."""
    name = function.name.removeprefix("functions/")

    (statement,) = function.statements(TABLES)
    first_line = function.text.partition("\n")[0]

    assert re.fullmatch(r"-- version [1-9]\d*", first_line)
    assert first_line == f"-- version {function.version}"
    assert re.findall(r"^CREATE OR REPLACE FUNCTION (\S+)\(", statement, re.MULTILINE) == [getattr(TABLES, name)]


def test_tables_names_every_function() -> None:
    """Tables names every function, so that dropping a prefix forgets none."""
    assert [f"functions/{bare(name).removeprefix('chat_')}" for name in TABLES.all_functions()] == [
        each.name for each in FUNCTIONS
    ]


async def test_tables_names_every_table_in_an_order_in_which_they_can_be_dropped(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Dropping the tables in the order of Tables works, and leaves nothing of the prefix."""
    await make_storage().open()
    tables = Tables(schema, PREFIX)

    for name in tables.all_tables():
        await connection.execute(f"DROP TABLE {name}")
    for name in tables.all_functions():
        await connection.execute(f"DROP FUNCTION {name}")

    assert await catalog(connection, tables) == []


async def test_every_function_is_one_that_postgresql_can_parse(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """PostgreSQL can parse every function; their bodies are not checked when applied, since tables may be missing."""
    await make_storage().open()
    await connection.execute("SET check_function_bodies = on")

    for function in FUNCTIONS:
        for statement in function.statements(Tables(schema, PREFIX)):
            await connection.execute(statement)


def test_a_message_that_is_added_again_replaces_the_same_columns_in_each_function() -> None:
    """The functions that add messages replace the same columns of one that is there; only one of them takes a time."""
    replaced = {
        each.name: {line.split()[0] for line in found[1].strip().split(",\n")}
        for each in FUNCTIONS
        if (found := re.search(r"message_id\) DO UPDATE SET\n(.*?)\n +RETURNING", each.text, re.DOTALL)) is not None
    }
    general = replaced.pop("functions/add_messages")

    assert replaced == dict.fromkeys(
        ("functions/add_message", "functions/add_plain_messages"), general - {"created_at"}
    )


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.name)
def test_a_write_of_messages_joins_nothing(function: Migration) -> None:
    """Where the planner expects few messages, as after an ANALYZE of small tables, a join compares each with each."""
    text = re.sub(r"--[^\n]*", "", function.text)
    writes = re.findall(r"\b(?:UPDATE|DELETE FROM) \S+_messages AS m\b(.*?);", text, re.DOTALL)

    joins = [each for each in writes if re.search(r"\b(FROM|USING|SELECT)\b", each)]

    # Of one message, whose id comes from the query.
    assert len(joins) == (function.name == "functions/answer_calls"), joins


@pytest.mark.parametrize(
    "function", [each for each in FUNCTIONS if "RECURSIVE" in each.text], ids=lambda each: each.name
)
def test_a_recursion_sorts_no_messages_at_its_steps(function: Migration) -> None:
    """Where the planner expects few messages, it would read and sort the whole conversation for each."""
    assert "\nSET enable_sort = off\n" in function.text

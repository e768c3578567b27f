"""``python -m voltmem check``: the output and the exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.areas.checks.damage import damage, fill
from tests.command_line.commands import PREFIX, Command, Role
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage


@pytest.fixture
async def tables(make_storage: MakeStorage, migrated: str) -> Tables:
    """The tables, with rows of every kind."""
    await fill(make_storage(storage_limit=None, search=True, files="extract"))
    return Tables(migrated, PREFIX)


async def test_check_says_that_nothing_is_wrong(command_here: Command, tables: Tables) -> None:
    """The exit code for healthy rows is 0, with and without a limit."""
    for options in ([], ["--storage-limit", "none"], ["--storage-limit", "10", "--read-files"]):
        assert await command_here("check", *options) == (0, "nothing is wrong\n", "")


async def test_check_prints_what_is_wrong(command_here: Command, tables: Tables, connection: Connection) -> None:
    """The exit code is 1, and each broken rule is printed with its meaning, its count and the keys of rows."""
    await damage(connection, tables, "share-without-place")

    code, printed, problems = await command_here("check")

    token = await connection.fetchval(f"SELECT token FROM {tables.shares}")
    assert (code, problems) == (1, "")
    assert printed == (
        "share-without-place: a public link has only a part of the place up to which it shows messages; 1 found\n"
        f"    token '{token}', conversation_id 'c1'\n"
        "1 rows are wrong\n"
    )


async def test_check_prints_ten_keys(command_here: Command, tables: Tables, connection: Connection) -> None:
    """Of a rule that many rows break, ten keys are printed, and how many more there are."""
    await damage(connection, tables, "conversation-beyond-limit")
    await connection.execute(f"UPDATE {tables.messages} SET aside = true WHERE conversation_id = 'b1'")

    lines = (await command_here("check")).printed.splitlines()

    assert len(lines) == 13
    assert lines[-2:] == ["    and 1 more", "11 rows are wrong"]


async def test_check_applies_the_limit_that_is_given(
    command_here: Command, tables: Tables, connection: Connection
) -> None:
    """A conversation with more messages than --storage-limit is named, and without the option it is not."""
    await damage(connection, tables, "conversation-beyond-limit")

    assert (await command_here("check")).code == 0
    assert "conversation-beyond-limit" in (await command_here("check", "--storage-limit", "10")).printed


async def test_check_refuses_a_limit_that_is_none(command_here: Command) -> None:
    """The exit code for a --storage-limit that is not a number is 2."""
    with pytest.raises(SystemExit, match="2"):
        await command_here("check", "--storage-limit", "many")


async def test_check_fails_without_tables(command_here: Command) -> None:
    """The exit code without tables is 1, and the error says what to run."""
    code, printed, problems = await command_here("check")

    assert (code, printed) == (1, "")
    assert "python -m voltmem migrate" in problems


async def test_check_needs_no_right_to_write(
    command: Command, make_storage: MakeStorage, role: Role, schema: str, connection: Connection
) -> None:
    """A role that may only read can check."""
    await make_storage(storage_limit=None).open()
    await connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role.name}")

    assert (await command("check", "--connection", role.dsn, "--schema", schema)).printed == "nothing is wrong\n"

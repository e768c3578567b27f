"""``python -m voltmem sql|migrate|status``: the script, the output and the exit codes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.calls import Rows
from tests.catalog import catalog, ledger
from tests.command_line.commands import NAMES, NOWHERE, PREFIX, Command, is_empty, process
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage


async def made(connection: Connection, schema: str) -> list[str]:
    """Return everything in the schema, without the schema's name, and the ledger without its times."""
    tables = Tables(schema, PREFIX)
    return [*await catalog(connection, tables), *await ledger(connection, tables)]


async def forget(connection: Connection, schema: str, *names: str) -> None:
    """Delete migrations from the ledger, as if they had not been applied."""
    await connection.execute(f"DELETE FROM {schema}.{PREFIX}_migrations WHERE name = ANY ($1)", names)


# --- sql -------------------------------------------------------------------------------------------------------------


async def test_the_script_makes_what_migrate_makes(
    command_here: Command, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """
    The script creates the same columns, keys, indexes, functions and ledger as migrate.

    A second run changes nothing.
    """
    await make_storage().open()
    expected = await made(connection, schema)
    await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    script = (await command_here("sql")).printed

    await connection.execute(script)
    once = await made(connection, schema)
    await connection.execute(script)
    twice = await made(connection, schema)

    assert once == twice == expected
    storage = make_storage(migrate="check")
    assert await storage.count_conversations() == 0
    assert await storage.upgrade_schema() == []


async def test_the_script_goes_on_where_some_was_applied(
    command_here: Command, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The script applies the migrations that the ledger lacks, like an upgrade."""
    await make_storage().open()
    expected = await made(connection, schema)
    await forget(connection, schema, *NAMES[2:])

    await connection.execute((await command_here("sql")).printed)

    assert await made(connection, schema) == expected


async def test_the_script_applies_nothing_twice(
    command_here: Command, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The script does not change rows that were added after a migration: a tool call of VoltAgent's stays one."""
    await make_storage().open()
    rows = Rows(connection, schema)
    await rows.seed()
    await connection.execute(f"UPDATE {rows.messages} SET content = '[1]'")
    before = await rows.all()

    await connection.execute((await command_here("sql")).printed)

    assert await rows.all() == before


async def test_the_script_has_schema_and_prefix_and_nothing_of_the_template(command: Command) -> None:
    """The names in the script are qualified, no placeholder is left, and printing it needs no database."""
    code, printed, problems = await command("sql", "--schema", "app", "--prefix", "chat")

    assert (code, problems) == (0, "")
    assert '"app".chat_messages' in printed
    assert all(name in printed for name in NAMES)
    for word in ("{schema}", "{prefix}", PREFIX, "public.", '"public"'):
        assert word not in printed


@pytest.mark.parametrize("option", ["--schema", "--prefix"])
@pytest.mark.parametrize("name", ["sql", "migrate", "status"])
async def test_an_invalid_name_is_reported_in_one_line(command: Command, name: str, option: str) -> None:
    """An invalid schema or prefix: exit code 1 and voltmem's error, before anything is sent or printed."""
    database = () if name == "sql" else ("--connection", NOWHERE)

    code, printed, problems = await command(name, option, 'a"; DROP TABLE b', *database)

    assert (code, printed) == (1, "")
    assert re.fullmatch(r"voltmem: (schema|table_prefix) .*: use lower-case letters.*\n", problems)


# --- migrate and status ----------------------------------------------------------------------------------------------


async def test_migrate_prints_what_it_applies(command_here: Command, make_storage: MakeStorage) -> None:
    """migrate prints each name it applied, the second time that there is nothing to do; both exit with 0."""
    first, second = await command_here("migrate"), await command_here("migrate")

    assert first.code == second.code == 0
    assert first.printed.splitlines()[:-1] == [f"applied  {name}" for name in NAMES]
    assert second.printed == "nothing to do; the schema is current\n"
    assert first.problems == second.problems == ""
    assert await make_storage(migrate="check").count_conversations() == 0


async def test_status_distinguishes_missing_and_applied(
    command_here: Command, connection: Connection, schema: str
) -> None:
    """status exits with 3 and lists what is missing; with 0 and the times when everything is applied."""
    empty = await command_here("status")
    assert await is_empty(connection, schema)
    await command_here("migrate")
    current = await command_here("status")
    await forget(connection, schema, NAMES[-1])
    behind = await command_here("status")

    assert (empty.code, current.code, behind.code) == (3, 0, 3)
    listed = [line for line in empty.printed.splitlines() if line.startswith("missing ")]
    assert listed == [f"missing  {name}" for name in NAMES]
    for line, name in zip(current.printed.splitlines(), NAMES, strict=False):
        assert re.fullmatch(rf"applied  {name}  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", line)
    assert current.printed.endswith("\nthe schema is current\n")
    assert [line for line in behind.printed.splitlines() if "Citus" not in line][-2:] == [
        f"missing  {NAMES[-1]}",
        "1 missing: run 'python -m voltmem migrate' with the same options",
    ]


async def test_a_deploy_script_can_go_by_the_exit_codes(dsn: str, schema: str) -> None:
    """As a process: exit code 3 before, 0 for migrate, 0 after; 1 without a server, 2 for an unknown command."""
    here = ("--schema", schema)

    assert (await process("status", *here, DATABASE_URL=dsn)).code == 3
    assert (await process("migrate", *here, VOLTMEM_DATABASE_URL=dsn)).code == 0
    assert (await process("status", *here, "--connection", dsn)).code == 0
    assert (await process("status", *here, DATABASE_URL=NOWHERE)).code == 1
    assert (await process("upgrade", *here, DATABASE_URL=dsn)).code == 2

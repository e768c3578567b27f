"""The privileges of the database role: row access for the verbs, DDL only for the migrations."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.calls import CASES, Case, Rows
from tests.command_line.commands import NAMES, PREFIX, Command, Role, is_empty
from tests.tables import create_tables
from voltmem import ConversationNotFoundError, DatabaseError, NativeMemory, SchemaNotReadyError

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

PERMISSION_DENIED = "42501"


async def let_read_and_write(connection: Connection, schema: str, role: Role) -> None:
    """Grant the privileges that an application needs, and no more; EXECUTE, usually PUBLIC's, only to the role."""
    await connection.execute(f"""
        REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role.name};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role.name};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role.name}""")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_verb_needs_rows_only(
    case: Case, role: Role, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """With migrate="check" a role with access to rows can call all verbs."""
    await create_tables(schema)
    await let_read_and_write(connection, schema, role)
    await Rows(connection, schema).seed()

    await case(make_storage(role.dsn, migrate="check", search=True))


async def test_the_limit_and_the_archive_need_rows_only(
    role: Role, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Deleting or archiving beyond the limit, within the function, needs only access to rows, too."""
    await create_tables(schema)
    await let_read_and_write(connection, schema, role)
    await Rows(connection, schema).seed()

    for storage in (
        make_storage(role.dsn, migrate="check", storage_limit=2, on_limit="archive"),
        make_storage(role.dsn, migrate="check", storage_limit=1),
    ):
        await storage.add_message({"role": "user", "content": "one more"}, "ada", "c1")

    assert len(await storage.get_conversation_messages("c1", include_archived=True)) == 3


async def test_a_handle_that_creates_its_conversation_needs_rows_only(
    role: Role, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The first write of a handle looks whether the user was deleted, which needs only access to rows, too."""
    await create_tables(schema)
    await let_read_and_write(connection, schema, role)
    storage = make_storage(role.dsn, migrate="check")
    late = NativeMemory(storage, "ada", "late").since(time.monotonic() - 60)

    assert await storage.delete_user("ada") == 0
    await NativeMemory(storage, "ada", "c1").add({"role": "user", "content": "Hello"})
    await NativeMemory(storage, "ada", "c2").title("Mine")
    await NativeMemory(storage, "ada", "c3").save_payload(1, "form")
    for write in (late.add({"role": "user", "content": "Hello"}), late.title("Mine"), late.save_payload(1, "form")):
        with pytest.raises(ConversationNotFoundError):
            await write

    assert await storage.count_conversations(user_id="ada") == 3


async def test_check_says_what_is_missing_and_the_way(
    role: Role, command: Command, make_storage: MakeStorage, connection: Connection, dsn: str, schema: str
) -> None:
    """The error of migrate="check" names every migration, and the commands in it work as written."""
    storage = make_storage(role.dsn, migrate="check")

    with pytest.raises(SchemaNotReadyError) as caught:
        await storage.count_conversations()

    assert caught.value.missing == NAMES
    assert all(name in str(caught.value) for name in NAMES)
    assert f"'python -m voltmem sql --schema {schema} --prefix {PREFIX}'" in str(caught.value)
    assert await is_empty(connection, schema)

    way = re.findall(r"'python -m voltmem (migrate [^']*)'", str(caught.value))
    assert (await command(*way[0].split(), "--connection", dsn)).code == 0
    await let_read_and_write(connection, schema, role)

    assert await storage.count_conversations() == 0


@pytest.mark.parametrize("there", [True, False], ids=["empty schema", "no schema"])
async def test_auto_without_the_right_to_make_tables_makes_nothing(
    role: Role, make_storage: MakeStorage, connection: Connection, schema: str, there: bool
) -> None:
    """
    Without the privilege to create tables, an upgrade is an error that names it, with SQLSTATE.

    Nothing is created.
    """
    if not there:
        await connection.execute(f"DROP SCHEMA {schema}")

    with pytest.raises(DatabaseError, match="CREATE") as caught:
        await make_storage(role.dsn).open()

    assert caught.value.sqlstate == PERMISSION_DENIED
    assert isinstance(caught.value.__cause__, asyncpg.InsufficientPrivilegeError)
    assert await is_empty(connection, schema)
    assert await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema) is there


async def test_migrate_without_the_privilege_is_reported_in_one_line(
    role: Role, command: Command, connection: Connection, schema: str
) -> None:
    """Without the privilege, migrate exits with 1 and names it, without a traceback; nothing is created."""
    code, printed, problems = await command("migrate", "--schema", schema, "--connection", role.dsn)

    assert (code, printed) == (1, "")
    assert re.fullmatch(rf"voltmem: .*permission denied.* \[{PERMISSION_DENIED}\]\n", problems)
    assert await is_empty(connection, schema)


async def test_auto_needs_no_rights_where_all_is_there(
    role: Role, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """On a current schema migrate="auto" needs no more privileges than "check"."""
    await create_tables(schema)
    await let_read_and_write(connection, schema, role)
    storage = make_storage(role.dsn)

    await storage.open()

    assert await storage.upgrade_schema() == []


@pytest.mark.parametrize("way", ["sql", "migrate"])
async def test_create_on_the_schema_is_enough_to_make_the_tables(
    role: Role, command: Command, make_storage: MakeStorage, connection: Connection, schema: str, way: str
) -> None:
    """If the schema exists, creating the tables needs no privilege to create schemas."""
    await connection.execute(f"GRANT CREATE ON SCHEMA {schema} TO {role.name}")

    if way == "migrate":
        assert (await command("migrate", "--schema", schema, "--connection", role.dsn)).code == 0
    else:
        own = await asyncpg.connect(role.dsn)
        await own.execute((await command("sql", "--schema", schema)).printed)
        await own.close()

    assert await make_storage(role.dsn, migrate="check").count_conversations() == 0

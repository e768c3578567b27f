"""The tables are made by whoever may make them, from the command line; the storage needs no such rights."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import pytest

from tests.calls import CASES, Case, Rows
from tests.catalog import catalog, ledger
from voltmem import DatabaseError, SchemaNotReadyError
from voltmem.__main__ import main
from voltmem._postgres.migrations.files import migrations
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

ROOT = Path(__file__).parent.parent
NAMES = [migration.name for migration in migrations()]
PREFIX = "voltagent_memory"
SECRET = "s3cr3t-Pa55word"
NOWHERE = "postgresql://127.0.0.1:1/nowhere"
PERMISSION_DENIED = "42501"


class Outcome(NamedTuple):
    """What came of a command."""

    code: int | None
    printed: str
    problems: str


Command = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """A command, run by this process: in a thread, for it has an event loop of its own."""

    async def run(*words: str) -> Outcome:
        code = await asyncio.to_thread(main, words)
        printed, problems = capsys.readouterr()
        return Outcome(code, printed, problems)

    return run


@pytest.fixture
def command_here(command: Command, dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A command on the test's schema."""
    monkeypatch.setenv("VOLTMEM_DATABASE_URL", dsn)

    async def run(*words: str) -> Outcome:
        return await command(*words, "--schema", schema)

    return run


async def process(
    *words: str, stdin: int | None = None, stdout: int = asyncio.subprocess.PIPE, **environment: str
) -> Outcome:
    """Run a command as a deploy script does."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "voltmem", *words),
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment},
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, problems = await program.communicate()
    return Outcome(program.returncode, (printed or b"").decode(), problems.decode())


async def made(connection: Connection, schema: str) -> list[str]:
    """Return all that was made in the schema, whatever the schema is called, and the ledger without its times."""
    tables = Tables(schema, PREFIX)
    return [*await catalog(connection, tables), *await ledger(connection, tables)]


async def is_empty(connection: Connection, schema: str) -> bool:
    """Whether there is nothing in the schema, or no schema."""
    sql = "SELECT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace($1))"
    return await connection.fetchval(sql, schema) is True


async def forget(connection: Connection, schema: str, *names: str) -> None:
    """Take migrations out of the ledger, as if they had not been applied."""
    await connection.execute(f"DELETE FROM {schema}.{PREFIX}_migrations WHERE name = ANY ($1)", names)


# --- sql ----------------------------------------------------------------------------------------------------------


async def test_the_script_makes_what_migrate_makes(
    command_here: Command, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Columns, keys, indexes, functions and ledger are the same, and stay so when the script is run again."""
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
    """What the ledger lacks is applied, as an upgrade would."""
    await make_storage().open()
    expected = await made(connection, schema)
    await forget(connection, schema, *NAMES[2:])

    await connection.execute((await command_here("sql")).printed)

    assert await made(connection, schema) == expected


async def test_the_script_applies_nothing_twice(
    command_here: Command, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Rows that came after a migration are not changed by it: a tool call of VoltAgent's stays one."""
    await make_storage().open()
    rows = Rows(connection, schema)
    await rows.seed()
    await connection.execute(f"UPDATE {rows.messages} SET content = '[1]'")
    before = await rows.all()

    await connection.execute((await command_here("sql")).printed)

    assert await rows.all() == before


async def test_the_script_has_schema_and_prefix_and_nothing_of_the_template(command: Command) -> None:
    """What it names is qualified, it needs no database, and there is nothing to be filled in."""
    code, printed, problems = await command("sql", "--schema", "app", "--prefix", "chat")

    assert (code, problems) == (0, "")
    assert '"app".chat_messages' in printed
    assert all(name in printed for name in NAMES)
    for word in ("{schema}", "{prefix}", PREFIX, "public"):
        assert word not in printed


@pytest.mark.parametrize("option", ["--schema", "--prefix"])
@pytest.mark.parametrize("name", ["sql", "migrate", "status"])
async def test_a_name_that_cannot_be_is_told_in_one_line(command: Command, name: str, option: str) -> None:
    """A crafted schema or prefix ends with 1 and our error, before anything is sent or printed."""
    database = () if name == "sql" else ("--connection", NOWHERE)

    code, printed, problems = await command(name, option, 'a"; DROP TABLE b', *database)

    assert (code, printed) == (1, "")
    assert re.fullmatch(r"voltmem: (schema|table_prefix) .*: use lower-case letters.*\n", problems)


# --- migrate and status -------------------------------------------------------------------------------------------


async def test_migrate_prints_what_it_applies(command_here: Command, make_storage: MakeStorage) -> None:
    """Each name the first time; nothing to do the second; 0 both times."""
    first, second = await command_here("migrate"), await command_here("migrate")

    assert first.code == second.code == 0
    assert first.printed.splitlines()[:-1] == [f"applied  {name}" for name in NAMES]
    assert second.printed == "nothing to do; the schema is current\n"
    assert first.problems == second.problems == ""
    assert await make_storage(migrate="check").count_conversations() == 0


async def test_status_tells_missing_from_applied(command_here: Command, connection: Connection, schema: str) -> None:
    """3 while anything is missing, which is listed; 0 when all is there, with its time."""
    empty = await command_here("status")
    assert await is_empty(connection, schema)
    await command_here("migrate")
    current = await command_here("status")
    await forget(connection, schema, NAMES[-1])
    behind = await command_here("status")

    assert (empty.code, current.code, behind.code) == (3, 0, 3)
    assert empty.printed.splitlines()[:-1] == [f"missing  {name}" for name in NAMES]
    for line, name in zip(current.printed.splitlines(), NAMES, strict=False):
        assert re.fullmatch(rf"applied  {name}  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC", line)
    assert current.printed.endswith("\nthe schema is current\n")
    assert behind.printed.splitlines()[-2:] == [
        f"missing  {NAMES[-1]}",
        "1 missing: run 'python -m voltmem migrate' with the same options",
    ]


async def test_a_deploy_script_can_go_by_the_exit_codes(dsn: str, schema: str) -> None:
    """As a program: 3 before, 0 with migrate, 0 after; 1 without a server, 2 for a command that is none."""
    here = ("--schema", schema)

    assert (await process("status", *here, DATABASE_URL=dsn)).code == 3
    assert (await process("migrate", *here, VOLTMEM_DATABASE_URL=dsn)).code == 0
    assert (await process("status", *here, "--connection", dsn)).code == 0
    assert (await process("status", *here, DATABASE_URL=NOWHERE)).code == 1
    assert (await process("upgrade", *here, DATABASE_URL=dsn)).code == 2


# --- export, import, index ----------------------------------------------------------------------------------------


def stdin(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command read this."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


async def test_what_export_prints_import_reads(
    command_here: Command, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of one user becomes another's; a second time it is there, and said to be."""
    storage = make_storage()
    await storage.add_message({"role": "user", "content": "h\N{GRINNING FACE}"}, "ada", "c1", resource_id="docs")

    exported = await command_here("export", "--user", "ada")
    outcomes = []
    for _ in range(2):
        stdin(exported.printed, monkeypatch)
        outcomes.append(await command_here("import", "--user", "bob"))

    assert [outcome.code for outcome in (exported, *outcomes)] == [0, 0, 0]
    assert [line async for line in storage.export_user("ada")][1:] == exported.printed.splitlines(keepends=True)[1:]
    renamed, imported = outcomes[0].printed.splitlines()
    assert re.fullmatch("renamed   conversation c1: .* now", renamed)
    assert imported == "imported 1 conversations with 1 messages, and 0 runs"
    assert outcomes[1].printed.startswith("left out  conversation c1: it is there already\nimported 0 ")
    (copy,) = (await storage.list_conversations("bob")).items
    assert copy.preview == "h\N{GRINNING FACE}"


@pytest.mark.parametrize("format", ["chatgpt", "openai"])
async def test_import_reads_the_files_of_others(
    format: str, command_here: Command, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --search they are found by their words."""
    storage = make_storage(search=True)
    await storage.open()
    message = {"author": {"role": "user"}, "content": {"parts": ["Hello"]}}
    files: dict[str, object] = {
        "chatgpt": [{"id": "c1", "mapping": {"m1": {"message": message}}}],
        "openai": [{"role": "user", "content": "Hello"}],
    }
    stdin(json.dumps(files[format]), monkeypatch)

    outcome = await command_here("import", "--user", "ada", "--format", format, "--search")

    assert (outcome.code, outcome.printed) == (0, "imported 1 conversations with 1 messages, and 0 runs\n")
    assert [hit.role for hit in (await storage.search("ada", "hello")).hits] == ["user"]


@pytest.mark.parametrize("command", ["export", "status", "sql"])
async def test_what_cannot_be_written_is_told_in_one_line(
    command: str, make_storage: MakeStorage, dsn: str, schema: str
) -> None:
    """Whether a pipe was left by its reader or a disk is full: 1, and no traceback."""
    storage = make_storage()
    await storage.add_message({"role": "user", "content": "x" * 100_000}, "ada", "c1", resource_id="docs")
    words = [command, "--schema", schema, *(["--user", "ada"] if command == "export" else [])]
    reading, writing = os.pipe()
    os.close(reading)

    for problem, output in (("Broken pipe", writing), ("No space left on device", os.open("/dev/full", os.O_WRONLY))):
        outcome = await process(*words, stdout=output, VOLTMEM_DATABASE_URL=dsn)
        os.close(output)
        assert outcome.code == 1
        assert re.fullmatch(f"voltmem: {problem}: .*\n", outcome.problems)


async def test_an_id_is_told_on_every_terminal(
    make_storage: MakeStorage, dsn: str, schema: str, tmp_path: Path
) -> None:
    """One that has only ASCII sees the other letters' numbers."""
    await make_storage().create_conversation({"id": "caf\u00e9", "user_id": "ada"})
    file = tmp_path / "messages.json"
    file.write_text(json.dumps({"id": "caf\u00e9", "messages": [{"role": "user", "content": "Hello"}]}))

    with file.open() as opened:
        outcome = await process(
            *("import", "--user", "bob", "--format", "openai", "--schema", schema),
            stdin=opened.fileno(),
            VOLTMEM_DATABASE_URL=dsn,
            PYTHONIOENCODING="ascii",
        )

    assert (outcome.code, outcome.problems) == (0, "")
    assert outcome.printed.startswith(r"renamed   conversation caf\xe9: ")


async def test_an_import_that_fails_is_told_in_one_line(
    command_here: Command, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the number of the line."""
    await make_storage().open()
    stdin("no JSON\n", monkeypatch)

    code, printed, problems = await command_here("import", "--user", "ada")

    assert (code, printed) == (1, "")
    assert re.fullmatch(r"voltmem: line 1: no JSON.*\n", problems)


async def test_the_search_is_turned_on_and_off(command_here: Command, make_storage: MakeStorage) -> None:
    """What was there before is indexed, and forgotten again."""
    storage = make_storage(search=True)
    await make_storage().add_message({"role": "user", "content": "bread"}, "ada", "c1", resource_id="docs")

    indexed = await command_here("index")
    assert len((await storage.search("ada", "bread")).hits) == 1
    forgotten = await command_here("unindex")

    assert indexed.printed.startswith("1 messages indexed")
    assert forgotten.printed.startswith("1 messages taken out")
    assert (await storage.search("ada", "bread")).hits == []


# --- the database and its password --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "places",
    [
        {"DATABASE_URL": "right"},
        {"VOLTMEM_DATABASE_URL": "right"},
        {"VOLTMEM_DATABASE_URL": "right", "DATABASE_URL": "wrong"},
        {"VOLTMEM_DATABASE_URL": "", "DATABASE_URL": "right"},
        {"--connection": "right", "VOLTMEM_DATABASE_URL": "wrong", "DATABASE_URL": "wrong"},
    ],
    ids=lambda places: " ".join(places),
)
async def test_the_database_is_the_options_then_the_variables(
    command: Command, dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch, places: dict[str, str]
) -> None:
    """--connection, then VOLTMEM_DATABASE_URL, then DATABASE_URL."""
    urls = {"right": dsn, "wrong": NOWHERE, "": ""}
    words = ("--connection", dsn) if "--connection" in places else ()
    for variable in places.keys() - {"--connection"}:
        monkeypatch.setenv(variable, urls[places[variable]])

    code, _, problems = await command("status", "--schema", schema, *words)

    assert (code, problems) == (3, "")


@pytest.mark.parametrize("variable", [None, "VOLTMEM_DATABASE_URL", "DATABASE_URL"])
async def test_without_a_database_nothing_is_started(
    command: Command, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """No option and no variable, or an empty one, is an error: the embedded server is not for deploy scripts."""
    if variable is not None:
        monkeypatch.setenv(variable, "")

    code, printed, problems = await command("migrate")

    assert (code, printed) == (1, "")
    assert re.fullmatch(r"voltmem: no database: .*--connection.*VOLTMEM_DATABASE_URL.*\n", problems)


@pytest.mark.parametrize("name", ["migrate", "status"])
@pytest.mark.parametrize("by_option", [True, False], ids=["option", "variable"])
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{SECRET}@127.0.0.1:1/db",
        f"postgresql://ada:{SECRET}@host.invalid/db",
        f"postgresql://ada:{SECRET}@127.0.0.1:1/db?sslmode=nonsense",
        f"postgresql://ada:{SECRET}@host:port/db",
        f"postgresql://ada:a/{SECRET}@host/db",
        f"postgresql://ada:a?{SECRET}@host/db",
        f"mysql://ada:{SECRET}@host/db",
        f"ada:{SECRET}@host/db",
        f"host=h password={SECRET}",
    ],
)
async def test_a_database_that_cannot_be_reached_is_told_in_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, by_option: bool, url: str
) -> None:
    """No server there, or a string that is none: 1, and on standard error one line without the password."""
    monkeypatch.setenv("DATABASE_URL", NOWHERE if by_option else url)

    code, printed, problems = await command(name, *(("--connection", url) if by_option else ()))

    assert (code, printed) == (1, "")
    assert re.fullmatch(r"voltmem: .+\n", problems)
    assert SECRET not in problems


async def test_a_wrong_password_is_told_in_one_line(dsn: str) -> None:
    """A login that is refused ends with 1, in a program of its own too, and the password is not repeated."""
    outcome = await process("status", "--connection", as_user(dsn, "no_such_role", SECRET))

    assert (outcome.code, outcome.printed) == (1, "")
    assert re.fullmatch(r"voltmem: .*no_such_role.*\n", outcome.problems)
    assert SECRET not in outcome.problems


@pytest.mark.parametrize(
    "words",
    [
        ["status", f"postgresql://ada:{SECRET}@host/db"],
        [f"postgresql://ada:{SECRET}@host/db"],
        ["sql", "--connection", f"postgresql://ada:{SECRET}@host/db"],
        ["status", "--password", SECRET],
        ["status", f"--password={SECRET}"],
        ["statsu"],
        ["status", "--connection"],
        [],
    ],
    ids=["place", "command", "sql", "option", "option=", "typo", "no value", "nothing"],
)
def test_arguments_that_are_none_are_not_repeated(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """They end with 2 and the usage; what was typed may have been a password in the wrong place."""
    with pytest.raises(SystemExit) as ended:
        main(words)

    printed, problems = capsys.readouterr()
    assert (ended.value.code, printed) == (2, "")
    assert problems.startswith("usage: python -m voltmem")
    assert SECRET not in problems


async def test_help_says_all_that_a_deploy_script_needs() -> None:
    """The commands, the exit codes and the environment variables stand in --help."""
    code, printed, problems = await process("--help")

    assert (code, problems) == (0, "")
    for word in (
        "sql",
        "migrate",
        "status",
        "export",
        "import",
        "index",
        "unindex",
        "VOLTMEM_DATABASE_URL",
        "DATABASE_URL",
        "exit codes:",
    ):
        assert word in printed
    assert re.findall(r"^  (\d)  ", printed, re.MULTILINE) == ["0", "1", "2", "3"]


# --- rights -------------------------------------------------------------------------------------------------------


def as_user(dsn: str, name: str, password: str) -> str:
    """Return the connection string with another login."""
    return re.sub(r"//([^@/]*@)?", f"//{name}:{password}@", dsn, count=1)


class Role(NamedTuple):
    """A role that may log in."""

    name: str
    dsn: str


@pytest.fixture
async def role(dsn: str, schema: str, connection: Connection) -> AsyncIterator[Role]:
    """A role that may use the test's schema, which is empty, and make nothing there."""
    name, password = f"voltmem_test_{secrets.token_hex(8)}", secrets.token_hex(8)
    await connection.execute(f"""
        CREATE ROLE {name} LOGIN PASSWORD '{password}';
        CREATE SCHEMA {schema};
        GRANT USAGE ON SCHEMA {schema} TO {name}""")
    yield Role(name, as_user(dsn, name, password))
    await connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def let_read_and_write(connection: Connection, schema: str, role: Role) -> None:
    """Grant what an application needs, and no more; of the functions even what everybody has, only to the role."""
    await connection.execute(f"""
        REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role.name};
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role.name};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role.name}""")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_every_verb_needs_rows_only(
    case: Case, role: Role, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """With migrate="check" a role that may read and write rows does all that a superuser does."""
    await make_storage().upgrade_schema()
    await let_read_and_write(connection, schema, role)
    await Rows(connection, schema).seed()

    await case(make_storage(role.dsn, migrate="check", search=True))


async def test_the_limit_and_the_archive_need_rows_only(
    role: Role, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """What the function does on the way, deleting or archiving beyond the limit, the role may do, too."""
    await make_storage().upgrade_schema()
    await let_read_and_write(connection, schema, role)
    await Rows(connection, schema).seed()

    for storage in (
        make_storage(role.dsn, migrate="check", storage_limit=2, on_limit="archive"),
        make_storage(role.dsn, migrate="check", storage_limit=1),
    ):
        await storage.add_message({"role": "user", "content": "one more"}, "ada", "c1")

    assert len(await storage.get_conversation_messages("c1", include_archived=True)) == 3


async def test_check_says_what_is_missing_and_the_way(
    role: Role, command: Command, make_storage: MakeStorage, connection: Connection, dsn: str, schema: str
) -> None:
    """The error names every migration, and the commands in it, as they stand there, are the way out."""
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
    """It is an error of ours that names the right, with PostgreSQL's code for it."""
    if not there:
        await connection.execute(f"DROP SCHEMA {schema}")

    with pytest.raises(DatabaseError, match="CREATE") as caught:
        await make_storage(role.dsn).open()

    assert caught.value.sqlstate == PERMISSION_DENIED
    assert isinstance(caught.value.__cause__, asyncpg.InsufficientPrivilegeError)
    assert await is_empty(connection, schema)
    assert await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema) is there


async def test_migrate_without_the_right_is_told_in_one_line(
    role: Role, command: Command, connection: Connection, schema: str
) -> None:
    """The command fails like the storage: 1, the right it lacks, no traceback, nothing made."""
    code, printed, problems = await command("migrate", "--schema", schema, "--connection", role.dsn)

    assert (code, printed) == (1, "")
    assert re.fullmatch(rf"voltmem: .*permission denied.* \[{PERMISSION_DENIED}\]\n", problems)
    assert await is_empty(connection, schema)


async def test_auto_needs_no_rights_where_all_is_there(
    role: Role, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """On a schema that is current the default asks for nothing more than "check" does."""
    await make_storage().upgrade_schema()
    await let_read_and_write(connection, schema, role)
    storage = make_storage(role.dsn)

    await storage.open()

    assert await storage.upgrade_schema() == []


@pytest.mark.parametrize("way", ["sql", "migrate"])
async def test_create_on_the_schema_is_enough_to_make_the_tables(
    role: Role, command: Command, make_storage: MakeStorage, connection: Connection, schema: str, way: str
) -> None:
    """Whoever makes the tables needs no right to make schemas where the schema is there."""
    await connection.execute(f"GRANT CREATE ON SCHEMA {schema} TO {role.name}")

    if way == "migrate":
        assert (await command("migrate", "--schema", schema, "--connection", role.dsn)).code == 0
    else:
        own = await asyncpg.connect(role.dsn)
        await own.execute((await command("sql", "--schema", schema)).printed)
        await own.close()

    assert await make_storage(role.dsn, migrate="check").count_conversations() == 0

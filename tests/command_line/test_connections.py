"""The database that a command uses; passwords are never printed."""

from __future__ import annotations

import re

import pytest

from tests.command_line.commands import NOWHERE, Command, as_user, process
from voltmem.__main__ import main

SECRET = "s3cr3t-Pa55word"


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
    """The database is that of --connection, then VOLTMEM_DATABASE_URL, then DATABASE_URL."""
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
    """Without an option or a variable, or with an empty one, a command fails: it never starts the embedded server."""
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
async def test_an_unreachable_database_is_reported_in_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, by_option: bool, url: str
) -> None:
    """If the server is down or the string invalid: exit code 1, and on standard error one line without the password."""
    monkeypatch.setenv("DATABASE_URL", NOWHERE if by_option else url)

    code, printed, problems = await command(name, *(("--connection", url) if by_option else ()))

    assert (code, printed) == (1, "")
    assert re.fullmatch(r"voltmem: .+\n", problems)
    assert SECRET not in problems


async def test_a_wrong_password_is_reported_in_one_line(backend: str) -> None:
    """If the login is refused: exit code 1, in a separate process too, and the password is not repeated."""
    outcome = await process("status", "--connection", as_user(backend, "no_such_role", SECRET))

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
def test_invalid_arguments_are_not_repeated(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Invalid arguments: exit code 2 and the usage, without repeating them, since one may be a misplaced password."""
    with pytest.raises(SystemExit) as ended:
        main(words)

    printed, problems = capsys.readouterr()
    assert (ended.value.code, printed) == (2, "")
    assert problems.startswith("usage: python -m voltmem")
    assert SECRET not in problems


async def test_help_says_all_that_a_deploy_script_needs() -> None:
    """--help has the commands, the exit codes and the environment variables."""
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
        "embed",
        "VOLTMEM_DATABASE_URL",
        "DATABASE_URL",
        "exit codes:",
    ):
        assert word in printed
    assert re.findall(r"^  (\d)  ", printed, re.MULTILINE) == ["0", "1", "2", "3"]

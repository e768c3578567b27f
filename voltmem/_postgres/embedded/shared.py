"""The shared server: keeps its data, serves all processes that use its folder, is stopped by the last of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from voltmem._postgres.embedded.cluster import (
    START_SECONDS,
    Cluster,
    accepts_connections,
    on_a_free_port,
    system_errors_as,
    wait_until,
)
from voltmem._postgres.embedded.programs import Account, default_folder, find_programs, import_extra, within_reach
from voltmem._postgres.embedded.running import EmbeddedPostgres, lock
from voltmem.errors import EmbeddedPostgresError

_DURABLE = {"max_connections": "100"}
_WRITE_SECONDS = 5  # PostgreSQL writes its new lock file in microseconds; one that stays empty, a crash has left


def start_shared(folder: Path | None = None) -> EmbeddedPostgres:
    """
    Join the server that keeps its data in *folder*; start it if it is not running. Returns it ready for connections.

    Every process that uses the folder gets the same server, and the last one to leave stops it. After a process was
    killed, the next one stops it.

    Args:
        folder: The folder of the data; created if missing. The permissions of an existing folder stay as they are.
            None: the environment variable ``VOLTMEM_HOME``, else the user's data folder, for root
            ``/var/lib/voltmem``.

    Raises:
        EmbeddedPostgresError: There is no PostgreSQL, it did not start (the message ends with its log), the folder
            cannot be used, or another major version made its data.

    Takes milliseconds when the server runs, 0.1 s when it does not, 1 s and more the first time.
    """
    home = Path(folder or default_folder()).expanduser().resolve()
    with system_errors_as(f"the PostgreSQL in {home} cannot be used"), lock():
        server = _shared.setdefault(home, _SharedServer(home))
        return EmbeddedPostgres(home, server.join(), server.leave, server.forget)


class _SharedServer:
    """
    This process's use of the server of one folder: one object a folder, guarded by `lock()`.

    Processes coordinate by two lock files. ``start.lock`` is held while a process starts, joins or leaves the server.
    ``users.lock`` is held *shared* for as long as a process uses the server; the kernel releases it when the process
    is killed. The process that acquires it exclusively is the last user. On POSIX a process loses its lock on a file
    when it closes *any* descriptor of it (hence one object), and a forked child does not inherit the locks.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._users = 0  # of this process

    def join(self) -> str:
        """Add a user; start the server if it is not running. Returns its connection string."""
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
        self._users_lock.lockfile.close()  # now: closing it later would release a lock that the child has taken itself

    def _open(self) -> None:
        fasteners = import_extra("fasteners")
        self._cluster = Cluster(self._folder / "server", Account.for_server_in(self._folder / "server"))
        if not self._folder.exists():
            self._make_folder()
        for name in ("start.lock", "users.lock"):  # private: a user who can open them could block starts and stops
            (self._folder / name).touch(mode=0o600)
        self._start_lock = fasteners.InterProcessLock(self._folder / "start.lock")
        self._users_lock = fasteners.InterProcessReaderWriterLock(self._folder / "users.lock")

    def _make_folder(self) -> None:
        """Create the folder under another name and rename it: a process that finds it finds its permissions set."""
        if not self._folder.parent.exists():
            self._folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{self._folder.name}-", dir=self._folder.parent))  # private
        if self._cluster.account.user is not None:
            unfinished.chmod(0o711)  # so that the user that runs the server can enter
        try:
            unfinished.rename(self._folder)
        except OSError:
            unfinished.rmdir()
            if not self._folder.exists():  # else another process made it first
                raise

    def _leave(self) -> None:
        self._users -= 1
        if self._users:
            return
        self._users_lock.release_read_lock()
        if not self._users_lock.acquire_write_lock(blocking=False):
            self._users_lock.lockfile.close()  # not the last user; fasteners leaves the file open
            return
        try:
            self._cluster.stop()
        finally:
            self._users_lock.release_write_lock()

    def _running_port(self) -> int | None:
        """
        Return the port of the running server, or None.

        Waits for a server that is starting or stopping for a process that was killed meanwhile.
        """
        wait_until(lambda: not self._cluster.lock_file_is_empty(), _WRITE_SECONDS)

        def settled() -> bool:
            postmaster = self._cluster.postmaster()
            return postmaster is None or (postmaster.ready and accepts_connections(postmaster.port))

        if not wait_until(settled, START_SECONDS):
            raise EmbeddedPostgresError(
                f"the PostgreSQL in {self._folder} runs but accepts no connections; its log is {self._cluster.log}"
            )
        postmaster = self._cluster.postmaster()
        return postmaster and postmaster.port

    def _start(self) -> int:
        cluster = self._cluster
        if not cluster.account.may("-x", self._folder):
            raise EmbeddedPostgresError(
                f"PostgreSQL does not run as root, and the user that runs it cannot enter {self._folder}: "
                "use a folder that everybody may enter, such as the default /var/lib/voltmem"
            )
        programs = within_reach(find_programs(), cluster.account, self._folder)
        if not cluster.folder.exists():
            self._make_cluster(programs)
        made_by, ours = int((cluster.data / "PG_VERSION").read_text()), cluster.major_version(programs)
        if made_by != ours:
            raise EmbeddedPostgresError(
                f"PostgreSQL {made_by} made the data in {self._folder}, and this is PostgreSQL {ours}: "
                f"use another folder (VOLTMEM_HOME), or PostgreSQL {made_by}"
            )
        cluster.disown_lock_file()
        return on_a_free_port(partial(self._start_or_join, programs))

    def _start_or_join(self, programs: Path, port: int) -> int:
        """Start the server, unless one that a killed process was starting came first. Returns the port that it has."""
        try:
            return self._cluster.start(programs, _DURABLE, port)
        except EmbeddedPostgresError:
            if (running := self._running_port()) is None:
                raise
            return running

    def _make_cluster(self, programs: Path) -> None:
        """Create the server's folder under another name and rename it, so that it is never half-made."""
        for leftover in self._folder.glob("unfinished-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="unfinished-", dir=self._folder))
        unfinished = Cluster(folder, self._cluster.account)
        unfinished.hand_over()
        unfinished.run(*unfinished.initdb(programs))
        folder.rename(self._cluster.folder)


_shared: dict[Path, _SharedServer] = {}

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_shared.clear)

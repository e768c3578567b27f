"""The server that keeps its data: one for all processes that use its folder, stopped by the last of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
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
    home = Path(folder or default_folder()).expanduser().resolve()
    with system_errors_as(f"the PostgreSQL in {home} cannot be used"), lock():
        server = _shared.setdefault(home, _SharedServer(home))
        return EmbeddedPostgres(home, server.join(), server.leave, server.forget)


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
        fasteners = import_extra("fasteners")
        self._cluster = Cluster(self._folder / "server", Account.for_server_in(self._folder / "server"))
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
            return postmaster is None or (postmaster.ready and accepts_connections(postmaster.port))

        if not wait_until(settled, START_SECONDS):
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
        programs = within_reach(find_programs(), cluster.account, self._folder)
        if not cluster.folder.exists():
            self._make_cluster(programs)
        made_by, ours = int((cluster.data / "PG_VERSION").read_text()), cluster.major_version(programs)
        if made_by != ours:
            raise EmbeddedPostgresError(
                f"the data in {self._folder} were made by PostgreSQL {made_by}, and this is {ours}: "
                f"use another folder (VOLTMEM_HOME), or PostgreSQL {made_by}"
            )
        cluster.disown_lock_file()
        return on_a_free_port(partial(cluster.start, programs, _DURABLE))

    def _make_cluster(self, programs: Path) -> None:
        """Make the server's folder under another name, so that a half-done one is never taken for whole."""
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

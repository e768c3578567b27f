"""The throw-away server. It stops when the process that started it ends, even if that is killed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from voltmem._postgres.embedded.cluster import (
    START_SECONDS,
    Cluster,
    as_arguments,
    on_a_free_port,
    system_errors_as,
    wait_until,
)
from voltmem._postgres.embedded.programs import Account, find_programs, within_reach
from voltmem._postgres.embedded.running import EmbeddedPostgres
from voltmem.errors import EmbeddedPostgresError

_TEMPORARY = {"max_connections": "200", "shared_buffers": "64MB", "jit": "off"}
_UNSYNCED = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def start_temporary(settings: Mapping[str, str] | None = None, *, durable_writes: bool = False) -> EmbeddedPostgres:
    """
    Start a throw-away server in a temporary folder of its own. Returns it when it accepts connections.

    Server and folder are removed by ``stop()``, at interpreter exit and, except on Windows, when this process is
    killed.

    Args:
        settings: PostgreSQL's own settings, such as ``{"shared_preload_libraries": "auto_explain"}``.
        durable_writes: Sync to disk as a real server does; slower, and seldom needed by tests.

    Raises:
        EmbeddedPostgresError: There is no PostgreSQL, or it did not come up; the message ends with its log.

    Takes 0.5 to 2 s, most of it for ``initdb``, and 40 MB of disk.
    """
    wanted = {**_TEMPORARY, **({} if durable_writes else _UNSYNCED), **(settings or {})}
    with system_errors_as("the temporary PostgreSQL cannot be started"):
        return on_a_free_port(partial(_start_temporary, wanted))


# The parent process of a temporary server. Only we hold the other end of its standard input, a pipe: when the pipe
# closes, we have ended, however that happened. Then it signals the server to quit, every second until it has (during
# initdb, and right after the start, the server ignores signals), and removes the folder. PR_SET_PDEATHSIG would not
# do: it fires when the *thread* that started the server ends.
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
    """A temporary server and the shell process that supervises it."""

    def __init__(self, cluster: Cluster, script: str, log: BinaryIO) -> None:
        self._cluster = cluster
        self._shell = cluster.spawn(["sh", "-c", script], subprocess.PIPE, log)

    def ended(self) -> bool:
        return self._shell.poll() is not None

    def settled(self) -> bool:
        postmaster = self._cluster.postmaster()
        return self.ended() or (postmaster is not None and postmaster.ready)

    def leave(self) -> None:
        # A line has the same effect as closing the pipe, which a child forked by C code may still hold open.
        self._shell.communicate(b"\n")
        shutil.rmtree(self._cluster.folder, ignore_errors=True)  # where the server's user may not remove it from TMPDIR

    def forget(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.poll()  # avoids a ResourceWarning about a child process that is not ours


def _start_temporary(settings: Mapping[str, str], port: int) -> EmbeddedPostgres:
    folder = Path(tempfile.mkdtemp(prefix="voltmem-")).resolve()
    try:
        cluster = Cluster(folder, Account.for_server_in(folder / "data"))
        programs = within_reach(find_programs(), cluster.account, folder)
        cluster.hand_over()
        if not cluster.account.may("-x", folder):
            raise EmbeddedPostgresError(
                f"the user that runs the server cannot enter {folder}: set TMPDIR to a folder that everybody may enter"
            )
        start = _start_unsupervised if os.name == "nt" else _start_supervised
        return start(cluster, programs, settings, port)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _initdb(cluster: Cluster, programs: Path) -> list[str]:
    """Return the command that creates the data folder."""
    # Iterations slow down guessing. Nobody guesses 32 random bytes, and 4096 of them take 2 ms at each connection.
    once = ["--set=scram_iterations=1"] if cluster.major_version(programs) >= 16 else []
    return cluster.initdb(programs, "--no-sync", *once)


def _start_supervised(cluster: Cluster, programs: Path, settings: Mapping[str, str], port: int) -> EmbeddedPostgres:
    dsn = cluster.dsn(port)
    script = _SUPERVISOR.format(
        initdb=shlex.join(_initdb(cluster, programs)),
        postgres=shlex.join([f"{programs}/postgres", "-D", f"{cluster.data}", *as_arguments(settings, port)]),
        folder=shlex.quote(f"{cluster.folder}"),
    )
    with open(cluster.log, "a+b") as log:
        server = _SupervisedServer(cluster, script, log)
        try:
            if not wait_until(server.settled, START_SECONDS) or server.ended():
                log.seek(0)  # the folder, and the file in it, may be removed already
                raise cluster.failure(log.read())
            return EmbeddedPostgres(cluster.folder, dsn, server.leave, server.forget)
        except BaseException:
            server.leave()
            raise


def _start_unsupervised(cluster: Cluster, programs: Path, settings: Mapping[str, str], port: int) -> EmbeddedPostgres:
    """Start it on Windows, which has no ``sh`` and no fork."""

    def leave() -> None:
        cluster.stop()
        shutil.rmtree(cluster.folder, ignore_errors=True)

    cluster.run(*_initdb(cluster, programs))
    cluster.start(programs, settings, port)
    return EmbeddedPostgres(cluster.folder, cluster.dsn(port), leave, forget=leave)

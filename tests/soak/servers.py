"""The servers of the soak test: a primary with a synchronous standby."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg

from voltmem._postgres.embedded.cluster import Cluster, on_a_free_port, wait_until
from voltmem._postgres.embedded.programs import Account, find_programs, within_reach

_SETTINGS: Final = {
    **{"fsync": "off", "full_page_writes": "off", "jit": "off", "shared_buffers": "128MB", "max_connections": "150"},
    **{
        "hot_standby": "on",
        "wal_level": "replica",
        "wal_retrieve_retry_interval": "200ms",
        "log_min_messages": "fatal",
    },
    **{"restart_after_crash": "on", "max_wal_size": "512MB", "wal_keep_size": "256MB"},
}
_FAKETIME: Final = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_PATIENCE: Final = 60


class Clock:
    """The clock of the servers, which can be moved where libfaketime is installed."""

    def __init__(self, folder: Path, *, wanted: bool) -> None:
        self.is_there = wanted and _FAKETIME.exists()
        self._file = folder / "clock"
        self.move(0)

    def move(self, seconds: int) -> None:
        """Set the clock so many seconds off."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.chmod(0o644)
        new.replace(self._file)

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Start programs in the block with this clock."""
        names = {"LD_PRELOAD": f"{_FAKETIME}", "FAKETIME_TIMESTAMP_FILE": f"{self._file}"}
        names |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_RESET": "1"}
        if self.is_there:
            os.environ.update(names)
        try:
            yield
        finally:
            for name in names:
                os.environ.pop(name, None)


class Node:
    """One PostgreSQL server with a folder and a port of its own."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock
        self.cluster = Cluster(folder, Account.for_server_in(folder))
        self.programs = within_reach(find_programs(), self.cluster.account, folder.parent)
        self.port = 0

    @property
    def dsn(self) -> str:
        return self.cluster.dsn(self.port)

    def create(self) -> None:
        """Create the data, and start the server."""
        self.folder.mkdir()
        self.cluster.hand_over()
        self.cluster.run(*self.cluster.initdb(self.programs, "--no-sync"))
        with (self.cluster.data / "pg_hba.conf").open("a") as rules:
            rules.write("host replication all 127.0.0.1/32 scram-sha-256\n")
        self.start()

    def follow(self, primary: Node) -> None:
        """Replace the data by a copy of the primary's, and start as its standby."""
        shutil.rmtree(self.cluster.data, ignore_errors=True)
        self.folder.mkdir(exist_ok=True)
        shutil.copy(primary.folder / "password", self.folder / "password")
        self.cluster.account.own(self.folder)
        login = primary.dsn.replace("/postgres?", "/?")
        copy = (self.programs / "pg_basebackup", "-d", login, "-D", self.cluster.data, "-R", "-c", "fast", "--no-sync")
        self.cluster.run(*copy)
        self.cluster.run("rm", "-f", self.cluster.data / "postgresql.auto.conf.new")
        self.start()

    def start(self) -> None:
        """Start the server, on the port that it had."""

        def start(port: int) -> int:
            return self.cluster.start(self.programs, _SETTINGS, self.port or port)

        with self._clock.environment():
            self.port = on_a_free_port(start)

    def kill(self) -> None:
        """Kill the server with all its processes, as a machine does that loses power; what is on disk stays."""
        if (postmaster := self.cluster.postmaster()) is not None:
            children = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(postmaster.pid)], capture_output=True, text=True, check=False
            )
            for pid in (postmaster.pid, *map(int, children.stdout.split())):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(partial(postmaster.is_gone, self.cluster.data), _PATIENCE)
        self.cluster.disown_lock_file()

    def promote(self) -> None:
        """Make the standby a primary."""
        self.cluster.run(self.programs / "pg_ctl", "promote", "-w", "-t", str(_PATIENCE), "-D", self.cluster.data)


class Pair:
    """A primary, and if wanted a standby that has each commit before it is acknowledged."""

    def __init__(self, folder: Path, clock: Clock, dsn: str | None, *, with_standby: bool) -> None:
        self._given = dsn
        self.primary = Node(folder / "a", clock)
        self.standby = Node(folder / "b", clock) if with_standby and dsn is None else None

    @property
    def dsn(self) -> str:
        """The connection string of the present primary, or of the server that was given."""
        return self._given or self.primary.dsn

    async def create(self) -> None:
        """Start them, unless a server was given."""
        if self._given is None:
            await asyncio.to_thread(self.primary.create)
            await self.add_standby()

    async def execute(self, *statements: str) -> Any:
        """Execute statements on the primary. Returns the first value of the last one."""
        async with asyncio.timeout(_PATIENCE):
            connection = await self._connect()
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        while True:
            try:
                return await asyncpg.connect(self.dsn)
            except asyncpg.CannotConnectNowError:  # it recovers from a kill
                await asyncio.sleep(0.1)

    async def add_standby(self) -> None:
        """Copy the primary, and let commits wait for the copy from then on."""
        if self.standby is not None:
            await asyncio.to_thread(self.standby.follow, self.primary)
            await self._wait_for("state = 'streaming'")
            await self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
            await self._wait_for("sync_state = 'sync'")

    async def _wait_for(self, condition: str) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not await self.execute(f"SELECT count(*) FROM pg_sleep(0.1), pg_stat_replication WHERE {condition}"):
                pass

    async def restart(self) -> None:
        """Kill the primary, and start it again."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.to_thread(self.primary.start)

    async def fail_over(self) -> None:
        """Kill the primary for good, and promote the standby, which waits for no other."""
        assert self.standby is not None
        await asyncio.to_thread(self.primary.kill)
        await asyncio.to_thread(self.standby.promote)
        self.primary, self.standby = self.standby, self.primary
        await self.execute("ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Kill both."""
        for node in (self.primary, self.standby) if self._given is None else ():
            if node is not None:
                node.kill()

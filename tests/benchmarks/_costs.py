"""What a turn uses: CPU time of the client and of the server, bytes of its log, bytes on its disk."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

import asyncpg

if TYPE_CHECKING:
    from tests.benchmarks._measure import Side

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_PROCESSES: Final = Path("/proc")
_WRITTEN: Final = """
    SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, sum(pg_total_relation_size(oid))::bigint
    FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'"""


@dataclass(frozen=True)
class Costs:
    """What one call uses. None: it cannot be known, or it says nothing for this row."""

    client: float
    """Milliseconds of CPU time of this process."""
    server: float | None
    """Milliseconds of CPU time of all of the server's processes."""
    log: float
    """Bytes of WAL."""
    disk: float | None
    """Bytes that the tables and their indexes grow by for each message that is added."""

    @classmethod
    def median(cls, turns: Sequence[Costs | None]) -> Self | None:
        """Return the median of each cost; None if a turn has none."""
        known = [each for each in turns if each is not None]
        if not known or len(known) < len(turns):
            return None
        return cls(
            client=statistics.median(each.client for each in known),
            server=_median(each.server for each in known),
            log=statistics.median(each.log for each in known),
            disk=_median(each.disk for each in known),
        )


def _median(values: Iterable[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return statistics.median(known) if known else None


class _Used(NamedTuple):
    """What has been used since some moment in the past."""

    client: float
    server: float | None
    log: int
    disk: int


class Meter:
    """Reads what this process and the server have used, before and after a turn."""

    def __init__(self, pool: Pool, schema: str, postmaster: int | None) -> None:
        """
        Args:
            pool: Leads to the server.
            schema: Its tables are what grows on the disk.
            postmaster: The server's first process; None: it is not ours, and its CPU time is not read.
        """
        self._pool = pool
        self._schema = schema
        self._postmaster = postmaster

    async def during(self, measure: Callable[[], Awaitable[Side]], adds: float) -> tuple[Side, Costs | None]:
        """Take one turn. Returns its side, and its costs if it says how many calls it took."""
        before = await self._read()
        side = await measure()
        after = await self._read()
        if side.calls is None:
            return side, None
        server = None if before.server is None or after.server is None else after.server - before.server
        return side, Costs(
            client=(after.client - before.client) * 1000 / side.calls,
            server=None if server is None else server * 1000 / side.calls,
            log=(after.log - before.log) / side.calls,
            disk=(after.disk - before.disk) / (side.calls * adds) if adds else None,
        )

    async def _read(self) -> _Used:
        log, disk = await self._pool.fetchrow(_WRITTEN, self._schema) or (0, 0)
        return _Used(time.process_time(), self._server(), log, disk)

    def _server(self) -> float | None:
        """Return the seconds of CPU time of the server's processes, those that have ended included."""
        if self._postmaster is None:
            return None
        ticks = _ticks(self._postmaster, with_ended=True)
        for process in _children(self._postmaster):
            ticks += _ticks(process)
        return ticks / os.sysconf("SC_CLK_TCK")


async def postmaster_of(pool: Pool) -> int | None:
    """Return the first process of a server on this machine, the parent of each backend; None without /proc."""
    backend: int = await pool.fetchval("SELECT pg_backend_pid()")
    found = _fields(backend)
    return None if found is None else int(found[1])


def _children(parent: int) -> list[int]:
    processes = [int(folder.name) for folder in _PROCESSES.iterdir() if folder.name.isdigit()]
    return [each for each in processes if (fields := _fields(each)) and int(fields[1]) == parent]


def _ticks(process: int, *, with_ended: bool = False) -> int:
    """Return utime and stime of a process; with_ended: and those of its children that have ended."""
    fields = _fields(process)
    return 0 if fields is None else sum(map(int, fields[11 : 15 if with_ended else 13]))


def _fields(process: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the third on (proc_pid_stat(5)); None if the process has ended."""
    try:
        text = (_PROCESSES / str(process) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # a name may have spaces

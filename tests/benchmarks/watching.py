"""Telling watchers of a change: the CPU time has to grow no faster than their number."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final

from tests.benchmarks._bench import TEXT, Bench
from tests.benchmarks._measure import Bound, Side
from voltmem import PostgresStorage

FEW: Final = 250
MORE: Final = (500, 1_000)
CHANGES: Final = 10


class Audience:
    """Watchers of one user. Each is a task, as behind the routes of an application."""

    def __init__(self, storage: PostgresStorage, watchers: int) -> None:
        self._storage = storage
        self._watchers = watchers
        self._told = 0
        self._all_told = asyncio.Event()

    async def __aenter__(self) -> Audience:
        self._tasks = [asyncio.create_task(self._watch()) for _ in range(self._watchers)]
        await self.is_told()  # that each of them is ready
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def is_told(self) -> None:
        """Return when each watcher has been told once more."""
        await self._all_told.wait()
        self._told = 0
        self._all_told.clear()

    async def _watch(self) -> None:
        async for _ in self._storage.watch("ada"):
            self._told += 1
            if self._told == self._watchers:
                self._all_told.set()


async def run(bench: Bench) -> None:
    """Measure the client's CPU time from a change until all watchers of the user are told."""
    await bench.start_anew()
    few = bench.count(FEW)
    for watchers in map(bench.count, MORE):
        await bench.compare(
            f"one change, until {watchers:,} watchers are told",
            f"until {few:,} are told",
            "ms of CPU",
            partial(telling, bench, watchers),
            partial(telling, bench, few),
            bound=Bound("at most", watchers / few),
            rounds=5,
        )


async def telling(bench: Bench, watchers: int) -> Side:
    """Return the CPU time of one change, without that of beginning to watch."""
    storage = bench.storage()
    async with Audience(storage, watchers) as audience:
        cpu = time.process_time()
        for _ in range(CHANGES):
            await storage.add_message({"role": "user", "content": TEXT}, "ada", "c0")
            await audience.is_told()
        used = time.process_time() - cpu
    await storage.close()
    return Side(used / CHANGES * 1000)

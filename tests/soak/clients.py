"""The processes that make the load."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from asyncio.subprocess import Process
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.checkout import ROOT

_LOAD: Final = Path(__file__).with_name("load.py")
# A call ends within its retry_timeout, 20 seconds.
_PATIENCE: Final = 60


@dataclass
class _Client:
    process: Process
    errors: Path
    dsn: str
    checkout: Path


class Clients:
    """Starts clients, kills some, and collects what became of them."""

    def __init__(self, folder: Path, schema: str, seconds: float) -> None:
        self._folder = folder
        self._schema = schema
        self._until = time.monotonic() + seconds
        self._running: list[_Client] = []
        self._started = 0
        self.crashes: list[str] = []
        """What clients wrote that ended by themselves with an error."""

    async def start(self, dsn: str, checkout: Path = ROOT) -> None:
        """Start a client, with the voltmem of a checkout."""
        self._started += 1
        record = self._folder / f"client-{self._started}"
        errors = self._folder / f"errors-{self._started}"
        seconds = f"{max(0.0, self._until - time.monotonic())}"
        with errors.open("w") as stream:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", _LOAD, dsn, self._schema, record, seconds, checkout.name),
                env={**os.environ, "PYTHONPATH": f"{checkout}"},
                stderr=stream,
            )
        self._running.append(_Client(process, errors, dsn, checkout))

    async def kill_one(self) -> None:
        """Kill a client in whatever it is doing, and start another in its place."""
        if self._running and time.monotonic() < self._until:
            client = self._running.pop(random.randrange(len(self._running)))
            if client.process.returncode is None:
                client.process.kill()
            await client.process.wait()
            self._note(client, killed=True)
            await self.start(client.dsn, client.checkout)

    async def finish(self) -> None:
        """Wait until all have ended."""
        async with asyncio.timeout(max(0.0, self._until - time.monotonic()) + _PATIENCE):
            for client in self._running:
                await client.process.wait()
                self._note(client, killed=False)

    def stop(self) -> None:
        """Kill those that still run."""
        for client in self._running:
            if client.process.returncode is None:
                client.process.kill()

    def _note(self, client: _Client, *, killed: bool) -> None:
        if client.process.returncode not in ((0, -9) if killed else (0,)):
            self.crashes.append(f"exit code {client.process.returncode}: {client.errors.read_text()[-3000:]}")


async def migrate(checkout: Path, dsn: str, schema: str) -> None:
    """Upgrade the tables to another release's, if that is the newer one."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "voltmem", "migrate", "--schema", schema),
        env={**os.environ, "PYTHONPATH": f"{checkout.resolve()}", "VOLTMEM_DATABASE_URL": dsn},
        stdout=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        raise RuntimeError(f"the migrations of {checkout} failed")

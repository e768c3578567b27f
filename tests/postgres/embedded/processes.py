"""Programs that use an embedded server, and the processes that they leave."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

from tests.checkout import ROOT

IS_ROOT = os.geteuid() == 0


class Program:
    """A Python program of its own, in a process group of its own, that lives until it is told to end."""

    def __init__(self, source: str, *arguments: object, **options: Any) -> None:
        options["env"] = {**os.environ, "PYTHONPATH": str(ROOT), **options.get("env", {})}
        command = [sys.executable, "-W", "error", "-c", source, *map(str, arguments)]
        options |= dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
        self.process: subprocess.Popen[str] = subprocess.Popen(command, text=True, process_group=0, cwd="/", **options)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def says(self) -> list[str]:
        """Return the words of the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def end(self) -> int:
        """Let it run to its end, without a word of complaint, and return how that went."""
        assert self.process.communicate("\n", timeout=60) == ("", "")
        return self.process.returncode

    def kill(self) -> None:
        """Kill it as ``kill -9`` does, which it cannot notice."""
        self.process.kill()
        self.process.communicate()


def ask(dsn: str, *statements: str) -> Any:
    """Return the first value of the last statement."""

    async def run() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(run())


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Return whether it came true in time; it need not stay so (initdb makes and removes a lock file)."""
    deadline = time.monotonic() + seconds
    while not (came_true := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return came_true


def serves(dsn: str) -> bool:
    try:
        return bool(ask(dsn, "SELECT 1"))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return False


def processes_in(folder: Path) -> list[int]:
    """Return who works in *folder* or was started with it on the command line; who is about to end does neither."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            place = os.readlink(process / "cwd")
        except OSError:
            continue
        if not words:  # a process that ends loses its memory first, and its folder a moment later
            continue
        started_here = os.fsencode(folder) in words and b"postgres" in words and b"python" not in words
        if started_here or Path(place).is_relative_to(folder):
            found.append(int(process.name))
    return found

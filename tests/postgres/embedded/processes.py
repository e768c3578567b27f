"""Programs that use an embedded server, and their processes."""

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
import pytest

from tests.checkout import ROOT

IS_ROOT = os.geteuid() == 0


class Program:
    """A Python program in its own process and process group. It runs until end() or kill()."""

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
        """Return the words of the next line that it prints. If it ended instead, fail with its errors."""
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            pytest.fail(f"the program ended: {self.process.communicate()[1]}")
        return line.split()

    def end(self) -> int:
        """Let it finish, and check that it prints no error. Returns its exit status."""
        assert self.process.communicate("\n", timeout=60) == ("", "")
        return self.process.returncode

    def kill(self) -> None:
        """Kill it with ``kill -9``, which it cannot handle."""
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
    """
    Return whether the condition became true in time.

    It need not stay true (initdb creates and removes a lock file).
    """
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
    """Return the processes that work in *folder* or have it on their command line, except those that are ending."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            place = os.readlink(process / "cwd")
        except OSError:
            continue
        if not words:  # an ending process first loses its memory, and its folder a moment later
            continue
        started_here = os.fsencode(folder) in words and b"postgres" in words and b"python" not in words
        if started_here or Path(place).is_relative_to(folder):
            found.append(int(process.name))
    return found

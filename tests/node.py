"""
Programs in Node, with the npm packages of tests/node/package.json.

The packages are installed once for all tests, into build/node, from the lock file; those of tests/node/front_ends are
installed apart, since several versions of a front end do not share their packages. Without Node or npm, a test that
asks for them is skipped.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import JsonValue

from tests.checkout import ROOT

SCRIPTS: Final = ROOT / "tests" / "node"
_INSTALLED: Final = ROOT / "build" / "node"
_PATIENCE: Final = 60  # seconds; far more than any call takes, so that its end means failure
_LONGEST_LINE: Final = 2**24


class NodeError(Exception):
    """A program in Node failed."""


def environment(packages: str = ".") -> dict[str, str]:
    """
    Return the environment of Node with packages, which are installed now if they are not. May skip the test.

    *packages*: the folder in tests/node whose package.json names them.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    installed = _INSTALLED / packages
    _install(SCRIPTS / packages, installed)
    return {**os.environ, "NODE_PATH": str(installed / "node_modules")}


def _install(named: Path, installed: Path) -> None:
    """Install the packages, unless those of this lock file are. The processes of a test run wait for each other."""
    lock = (named / "package-lock.json").read_bytes()
    wanted = hashlib.sha256(lock).hexdigest()
    done = installed / "installed"
    installed.mkdir(parents=True, exist_ok=True)
    with (installed / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if done.exists() and done.read_text() == wanted:
            return
        for name in ("package.json", "package-lock.json"):
            shutil.copy(named / name, installed / name)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=installed, check=True)
        done.write_text(wanted)


async def node(script: str, given: JsonValue, packages: str = ".") -> Any:
    """Run a script of tests/node: it reads JSON from its input, and writes JSON to its output, which is returned."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(SCRIPTS / script)),
        env=await asyncio.to_thread(environment, packages),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(_PATIENCE):
        answer, errors = await process.communicate(json.dumps(given).encode())
    if process.returncode:
        raise NodeError(f"{script}: {errors.decode()}")
    return json.loads(answer)


class NodeProgram:
    """
    A running script, which answers calls.

    It reads lines of {"id", "call", "arguments"}, and writes lines of {"id", "answer"} or {"id", "error"}.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read(), name="tests: the answers of Node are read")

    async def call(self, name: str, *arguments: JsonValue) -> Any:
        """Call a function of the script. Returns its answer; NodeError if it throws."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "call": name, "arguments": arguments}).encode() + b"\n")
        async with asyncio.timeout(_PATIENCE):
            return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            waiting = self._waiting.pop(answer["id"])
            if "error" in answer:
                waiting.set_exception(NodeError(answer["error"]))
            else:
                waiting.set_result(answer.get("answer"))
        for waiting in self._waiting.values():
            waiting.set_exception(NodeError("the program has ended"))

    async def end(self) -> None:
        """Close its input, on which it ends, and wait for that."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
            await self._reading


@asynccontextmanager
async def node_program(script: str, *arguments: str, packages: str = ".") -> AsyncIterator[NodeProgram]:
    """Run a script of tests/node that answers calls until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *("node", str(SCRIPTS / script), *arguments),
        env=await asyncio.to_thread(environment, packages),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_LONGEST_LINE,
    )
    program = NodeProgram(process)
    try:
        yield program
    finally:
        await program.end()

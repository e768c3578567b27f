"""Run Python programs in a process of their own, from the checkout."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.checkout import ROOT


async def python(*arguments: str | Path, stdin: str = "", **environment: str) -> str:
    """Run a Python program: a file, or "-c" and its text, and its arguments. Returns its output; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    printed, problems = await process.communicate(stdin.encode())
    assert process.returncode == 0, problems.decode()
    return printed.decode()

"""Helpers for the tests of the command line: the outcome of a command, and the state of a schema."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from tests.checkout import ROOT
from voltmem._postgres.migrations.files import migrations

if TYPE_CHECKING:
    from tests.conftest import Connection

NAMES = [migration.name for migration in migrations()]
PREFIX = "voltagent_memory"
NOWHERE = "postgresql://127.0.0.1:1/nowhere"


class Outcome(NamedTuple):
    """The exit code and the output of a command."""

    code: int | None
    printed: str
    problems: str


Command = Callable[..., Awaitable[Outcome]]


async def process(
    *words: str, stdin: int | None = None, stdout: int = asyncio.subprocess.PIPE, **environment: str
) -> Outcome:
    """Run a command as a deploy script does."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "voltmem", *words),
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment},
        stdin=stdin,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, problems = await program.communicate()
    return Outcome(program.returncode, (printed or b"").decode(), problems.decode())


async def is_empty(connection: Connection, schema: str) -> bool:
    """Return whether the schema is empty or missing."""
    sql = "SELECT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace($1))"
    return await connection.fetchval(sql, schema) is True


def as_user(dsn: str, name: str, password: str) -> str:
    """Return the connection string with another login."""
    return re.sub(r"//([^@/]*@)?", f"//{name}:{password}@", dsn, count=1)


class Role(NamedTuple):
    """A role with a login."""

    name: str
    dsn: str

"""Fixtures that run commands in this process or in another."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.command_line.commands import Command, Outcome, Role, as_user
from voltmem.__main__ import main

if TYPE_CHECKING:
    from tests.conftest import Connection


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process, in a thread, since it has an event loop of its own."""

    async def run(*words: str) -> Outcome:
        code = await asyncio.to_thread(main, words)
        printed, problems = capsys.readouterr()
        return Outcome(code, printed, problems)

    return run


@pytest.fixture
def command_here(command: Command, dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command on the test's schema."""
    monkeypatch.setenv("VOLTMEM_DATABASE_URL", dsn)

    async def run(*words: str) -> Outcome:
        return await command(*words, "--schema", schema)

    return run


@pytest.fixture
async def role(backend: str, schema: str, connection: Connection) -> AsyncIterator[Role]:
    """
    A role that may use the test's schema, which is empty, and create nothing in it.

    It connects to the server itself, since PgBouncer logs in as one user for all.
    """
    name, password = f"voltmem_test_{secrets.token_hex(8)}", secrets.token_hex(8)
    await connection.execute(f"""
        CREATE ROLE {name} LOGIN PASSWORD '{password}';
        CREATE SCHEMA {schema};
        GRANT USAGE ON SCHEMA {schema} TO {name}""")
    yield Role(name, as_user(backend, name, password))
    await connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")

"""
Run the OpenAI Agents SDK's own session tests with VoltMemSession.

``python -m tests.adapters.openai_agents.sdk_suite FOLDER`` downloads the sources of the installed release into the
folder and runs them there; its exit code is pytest's. The environment has voltmem with the extras openai-agents and
embedded, pytest, pytest-asyncio, inline-snapshot and aiosqlite.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import agents
from agents import SessionSettings, TResponseInputItem

from voltmem import PostgresStorage
from voltmem.adapters.openai_agents import VoltMemSession
from voltmem.testing import drop_schema, server, temporary_schema_name

FILES = (
    "tests/memory/test_session.py",
    "tests/memory/test_session_limit.py",
    "tests/test_max_turns.py",
    "tests/test_soft_cancel.py",
    "tests/test_tool_batch_failure_history.py",
)

# Tests that are left out, because they are about SQLite: its files, threads, locks and broken rows.
SQLITE = (
    "await_mutation",
    "closed_rejects",
    "closes_retired",
    "closes_worker",
    "corrupt",
    "evicts_connection",
    "failed_",
    "file_lock",
    "live_worker",
    "post_commit",
    "quarantined",
    "reaps_connections",
)

# --- the program ----------------------------------------------------------------------------------------------------


def main(folder: Path) -> int:
    """Run the SDK's tests. Returns their exit code."""
    sources = downloaded(folder)
    program = [sys.executable, "-m", "pytest", "-q", "-p", Path(__file__).stem, "-p", "no:cacheprovider"]
    without = ["-k", " and ".join(f"not {words}" for words in SQLITE)]
    paths = os.pathsep.join([str(Path(__file__).parent), str(sources)])
    # The SDK's tests are in a folder "tests", too. So this file is imported there as a top-level module.
    environment = {**os.environ, "PYTHONPATH": paths, "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    return subprocess.run([*program, *FILES, *without], cwd=sources, env=environment, check=False).returncode


def downloaded(folder: Path) -> Path:
    """Download the sources of the installed release, unless they are there. Returns their folder."""
    release = f"openai_agents-{version('openai-agents')}"
    if not (folder / release).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = ["--no-deps", "--no-binary", "openai-agents", f"openai-agents=={version('openai-agents')}"]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", *wanted, "-d", str(folder)], check=True)
        with tarfile.open(folder / f"{release}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / release


# --- the plugin -----------------------------------------------------------------------------------------------------

_schemas: dict[str, str] = {}  # by SQLite's file; by itself for each session in memory


def pytest_configure() -> None:
    """Replace SQLiteSession in the SDK with the class below."""
    for module in (agents, agents.memory):
        module.SQLiteSession = Session  # type: ignore[attr-defined]


def pytest_unconfigure() -> None:
    """Drop the schemas of the tests."""
    for schema in _schemas.values():
        asyncio.run(drop_schema(schema))


class Session:
    """
    VoltMemSession with the interface of SQLiteSession: a schema for each file, and a storage for each call.

    The SDK's tests call one session from several event loops, which SQLite allows.
    """

    def __init__(
        self,
        session_id: str,
        db_path: str | Path = ":memory:",
        *,
        session_settings: SessionSettings | dict[str, int | None] | None = None,
    ) -> None:
        schema = temporary_schema_name()
        self._schema = _schemas.setdefault(schema if str(db_path) == ":memory:" else str(db_path), schema)
        self.session_id = session_id
        session = VoltMemSession(session_id, PostgresStorage(), user_id="ada", session_settings=session_settings)
        self.session_settings = session.session_settings

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        async with self._session() as session:
            return await session.get_items(limit)

    async def add_items(self, items: Sequence[TResponseInputItem]) -> None:
        async with self._session() as session:
            await session.add_items(items)

    async def pop_item(self) -> TResponseInputItem | None:
        async with self._session() as session:
            return await session.pop_item()

    async def clear_session(self) -> None:
        async with self._session() as session:
            await session.clear_session()

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[VoltMemSession]:
        async with PostgresStorage(server().dsn, schema=self._schema, storage_limit=None) as storage:
            session = VoltMemSession(self.session_id, storage, user_id="ada")
            session.session_settings = self.session_settings
            yield session


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))

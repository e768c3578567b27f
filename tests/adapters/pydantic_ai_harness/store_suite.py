"""
Run the contract tests of the stores of Pydantic AI's harness with VoltMemMemoryStore.

``python -m tests.adapters.pydantic_ai_harness.store_suite FILE`` runs those of FILE, the harness's
``tests/memory/test_stores.py`` of the installed release, which its packages do not have; its exit code is pytest's. The
environment has voltmem with the extras pydantic-ai-harness and embedded, and pytest.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from voltmem import PostgresStorage
from voltmem.adapters.pydantic_ai_harness import VoltMemMemoryStore
from voltmem.testing import drop_schema, server, temporary_schema_name

ROOT: Final = Path(__file__).parents[3]
CONTRACT: Final = "test_local_store or test_bundled_stores"
"""The tests that each store has to pass. The others are about files, SQLite, and the tables of the harness."""

# --- the program ----------------------------------------------------------------------------------------------------


def main(file: Path) -> int:
    """Run the contract tests. Returns their exit code."""
    program = [sys.executable, "-m", "pytest", "-q", "-p", Path(__file__).stem, "-p", "no:cacheprovider"]
    options = ["-k", CONTRACT, "--rootdir", str(file.parent), "--import-mode=importlib"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)])}
    return subprocess.run([*program, *options, str(file)], cwd=file.parent, env=environment, check=False).returncode


# --- the plugin -----------------------------------------------------------------------------------------------------

_schemas: list[str] = []


class Store:
    """VoltMemMemoryStore with a storage for each call: the tests make it before their event loop runs."""

    def __init__(self) -> None:
        self._schema = temporary_schema_name()
        _schemas.append(self._schema)

    async def read(self, path: str, **options: Any) -> Any:
        async with self._store() as store:
            return await store.read(path, **options)

    async def get_operation(self, operation: Any) -> Any:
        async with self._store() as store:
            return await store.get_operation(operation)

    async def write(self, path: str, content: str, **options: Any) -> Any:
        async with self._store() as store:
            return await store.write(path, content, **options)

    async def delete(self, path: str, **options: Any) -> Any:
        async with self._store() as store:
            return await store.delete(path, **options)

    async def list_paths(self, prefix: str = "", **options: Any) -> Any:
        async with self._store() as store:
            return await store.list_paths(prefix, **options)

    async def search(self, prefix: str, query: str, **options: Any) -> Any:
        async with self._store() as store:
            return await store.search(prefix, query, **options)

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[VoltMemMemoryStore]:
        async with PostgresStorage(server().dsn, schema=self._schema) as storage:
            yield VoltMemMemoryStore(storage, "ada")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Replace the stores of the tests."""
    modules: set[Any] = {item.module for item in items if isinstance(item, pytest.Function)}
    for module in modules:
        module._local_stores = lambda _: [Store()] * 3


def pytest_unconfigure() -> None:
    """Drop the schemas of the tests."""
    for schema in _schemas:
        asyncio.run(drop_schema(schema))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))

"""
Run LangGraph's own tests of stores with VoltMemStore.

``python -m tests.adapters.langgraph.store_suite FOLDER`` downloads the sources of the installed releases into the
folder and runs the tests of the stores in memory and on PostgreSQL there; its exit code is pytest's. The environment
has voltmem with the extras langgraph and embedded, langgraph-checkpoint-postgres, psycopg with its binary, pytest,
pytest-asyncio and pytest-mock.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tarfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest

from voltmem import sync
from voltmem.adapters.langgraph import VoltMemStore
from voltmem.testing import drop_schema, server, temporary_schema_name

ROOT: Final = Path(__file__).parents[3]
SUITES: Final = {
    "langgraph-checkpoint": ("tests/test_store.py",),
    "langgraph-checkpoint-postgres": ("tests/test_store.py", "tests/test_async_store.py"),
}

# Tests that are left out: of vectors; of LangGraph's own batching, statements and tables; of 60,000 calls at once,
# which wait too long for a connection; of a text as a namespace, which ours refuses; of blocking calls on an event
# loop; and of all but one of LangGraph's connections.
OTHERS: Final = (
    *("async_batch", "embed", "get_text_at_path", "non_ascii", "scores", "search_sorting", "vector"),
    *("escape_like", "match_pattern", "nonnull_migrations", "omit_expired", "validate_op"),
    *("large_batches_async", "batch_list_namespaces_ops", "cannot_put_empty_namespace", "no_running_loop"),
    *("(async_search_and_listing and True)", "pipe", "pool"),
)

# --- the program ----------------------------------------------------------------------------------------------------


def main(folder: Path) -> int:
    """Run LangGraph's tests. Returns the exit code of the first run that fails, or 0."""
    codes = [_run(downloaded(folder, package), files) for package, files in SUITES.items()]
    return next(filter(None, codes), 0)


def _run(sources: Path, files: tuple[str, ...]) -> int:
    program = [sys.executable, "-m", "pytest", "-q", "-p", Path(__file__).stem, "-p", "no:cacheprovider"]
    without = ["-k", " and ".join(f"not {words}" for words in OTHERS)]
    # Their tests are in a folder "tests", too, which goes first. So this file is imported as a top-level module.
    paths = [sources, Path(__file__).parent, ROOT]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    return subprocess.run([*program, *files, *without], cwd=sources, env=environment, check=False).returncode


def downloaded(folder: Path, package: str) -> Path:
    """Download the sources of the installed release of a package, unless they are there. Returns their folder."""
    release = f"{package.replace('-', '_')}-{version(package)}"
    if not (folder / release).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = ["--no-deps", "--no-binary", package, f"{package}=={version(package)}"]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", *wanted, "-d", str(folder)], check=True)
        with tarfile.open(folder / f"{release}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return folder / release


# --- the plugin -----------------------------------------------------------------------------------------------------

_schemas: list[str] = []
_storages: list[sync.PostgresStorage] = []


class Store(VoltMemStore):
    """A store of a user with tables of their own, and with the methods of LangGraph's sweeper, which it needs not."""

    def __init__(self, **_: object) -> None:
        _schemas.append(temporary_schema_name())
        # Its largest batches took 5 s, and once 30: a busy machine is no fault of the store's.
        _storages.append(sync.PostgresStorage(server().dsn, schema=_schemas[-1], command_timeout=120))
        super().__init__(_storages[-1], "ada", ttl={"default_ttl": 6 / 60, "refresh_on_read": True})

    async def start_ttl_sweeper(self) -> None: ...

    async def stop_ttl_sweeper(self) -> None: ...


def pytest_configure() -> None:
    """Replace the store in memory."""
    memory: Any = import_module("langgraph.store.memory")
    memory.InMemoryStore = Store


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> object:
    """Replace the fixtures of a store and of a connection."""
    if fixturedef.argname not in ("store", "conn", "clear_test_db"):
        return None
    made = Store() if fixturedef.argname == "store" else object()
    fixturedef.cached_result = (made, fixturedef.cache_key(request), None)
    return made


def pytest_unconfigure() -> None:
    """Close the storages and drop the schemas of the tests."""
    for storage in _storages:
        storage.close()
    for schema in _schemas:
        asyncio.run(drop_schema(schema))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))

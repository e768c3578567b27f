"""Fixtures of all tests: a real server, a schema for each test, storages that are closed at the end."""

from __future__ import annotations

import gc
import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Protocol, TypeAlias, Unpack

import asyncpg
import pytest

import tests.properties  # noqa: F401 - registers the profiles, before the command line chooses one
from tests import citus
from tests.adapters.agno.installed import RELEASE
from tests.pgbouncer import THROUGH_POOLER, PgBouncer
from tests.proxy import Proxy
from tests.tables import Reused
from voltmem import PostgresStorage
from voltmem.testing import StorageArguments, server, temporary_schema_name

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

citus.use()


class MakeStorage(Protocol):
    """A factory of storages on the test's schema (or another connection string). They are closed at the end."""

    def __call__(self, dsn: str | None = None, **options: Unpack[StorageArguments]) -> PostgresStorage: ...


def pytest_report_header() -> list[str]:
    asked_for = os.environ.get("VOLTMEM_TEST_PG", "embedded")
    dsn = "VOLTMEM_TEST_CITUS_DSN" if citus.DSN else "VOLTMEM_TEST_DSN"
    where = dsn if "VOLTMEM_TEST_DSN" in os.environ else asked_for
    where += " through PgBouncer" if THROUGH_POOLER else ""
    agno = f"{RELEASE}, and no tests of other releases" if RELEASE else "not installed, and none of its tests"
    return [
        f"PostgreSQL: {where}; asyncpg {version('asyncpg')}, pydantic {version('pydantic')}",
        f"Agno: {agno} (make test-adapters runs all)",
    ]


@pytest.fixture(autouse=True)
def _no_database_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the environment variables of a developer's database, so that no test uses it."""
    for variable in ("VOLTMEM_DATABASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(variable, raising=False)


def pytest_sessionstart() -> None:
    """Collect no garbage while modules are imported."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let the collector pass over the imported modules, and come less often; else it takes a fifth of a run."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what Citus, or a pooler in transaction mode, cannot have, if the storages connect to one."""
    citus.skip_excepted(items)
    for item in items if THROUGH_POOLER else []:
        for marker in item.iter_markers("backend"):
            item.add_marker(pytest.mark.skip(reason=f"needs a real backend: {marker.args[0]}"))


@pytest.fixture(scope="session")
def backend() -> str:
    """The connection string of the server itself."""
    return server().dsn


@pytest.fixture(scope="session")
def dsn(backend: str) -> Iterator[str]:
    """The connection string of storages: of the server, or with VOLTMEM_TEST_PGBOUNCER of a pooler in front of it."""
    if not THROUGH_POOLER:
        yield backend
        return
    # Tests give asyncpg, which sends all parameters to the server, the same connection string.
    settings = {"max_client_conn": 500, "default_pool_size": 40, "ignore_startup_parameters": "pgbouncer"}
    with PgBouncer(backend, **settings) as pooler:
        yield f"{pooler.dsn}&pgbouncer=true"


@pytest.fixture(scope="session")
def _reused() -> Iterator[Reused]:
    reused = Reused()
    yield reused
    reused.close()


@pytest.fixture
def schema(dsn: str, request: pytest.FixtureRequest, _reused: Reused) -> Iterator[str]:
    """A schema: with all tables if the test asks for `migrated`, otherwise one that does not exist yet."""
    if "migrated" in request.fixturenames:
        name = _reused.take()
        yield name
        _reused.give_back(name)
    else:
        name = temporary_schema_name()
        yield name
        _reused.drop(name)


@pytest.fixture
def migrated(schema: str) -> str:
    """The test's schema, with all tables, on which a storage opens at once."""
    return schema


@pytest.fixture
async def make_storage(dsn: str, schema: str) -> AsyncIterator[MakeStorage]:
    made: list[PostgresStorage] = []

    def make(dsn: str | None = dsn, **options: Unpack[StorageArguments]) -> PostgresStorage:
        made.append(PostgresStorage(dsn, schema=schema, **options))
        return made[-1]

    yield make
    for storage in made:
        await storage.close()


@pytest.fixture
async def storage(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """A storage with the defaults: VoltAgent's prefix, a limit of 100, on_limit="delete"."""
    storage = make_storage()
    await storage.open()
    return storage


@pytest.fixture
async def connection(backend: str) -> AsyncIterator[Connection]:
    """A connection of the test's own, to read rows without the storage."""
    connection: Connection = await asyncpg.connect(backend)
    yield connection
    await connection.close()


@pytest.fixture
async def database(connection: Connection) -> AsyncIterator[str]:
    """The connection string of an empty database, since the examples use the default names."""
    name = f"voltmem_test_{secrets.token_hex(8)}"
    await connection.execute(f"CREATE DATABASE {name}")
    yield re.sub(r"/[^/?]*(\?|$)", rf"/{name}\1", server().dsn)
    await connection.execute(f"DROP DATABASE {name}")


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the server, which counts, delays or cuts."""
    async with Proxy(dsn) as proxy:
        yield proxy


def time_zone_at(hour: int) -> str:
    """Return a time zone in which it is this hour now, so that midnight is not near, whenever the tests run."""
    ahead = (hour - datetime.now(UTC).hour + 11) % 24 - 11
    return f"Etc/GMT{-ahead:+d}"  # in POSIX's notation zones east of Greenwich have a minus


Numbered = Callable[[int], dict[str, object]]


@pytest.fixture
def numbered() -> Numbered:
    """Return the n-th message, by id and content."""
    return lambda number: {"id": f"m{number}", "role": "user", "content": f"message {number}"}


async def set_json_codecs(connection: Connection) -> None:
    """Set JSON codecs, as an application's own pool may have them."""
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")

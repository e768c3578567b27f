"""A storage and rows of two users, for the tests of access."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.calls import Rows, migrated_schema
from tests.conftest import Connection
from voltmem import PostgresStorage


@pytest.fixture(scope="module")
def schema() -> Iterator[str]:
    """One migrated schema for all tests here; each test begins with the same rows."""
    with migrated_schema() as schema:
        yield schema


@pytest.fixture
async def rows(connection: Connection, schema: str) -> Rows:
    rows = Rows(connection, schema)
    await rows.seed()
    return rows


@pytest.fixture
async def storage(dsn: str, schema: str) -> AsyncIterator[PostgresStorage]:
    async with PostgresStorage(dsn, schema=schema, search=True) as storage:
        yield storage

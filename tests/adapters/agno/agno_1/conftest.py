"""Fixtures for the tests of Agno 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.adapters.agno.agno_1.sessions import PREFIX, MakeStore
from tests.conftest import MakeStorage
from voltmem import PostgresStorage
from voltmem.adapters.agno import VoltMemStorage


@pytest.fixture
def make_store(dsn: str, schema: str) -> Iterator[MakeStore]:
    """Return a factory of stores on the test's schema. They are closed at the end."""
    made: list[VoltMemStorage] = []

    def make(table_name: str | None = PREFIX, db_url: str | None = dsn, **options: Any) -> VoltMemStorage:
        made.append(VoltMemStorage(table_name, schema, db_url, **options))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> VoltMemStorage:
    return make_store()


@pytest.fixture
async def plain(make_storage: MakeStorage) -> PostgresStorage:
    """A storage on the same tables, to read by voltmem's own methods."""
    return make_storage(table_prefix=PREFIX, storage_limit=None)

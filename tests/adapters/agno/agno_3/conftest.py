"""Fixtures for the tests of Agno 3."""

from __future__ import annotations

import pytest

from tests.conftest import MakeStorage
from voltmem import PostgresStorage
from voltmem.adapters.agno import VoltMemDb


@pytest.fixture
async def plain(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """A storage to read by voltmem's own methods."""
    return make_storage(storage_limit=None)


@pytest.fixture
def db(plain: PostgresStorage) -> VoltMemDb:
    return VoltMemDb(plain)

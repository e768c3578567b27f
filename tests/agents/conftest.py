"""Fixtures for the tests of agents: memories and storages."""

from __future__ import annotations

import pytest

from tests.conftest import MakeStorage
from voltmem import PostgresStorage


@pytest.fixture
async def unlimited(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """An open storage that keeps all messages."""
    storage = make_storage(storage_limit=None)
    await storage.open()
    return storage

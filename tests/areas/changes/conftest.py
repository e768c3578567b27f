"""Fixtures of the tests of watching."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.calls import migrated_schema
from tests.conftest import MakeStorage
from voltmem import PostgresStorage


@pytest.fixture
async def other(make_storage: MakeStorage, storage: PostgresStorage) -> PostgresStorage:
    """A storage on the same tables with a pool of its own, as in another process."""
    return make_storage()


@pytest.fixture(scope="module")
def seeded() -> Iterator[str]:
    with migrated_schema() as schema:
        yield schema

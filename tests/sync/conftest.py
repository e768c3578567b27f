"""The blocking storage for the tests of voltmem.sync."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from voltmem.sync import PostgresStorage


@pytest.fixture
def storage(dsn: str, migrated: str) -> Iterator[PostgresStorage]:
    with PostgresStorage(dsn, schema=migrated) as storage:
        yield storage


@pytest.fixture
def c1(storage: PostgresStorage) -> str:
    return storage.create_conversation({"id": "c1", "user_id": "ada"}).id

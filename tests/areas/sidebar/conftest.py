"""Fixtures for the tests of the sidebar."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.areas.sidebar.lists import START
from voltmem import PostgresStorage


@pytest.fixture
async def talk(storage: PostgresStorage) -> PostgresStorage:
    """A conversation of five messages, three of them with equal times."""
    moment = START
    await storage.add_messages(
        [
            {"id": f"m{n}", "role": "user", "content": str(n), "created_at": moment + timedelta(seconds=n // 3)}
            for n in range(5)
        ],
        "ada",
        "c1",
        resource_id="docs",
    )
    return storage

"""Fixtures for the tests of agents: memories and storages."""

from __future__ import annotations

import pytest

from tests.conftest import MakeStorage
from voltmem import PostgresStorage, WorkingMemoryHandle


@pytest.fixture
async def unlimited(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """An open storage that keeps all messages."""
    storage = make_storage(storage_limit=None)
    await storage.open()
    return storage


@pytest.fixture(params=["user", "conversation"])
async def memory(request: pytest.FixtureRequest, storage: PostgresStorage) -> WorkingMemoryHandle:
    """A handle on the memory of a user, and one on that of a conversation."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    return storage.working_memory("ada", "c1" if request.param == "conversation" else None)


async def content(memory: WorkingMemoryHandle) -> str | None:
    """Return the content of a working memory."""
    found = await memory.get()
    return None if found is None else found.content

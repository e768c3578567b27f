"""Fixtures for the tests of Pydantic AI."""

from __future__ import annotations

import pytest

from voltmem import PostgresStorage
from voltmem.adapters.pydantic_ai import VoltMemConversationStore


@pytest.fixture
def store(storage: PostgresStorage) -> VoltMemConversationStore:
    """Return a store for the user ada."""
    return VoltMemConversationStore(storage, user_id="ada")

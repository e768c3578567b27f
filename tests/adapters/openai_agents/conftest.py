"""Fixtures for the tests of the OpenAI Agents SDK."""

from __future__ import annotations

import pytest

from voltmem import PostgresStorage
from voltmem.adapters.openai_agents import VoltMemSession


@pytest.fixture
def session(storage: PostgresStorage) -> VoltMemSession:
    return VoltMemSession("c1", storage, user_id="ada")

"""Fixtures for the tests of appends: storages with ten conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.areas.appends.sending import make_conversations, stored, text
from tests.proxy import Proxy
from voltmem import PostgresStorage

if TYPE_CHECKING:
    from tests.conftest import MakeStorage


@pytest.fixture
async def storage(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """An open storage without a limit, with the ten conversations c0 to c9."""
    storage = make_storage(storage_limit=None)
    await make_conversations(storage, 10)
    return storage


@pytest.fixture
async def behind_proxy(make_storage: MakeStorage, migrated: str, proxy: Proxy) -> PostgresStorage:
    """The same storage behind the proxy, with a pool of two connections that have their statements prepared."""
    storage = make_storage(proxy.dsn, storage_limit=None, max_connections=2)
    names = await make_conversations(storage, 10)
    for _ in range(2):
        await stored(storage.add_message(text("prepared"), "ada", name) for name in names)
    await storage.clear_messages("ada")
    return storage

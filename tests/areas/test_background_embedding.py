"""Recall(every=…) embeds what is new in the background, and what looks old."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.calls import PATIENCE
from tests.conftest import Connection, MakeStorage
from voltmem import PostgresStorage, Recall
from voltmem._areas import embedding_task


async def embed(texts: Sequence[str]) -> list[list[float]]:
    return [[1.0, float(len(text))] for text in texts]


@pytest.fixture
async def storage(make_storage: MakeStorage, migrated: str, connection: Connection) -> PostgresStorage:
    """A storage whose task has embedded the only message, of a conversation that did not change for days."""
    if not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector')"):
        pytest.skip("this server has no pgvector")
    plain = make_storage(storage_limit=None)
    await plain.add_message({"id": "m0", "role": "user", "content": "first"}, "ada", "c", resource_id="docs")
    await connection.execute(f"UPDATE {plain._options.tables.conversations} SET updated_at = now() - interval '3 days'")
    storage = make_storage(storage_limit=None, recall=Recall(embed=embed, dimensions=2, model="m", every=0.01))
    await until_embedded(storage, 1)
    return storage


async def until_embedded(storage: PostgresStorage, number: int) -> None:
    """Wait until so many messages have vectors."""
    async with asyncio.timeout(PATIENCE):
        while sum((await storage.count_embeddings()).values()) != number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def add_as_voltagent(storage: PostgresStorage, connection: Connection) -> None:
    """Add a message as VoltAgent does, which does not change the updated_at of the conversation."""
    await connection.execute(
        f"INSERT INTO {storage._options.tables.messages} "
        "(conversation_id, message_id, role, content, type, created_at) "
        "VALUES ('c', 'm1', 'user', 'second', 'text', now())"
    )


async def test_a_background_task_embeds_what_was_imported(storage: PostgresStorage, make_storage: MakeStorage) -> None:
    """After an import, the next look is at everything: imported conversations are as old as they were."""
    lines = [line async for line in make_storage().export_user("ada")]

    await storage.import_user("bob", lines)

    await until_embedded(storage, 2)


async def test_a_background_task_embeds_what_voltagent_adds_to_an_older_conversation(
    storage: PostgresStorage, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every hour it looks at everything, so it finds messages that do not change their conversation."""
    await add_as_voltagent(storage, connection)
    await asyncio.sleep(0.2)
    assert sum((await storage.count_embeddings()).values()) == 1

    monkeypatch.setattr(embedding_task, "LOOK_AT_ALL", timedelta(0))

    await until_embedded(storage, 2)

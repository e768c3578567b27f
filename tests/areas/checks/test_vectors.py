"""check() names what is wrong in the table of vectors, which only a storage with recall=Recall(…) creates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest

from tests.areas.checks.damage import all_rules
from tests.conftest import Connection, MakeStorage
from voltmem import PostgresStorage, Recall
from voltmem._areas.checks.tables import row_checks
from voltmem._tables import Tables
from voltmem._values import UNSET
from voltmem.options import DEFAULT_TABLE_PREFIX

# The statement that breaks a rule, and how many rows do. They run without foreign keys.
DAMAGE: Final = {
    "vector-without-message": ("DELETE FROM {messages} WHERE message_id = 'm1'", 1),
    "vector-of-other-dimension": ("UPDATE {embeddings} SET embedding = '[1,2,3]' WHERE message_id = 'm1'", 1),
    "vector-of-other-owner": ("UPDATE {conversations} SET user_id = 'bob'", 2),
    "vector-beyond-lease": ("UPDATE {embeddings} SET claimed_until = now() + interval '1 year'", 2),
    "index-missing": ("DROP INDEX {embeddings}_by_owner", 1),
    "key-missing": ("ALTER TABLE {embeddings} DROP CONSTRAINT {prefix}_embeddings_pkey", 1),
    "foreign-key-missing": ("ALTER TABLE {embeddings} DROP CONSTRAINT {prefix}_embeddings_message", 1),
    "row-doubled": (
        "ALTER TABLE {embeddings} DROP CONSTRAINT {prefix}_embeddings_pkey; "
        "INSERT INTO {embeddings} (conversation_id, message_id, model, piece) "
        "SELECT conversation_id, message_id, model, piece FROM {embeddings}",
        2,
    ),
}


@pytest.fixture
async def storage(make_storage: MakeStorage, migrated: str, connection: Connection) -> PostgresStorage:
    """A storage with two vectors, where the server has pgvector."""
    if not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector')"):
        pytest.skip("this server has no pgvector")

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        return [[1.0, 2.0] for _ in texts]

    storage = make_storage(storage_limit=None, recall=Recall(embed=embed, dimensions=2, model="m (1)"))
    await storage.add_messages(
        [{"id": f"m{number}", "role": "user", "content": "words"} for number in (1, 2)],
        *("ada", "c1"),
        resource_id="docs",
    )
    await storage.embed_messages()
    return storage


@pytest.mark.parametrize("name", DAMAGE)
async def test_check_names_each_broken_rule_of_vectors(
    name: str, storage: PostgresStorage, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """check() finds nothing in vectors that were made; of a damaged one it names rule and row, in any storage."""
    assert await storage.check() == []
    tables = Tables(schema, DEFAULT_TABLE_PREFIX)
    statement, count = DAMAGE[name]
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(statement.format(**vars(tables)))

    (finding,) = [each for each in await make_storage().check() if each.name == name]

    assert finding.count == count
    assert "embeddings" in str(finding.examples) or "'model': 'm (1) (2, 1000)'" in str(finding.examples)


def test_check_has_a_damaged_vector_for_each_rule() -> None:
    """Each rule of vectors is broken by a test."""
    with_vectors = row_checks(Tables("s", "p", vectors="public"), UNSET)
    assert {rule.name for checks in with_vectors for rule in checks.rules} - all_rules() <= set(DAMAGE)

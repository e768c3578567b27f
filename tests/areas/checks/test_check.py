"""check() names what is wrong in the stored data, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.areas.checks.damage import DAMAGE, LIMIT, all_rules, damage, fill
from tests.voltagent import RELEASES, load
from voltmem import PostgresStorage, SchemaNotReadyError
from voltmem._areas.checks.rules import PAGE
from voltmem._tables import Tables
from voltmem.options import DEFAULT_TABLE_PREFIX

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage


@pytest.fixture
def tables(schema: str) -> Tables:
    return Tables(schema, DEFAULT_TABLE_PREFIX)


@pytest.fixture
async def filled(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    """A storage without a limit, with rows of every kind."""
    storage = make_storage(storage_limit=None, search=True, files="extract")
    await fill(storage)
    return storage


async def found(storage: PostgresStorage) -> dict[str, int]:
    return {each.name: each.count for each in await storage.check(read_files=True)}


async def test_check_finds_nothing_in_healthy_rows(filled: PostgresStorage, make_storage: MakeStorage) -> None:
    """check() finds nothing in what the verbs have written, with and without a limit."""
    assert await filled.check(read_files=True) == []
    assert await make_storage(storage_limit=LIMIT).check() == []
    assert await make_storage().check() == []


def test_check_has_a_damaged_row_for_each_rule() -> None:
    """Each rule of check() is broken by a test."""
    assert set(DAMAGE) == all_rules()


@pytest.mark.parametrize("name", DAMAGE)
async def test_check_names_each_broken_rule(
    name: str, filled: PostgresStorage, make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """check() names the rule that a damaged row breaks, and the row."""
    await damage(connection, tables, name)
    storage = make_storage(storage_limit=LIMIT) if name == "conversation-beyond-limit" else filled

    (finding,) = [each for each in await storage.check(read_files=True) if each.name == name]

    assert finding.count >= 1
    assert len(finding.examples) == min(finding.count, 10)
    assert all(isinstance(value, str) for example in finding.examples for value in example.values())


async def test_check_counts_all_and_names_ten(filled: PostgresStorage, connection: Connection, tables: Tables) -> None:
    """check() reads page after page: it counts the rows of all, and names the first ten."""
    rows = 2 * PAGE + 1
    await connection.execute(f"""
        INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type, aside, words)
        SELECT 'b1', 'x' || n, 'user', 'words', 'text', true, '''0other'':1' FROM generate_series(1, {rows}) AS n""")

    findings = {each.name: each for each in await filled.check()}

    assert {name: each.count for name, each in findings.items()} == {
        "message-aside-without-parent": rows,
        "message-words-stale": rows,
    }
    assert len(findings["message-words-stale"].examples) == 10
    assert findings["message-words-stale"].examples[0] == {"conversation_id": "b1", "message_id": "x1"}


async def test_check_shows_nothing_that_a_person_wrote(
    filled: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """The findings of check() have ids, and no title, text, metadata or bytes."""
    await connection.execute(f"UPDATE {tables.conversations} SET title = 'a secret'")
    changes = """content = 'a secret', metadata = '{"a": "secret"}', aside = true, parent_id = NULL"""
    await connection.execute(f"UPDATE {tables.messages} SET {changes}")

    assert (findings := await filled.check())
    assert "secret" not in repr(findings)


async def test_check_changes_nothing(filled: PostgresStorage, connection: Connection, schema: str, dsn: str) -> None:
    """check() works for a session that may not write, and creates nothing in an empty schema."""
    await connection.execute(f"DROP SCHEMA {schema} CASCADE")

    with pytest.raises(SchemaNotReadyError):
        await filled.check()

    assert await connection.fetchval("SELECT to_regnamespace($1) IS NULL", schema)


@pytest.mark.parametrize("release", RELEASES)
async def test_check_knows_the_tables_of_voltagent(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """check() finds nothing wrong in the tables of a VoltAgent release, with new messages and an index of words."""
    await load(connection, release, schema)
    storage = make_storage(search=True, storage_limit=None)
    conversation, *_ = await storage.query_conversations()
    await storage.add_message({"role": "user", "content": "words"}, conversation.user_id, conversation.id)
    await storage.index_messages()

    assert await storage.check(read_files=True) == []

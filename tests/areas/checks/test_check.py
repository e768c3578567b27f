"""check() names what is wrong in the stored data, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.areas.checks.damage import DAMAGE, LIMIT, all_rules, damage, fill
from tests.voltagent import RELEASES, load
from voltmem import PostgresStorage, SchemaNotReadyError
from voltmem._areas.checks.rules import PAGE, page_of_messages
from voltmem._areas.checks.schema import FOREIGN_KEYS, KEYS
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


async def test_check_knows_every_key_of_the_tables(migrated: str, connection: Connection, tables: Tables) -> None:
    """The keys and foreign keys for which check() looks are all that new tables have."""
    rows = await connection.fetch(
        """
        SELECT contype::text AS kind, conrelid::regclass::text AS name, confrelid::regclass::text AS other, ARRAY(
            SELECT attname::text FROM unnest(conkey) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute ON attrelid = conrelid AND attnum = number ORDER BY place
        ) AS columns
        FROM pg_constraint WHERE connamespace = $1::regnamespace AND contype IN ('p', 'u', 'f')""",
        migrated,
    )

    def of(name: str) -> str:
        return name.rpartition(".")[2].removeprefix(f"{tables.prefix}_")

    assert {(of(each["name"]), tuple(each["columns"])) for each in rows if each["kind"] != "f"} == set(KEYS)
    assert {(of(each["name"]), tuple(each["columns"]), of(each["other"])) for each in rows if each["kind"] == "f"} == {
        *FOREIGN_KEYS
    }


@pytest.mark.parametrize("index", [False, True])
async def test_check_names_every_key_and_index_that_is_missing(
    index: bool, filled: PostgresStorage, connection: Connection, migrated: str
) -> None:
    """check() names each key and each index of the tables that was dropped, as by a restore that left them out."""
    what = (
        "SELECT format('DROP INDEX %s', i.indexrelid::regclass) FROM pg_index AS i "
        "JOIN pg_class AS c ON c.oid = i.indrelid WHERE c.relnamespace = $1::regnamespace AND NOT i.indisunique"
        if index
        else "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint "
        "WHERE connamespace = $1::regnamespace AND contype IN ('f', 'u', 'p') ORDER BY contype"
    )
    drops = await connection.fetch(what, migrated)
    for (drop,) in drops:
        await connection.execute(drop)

    counts = await found(filled)

    assert sum(counts.values()) == len(drops)
    assert set(counts) == ({"index-missing"} if index else {"key-missing", "foreign-key-missing"})


async def test_check_names_a_trigger_whose_function_is_gone(
    filled: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """The triggers that are dropped with their function are named, and so is the function."""
    await connection.execute(f"DROP FUNCTION {tables.refer_to_files} CASCADE")

    findings = {each.name: each.examples for each in await filled.check()}

    name = {"name": f"{tables.prefix}_refer_to_files"}
    assert (findings["trigger-missing"], findings["function-changed"]) == ([name], [name])


async def test_check_accepts_the_functions_of_another_release(
    filled: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """A function of a newer version, which another release has applied, is not compared with this release's text."""
    await damage(connection, tables, "function-changed")
    await connection.execute(f"UPDATE {tables.migrations} SET version = 1000 WHERE name = 'functions/tell_watchers'")

    assert await found(filled) == {}


async def test_check_counts_the_keys_of_doubled_rows(
    filled: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """Of doubled rows, check() counts the keys, and names the first ten."""
    await connection.execute(f"""
        ALTER TABLE {tables.payloads} DROP CONSTRAINT {tables.prefix}_payloads_pkey;
        INSERT INTO {tables.payloads} (conversation_id, format, payload)
        SELECT 'b1', 'f' || n % 12, 'null' FROM generate_series(0, 35) AS n""")

    (finding,) = [each for each in await filled.check() if each.name == "row-doubled"]

    assert (finding.count, len(finding.examples)) == (12, 10)
    expected = {"table": f"{tables.prefix}_payloads", "conversation_id": "b1", "format": "f0"}
    assert finding.examples[0] == expected


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


async def test_check_reads_large_messages_in_small_pages(
    filled: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """A page of messages is a few megabytes, however large a message is: text that compresses well counts in full."""
    large = "repeat('words ', 200000)"  # 1.2 MB, and 14 kB as it is stored
    await connection.execute(f"""
        INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type, aside, words)
        SELECT 'b1', 'x' || n, 'user', {large}, 'text', true, '''0other'':1' FROM generate_series(1, 10) AS n""")

    page = page_of_messages(tables.messages, "WHERE conversation_id = 'b1'")

    assert await connection.fetchval(f"SELECT count(*) FROM {page} AS t") == 3
    assert (await found(filled))["message-words-stale"] == 10


async def test_check_is_not_cut_off_by_the_time_out_of_calls(
    filled: PostgresStorage, make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """A statement of check() may take longer than command_timeout."""
    storage = make_storage(command_timeout=0.5)
    await storage.open()
    async with connection.transaction():
        await connection.execute(f"LOCK TABLE {tables.shares}")
        checking = asyncio.create_task(storage.check())
        done, _ = await asyncio.wait([checking], timeout=1.5)
        assert not done

    assert await checking == []


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

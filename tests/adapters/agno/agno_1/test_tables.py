"""The tables of Agno 1's storage: creation, upgrades and removal."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from tests.adapters.agno.agno_1.sessions import PREFIX, MakeStore, agent
from tests.conftest import Connection
from voltmem import PostgresStorage
from voltmem._postgres.migrations.apply import apply_missing
from voltmem._postgres.migrations.files import migrations
from voltmem._tables import Tables
from voltmem.adapters.agno import VoltMemDb, VoltMemStorage
from voltmem.errors import InvalidInputError, InvalidOptionError, SchemaNotReadyError
from voltmem.sync import PostgresStorage as BlockingStorage


async def test_the_first_use_makes_the_tables(make_store: MakeStore, connection: Connection, schema: str) -> None:
    """A5: the tables are created with the given prefix and schema, without any SQL of the application."""
    agent(make_store("cooks")).run("hello")

    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    assert {"cooks_conversations", "cooks_messages"} <= {each["tablename"] for each in tables}


async def test_first_uses_at_once_all_succeed(make_store: MakeStore) -> None:
    """A5: eight stores on an empty schema at the same time; none finds incomplete tables."""
    stores = [make_store() for _ in range(8)]

    await asyncio.gather(
        *(asyncio.to_thread(agent(each, session_id=str(i)).run, "hi") for i, each in enumerate(stores))
    )

    assert len(stores[0].get_all_session_ids("ada")) == 8


async def test_every_way_to_give_the_database(make_store: MakeStore, dsn: str, schema: str) -> None:
    """A5: an SQLAlchemy URL, an SQLAlchemy engine, or a blocking storage, which the application may use, too."""

    class Url:
        def render_as_string(self, *, hide_password: bool) -> str:
            assert not hide_password
            return dsn.replace("postgresql://", "postgresql+psycopg://")

    class Engine:
        url = Url()

    made = BlockingStorage(dsn, schema=schema, table_prefix=PREFIX)
    stores = [
        make_store(db_url=Url().render_as_string(hide_password=False)),
        make_store(db_url=None, db_engine=Engine()),
        make_store(None, None, storage=made),
    ]

    for number, each in enumerate(stores):
        agent(each, session_id=str(number)).run("hello")

    assert await asyncio.to_thread(made.count_conversations) == 3
    assert stores[0].get_all_session_ids("ada") == ["2", "1", "0"]


@pytest.mark.parametrize(
    "options",
    [
        {"schema_version": 2},
        {"mode": "workflow_v3"},
        {"table_name": "no such; table"},
        {"storage": BlockingStorage("postgresql://nowhere")},  # together with a table_name
        {"storage": PostgresStorage("postgresql://nowhere")},
        {"runs": -1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    """Invalid options raise before any connection."""
    given: dict[str, Any] = {"table_name": "agents", "db_url": "postgresql://nowhere", **options}
    with pytest.raises(InvalidInputError):
        VoltMemStorage(**given)


def test_a_class_for_another_agno_raises() -> None:
    """VoltMemDb can be imported, and its error names the class to use instead."""
    with pytest.raises(InvalidOptionError, match=r"VoltMemDb is for Agno 2 or later.*use VoltMemStorage"):
        VoltMemDb()


# The functions and the first numbered file, which even the oldest tables have.
FIRST = [each.name for each in migrations()].index("0001_conversations") + 1


async def older_tables(connection: Connection, schema: str, count: int) -> None:
    """Create the tables of an older release with the first *count* migrations."""
    tables = Tables(schema, PREFIX)
    await apply_missing(connection, tables, migrations()[:count])
    await connection.execute(f"INSERT INTO {tables.conversations} (id, resource_id, user_id) VALUES ('c', 'r', 'ada')")


@pytest.mark.parametrize("count", range(FIRST, len(migrations())))
async def test_older_tables_are_upgraded_on_first_use_if_asked(
    make_store: MakeStore, connection: Connection, schema: str, plain: PostgresStorage, count: int
) -> None:
    """A14: auto_upgrade_schema=True upgrades the tables of any older release; their rows stay."""
    await older_tables(connection, schema, count)

    agent(make_store(auto_upgrade_schema=True)).run("hello")

    assert [each.id for each in await plain.get_conversations_by_user_id("ada")] == ["s1", "c"]


async def test_older_tables_are_an_error_otherwise_until_they_are_upgraded(
    make_store: MakeStore, connection: Connection, schema: str
) -> None:
    """A14: the error names the missing migrations; upgrade_schema() upgrades without the flag, and may be repeated."""
    await older_tables(connection, schema, FIRST)
    store = make_store()

    with pytest.raises(SchemaNotReadyError) as caught:
        agent(store).run("hello")
    assert caught.value.missing == [each.name for each in migrations()[FIRST:]]

    store.upgrade_schema()
    store.upgrade_schema()
    assert "seen=1" in agent(store).run("hello").content


async def test_many_upgrades_at_once_do_it_once(make_store: MakeStore, connection: Connection, schema: str) -> None:
    """A14: eight stores upgrade at the same time."""
    await older_tables(connection, schema, FIRST)

    stores = [make_store(auto_upgrade_schema=True) for _ in range(8)]
    await asyncio.gather(*(asyncio.to_thread(each.create) for each in stores))

    applied = await connection.fetchval(f'SELECT count(*) FROM "{schema}".{PREFIX}_migrations')
    assert applied == len(migrations())


def test_drop_leaves_nothing_and_the_next_use_makes_it_anew(
    store: VoltMemStorage, make_store: MakeStore, dsn: str, schema: str
) -> None:
    """A13: the tables and functions are dropped, and those of another prefix stay."""
    other = make_store(f"{PREFIX}_append")
    agent(other).run("stay")
    agent(store).run("hello")

    async def names() -> set[str]:
        connection = await asyncpg.connect(dsn)
        rows = await connection.fetch(
            "SELECT relname AS name FROM pg_class WHERE relnamespace = to_regnamespace($1) "
            "UNION SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace($1)",
            f'"{schema}"',
        )
        await connection.close()
        return {each["name"] for each in rows}

    store.drop()

    assert {each for each in asyncio.run(names()) if not each.startswith(f"{PREFIX}_append_")} == set()
    assert other.get_all_session_ids("ada") == ["s1"]
    assert store.get_all_session_ids("ada") == []

"""migrations_sql/schema.sql is the schema of a new database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.catalog import catalog
from tests.schema_sql import FILE, rendered
from tests.starts import load
from tests.tables import script
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage


async def test_schema_sql_shows_what_the_migrations_make(database: str) -> None:
    """schema.sql equals the rendered catalog of a migrated database; "python -m tests.schema_sql" rewrites it."""
    assert FILE.read_text() == await rendered(database), "write the file anew: python -m tests.schema_sql"


async def test_schema_sql_makes_what_the_migrations_make(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Run as a script, schema.sql creates the same catalog as the migrations, so it omits nothing."""
    shown, made = Tables(schema, "voltagent_memory"), Tables(schema, "voltagent_newest")

    await load(connection, FILE.read_text(), shown)
    await make_storage(table_prefix=made.prefix).open()

    assert await catalog(connection, shown) == await catalog(connection, made)


async def test_the_script_of_the_tests_makes_what_the_migrations_make(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The script that creates the tables of a test creates the same catalog as the migrations, and misses none."""
    scripted, made = Tables(schema, "voltagent_memory"), Tables(schema, "voltagent_newest")

    await connection.execute(script(scripted))
    await make_storage(table_prefix=made.prefix).open()

    assert await catalog(connection, scripted) == await catalog(connection, made)
    assert await make_storage().upgrade_schema() == []

"""schema_status() lists the migrations of a database."""

import pytest

from tests.conftest import Connection, MakeStorage
from voltmem import SchemaError
from voltmem.options import Migrate


async def test_schema_status_lists_missing_and_applied_migrations(make_storage: MakeStorage) -> None:
    """schema_status() lists every migration: without a time if it is missing, with one after upgrade_schema()."""
    storage = make_storage(migrate="off")

    missing = await storage.schema_status()
    names = await storage.upgrade_schema()
    applied = await storage.schema_status()

    assert [each.name for each in missing if each.applied_at is None] == names
    assert [each.name for each in applied] == [each.name for each in missing]
    assert all(each.applied_at is not None for each in applied)


async def test_schema_status_changes_nothing(make_storage: MakeStorage, connection: Connection, schema: str) -> None:
    """schema_status() creates no table, for any value of the option migrate."""
    await make_storage(migrate="auto").schema_status()

    assert await connection.fetch("SELECT FROM pg_tables WHERE schemaname = $1", schema) == []


@pytest.mark.parametrize("columns", ["id int, name text, batch int", "version text"])
@pytest.mark.parametrize("migrate", ["auto", "check"])
async def test_a_migrations_table_of_another_program_is_an_error_that_says_so(
    migrate: Migrate, columns: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Opening a storage beside another program's table of the same name says to choose another prefix."""
    await connection.execute(f'CREATE SCHEMA "{schema}"')
    await connection.execute(f'CREATE TABLE "{schema}".voltagent_memory_migrations ({columns})')

    storage = make_storage(migrate=migrate)
    for call in (storage.open, storage.schema_status):
        with pytest.raises(SchemaError, match=r"another program's: .* Choose another table_prefix or schema"):
            await call()

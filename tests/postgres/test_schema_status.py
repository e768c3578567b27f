"""schema_status() lists the migrations of a database."""

from tests.conftest import Connection, MakeStorage


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

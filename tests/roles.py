"""The roles of "python -m voltmem sql --roles", with names of a test's own, and logins for them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import astuple
from typing import TYPE_CHECKING, NamedTuple

from tests import citus
from tests.command_line.commands import as_user
from tests.tables import create_tables
from voltmem._postgres.migrations.files import Migration
from voltmem._postgres.roles import RoleNames, script
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection

PREFIX = "voltagent_memory"


class Logins(NamedTuple):
    """Connection strings of logins, each of which is a member of one role."""

    names: RoleNames
    owner: str
    application: str
    read_only: str
    nobody: str
    """A login that is a member of none, and was granted what the application needs."""


def new_names() -> RoleNames:
    """Return names that no other test uses."""
    unique = secrets.token_hex(6)
    return RoleNames(*(f"voltmem_test_{kind}_{unique}" for kind in ("owner", "app", "read", "session")))


@asynccontextmanager
async def logins(connection: Connection, dsn: str, schema: str) -> AsyncIterator[Logins]:
    """Create the tables, the roles and the logins; all roles are dropped at the end."""
    names, password = new_names(), secrets.token_hex(8)
    await create_tables(schema)
    await run_script(connection, Tables(schema, PREFIX), names)
    nobody = f"{names.application}_nobody"
    made = [*astuple(names), nobody]
    await connection.execute(f"CREATE ROLE {nobody} LOGIN PASSWORD '{password}'")
    for right in (
        f"USAGE ON SCHEMA {schema}",
        f"SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema}",
        f"EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema}",
        f"USAGE ON ALL SEQUENCES IN SCHEMA {schema}",
    ):
        await connection.execute(f"GRANT {right} TO {nobody}")
    members = {}
    for name in astuple(names)[:3]:
        members[name] = f"{name}_login"
        await connection.execute(f"CREATE ROLE {name}_login LOGIN PASSWORD '{password}' IN ROLE {name}")
    # What it creates belongs to the owner.
    await connection.execute(f"ALTER ROLE {members[names.owner]} SET role = {names.owner}")
    try:
        yield Logins(names, *(as_user(dsn, each, password) for each in [*members.values(), nobody]))
    finally:
        for name in [*members.values(), *made]:
            await connection.execute(f"DROP OWNED BY {name} CASCADE")
            await connection.execute(f"DROP ROLE {name}")


@asynccontextmanager
async def dropped(connection: Connection, names: RoleNames) -> AsyncIterator[None]:
    """Drop the roles at the end."""
    try:
        yield
    finally:
        for name in astuple(names):
            await connection.execute(f"DROP OWNED BY {name} CASCADE")
            await connection.execute(f"DROP ROLE {name}")


async def run_script(
    connection: Connection, tables: Tables, names: RoleNames, *, distributed: bool = citus.DSN is not None
) -> None:
    """Run the script of the roles, as psql does: statement by statement, since Citus refuses several at once."""
    text = script(tables, names, distributed=distributed)
    for statement in Migration("roles", text).statements(tables):
        await connection.execute(statement)

"""The starts of upgrades: an empty database, VoltAgent's tables of each kind, voltmem's before the first release."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests import voltagent
from voltmem._postgres.migrations.files import migrations
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection

ADOPTED: Final = "adopted"
"""VoltAgent's columns and a few rows, created here."""
UNRELEASED: Final = "unreleased"
STARTS: Final = [
    "empty",
    ADOPTED,
    *(pytest.param(each, id=f"VoltAgent {each}") for each in voltagent.RELEASES),
    UNRELEASED,
]

_UNRELEASED: Final = Path(__file__).parent / "fixtures" / "voltmem-0.1.0-dev.sql"


async def begin(start: str, connection: Connection, tables: Tables) -> None:
    """Load the database of the start into the schema of the tables; nothing for "empty"."""
    if start == UNRELEASED:
        await load(connection, _UNRELEASED.read_text(), tables)
    elif start == ADOPTED:
        await make_adopted(connection, tables)
    elif start != "empty":
        await voltagent.load(connection, start, tables.schema)


async def load(connection: Connection, script: str, tables: Tables) -> None:
    """Run a script of pg_dump, with the default schema and prefix, for these tables."""
    text = script.replace('"public"', f'"{tables.schema}"').replace("public.", f"{tables.schema}.")
    await connection.execute(f"CREATE SCHEMA {tables.schema}")
    await connection.execute(text.replace("voltagent_memory", tables.prefix))
    await connection.execute("RESET ALL")


async def make_adopted(connection: Connection, tables: Tables) -> None:
    """Create tables with VoltAgent's columns, by the statements of migrations that create them if VoltAgent has not."""
    await connection.execute(f"CREATE SCHEMA {tables.schema}")
    for migration in migrations():
        if migration.name in ("0001_conversations", "0002_messages", "0007_agent_history"):
            for statement in migration.statements(tables):
                if "CREATE TABLE" in statement:
                    await connection.execute(statement)
    for statement in (
        f"INSERT INTO {tables.conversations} VALUES ('c1', 'r1', 'ada', 'One', '{{}}', '2025-06-01Z', '2025-06-01Z')",
        f"""
        INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type, created_at)
        SELECT 'c1', 'm' || number, 'assistant', 'message ' || number, 'text', '2025-06-01 12:00Z'
        FROM generate_series(1, 20) AS number""",
        f"INSERT INTO {tables.agent_history} VALUES ('h1', 'a1', '2025-06-01Z')",
        f"INSERT INTO {tables.agent_history_steps} VALUES ('s1', '1', 'h1', 'a1')",
    ):
        await connection.execute(statement)

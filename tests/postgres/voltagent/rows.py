"""Helpers for the tests of VoltAgent's databases: rows and columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import asyncpg
from pydantic import JsonValue

if TYPE_CHECKING:
    from tests.conftest import Connection

PREFIX = "voltagent_memory"


async def rows(connection: Connection, schema: str, table: str) -> list[asyncpg.Record]:
    return await connection.fetch(f"SELECT * FROM {schema}.{PREFIX}_{table} ORDER BY 1, 2, 3")


async def columns(connection: Connection, schema: str) -> list[asyncpg.Record]:
    return await connection.fetch(
        "SELECT table_name::text, ordinal_position, column_name::text, data_type::text, is_nullable::text "
        "FROM information_schema.columns WHERE table_schema = $1 AND table_name IN ($2, $3) ORDER BY 1, 2",
        schema,
        f"{PREFIX}_conversations",
        f"{PREFIX}_messages",
    )


def content_of(row: asyncpg.Record) -> JsonValue:
    """Return the content that was given to VoltAgent."""
    if row.get("parts") is not None:
        return json.loads(row["parts"])  # type: ignore[no-any-return]
    tool = row["type"] in ("tool-call", "tool-result")
    return json.loads(row["content"]) if tool else row["content"]  # type: ignore[no-any-return]

"""Checks of PostgreSQL's plan for a statement."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tests.conftest import Connection
from voltmem.options import DEFAULT_TABLE_PREFIX


async def plan(connection: Connection, sql: str, arguments: list[object]) -> str:
    """Execute the statement with these arguments. Returns its plan, with the number of rows that were read."""
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}", *arguments)
    return "\n".join(row[0] for row in rows)


async def rows_read(connection: Connection, sql: str, arguments: Sequence[object], *, generic: bool) -> int:
    """
    Execute the statement, and roll it back. Returns how many rows of tables and CTEs it read, filtered ones too.

    generic: with the plan for any arguments, which a connection may use from the sixth time on, or for these.
    """
    prepared = await connection.prepare(sql)
    types = ", ".join(f"{each.schema}.{each.name}" for each in prepared.get_parameters())
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"SET LOCAL plan_cache_mode = force_{'generic' if generic else 'custom'}_plan")
        await connection.execute(f"PREPARE counted ({types}) AS {sql}")
        values = ", ".join(literal(each) for each in arguments)
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE counted ({values})")
        await connection.execute("DEALLOCATE counted")
    finally:
        await transaction.rollback()
    return round(_rows(json.loads(rows[0][0])[0]["Plan"]))


def _rows(node: dict[str, Any]) -> float:
    read = 0.0
    if node["Node Type"] == "CTE Scan" or ("Relation Name" in node and node["Node Type"] != "ModifyTable"):
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        read = node["Actual Loops"] * (node["Actual Rows"] + removed)
    return read + sum(_rows(each) for each in node.get("Plans", ()))


def literal(value: object) -> str:
    """Return an argument as a literal for SQL."""
    if value is None or isinstance(value, bool | int | float):
        return "NULL" if value is None else repr(value)
    if isinstance(value, list):
        return f"ARRAY[{', '.join(literal(each) for each in value)}]::text[]"
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


async def pages_read(connection: Connection, sql: str, *arguments: object) -> int:
    """Execute the statement with these arguments. Returns how many pages it touched, with those of its functions."""
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", *arguments)
    (explained,) = json.loads(rows[0][0])
    return int(explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"])


async def cost(connection: Connection, sql: str, arguments: Sequence[object]) -> float:
    """Return the cost that PostgreSQL expects of the statement with these arguments."""
    rows = await connection.fetch(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
    return float(json.loads(rows[0][0])[0]["Plan"]["Total Cost"])


def assert_walks(index: str, plan: str) -> None:
    """Check that a plan reads the index in order, without a sort."""
    assert re.search(rf"Index (Only )?Scan( Backward)? using {DEFAULT_TABLE_PREFIX}_{index}", plan), plan
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan

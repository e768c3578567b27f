"""Checks of PostgreSQL's plan for a statement."""

from __future__ import annotations

import json
import re

from tests.conftest import Connection
from voltmem.options import DEFAULT_TABLE_PREFIX


async def plan(connection: Connection, sql: str, arguments: list[object]) -> str:
    """Execute the statement with these arguments. Returns its plan, with the number of rows that were read."""
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}", *arguments)
    return "\n".join(row[0] for row in rows)


async def pages_read(connection: Connection, sql: str, *arguments: object) -> int:
    """Execute the statement with these arguments. Returns how many pages it touched, with those of its functions."""
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", *arguments)
    (explained,) = json.loads(rows[0][0])
    return int(explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"])


def assert_walks(index: str, plan: str) -> None:
    """Check that a plan reads the index in order, without a sort."""
    assert re.search(rf"Index (Only )?Scan( Backward)? using {DEFAULT_TABLE_PREFIX}_{index}", plan), plan
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan

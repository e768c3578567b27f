"""How PostgreSQL runs a statement: its plan, and what that must be."""

from __future__ import annotations

import re

from tests.conftest import Connection
from voltmem.options import DEFAULT_TABLE_PREFIX


async def plan(connection: Connection, sql: str, arguments: list[object]) -> str:
    """Return the plan for these arguments, run, so that it also shows how many rows were touched."""
    rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}", *arguments)
    return "\n".join(row[0] for row in rows)


def assert_walks(index: str, plan: str) -> None:
    """Assert that a plan reads the index in its order, with nothing to sort."""
    assert re.search(rf"Index (Only )?Scan( Backward)? using {DEFAULT_TABLE_PREFIX}_{index}", plan), plan
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan

"""Shared by the tests of both of Agno's protocols: conversations begun elsewhere, values, and costs."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import Any, Final

from hypothesis import strategies as st

from tests.conftest import Connection

# --- a conversation begun elsewhere -------------------------------------------------------------------------------

_CALL: Final = {"type": "tool-call", "toolCallId": "k1", "toolName": "add", "args": {"a": 1, "b": 2}}
_RESULT: Final = {"type": "tool-result", "toolCallId": "k1", "toolName": "add", "result": {"sum": 3}}

PLAIN_MESSAGES: Final[list[dict[str, Any]]] = [
    {"role": "system", "content": "You are kind"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": "1 + 2?"},
    {"role": "assistant", "type": "tool-call", "content": [{"type": "text", "text": "Well"}, _CALL]},
    {"role": "tool", "type": "tool-result", "content": [_RESULT]},
    {"role": "assistant", "content": [{"type": "text", "text": "3"}]},
    {"role": "assistant", "type": "tool-call", "content": [{**_CALL, "toolCallId": "never answered"}]},
]

EXPECTED_HISTORY: Final = [
    ("user", "hello"),
    ("assistant", "hi"),
    ("user", "1 + 2?"),
    ("assistant", "Well"),
    ("tool", '{"sum":3}'),
    ("assistant", "3"),
]
"""What a model receives of it."""

# --- values -------------------------------------------------------------------------------------------------------

JSON: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)

# --- costs --------------------------------------------------------------------------------------------------------


async def wal_of(connection: Connection, run: Callable[[], Awaitable[object]]) -> int:
    """Return the bytes of WAL that a run writes: the third smallest of six, because other tests write, too."""
    await connection.execute("CHECKPOINT")
    spent = [await _wal(connection)]
    for _ in range(6):
        await run()
        spent.append(await _wal(connection))
    return sorted(after - before for before, after in pairwise(spent))[2]


async def _wal(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


def assert_costs_stay(costs: dict[int, int]) -> None:
    """Assert that a run of 1 kB costs less than 8 kB, and after 1,000 runs at most 1.5 times as much as after 10."""
    assert costs[10] < 8192, costs
    assert costs[1000] < 8192, costs
    assert costs[1000] <= 1.5 * costs[10], costs


def assert_reads_by_index(explained: str, most: int) -> None:
    """Assert that a plan reads at most this many messages, all by an index."""
    plan = json.loads(explained)[0]["Plan"]
    scans = [each for each in _nodes(plan) if "messages" in each.get("Relation Name", "")]
    assert {each["Node Type"] for each in scans} == {"Index Scan"}
    touched = [each["Actual Rows"] + each.get("Rows Removed by Filter", 0) for each in scans]
    assert len(touched) == 2
    assert max(touched) <= most


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", []):
        yield from _nodes(each)

"""The benchmarks: each row can be measured, and a run is compared with the one before."""

import json
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.__main__ import PARTS
from tests.benchmarks._costs import Costs
from tests.benchmarks._kept import keep, last
from tests.benchmarks._measure import Bound, Result, Row, Unit
from tests.benchmarks.peers.compare import WORK
from tests.programs import python

ROW = Row("writes", "asyncio", "add_message alone", "a bare INSERT")
COSTS = Costs(client=0.2, server=None, log=600, disk=300)


def result(ratio: float = 1.5, *, low: float = 1.4, high: float = 1.6, unit: Unit = "ms", row: Row = ROW) -> Result:
    """Return a row as it was measured."""
    return Result(row, unit, ratio, 1, ratio, low, high, 11, Bound("at most", 2), COSTS, COSTS)


async def test_each_part_of_the_benchmarks_runs(database: str) -> None:
    """A quick run measures each row of each part, and exits without an error."""
    asked = [argument for part in PARTS for argument in ("--only", part)]

    printed = await python("-m", "tests.benchmarks", "--quick", *asked, VOLTMEM_TEST_DSN=database, COLUMNS="200")

    assert "add_message alone" in printed
    assert "bytes of WAL" in printed
    assert "kept in" not in printed


def test_a_ratio_is_worse_beyond_the_spread_only() -> None:
    """A ratio is worse if it has grown by more than the spread, or shrunk where more is better."""
    before = result(1.5)

    assert result(1.75).is_worse_than(before)
    assert not result(1.65).is_worse_than(before)
    assert not result(1.2).is_worse_than(before)
    assert not result(1.75, low=1.5, high=1.9).is_worse_than(before)
    assert result(1.2, unit="a second").is_worse_than(replace(before, unit="a second"))
    assert not result(1.9, unit="a second").is_worse_than(replace(before, unit="a second"))


def test_a_run_replaces_the_rows_of_its_parts_and_loop(tmp_path: Path) -> None:
    """Kept are the rows of the parts and loops that were measured last; rows of these that are gone are dropped."""
    gone = result(row=replace(ROW, what="a row of yesterday"))
    reading = result(row=replace(ROW, part="reads"))
    on_uvloop = result(row=replace(ROW, loop="uvloop"))
    keep(tmp_path, {"date": "yesterday"}, [result(), gone, reading, on_uvloop])

    keep(tmp_path, {"date": "today"}, [result(1.9)])

    kept = last(tmp_path)
    assert kept.about == {"date": "today"}
    assert kept.results == [reading, on_uvloop, result(1.9)]
    assert kept.of(result()) == result(1.9)


def test_a_run_without_a_last_one_is_compared_with_none(tmp_path: Path) -> None:
    """Where no run is kept, or one of another format, there is none to compare with."""
    assert last(tmp_path).results == []

    (tmp_path / "benchmarks.json").write_text('{"about": {}, "results": [{"what": "import voltmem"}]}')

    assert last(tmp_path).results == []


async def test_the_work_of_the_peers_runs_for_voltmem(database: str) -> None:
    """The program that each peer runs measures every work of the table, here of voltmem."""
    program = ["-m", "tests.benchmarks.peers.work", "ours"]

    worked = json.loads(await python(*program, "work", database, "0.01"))
    started = json.loads(await python(*program, "start", database, "0.01"))

    assert (worked | started).keys() == WORK.keys()
    assert all(milliseconds > 0 for milliseconds in (worked | started).values())

"""The report: the circumstances, a table of ratios and one of costs, on the screen and as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from tests.benchmarks._bench import Bench
from tests.benchmarks._kept import Run
from tests.benchmarks._measure import Result, latency

NAME: Final = "benchmarks.md"
RATIOS: Final = ("what", "compared with", "ours / theirs", "ratio (quartiles)", "aim")
COSTS: Final = (
    "what (ours / theirs)",
    "compared with",
    "client, ms of CPU a call",
    "server, ms of CPU a call",
    "bytes of WAL a call",
    "bytes of disk a message",
)


class Line(NamedTuple):
    """A line of a table."""

    cells: Sequence[str]
    is_bad: bool = False


async def circumstances(bench: Bench) -> dict[str, str]:
    """Return the environment of the measurement: machine, Python, versions."""
    show = {name: await bench.pool.fetchval(f"SHOW {name}") for name in ("server_version", "fsync", "shared_buffers")}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "python": f"{platform.python_version()} on the event loop of {bench.settings.loop}",
        "postgresql": f"{show['server_version']} (fsync {show['fsync']}, shared_buffers {show['shared_buffers']})",
        "a commit": f"{await _commit(bench):.2f} ms for one row, alone",
        **{name: version(name) for name in ("asyncpg", "pydantic")},
        "rows": f"{bench.rows:,}",
    }


async def _commit(bench: Bench) -> float:
    """Return the milliseconds of a durable commit: the speed of the disk."""
    table = bench.yardstick.migrations
    touch = f"UPDATE {table} SET applied_at = clock_timestamp() WHERE name LIKE '0001%'"
    return (await latency(lambda _: bench.pool.execute(touch), 200)).value


def show(results: Sequence[Result], last: Run, about: dict[str, str], console: Console) -> None:
    """Show the tables on the screen, beside the ratios of the last run."""
    console.print(_table((*RATIOS, "last ratio"), (_beside(each, last.of(each)) for each in results)))
    console.print(_table(COSTS, _costs(results)))
    show_about(about, console)


def show_about(about: dict[str, str], console: Console) -> None:
    """Show the circumstances on the screen."""
    for name, value in about.items():
        console.print(f"{name}: {value}")


def write(run: Run, folder: Path) -> Path:
    """Write the tables as Markdown: the ratios on asyncio's loop, beside those on uvloop. Returns the file."""
    on_uvloop = {(each.row.what, each.row.yardstick): each for each in run.results if each.row.loop == "uvloop"}
    usual = [each for each in run.results if each.row.loop == "asyncio"]
    headings = (*RATIOS, "ratio on uvloop") if on_uvloop else RATIOS
    ratios = []
    for result in usual:
        other = on_uvloop.get((result.row.what, result.row.yardstick))
        ratios.append(Line((*_ratio(result), *([_with_quartiles(other) if other else ""] if on_uvloop else []))))
    lines = [*_markdown(headings, ratios), "", *_markdown(COSTS, _costs(usual))]
    lines += ["", "; ".join(f"{name} {value}" for name, value in run.about.items())]
    file = folder / NAME
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _beside(result: Result, last: Result | None) -> Line:
    """Return the line of a result with the last ratio, which says if the new one is worse."""
    is_worse = last is not None and result.is_worse_than(last)
    before = "" if last is None else f"{last.ratio:.2f}{', **now worse**' if is_worse else ''}"
    return Line((*_ratio(result), before), is_worse or result.reached is False)


def _ratio(result: Result) -> Sequence[str]:
    unit = "/s" if result.unit == "a second" else result.unit
    return (
        result.row.what,
        result.row.yardstick,
        f"{_number(result.ours)} / {_number(result.theirs)} {unit}",
        _with_quartiles(result),
        "" if result.bound is None else f"{result.bound}{'' if result.reached else ', **missed**'}",
    )


def _with_quartiles(result: Result) -> str:
    return f"{result.ratio:.2f} ({result.low:.2f} to {result.high:.2f})"


def _costs(results: Iterable[Result]) -> Iterator[Line]:
    """Yield the lines of the results whose costs are known."""
    for result in results:
        ours, theirs = result.our_costs, result.their_costs
        if ours and theirs:
            cells = [_pair(*pair) for pair in zip(astuple(ours), astuple(theirs), strict=True)]
            yield Line((result.row.what, result.row.yardstick, *cells))


def _pair(ours: float | None, theirs: float | None) -> str:
    return "" if ours is None or theirs is None else f"{_number(ours)} / {_number(theirs)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value % 1 == 0 else f"{value:.2f}"


def _table(headings: Sequence[str], lines: Iterable[Line]) -> Table:
    table = Table(*headings)
    for line in lines:
        table.add_row(*line.cells, style="red" if line.is_bad else None)
    return table


def _markdown(headings: Sequence[str], lines: Iterable[Line]) -> list[str]:
    rows = [headings, ["---"] * len(headings), *(line.cells for line in lines)]
    return [f"| {' | '.join(row)} |" for row in rows]

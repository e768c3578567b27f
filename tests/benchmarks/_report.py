"""
The report of the measurements and their environment:

on the screen, as JSON, and as Markdown for the documentation.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from tests.benchmarks._bench import Bench
from tests.benchmarks._measure import Result, latency

HEADINGS: Final = ("what", "compared with", "ours / theirs", "ratio (quartiles)", "aim", "CPU s per 1,000 calls")


async def circumstances(bench: Bench) -> dict[str, str]:
    """Return the environment of the measurement: machine, Python, versions."""
    show = {name: await bench.pool.fetchval(f"SHOW {name}") for name in ("server_version", "fsync", "shared_buffers")}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
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


def cells(result: Result) -> Sequence[str]:
    """Return the cells of a result in the table."""
    unit = "/s" if result.unit == "a second" else result.unit
    return (
        result.what,
        result.yardstick,
        f"{_shown(result.ours)} / {_shown(result.theirs)} {unit}",
        f"{result.ratio:.2f} ({result.low:.2f} to {result.high:.2f})",
        "" if result.bound is None else f"{result.bound}{'' if result.reached else ', **missed**'}",
        "" if result.our_cpu is None or result.their_cpu is None else f"{result.our_cpu:.2f} / {result.their_cpu:.2f}",
    )


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value % 1 == 0 else f"{value:.2f}"


def print_table(results: list[Result], console: Console) -> None:
    """Show the table on the screen."""
    table = Table(*HEADINGS)
    for result in results:
        table.add_row(*cells(result), style="red" if result.reached is False else None)
    console.print(table)


def write_report(results: list[Result], about: dict[str, str], folder: Path) -> list[Path]:
    """Write the table as JSON and as Markdown. Returns the two files."""
    data = {"about": about, "results": [{**asdict(each), "reached": each.reached} for each in results]}
    folder.mkdir(exist_ok=True)
    as_json, as_markdown = folder / "benchmarks.json", folder / "benchmarks.md"
    as_json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    rows = [HEADINGS, ["---"] * len(HEADINGS), *map(cells, results)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "; ".join(f"{name} {value}" for name, value in about.items())]
    as_markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [as_json, as_markdown]

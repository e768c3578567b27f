"""Run the same work on voltmem and on its peers, on one server: ``make bench ARGS="--peers"``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from tests.benchmarks._bench import Bench
from tests.benchmarks.peers.environments import OURS, PEERS, Peer, ProgramError, run

NAME: Final = "peers.md"
STARTS: Final = 5
# What the programs print, and its heading.
WORK: Final = {
    "append": "append",
    "turn": "turn of four",
    "load": "load 100",
    "newest": "newest 100 of 10,000",
    "list": "list of 20 of 102",
    "start": "start-up",
}


async def compare(bench: Bench, folder: Path | None) -> None:
    """Measure each peer that can be installed, show the table and, if a folder is given, write it as Markdown."""
    rows = []
    for peer in (OURS, *PEERS):
        with bench.working(peer.name):
            try:
                results = await measure(bench, peer)
            except ProgramError as error:
                bench.progress.console.print(f"{peer.name} is left out: {error}")
                continue
        rows.append([peer.name, *(_milliseconds(results.get(name)) for name in WORK)])
    headings = ["milliseconds", *WORK.values()]
    show(headings, rows, bench.progress.console)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"| {' | '.join(row)} |" for row in (headings, ["---"] * len(headings), *rows)]
        (folder / NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
        bench.progress.console.print(f"written to {folder / NAME}")


async def measure(bench: Bench, peer: Peer) -> dict[str, float | None]:
    """Return the milliseconds of the peer's work, in a database of its own."""
    command = await peer.environment.install()
    await bench.pool.execute("CREATE DATABASE peer")
    dsn = urlsplit(bench.dsn)._replace(path="/peer").geturl()
    scale = "0.01" if bench.settings.quick else "1"
    try:
        results = await _printed(command, "work", dsn, scale)
        starts = [await _printed(command, "start", dsn, scale) for _ in range(bench.count(STARTS))]
    finally:
        await bench.pool.execute("DROP DATABASE peer")
    return {**results, "start": statistics.median(each["start"] for each in starts)}


async def _printed(command: Sequence[str], *arguments: str) -> Any:
    """Return what a program prints last: libraries may print before it."""
    return json.loads((await run(*command, *arguments)).splitlines()[-1])


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def show(headings: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Show the table on the screen."""
    table = Table(*headings)
    for row in rows:
        table.add_row(*row)
    console.print(table)

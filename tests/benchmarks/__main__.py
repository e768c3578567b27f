"""
Measure voltmem against raw asyncpg in the same run: ``make bench``, ``make bench ROWS=1000000``.

Each row of the table is measured in turns, voltmem and then the yardstick, on one throw-away server that syncs to disk
(or on the one of VOLTMEM_TEST_DSN). The ratio is the median of the ratios of all turns, with their quartiles. A second
table says what a call uses. The results are kept in build/benchmarks.json, with which the next run is compared, and as
Markdown in build/benchmarks.md. It takes about twenty minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.progress import Progress

from tests.benchmarks import (
    _kept,
    _report,
    chat,
    conversation_schema,
    lengths,
    memory,
    opening,
    reads,
    recall,
    round_trips,
    search,
    sidebar,
    transfer,
    watching,
    web,
    writes,
)
from tests.benchmarks._bench import Settings, bench, progress_bar
from tests.benchmarks._measure import Result
from tests.benchmarks.peers.compare import compare
from tests.checkout import ROOT

# A commit delay with no siblings needed: each flush first waits this many microseconds, and other commits join it.
SLOWER_DISK: Final = {"commit_delay": "1000", "commit_siblings": "0"}
PARTS: Final = {
    "opening": opening.run,
    "round-trips": round_trips.run,
    "memory": memory.run,
    "writes": writes.run,
    "lengths": lengths.run,
    "transfer": transfer.run,
    "reads": reads.run,
    "sidebar": sidebar.run,
    "watching": watching.run,
    "web": web.run,
    "chat": chat.run,
    "upgrade": conversation_schema.run,
    # Only on request: ten messages for each of the rows take minutes to create, and gigabytes of disk.
    "search": search.run,
    "recall": recall.run,
}
# On a server of its own.
DISK: Final = "disk"
USUAL: Final = [*(part for part in PARTS if part != "search"), DISK]
LOOPS: Final = ("asyncio", "uvloop")


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    settings: Settings
    parts: Sequence[str]
    folder: Path | None
    """Where the run is kept; None: nowhere."""
    peers: bool = False
    """Whether to compare with the peers instead."""


async def main(wanted: Wanted) -> None:
    """Measure the parts, show the results beside those of the last run, and keep them; or compare with the peers."""
    with progress_bar() as progress:
        if wanted.peers:
            async with bench(wanted.settings, progress) as server:
                _report.show_about(await _report.circumstances(server), progress.console)
                await compare(server, wanted.folder)
            return
        results, about = await measure(wanted, progress)
    last = _kept.last(wanted.folder) if wanted.folder else _kept.Run({}, [])
    _report.show(results, last, about, progress.console)
    if wanted.folder:
        file = _report.write(_kept.keep(wanted.folder, about, results), wanted.folder)
        progress.console.print(f"kept in {wanted.folder / _kept.NAME} and {file}")


async def measure(wanted: Wanted, progress: Progress) -> tuple[list[Result], dict[str, str]]:
    """Return the results of the parts, and the circumstances."""
    async with bench(wanted.settings, progress) as usual:
        about = await _report.circumstances(usual)
        for part in wanted.parts:
            if part in PARTS:
                usual.part = part
                await PARTS[part](usual)
    if DISK not in wanted.parts:
        return usual.results, about
    async with bench(wanted.settings, progress, SLOWER_DISK) as slower:
        slower.part = DISK
        await writes.on_a_slower_disk(slower)
    return usual.results + slower.results, about


def read_arguments() -> Wanted:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("rows", type=int, nargs="?", help="how many conversations, and messages: a million")
    parser.add_argument(
        "--only", choices=[*PARTS, DISK], action="append", help="measure this part only; may be repeated"
    )
    parser.add_argument("--loop", choices=LOOPS, default=LOOPS[0], help="the event loop")
    parser.add_argument(
        "--quick", action="store_true", help="only see that each row works: few calls, a thousand rows, nothing kept"
    )
    parser.add_argument("--peers", action="store_true", help="run the same work on other packages, beside voltmem")
    given = parser.parse_args()
    settings = Settings(given.rows or (1_000 if given.quick else 1_000_000), given.loop, given.quick)
    return Wanted(settings, given.only or USUAL, None if given.quick else ROOT / "build", given.peers)


def run(wanted: Wanted) -> None:
    """Run on the event loop that is asked for."""
    loop = wanted.settings.loop
    factory = None if loop == "asyncio" else importlib.import_module(loop).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(wanted))


if __name__ == "__main__":
    run(read_arguments())

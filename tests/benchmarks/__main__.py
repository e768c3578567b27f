"""
Measure voltmem against raw asyncpg in the same run: ``make bench``, ``make bench ROWS=1000000``.

Each row of the table is measured in turns, voltmem and then the yardstick, on one throw-away server that syncs to disk
(or on the one of VOLTMEM_TEST_DSN). The ratio is the median of the ratios of all turns, with their quartiles. The table
is also written to build/benchmarks.json and build/benchmarks.md. It takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from tests.benchmarks import conversation_schema, life, reads, search, writes
from tests.benchmarks._bench import bench, progress_bar
from tests.benchmarks._report import circumstances, print_table, write_report

# A commit delay with no siblings needed: each flush first waits this many microseconds, and other commits join it.
SLOWER_DISK = {"commit_delay": "1000", "commit_siblings": "0"}
PARTS = {"life": life.run, "writes": writes.run, "reads": reads.run, "upgrade": conversation_schema.run}
# Only on request: ten messages for each of the rows take minutes to create, and gigabytes of disk.
LARGE = {"search": search.run}


async def main(rows: int, parts: list[str]) -> None:
    """Measure these parts and report."""
    with progress_bar() as progress:
        async with bench(rows, progress) as main_bench:
            about = await circumstances(main_bench)
            for part in parts:
                if measure := {**PARTS, **LARGE}.get(part):
                    await measure(main_bench)
        results = main_bench.results
        if "disk" in parts:
            async with bench(rows, progress, SLOWER_DISK) as slower:
                await writes.on_a_slower_disk(slower)
            results += slower.results
    print_table(results, progress.console)
    for name, value in about.items():
        progress.console.print(f"{name}: {value}")
    files = write_report(results, about, Path("build"))
    progress.console.print(f"written to {' and '.join(map(str, files))}")


if __name__ == "__main__":
    usual = [*PARTS, "disk"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000, help="how many conversations, and messages")
    parser.add_argument(
        "--only", choices=[*usual, *LARGE], action="append", help="measure this part only; may be repeated"
    )
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rows, arguments.only or usual))

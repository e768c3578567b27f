"""
Load the storage with faults for some minutes, and look for what was lost: ``python -m tests.soak MINUTES``.

Without --dsn it starts a primary and a standby of its own. Each write is recorded by its client, outside of the
database. A write that was acknowledged must be there; one whose outcome is unknown may be there or not, but never twice
and never half. check() runs during the load, and at its end.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.soak.faults import KINDS
from tests.soak.run import Soak, Wanted, printed


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="voltmem-soak-"))
    folder.chmod(0o755)  # the servers' user enters it
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("minutes", type=float, help="how long")
    parser.add_argument("--dsn", help="a server to use; it is not restarted")
    parser.add_argument("--other", type=Path, help="the checkout of another release, whose clients write as well")
    parser.add_argument("--clients", type=int, default=4, help="how many processes (default: %(default)s)")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two faults, on average")
    parser.add_argument("--without", choices=KINDS, action="append", default=[], help="none of these faults")
    return parser.parse_args()


async def main() -> int:
    """Run it, and print the table. Returns the exit code."""
    given = _arguments()
    wanted = Wanted(60 * given.minutes, given.dsn, given.other, given.clients, given.pause, frozenset(given.without))
    async with AsyncExitStack() as stack:
        soak = Soak(wanted, await stack.enter_async_context(_folder()))
        for line in soak.missing():
            print(line)
        outcome = await soak.run()
    print(printed(outcome))
    return 1 if outcome.wrong() else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

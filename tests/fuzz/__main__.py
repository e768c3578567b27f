"""
Run random examples with fresh seeds for some minutes, and print how many there were, and each kind of failure once.

    python -m tests.fuzz 60
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, seed
from hypothesis import strategies as st

from tests.fuzz.grounds import Grounds, grounds, mutated
from tests.properties import random_examples

_EXAMPLES = {"stored": 30, "asked": 100, "cursors": 50}


def short(example: object) -> str:
    """Return an example on one screen."""
    return re.sub(r"(.{1,4}?)\1{20,}", r"\1…", repr(example))[:2500]


class Found:
    """What was run, and what failed."""

    def __init__(self) -> None:
        self.examples: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()

    def fail(self, where: str, error: BaseException, example: object) -> None:
        """Count a failure, and print the first of its kind."""
        frames = [each for each in traceback.extract_tb(error.__traceback__) if "/voltmem/" in each.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        deepest = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} at {place}"
        self.failures[kind] += 1
        if self.failures[kind] == 1:
            print(
                f"\n--- {kind} ({deepest.filename}:{deepest.lineno}), {where}\n{error!r:.400}\n{short(example)}",
                flush=True,
            )


def _run(loop: asyncio.AbstractEventLoop, each: Grounds, found: Found, kind: str, number: int) -> None:
    def stored(row: Any) -> None:
        for where, error in loop.run_until_complete(each.read(row)).items():
            found.fail(where, error, row)

    def asked(request: Any) -> None:
        try:
            found.statuses[loop.run_until_complete(each.ask(request))] += 1
        except Exception as error:
            found.fail("request", error, request)

    def listed(place: tuple[str, str]) -> None:
        for where, error in loop.run_until_complete(each.list_after(*place)).items():
            found.fail(where, error, place)

    tokens = st.sampled_from(each.known.ids).flatmap(mutated)
    checks: dict[str, tuple[Callable[[Any], None], Any]] = {
        "stored": (stored, each.rows),
        "asked": (asked, each.requests),
        "cursors": (listed, st.tuples(each.cursors, tokens)),
    }
    check, strategy = checks[kind]

    def counted(example: Any) -> None:
        found.examples[kind] += 1
        check(example)

    many = random_examples(_EXAMPLES[kind])
    run: Callable[[], None] = seed(number)(many(given(strategy)(counted)))  # type: ignore[no-untyped-call]
    run()


def main(minutes: float, only: str | None = None) -> int:
    """Run for some minutes. Returns 1 if something failed."""
    loop = asyncio.new_event_loop()
    context = grounds()
    each = loop.run_until_complete(context.__aenter__())
    found = Found()
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        for kind in ("stored", "asked", "asked", "cursors") if only is None else (only,):
            _run(loop, each, found, kind, random.getrandbits(64))  # no secret
    loop.run_until_complete(context.__aexit__(None, None, None))
    print(f"\nexamples {dict(found.examples)}, not permitted by the schema {each.refused}")
    print(f"statuses {dict(sorted(found.statuses.items()))}")
    print(f"failures {dict(found.failures)}")
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), *sys.argv[2:3]))

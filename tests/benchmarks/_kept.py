"""
The run that is kept: build/benchmarks.json. The next one is compared with it.

A run replaces the rows of the parts that it measured, on its event loop, and leaves the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from tests.benchmarks._measure import Result

NAME: Final = "benchmarks.json"


@dataclass(frozen=True)
class Run:
    """Results, and the circumstances of the last ones."""

    about: dict[str, str]
    results: list[Result]

    def of(self, result: Result) -> Result | None:
        """Return this run's result for the same row."""
        return next((each for each in self.results if each.row == result.row), None)


_RUN: Final = TypeAdapter(Run)


def last(folder: Path) -> Run:
    """Return the run that is kept; one without results if there is none, or none of this format."""
    try:
        return _RUN.validate_json((folder / NAME).read_bytes())
    except (FileNotFoundError, ValidationError):
        return Run({}, [])


def keep(folder: Path, about: dict[str, str], results: Sequence[Result]) -> Run:
    """Write the results beside those of other parts and loops. Returns all that are kept now."""
    measured = {(each.row.part, each.row.loop) for each in results}
    others = [each for each in last(folder).results if (each.row.part, each.row.loop) not in measured]
    kept = Run(about, [*others, *results])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_bytes(_RUN.dump_json(kept, indent=2) + b"\n")
    return kept

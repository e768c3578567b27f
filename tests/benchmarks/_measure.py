"""Paired measurements: voltmem and its yardstick take turns in one run, and each turn gives a ratio."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tests.benchmarks._costs import Costs, Meter

Call: TypeAlias = Callable[[int], Awaitable[object]]
"""One call. Its argument is its number, so that each call may use another conversation."""
Unit: TypeAlias = Literal["ms", "ms of CPU", "a second", "KiB", "kB", "nodes", "round trips"]

ROUNDS: Final = 11


@dataclass(frozen=True)
class Side:
    """What one side measured in one turn."""

    value: float
    calls: int | None = None
    """How many calls the turn took, by which its costs are divided; None: they say nothing about a call."""


Measure: TypeAlias = Callable[[], Awaitable[Side]]
Before: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Turns:
    """The turns of one row, and what each of them used."""

    ours: list[Side]
    theirs: list[Side]
    our_costs: list[Costs | None]
    their_costs: list[Costs | None]


@dataclass(frozen=True)
class Bound:
    """The aim for a ratio."""

    kind: Literal["at most", "at least"]
    value: float

    def holds(self, ratio: float) -> bool:
        return ratio <= self.value if self.kind == "at most" else ratio >= self.value

    def __str__(self) -> str:
        return f"{self.kind} {self.value:g}"


@dataclass(frozen=True)
class Row:
    """What a row is about. Rows of two runs are compared if this is equal."""

    part: str
    loop: str
    what: str
    yardstick: str


@dataclass(frozen=True)
class Result:
    """One row of the table: medians over the turns, and the quartiles of their ratios."""

    row: Row
    unit: Unit
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    turns: int
    bound: Bound | None
    our_costs: Costs | None
    their_costs: Costs | None

    @classmethod
    def of(cls, row: Row, unit: Unit, turns: Turns, bound: Bound | None) -> Result:
        """Return the result of these turns."""
        ours, theirs = ([side.value for side in sides] for sides in (turns.ours, turns.theirs))
        ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
        low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return cls(
            row,
            unit,
            ours=statistics.median(ours),
            theirs=statistics.median(theirs),
            ratio=ratio,
            low=low,
            high=high,
            turns=len(ratios),
            bound=bound,
            our_costs=Costs.median(turns.our_costs),
            their_costs=Costs.median(turns.their_costs),
        )

    @property
    def reached(self) -> bool | None:
        """Whether the aim is reached; None if there is none."""
        return None if self.bound is None else self.bound.holds(self.ratio)

    def is_worse_than(self, last: Result) -> bool:
        """Return whether the ratio got worse by more than the wider of the two ranges between quartiles."""
        spread = max(self.high - self.low, last.high - last.low)
        growth = self.ratio - last.ratio
        return (-growth if self.unit == "a second" else growth) > spread


async def latency(call: Call, calls: int, percentile: int = 50) -> Side:
    """Return the milliseconds of *count* calls, one after the other: the median, or this percentile."""
    times: list[float] = []
    for number in range(calls):
        started = time.perf_counter()
        await call(number)
        times.append(time.perf_counter() - started)
    return Side(statistics.quantiles(times, n=100, method="inclusive")[percentile - 1] * 1000, calls)


async def throughput(call: Call, calls: int, callers: int) -> Side:
    """Return the calls per second of *callers* concurrent callers, each of them calling one after the other."""
    numbers = iter(range(calls))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return Side(calls / (time.perf_counter() - started), calls)


async def take_turns(
    ours: Measure,
    theirs: Measure,
    rounds: int,
    meter: Meter,
    *,
    adds: float,
    before: Before,
    after: Callable[[], object],
) -> Turns:
    """
    Return what both sides measured in each round, after a round that does not count.

    Args:
        ours: One turn of voltmem.
        theirs: One turn of the yardstick. The first side changes from round to round.
        rounds: The number of rounds that count.
        meter: Reads what each turn uses.
        adds: How many messages a call adds.
        before: Prepares the state for each turn.
        after: Called after each round.
    """
    turns = Turns([], [], [], [])
    ours_first = [(ours, turns.ours, turns.our_costs), (theirs, turns.theirs, turns.their_costs)]
    for number in range(rounds + 1):
        for measure, sides, costs in ours_first if number % 2 else ours_first[::-1]:
            await before()
            gc.collect()
            side, used = await meter.during(measure, adds)
            if number:
                sides.append(side)
                costs.append(used)
        after()
    return turns

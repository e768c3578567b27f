"""Paired measurements: voltmem and raw asyncpg take turns in one run, and each turn gives a ratio."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Call: TypeAlias = Callable[[int], Awaitable[object]]
"""One call. Its argument is its number, so that each call may use another conversation."""
Unit: TypeAlias = Literal["ms", "a second", "KiB", "round trips"]

ROUNDS: Final = 11


@dataclass(frozen=True)
class Side:
    """The cost of one side in one turn."""

    value: float
    cpu: float | None = None
    """Seconds of CPU time of this process for 1,000 calls."""


Measure: TypeAlias = Callable[[], Awaitable[Side]]
Turn: TypeAlias = tuple[Side, Side]


@dataclass(frozen=True)
class Bound:
    """The bound of the contract for a ratio."""

    kind: Literal["at most", "at least"]
    value: float

    def holds(self, ratio: float) -> bool:
        return ratio <= self.value if self.kind == "at most" else ratio >= self.value

    def __str__(self) -> str:
        return f"{self.kind} {self.value:g}"


@dataclass(frozen=True)
class Result:
    """One row of the table: medians over the turns, and the quartiles of their ratios."""

    what: str
    yardstick: str
    unit: Unit
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    turns: int
    bound: Bound | None
    our_cpu: float | None
    their_cpu: float | None

    @classmethod
    def of(cls, what: str, yardstick: str, unit: Unit, turns: Sequence[Turn], bound: Bound | None) -> Result:
        """Return the row for these turns, voltmem's first."""
        our_sides, their_sides = zip(*turns, strict=True)
        ratios = [ours.value / theirs.value for ours, theirs in turns]
        low, ratio, high = statistics.quantiles(
            ratios, n=4
        )  # of fewer than three values they would lie outside the measured range
        return cls(
            what,
            yardstick,
            unit,
            ours=statistics.median(side.value for side in our_sides),
            theirs=statistics.median(side.value for side in their_sides),
            ratio=ratio,
            low=low,
            high=high,
            turns=len(turns),
            bound=bound,
            our_cpu=_median_cpu(our_sides),
            their_cpu=_median_cpu(their_sides),
        )

    @property
    def reached(self) -> bool | None:
        """Return whether the contract's bound is met; None if it has none."""
        return None if self.bound is None else self.bound.holds(self.ratio)


def _median_cpu(sides: Sequence[Side]) -> float | None:
    values = [side.cpu for side in sides if side.cpu is not None]
    return statistics.median(values) if values else None


async def latency(call: Call, calls: int) -> Side:
    """Return the median time of *count* calls, one after the other, in milliseconds."""
    times: list[float] = []
    cpu = time.process_time()
    for number in range(calls):
        started = time.perf_counter()
        await call(number)
        times.append(time.perf_counter() - started)
    return Side(statistics.median(times) * 1000, (time.process_time() - cpu) / calls * 1000)


async def throughput(call: Call, calls: int, callers: int) -> Side:
    """Return the calls per second of *callers* concurrent callers, each of them calling one after the other."""
    numbers = iter(range(calls))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds = time.perf_counter() - started
    return Side(calls / seconds, (time.process_time() - cpu) / calls * 1000)


async def take_turns(
    ours: Measure,
    theirs: Measure,
    rounds: int,
    before: Callable[[], Awaitable[object]],
    after: Callable[[], object],
) -> list[Turn]:
    """
    Return the costs of both sides in each round, after a round that does not count.

    Args:
        ours: One turn of voltmem.
        theirs: One turn of the yardstick. The first side changes from round to round.
        rounds: The number of rounds that count.
        before: Prepares the state for each turn.
        after: Called after each round.
    """
    turns: list[Turn] = []
    for number in range(rounds + 1):
        sides: dict[Measure, Side] = {}
        for measure in (ours, theirs) if number % 2 else (theirs, ours):
            await before()
            gc.collect()
            sides[measure] = await measure()
        if number:
            turns.append((sides[ours], sides[theirs]))
        after()
    return turns

"""
Helpers for the benchmarks:

a durable server, the tables of voltmem and of the yardstick, one pool, a progress bar.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.benchmarks import _measure
from tests.benchmarks._costs import Meter, Pool, postmaster_of
from tests.benchmarks._measure import ROUNDS, Before, Bound, Call, Measure, Result, Row, Unit, take_turns
from voltmem import PostgresStorage, Recall
from voltmem._postgres.embedded import start_temporary
from voltmem._tables import Tables

CONVERSATIONS: Final = 1_000
CONNECTIONS: Final = 10
STORAGE_LIMIT: Final = 100
# A quick run has so many times fewer calls, and rounds enough for a median.
QUICKER: Final = 50
QUICK_ROUNDS: Final = 2
OURS: Final = Tables("bench", "ours")
YARDSTICK: Final = Tables("bench", "yardstick")
TEXT: Final = "Some forty words that people might write to an assistant, or it to them. " * 3


async def _nothing() -> None:
    """Do nothing before a turn."""


@dataclass(frozen=True)
class Settings:
    """How a run measures."""

    rows: int
    """How many conversations there are in the large tables."""
    loop: str = "asyncio"
    """The name of the event loop that runs."""
    quick: bool = False
    """Whether to measure little, only to see that each row works."""


@dataclass
class Bench:
    """A server with one pool for the storage and the tables of the yardstick."""

    dsn: str
    pool: Pool
    meter: Meter
    settings: Settings
    progress: Progress
    part: str = ""
    """The part of the benchmark that is measured now."""
    results: list[Result] = field(default_factory=list)
    ours: Tables = OURS
    yardstick: Tables = YARDSTICK

    @property
    def rows(self) -> int:
        """How many conversations there are in the large tables."""
        return self.settings.rows

    @property
    def conversations(self) -> int:
        """How many conversations start_anew() makes: c0, c1 and so on."""
        return self.count(CONVERSATIONS)

    def count(self, usual: int) -> int:
        """Return how many of something to make or to call, fewer in a quick run."""
        return max(usual // QUICKER, 2) if self.settings.quick else usual

    def latency(self, call: Call, calls: int, *, percentile: int = 50) -> Measure:
        """Return a turn of so many calls, one after the other, in milliseconds a call."""
        return partial(_measure.latency, call, self.count(calls), percentile)

    def throughput(self, call: Call, calls: int, callers: int) -> Measure:
        """Return a turn of so many calls by concurrent callers, in calls a second."""
        return partial(_measure.throughput, call, self.count(calls), callers)

    def storage(
        self,
        tables: Tables | None = None,
        *,
        storage_limit: int | None = STORAGE_LIMIT,
        search: bool = False,
        recall: Recall | None = None,
    ) -> PostgresStorage:
        """Return a storage on the pool, with voltmem's default tables or these."""
        tables = tables or self.ours
        return PostgresStorage(
            pool=self.pool,
            schema=tables.schema,
            table_prefix=tables.prefix,
            storage_limit=storage_limit,
            search=search,
            recall=recall,
        )

    async def compare(
        self,
        what: str,
        yardstick: str,
        unit: Unit,
        ours: Measure,
        theirs: Measure,
        *,
        bound: Bound | None = None,
        adds: float = 0,
        before: Before = _nothing,
        rounds: int = ROUNDS,
    ) -> None:
        """
        Measure one row of the table.

        Args:
            what: What is measured.
            yardstick: What it is compared with.
            unit: The unit of both.
            ours: One turn of it.
            theirs: One turn of the yardstick.
            bound: The aim for the ratio. It stands nowhere else.
            adds: How many messages a call adds, for the bytes on disk of each.
            before: Prepares the state for each turn.
            rounds: How often each takes its turn.
        """
        rounds = QUICK_ROUNDS if self.settings.quick else rounds
        with self.working(what, rounds + 1) as advance:
            turns = await take_turns(ours, theirs, rounds, self.meter, adds=adds, before=before, after=advance)
        row = Row(self.part, self.settings.loop, what, yardstick)
        self.results.append(Result.of(row, unit, turns, bound))
        self.progress.console.print(f"{what}: {self.results[-1].ratio:.2f}")

    @contextmanager
    def working(self, what: str, steps: int | None = None) -> Iterator[Callable[[], object]]:
        """Show a progress bar for this work. Yields a function that advances it."""
        task = self.progress.add_task(what, total=steps)
        self.progress.refresh()

        def advance() -> None:
            self.progress.advance(task)
            self.progress.refresh()

        yield advance
        self.progress.remove_task(task)

    async def start_anew(self, messages: int = 0) -> None:
        """Reset both sets of tables to the same conversations, each with so many questions and answers."""
        for tables in (self.ours, self.yardstick):
            filled = (tables.conversations, tables.conversation_memory, tables.changed_lines, tables.messages)
            beside = (tables.payloads, tables.shares, tables.summaries, tables.leases)
            names = (*filled, *beside, tables.answers, tables.answer_pieces)
            await self.pool.execute(f"TRUNCATE {', '.join(names)} CASCADE")
            await self.pool.execute(
                f"INSERT INTO {tables.conversations} (id, resource_id, user_id) "
                f"SELECT 'c' || n, 'agent', 'ada' FROM generate_series(0, {self.conversations - 1}) AS n"
            )
            await self.pool.execute(
                f"INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type) "
                "SELECT 'c' || n % $3, 'old-' || n, CASE n / $3 % 2 WHEN 0 THEN 'user' ELSE 'assistant' END, $1, "
                "'text' FROM generate_series(1, $2) AS n",
                TEXT,
                messages * self.conversations,
                self.conversations,
            )
            # As if they had been added one by one.
            await self.pool.execute(
                f"UPDATE {tables.conversations} SET line_length = $1, line_end = pg_catalog.now()", messages
            )
            await self.pool.execute(f"VACUUM FULL ANALYZE {tables.conversations}")
            await self.pool.execute(f"VACUUM ANALYZE {tables.messages}, {tables.payloads}")
        await self.pool.execute("CHECKPOINT")


async def nothing_to_reset(connection: object) -> None:
    """Do nothing, like voltmem's own pool: no round trip to reset a connection."""


@asynccontextmanager
async def bench(
    settings: Settings, progress: Progress, of_server: dict[str, str] | None = None
) -> AsyncIterator[Bench]:
    """
    Yield a bench on a throw-away server that syncs to disk, with these settings of PostgreSQL.

    Without any, on VOLTMEM_TEST_DSN's.
    """
    given = None if of_server else os.environ.get("VOLTMEM_TEST_DSN")
    server = None if given else await asyncio.to_thread(start_temporary, of_server, durable_writes=True)
    dsn = given or (server.dsn if server else "")
    try:
        async with asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, reset=nothing_to_reset) as pool:
            meter = Meter(pool, OURS.schema, await postmaster_of(pool) if server else None)
            made = Bench(dsn, pool, meter, settings, progress)
            for tables in (made.ours, made.yardstick):
                await made.storage(tables).open()
            # They note what others than voltmem write, which a table of one's own would not do.
            for trigger in ("insert", "update", "delete"):
                name = f"{made.yardstick.prefix}_line_{trigger}"
                await pool.execute(f"DROP TRIGGER {name} ON {made.yardstick.messages}")
            yield made
            await pool.execute(f'DROP SCHEMA "{made.ours.schema}" CASCADE')
    finally:
        if server is not None:
            await asyncio.to_thread(server.stop)


def progress_bar() -> Progress:
    """Return the progress bar of the measurements."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    # Drawn between the turns only: a drawing thread would take time of the interpreter from the measurement.
    return Progress(*columns, console=Console(), transient=True, auto_refresh=False)

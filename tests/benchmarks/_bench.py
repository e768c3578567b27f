"""What the benchmarks share: a durable server, ours and the yardstick's tables on one pool, the report."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.benchmarks._measure import ROUNDS, Bound, Measure, Result, Unit, take_turns
from voltmem import PostgresStorage
from voltmem._tables import Tables
from voltmem.embedded import start_temporary

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

CONVERSATIONS: Final = 1_000
CONNECTIONS: Final = 10
STORAGE_LIMIT: Final = 100
OURS: Final = Tables("bench", "ours")
YARDSTICK: Final = Tables("bench", "yardstick")
TEXT: Final = "Some forty words that people might write to an assistant, or it to them. " * 3


async def _nothing() -> None:
    """Nothing needs to be done before a turn."""


@dataclass
class Bench:
    """A server, and on one pool the storage and the tables of the yardstick."""

    dsn: str
    pool: Pool
    rows: int
    progress: Progress
    results: list[Result] = field(default_factory=list)
    ours: Tables = OURS
    yardstick: Tables = YARDSTICK

    def storage(self, tables: Tables | None = None, storage_limit: int | None = STORAGE_LIMIT) -> PostgresStorage:
        """Return a storage on the pool, with our tables or these."""
        tables = tables or self.ours
        return PostgresStorage(
            pool=self.pool, schema=tables.schema, table_prefix=tables.prefix, storage_limit=storage_limit
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
        before: Callable[[], Awaitable[object]] = _nothing,
        rounds: int = ROUNDS,
    ) -> None:
        """Measure one row of the table."""
        with self.working(what, rounds + 1) as advance:
            turns = await take_turns(ours, theirs, rounds, before, advance)
        self.results.append(Result.of(what, yardstick, unit, turns, bound))
        self.progress.console.print(f"{what}: {self.results[-1].ratio:.2f}")

    @contextmanager
    def working(self, what: str, steps: int | None = None) -> Iterator[Callable[[], object]]:
        """Show a bar while this is worked on; what is yielded moves it by a step."""
        task = self.progress.add_task(what, total=steps)
        self.progress.refresh()

        def advance() -> None:
            self.progress.advance(task)
            self.progress.refresh()

        yield advance
        self.progress.remove_task(task)

    async def start_anew(self, messages: int = 0) -> None:
        """Leave, in both sets of tables, the same conversations, each with so many messages."""
        for tables in (self.ours, self.yardstick):
            await self.pool.execute(f"TRUNCATE {tables.conversations}, {tables.messages}")
            await self.pool.execute(
                f"INSERT INTO {tables.conversations} (id, resource_id, user_id) "
                f"SELECT 'c' || n, 'agent', 'ada' FROM generate_series(0, {CONVERSATIONS - 1}) AS n"
            )
            await self.pool.execute(
                f"INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type) "
                f"SELECT 'c' || n % {CONVERSATIONS}, 'old-' || n, 'user', $1, 'text' FROM generate_series(1, $2) AS n",
                TEXT,
                messages * CONVERSATIONS,
            )
            await self.pool.execute(f"VACUUM ANALYZE {tables.conversations}")
            await self.pool.execute(f"VACUUM ANALYZE {tables.messages}")
        await self.pool.execute("CHECKPOINT")


async def nothing_to_reset(connection: object) -> None:
    """As in a pool of voltmem's own: no round trip to reset what nobody set."""


@asynccontextmanager
async def bench(rows: int, progress: Progress, settings: dict[str, str] | None = None) -> AsyncIterator[Bench]:
    """A bench on a throw-away server that syncs to disk, with these settings; without any, on VOLTMEM_TEST_DSN's."""
    given = None if settings else os.environ.get("VOLTMEM_TEST_DSN")
    server = None if given else await asyncio.to_thread(start_temporary, settings, durable_writes=True)
    dsn = given or (server.dsn if server else "")
    try:
        async with asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, reset=nothing_to_reset) as pool:
            made = Bench(dsn, pool, rows, progress)
            for tables in (made.ours, made.yardstick):
                await made.storage(tables).open()
            yield made
            await pool.execute(f'DROP SCHEMA "{made.ours.schema}" CASCADE')
    finally:
        if server is not None:
            await asyncio.to_thread(server.stop)


# --- the report -------------------------------------------------------------------------------------------------


def progress_bar() -> Progress:
    """Return the bar that shows what is being measured."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    # Drawn between the turns only: a thread that draws would take its share of the interpreter from what is measured.
    return Progress(*columns, console=Console(), transient=True, auto_refresh=False)


async def circumstances(bench: Bench) -> dict[str, str]:
    """Return on what and with what it was measured."""
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
    """Return the milliseconds that a durable write takes: how slow the disk is."""
    from tests.benchmarks._measure import latency

    table = bench.yardstick.migrations
    touch = f"UPDATE {table} SET applied_at = clock_timestamp() WHERE name LIKE '0001%'"
    return (await latency(lambda _: bench.pool.execute(touch), 200)).value


HEADINGS: Final = ("what", "voltmem", "compared with", "ratio", "quartiles", "figure", "CPU s / 1,000 calls")


def cells(result: Result) -> tuple[str, ...]:
    """Return a result's row of the table."""
    digits = 0 if max(result.ours, result.theirs) >= 100 else 2
    cpu = "" if result.our_cpu is None or result.their_cpu is None else f"{result.our_cpu:.3f} / {result.their_cpu:.3f}"
    return (
        result.what,
        f"{result.ours:,.{digits}f} {result.unit}",
        f"{result.theirs:,.{digits}f} {result.unit}: {result.yardstick}",
        f"{result.ratio:.2f}",
        f"{result.low:.2f} to {result.high:.2f}",
        "" if result.bound is None else f"{result.bound}{'' if result.reached else ', NOT REACHED'}",
        cpu,
    )


def print_table(results: list[Result], console: Console) -> None:
    """Show the table on the screen."""
    table = Table(*HEADINGS)
    for result in results:
        style = "red" if result.reached is False else None
        table.add_row(*cells(result), style=style)
    console.print(table)


def write_report(results: list[Result], about: dict[str, str], folder: Path) -> list[Path]:
    """Write the table as JSON and as Markdown, and return the two files."""
    data = {"about": about, "results": [{**asdict(each), "reached": each.reached} for each in results]}
    folder.mkdir(exist_ok=True)
    as_json, as_markdown = folder / "benchmarks.json", folder / "benchmarks.md"
    as_json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    rows = [HEADINGS, ["---"] * len(HEADINGS), *map(cells, results)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "; ".join(f"{name} {value}" for name, value in about.items())]
    as_markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [as_json, as_markdown]

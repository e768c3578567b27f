"""One run of the soak test: its parts, in their order, and its table."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.pgbouncer import PROGRAM, PgBouncer
from tests.proxy import Proxy
from tests.soak.clients import Clients, migrate
from tests.soak.faults import Faults
from tests.soak.ledger import Ledger, Report
from tests.soak.load import MEANING
from tests.soak.servers import Clock, Pair
from voltmem import Finding, PostgresStorage, VoltMemError
from voltmem.testing import temporary_schema_name

_WRONG: Final = ("misreported", "moved_back", "half", "lost", "doubled", "untrue")
_COLUMNS: Final = ("done", "unknown", "refused", "cut_off", *_WRONG)
_BETWEEN_CHECKS: Final = 60.0


@dataclass(frozen=True)
class Wanted:
    """What a run should do."""

    seconds: float
    dsn: str | None = None
    other: Path | None = None
    clients: int = 4
    pause: float = 1.0
    without: frozenset[str] = frozenset()


@dataclass
class Outcome:
    """What a run has found."""

    report: Report
    faults: Counter[str]
    crashes: list[str]
    checks: int
    findings: list[Finding] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """Return what must not be, in words; nothing if all is well."""
        counters = {name: getattr(self.report, name) for name in _WRONG}
        found = [f"{count} {name}: {verb}" for name, each in counters.items() for verb, count in each.items() if count]
        found += [f"{each.count} {each.name}: {each.examples}" for each in self.findings]
        return [*found, *(f"a client crashed: {each}" for each in self.crashes)]


class Soak:
    """A run in a folder of its own."""

    def __init__(self, wanted: Wanted, folder: Path) -> None:
        self._wanted = wanted
        self._folder = folder
        self._schema = temporary_schema_name()
        self._clock = Clock(folder, wanted="clock" not in wanted.without and wanted.dsn is None)
        self._checks = 0
        self._findings: dict[str, Finding] = {}

    def missing(self) -> list[str]:
        """Return a line for each fault that cannot be made here."""
        wanted, lines = self._wanted.without, []
        if self._wanted.dsn is not None:
            return ["not made: faults of the server, its clock, a failover and a pooler, because of --dsn"]
        if "clock" not in wanted and not self._clock.is_there:
            lines.append("not made: steps of the clock, because libfaketime is not installed")
        if "pooler" not in wanted and PROGRAM is None:
            lines.append("not made: a pooler, because pgbouncer is not installed")
        return lines

    async def run(self) -> Outcome:
        """Make the servers, the load and the faults; then compare."""
        async with AsyncExitStack() as stack:
            pair = Pair(
                self._folder, self._clock, self._wanted.dsn, with_standby="failover" not in self._wanted.without
            )
            stack.callback(pair.stop)
            await pair.create()
            options: dict[str, Any] = {"search": True, "storage_limit": None, "recall": MEANING}
            async with PostgresStorage(pair.dsn, schema=self._schema, retry_timeout=60, **options) as storage:
                if self._wanted.other is not None:
                    await migrate(self._wanted.other, pair.dsn, self._schema)
                await storage.create_conversation({"id": "shared", "user_id": "everybody"})
            try:
                return await self._load(stack, pair)
            finally:
                with suppress(OSError):
                    await pair.execute(f"DROP SCHEMA {self._schema} CASCADE")

    async def _load(self, stack: AsyncExitStack, pair: Pair) -> Outcome:
        wanted = self._wanted
        clients = Clients(self._folder, self._schema, wanted.seconds)
        stack.callback(clients.stop)
        # It leads to the primary, wherever that is.
        floating = await stack.enter_async_context(Proxy(pair.dsn))
        proxies, addresses = [floating], [floating.dsn]
        if pair.standby is not None:
            both = [await stack.enter_async_context(Proxy(node.dsn)) for node in (pair.primary, pair.standby)]
            proxies += both
            addresses.append(_address_of_both(*(proxy.dsn for proxy in both)))
        faults = Faults(pair, self._schema, proxies, clients)
        if wanted.dsn is None:
            pooler = self._pooler(stack, floating)
            addresses += [f"{pooler.dsn}&pgbouncer=true"] if pooler is not None else []
            faults.of_servers(self._clock, pooler, lambda: floating.lead_to(pair.dsn))
        for number in range(wanted.clients):
            checkouts = [] if wanted.other is None or number % 2 == 0 else [wanted.other.resolve()]
            await clients.start(addresses[number % len(addresses)], *checkouts)
        await self._wait(faults, clients, pair)
        report = await self._compare(pair)
        return Outcome(report, faults.counts, clients.crashes, self._checks, list(self._findings.values()))

    def _pooler(self, stack: AsyncExitStack, floating: Proxy) -> PgBouncer | None:
        if "pooler" in self._wanted.without or PROGRAM is None:
            return None
        return stack.enter_context(
            PgBouncer(floating.dsn, default_pool_size=10, max_client_conn=500, server_login_retry=1)
        )

    async def _wait(self, faults: Faults, clients: Clients, pair: Pair) -> None:
        """Make faults while the clients work, and check now and then."""
        making = asyncio.create_task(faults.make(self._wanted.pause, set(self._wanted.without)))
        finishing = asyncio.create_task(asyncio.sleep(self._wanted.seconds))
        while not finishing.done() and not making.done():
            await asyncio.wait({finishing, making}, timeout=_BETWEEN_CHECKS, return_when=asyncio.FIRST_COMPLETED)
            if not finishing.done() and not making.done():
                with suppress(VoltMemError):  # a fault met it
                    async with self._storage(pair) as storage:
                        await self._check(storage, read_files=False)
        if making.done():
            making.result()  # raises
        await faults.stop(making)
        await clients.finish()

    def _storage(self, pair: Pair) -> PostgresStorage:
        options: dict[str, Any] = {"storage_limit": None, "migrate": "off", "recall": MEANING}
        return PostgresStorage(pair.dsn, schema=self._schema, retry_timeout=60, **options)

    async def _check(self, storage: PostgresStorage, *, read_files: bool) -> None:
        found = await storage.check(read_files=read_files)
        self._checks += 1
        self._findings |= {each.name: each for each in found}

    async def _compare(self, pair: Pair) -> Report:
        self._clock.move(0)
        async with self._storage(pair) as storage:
            ledger = Ledger(self._folder)
            await self._embed_all(storage, pair, ledger)
            await self._check(storage, read_files=True)
            return await ledger.compare(storage)

    async def _embed_all(self, storage: PostgresStorage, pair: Pair, ledger: Ledger) -> None:
        """Embed what has no vector yet, and count the messages that have none of their text afterwards."""
        vectors, messages = (f"{self._schema}.voltagent_memory_{each}" for each in ("embeddings", "messages"))
        if not await pair.execute(f"SELECT to_regclass('{vectors}') IS NOT NULL"):
            return  # there is no pgvector
        await pair.execute(f"UPDATE {vectors} SET claimed_until = NULL")  # of clients that were killed
        await storage.embed_messages()
        ledger.report.untrue["embed"] += await pair.execute(f"""
            SELECT count(*) FROM {messages} AS m WHERE NOT aside AND NOT EXISTS (
                SELECT 1 FROM {vectors} AS e
                WHERE e.conversation_id = m.conversation_id AND e.message_id = m.message_id
                    AND e.embedding IS NOT NULL
                    AND e.text_hash = encode(sha256(convert_to(m.content, 'UTF8')), 'hex')
            )""")


def _address_of_both(first: str, second: str) -> str:
    """Return a connection string with two hosts, of which the primary is used."""
    login, _, _ = first.partition("@")
    hosts = [dsn.partition("@")[2].partition("/")[0] for dsn in (first, second)]
    return f"{login}@{','.join(hosts)}/postgres?sslmode=disable&target_session_attrs=read-write"


def printed(outcome: Outcome) -> str:
    """Return the table of a run."""
    counters = {name: getattr(outcome.report, name) for name in _COLUMNS}
    verbs = sorted({verb for counter in counters.values() for verb, count in counter.items() if count})
    lines = [_line("what", _COLUMNS)]
    lines += [_line(verb, [counters[name][verb] for name in _COLUMNS]) for verb in verbs]
    lines.append(_line("all", [sum(counters[name].values()) for name in _COLUMNS]))
    lines += ["", "faults: " + _counts(outcome.faults), "errors:"]
    reasons = outcome.report.reasons
    lines += [f"    {count} {kind}: {reasons[kind]}" for kind, count in outcome.report.errors.most_common()]
    lines.append(f"check: {outcome.checks} times, {len(outcome.findings)} rules broken")
    lines += ["", *(outcome.wrong() or ["nothing is wrong"]), *outcome.report.details[:5]]
    return "\n".join(lines)


def _line(name: str, values: Iterable[object]) -> str:
    return f"{name:18}" + "".join(f"{value!s:>12}" for value in values)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common() if count) or "none"

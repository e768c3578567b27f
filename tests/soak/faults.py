"""What goes wrong during a soak test, and how often."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from tests.pgbouncer import PgBouncer
from tests.proxy import Proxy
from tests.soak.clients import Clients
from tests.soak.servers import Clock, Pair

Fault: TypeAlias = Callable[[], Awaitable[object]]

KINDS: Final = ("backends", "cuts", "clients", "clock", "pooler", "server", "failover")
_WEIGHTS: Final[Mapping[str, int]] = {
    **{"backends": 30, "cuts": 30, "clients": 4, "clock": 6, "pooler": 4, "server": 3, "failover": 2}
}
_KILL_BACKENDS: Final = """
    SELECT count(pg_terminate_backend(pid)) FROM (
        SELECT pid FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = current_database()
            AND query LIKE '%{schema}%'
        ORDER BY random() LIMIT 3
    ) AS chosen"""


class Faults:
    """Makes one fault after the other, at random times."""

    def __init__(self, pair: Pair, schema: str, proxies: list[Proxy], clients: Clients) -> None:
        self.counts: Counter[str] = Counter()
        self._pair = pair
        self._kill_backends = _KILL_BACKENDS.format(schema=schema)
        self._proxies = proxies
        self._clients = clients
        self._making: asyncio.Future[object] | None = None
        self._faults: dict[str, Fault] = {"backends": self._backends, "cuts": self._cut, "clients": clients.kill_one}

    def of_servers(self, clock: Clock, pooler: PgBouncer | None, lead_to_primary: Callable[[], None]) -> None:
        """Add the faults of servers that belong to this run."""
        self._clock = clock
        self._pooler = pooler
        self._lead_to_primary = lead_to_primary
        self._faults["server"] = self._pair.restart
        if clock.is_there:
            self._faults["clock"] = self._move_clock
        if pooler is not None:
            self._faults["pooler"] = self._kill_pooler
        if self._pair.standby is not None:
            self._faults["failover"] = self._fail_over

    async def make(self, pause: float, without: set[str]) -> None:
        """Make faults until cancelled, in a random order, with random pauses of this mean."""
        kinds = [kind for kind in self._faults if kind not in without]
        while kinds:
            await asyncio.sleep(random.expovariate(1 / pause))
            (kind,) = random.choices(kinds, [_WEIGHTS[each] for each in kinds])
            self._making = asyncio.ensure_future(self._faults[kind]())
            await asyncio.shield(self._making)
            self.counts[kind] += 1

    async def stop(self, making: asyncio.Task[None]) -> None:
        """Make no more faults, and complete the present one, so that the servers run."""
        making.cancel()
        await asyncio.wait([making])
        if self._making is not None:
            await self._making

    async def _backends(self) -> None:
        await self._pair.execute(self._kill_backends)

    async def _cut(self) -> None:
        random.choice(self._proxies).cut_after = random.randint(1, 20_000)

    async def _move_clock(self) -> None:
        self._clock.move(random.choice((0, 5, 60, 600)) * random.choice((-1, 1)))

    async def _kill_pooler(self) -> None:
        assert self._pooler is not None
        self._pooler.kill()
        await asyncio.sleep(random.random())
        self._pooler.start()

    async def _fail_over(self) -> None:
        await self._pair.fail_over()
        self._lead_to_primary()
        await self._pair.add_standby()

"""Connections that go silent: one time-out, after which the others are replaced, and calls are repeated."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.calls import PATIENCE, use_all_connections, with_parameters
from tests.proxy import Proxy
from voltmem import DatabaseTimeoutError, OutcomeUnknownError, PostgresStorage, VoltMemError
from voltmem._postgres.driver import CLOSE_TIMEOUT, LONGEST_DELAY
from voltmem._postgres.embedded.running import EmbeddedPostgres
from voltmem._postgres.embedded.temporary import start_temporary
from voltmem.options import DEFAULT_COMMAND_TIMEOUT, DEFAULT_CONNECT_TIMEOUT, DEFAULT_RETRY_TIMEOUT

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

IMPATIENT: Final = 0.5
FOR_EVER: Final = 3600.0
POOL: Final = 4


@pytest.fixture
async def storage(make_storage: MakeStorage, migrated: str, proxy: Proxy) -> PostgresStorage:
    """A storage behind the proxy, with four connections, which repeats as long as needed."""
    storage = make_storage(
        proxy.dsn, command_timeout=IMPATIENT, connect_timeout=5, retry_timeout=FOR_EVER, max_connections=POOL
    )
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await use_all_connections(storage, POOL)
    return storage


async def outcomes(storage: PostgresStorage, calls: int) -> list[str]:
    """Return the names of the errors of calls that are made one after the other, and that may not be repeated."""
    found = []
    for _ in range(calls):
        try:
            await storage.delete_messages(["m1"], "ada", "c1")
        except VoltMemError as error:
            found.append(type(error).__name__)
    return found


async def backends(storage: PostgresStorage) -> set[int]:
    """Return the process ids of all connections of the pool."""
    together = asyncio.Barrier(POOL)

    async def backend() -> int:
        async with storage.transaction() as tx:
            await together.wait()
            return tx.connection.get_server_pid()

    return set(await asyncio.gather(*(backend() for _ in range(POOL))))


# --- one time-out -----------------------------------------------------------------------------------------------------


async def test_silent_connections_cost_one_time_out(storage: PostgresStorage, proxy: Proxy) -> None:
    """If all connections go silent, one call fails that must not be repeated, and none after it."""
    proxy.silence()

    assert await outcomes(storage, 2 * POOL) == ["OutcomeUnknownError"]


async def test_a_call_on_a_silent_connection_is_repeated(storage: PostgresStorage, proxy: Proxy) -> None:
    """get_messages() and add_message() are repeated after a time-out; nobody hears of it, nothing is stored twice."""
    proxy.silence()

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(
            *(storage.add_message({"role": "user", "content": str(n)}, "ada", "c1") for n in range(POOL)),
            *(storage.get_messages("ada", "c1") for _ in range(2 * POOL)),
        )

    assert len(await storage.get_messages("ada", "c1")) == POOL


async def test_a_transaction_begins_on_another_connection_than_a_silent_one(
    storage: PostgresStorage, proxy: Proxy
) -> None:
    """If the BEGIN of transaction() or of an export is not answered, another connection is used: nobody hears of it."""
    proxy.silence()

    async with storage.transaction() as tx:
        assert await tx.get_messages("ada", "c1") == []
    proxy.silence()

    assert [line async for line in storage.export_user("ada")]


async def test_a_transaction_whose_connection_goes_silent_fails_alone(storage: PostgresStorage, proxy: Proxy) -> None:
    """A time-out of a call within transaction() is an error at once, and the other connections are replaced."""
    with pytest.raises(DatabaseTimeoutError):
        async with storage.transaction() as tx:
            proxy.silence()
            await tx.get_messages("ada", "c1")

    assert await outcomes(storage, POOL) == []


async def test_a_commit_on_a_silent_connection_may_have_happened(storage: PostgresStorage, proxy: Proxy) -> None:
    """A commit that has timed out is an OutcomeUnknownError, and the other connections are replaced."""
    with pytest.raises(OutcomeUnknownError):
        async with storage.transaction() as tx:
            await tx.add_message({"role": "user", "content": "hello"}, "ada", "c1")
            proxy.silence()

    assert await outcomes(storage, POOL) == []


async def test_a_slow_statement_replaces_no_connection(
    storage: PostgresStorage, connection: Connection, migrated: str
) -> None:
    """After a time-out on a server that answers, for example because of a lock, all connections are kept."""
    before = await backends(storage)

    async with connection.transaction():
        await connection.execute(f"SELECT 1 FROM {storage._options.tables.conversations} WHERE id = 'c1' FOR UPDATE")
        with pytest.raises(OutcomeUnknownError):
            await storage.delete_conversation("c1")

    assert await backends(storage) == before


async def test_a_call_waits_for_connections_that_are_silent(
    make_storage: MakeStorage, migrated: str, proxy: Proxy
) -> None:
    """A call that waits for a connection waits for retry_timeout, since its holder may wait for a silent server."""
    storage = make_storage(proxy.dsn, command_timeout=IMPATIENT, retry_timeout=FOR_EVER, max_connections=1)
    await storage.open()
    proxy.silence()

    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*(storage.count_conversations() for _ in range(4))) == [0] * 4


async def test_a_cancelled_call_does_not_wait_for_a_silent_network(
    make_storage: MakeStorage, migrated: str, proxy: Proxy
) -> None:
    """A caller that cancels is free at once; its statement is cancelled in the background, and close() waits for it."""
    storage = make_storage(proxy.dsn, command_timeout=FOR_EVER, connect_timeout=FOR_EVER)
    await storage.open()
    proxy.hang()
    under_way = asyncio.create_task(storage.get_messages("ada", "c1"))
    await proxy.something_held()
    under_way.cancel()

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(asyncio.CancelledError):
            await under_way
        closing = asyncio.create_task(storage.close())
        done, _ = await asyncio.wait([closing], timeout=0.2)
        assert not done
        proxy.flow()
        await closing


async def test_the_error_names_how_long_a_call_has_waited(make_storage: MakeStorage, proxy: Proxy) -> None:
    """If there is no connection after several tries, the error has the seconds of all of them."""
    whole = 4 * IMPATIENT
    storage = make_storage(proxy.dsn, command_timeout=IMPATIENT, connect_timeout=FOR_EVER, retry_timeout=whole)
    proxy.refusing = True
    call = asyncio.create_task(storage.count_conversations())
    await asyncio.sleep(whole / 4)
    proxy.hang()
    proxy.refusing = False

    with pytest.raises(DatabaseTimeoutError, match="no connection within") as failed:
        await call

    (seconds,) = re.findall(r"within ([\d.]+) seconds", str(failed.value))
    assert float(seconds) > 0.9 * whole


# --- a server that is stopped -----------------------------------------------------------------------------------------


def processes_of(server: EmbeddedPostgres) -> list[int]:
    """Return the process ids of a server and its backends."""
    lock_file = next(Path(server.folder).glob("data/postmaster.pid"))
    postmaster = lock_file.read_text().split()[0]
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", postmaster], capture_output=True, text=True, check=True)
    return [int(postmaster), *map(int, children.stdout.split())]


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """Two servers. The second one is read-only at first, which is what a standby looks like to a client."""
    servers = start_temporary(), start_temporary()
    yield servers
    for server in servers:
        server.stop()


async def run_on(server: EmbeddedPostgres, *statements: str) -> None:
    connection = await asyncpg.connect(server.dsn, server_settings={"default_transaction_read_only": "off"})
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
async def dsn_of_pair(pair: tuple[EmbeddedPostgres, EmbeddedPostgres]) -> str:
    """A connection string for both servers, which have the tables, a user and a conversation."""
    primary, standby = pair
    for server in pair:
        await run_on(server, "CREATE ROLE app LOGIN SUPERUSER PASSWORD 'app'")
        async with PostgresStorage(server.dsn) as storage:
            await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await run_on(standby, "ALTER DATABASE postgres SET default_transaction_read_only = on")
    places = ",".join(f"127.0.0.1:{urlsplit(server.dsn).port}" for server in (primary, standby))
    return f"postgresql://app:app@{places}/postgres?sslmode=disable&target_session_attrs=read-write"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGSTOP")
async def test_a_call_finds_the_new_primary_when_the_old_one_is_stopped(
    pair: tuple[EmbeddedPostgres, EmbeddedPostgres], dsn_of_pair: str
) -> None:
    """A primary that is stopped, and refuses nothing, is left for the new one; calls that can be repeated succeed."""
    primary, standby = pair
    options = {"command_timeout": IMPATIENT, "connect_timeout": IMPATIENT, "retry_timeout": FOR_EVER}
    storage = PostgresStorage(dsn_of_pair, max_connections=POOL, **options)  # type: ignore[arg-type]
    await storage.open()
    await use_all_connections(storage, POOL)
    stopped = processes_of(primary)
    try:
        for process in stopped:
            os.kill(process, signal.SIGSTOP)

        calls = [
            *(asyncio.create_task(storage.get_messages("ada", "c1")) for _ in range(POOL)),
            *(
                asyncio.create_task(storage.add_messages([{"role": "user", "content": "hello"}], "ada", "c1"))
                for _ in range(POOL)
            ),
        ]
        await asyncio.sleep(2 * IMPATIENT)
        assert not any(call.done() for call in calls)
        await run_on(standby, "ALTER DATABASE postgres RESET default_transaction_read_only")
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*calls)
        assert len(await storage.get_messages("ada", "c1")) == POOL
        assert await outcomes(storage, 2 * POOL) == []
    finally:
        for process in stopped:
            os.kill(process, signal.SIGCONT)
        await storage.close()


def test_the_default_time_outs_fit_together() -> None:
    """A call waits for one time-out of each kind within 15 seconds, and is repeated when Patroni has failed over."""
    one_of_each = DEFAULT_COMMAND_TIMEOUT + CLOSE_TIMEOUT

    assert one_of_each < 15
    assert DEFAULT_CONNECT_TIMEOUT + LONGEST_DELAY < 15
    assert DEFAULT_RETRY_TIMEOUT > 30 + DEFAULT_CONNECT_TIMEOUT + LONGEST_DELAY


# --- the socket -------------------------------------------------------------------------------------------------------

LINUX: Final = ("SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")


async def socket_options(storage: PostgresStorage) -> dict[str, int]:
    async with storage.transaction() as tx:
        tcp = tx.connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
    return {
        name: tcp.getsockopt(socket.SOL_SOCKET if name == "SO_KEEPALIVE" else socket.IPPROTO_TCP, getattr(socket, name))
        for name in LINUX
    }


@pytest.mark.skipif(not all(hasattr(socket, name) for name in LINUX), reason="this system lacks options of sockets")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1, 10, 3, 3, 10_000)),
        (
            {"keepalives_idle": 60, "keepalives_interval": 7, "keepalives_count": 2, "tcp_user_timeout": 5000},
            (1, 60, 7, 2, 5000),
        ),
        ({"keepalives": 0}, (0, None, None, None, 10_000)),
        ({"keepalives_idle": 0, "keepalives_interval": -1, "tcp_user_timeout": 0}, (1, None, None, 3, 0)),
    ],
    ids=["default", "given", "none", "of the system"],
)
@pytest.mark.parametrize("form", ["string", "dict"])
async def test_a_connection_has_the_keepalives_that_were_asked_for(
    dsn: str, given: Mapping[str, int], expected: tuple[int | None, ...], form: str
) -> None:
    """Sockets have keepalives by default; libpq's parameters set them, in a connection string or a dict."""
    with socket.socket() as plain:
        default = [plain.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in LINUX[1:]]
    place = urlsplit(dsn)
    connection: Any = with_parameters(dsn, **{name: str(value) for name, value in given.items()})
    if form == "dict":
        connection = {"host": place.hostname, "port": place.port, "user": place.username, "password": place.password}
        connection |= {"database": place.path[1:], "ssl": False, **given}

    async with PostgresStorage(connection, migrate="off") as storage:
        found = await socket_options(storage)

    wanted = [of_system if value is None else value for value, of_system in zip(expected, [1, *default], strict=True)]
    assert [int(value != 0) if name == "SO_KEEPALIVE" else value for name, value in found.items()] == wanted


def test_a_wrong_option_of_the_socket_is_refused() -> None:
    """An option of the socket that is no whole number is an error that names it."""
    for connection in ("postgresql://h/d?keepalives_idle=soon", "host=h tcp_user_timeout=1.5"):
        with pytest.raises(
            VoltMemError, match=r"(keepalives_idle|tcp_user_timeout)='.*' in the connection: use a whole"
        ):
            PostgresStorage(connection)
    with pytest.raises(VoltMemError, match=r"keepalives_count.*int"):
        PostgresStorage({"host": "h", "keepalives_count": "3"})

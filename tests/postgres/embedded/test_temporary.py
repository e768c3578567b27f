"""The temporary server: used by one program, closed to others, and removed with its program."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import sys
import tempfile
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.postgres.embedded.processes import Program, ask, eventually, processes_in, serves
from voltmem._postgres.embedded import EmbeddedPostgres, cluster, start_temporary
from voltmem.errors import EmbeddedPostgresError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

TEMPORARY = """
from voltmem._postgres.embedded import start_temporary
server = start_temporary()
print(server.dsn, server.folder, flush=True)
input()
"""
FORKING = """
import os, time
if os.fork() == 0:
    server.stop()
    print("stopped", flush=True)
    time.sleep(60)
"""


def is_gone(folder: Path) -> bool:
    return not folder.exists() and not processes_in(folder)


@pytest.fixture(scope="module")
def temporary() -> Iterator[EmbeddedPostgres]:
    # Started in a thread that ends: the server must not end with it.
    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(start_temporary).result()
    with server:
        yield server


def test_the_password_is_long_and_hashed_once(temporary: EmbeddedPostgres) -> None:
    """The password has 32 random bytes, so that one iteration of its hash suffices, and connections are quick."""
    password = urlsplit(temporary.dsn).password or ""
    hashed = ask(temporary.dsn, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'")

    assert len(urlsafe_b64decode(f"{password}=")) == 32
    assert str(hashed).startswith("SCRAM-SHA-256$1:")


@pytest.mark.parametrize("login", ["postgres", "postgres:", "postgres:wrong"])
def test_without_the_password_no_connection_is_accepted(temporary: EmbeddedPostgres, login: str) -> None:
    """Without the password no connection is accepted."""
    address = temporary.dsn.partition("@")[2]

    assert ask(temporary.dsn, "SELECT current_user") == "postgres"
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
        ask(f"postgresql://{login}@{address}", "SELECT 1")


def test_the_password_is_in_the_dsn_and_nowhere_else(temporary: EmbeddedPostgres) -> None:
    """The password is in the DSN, in a file that only the account can read, and nowhere else."""
    password = temporary.dsn.split(":")[2].partition("@")[0]
    command_lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # the process has just ended
            command_lines.append(path.read_bytes())

    assert len(password) > 40
    assert password not in repr(temporary)
    assert not any(password.encode() in words for words in command_lines)
    assert password not in (temporary.folder / "log").read_text()
    holders = [p for p in temporary.folder.glob("*") if p.is_file() and password in p.read_text()]
    assert [(holder.name, stat.S_IMODE(holder.stat().st_mode)) for holder in holders] == [("password", 0o600)]
    assert stat.S_IMODE(temporary.folder.stat().st_mode) == 0o700


def test_it_listens_on_this_machine_alone(temporary: EmbeddedPostgres) -> None:
    """The server listens on the loopback interface only, over TCP only."""
    assert ask(temporary.dsn, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(temporary.dsn, "SHOW unix_socket_directories") == ""


def test_settings_reach_the_server_but_cannot_move_it(
    temporary: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings are passed to the server, but neither they nor PG environment variables can change its address."""
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    settings = {"work_mem": "5MB", "application_name": 'it\'s "ours"', "port": "1"}

    with start_temporary(settings, durable_writes=True) as server:
        assert ask(server.dsn, "SHOW work_mem") == "5MB"
        assert ask(server.dsn, "SELECT reset_val FROM pg_settings WHERE name = 'application_name'") == 'it\'s "ours"'
        assert ask(server.dsn, "SHOW fsync") == "on"
        assert ask(temporary.dsn, "SHOW fsync") == "off"


def test_a_stopped_server_is_gone_with_its_folder(temporary: EmbeddedPostgres) -> None:
    """A stopped server is removed with its folder; it can be stopped twice, and other servers keep running."""
    server = start_temporary()
    assert server.folder != temporary.folder
    assert server.dsn != temporary.dsn

    server.stop()
    server.stop()

    assert is_gone(server.folder)
    assert serves(temporary.dsn)


def test_a_server_stops_though_a_client_is_busy_and_the_server_suspended() -> None:
    """A server is stopped even if a client is busy, or the server is suspended."""

    async def stop_under(server: EmbeddedPostgres) -> None:
        connection = await asyncpg.connect(server.dsn)
        query = asyncio.create_task(connection.fetchval("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.2)
        os.kill(int((server.folder / "data/postmaster.pid").read_text().split()[0]), signal.SIGSTOP)
        await asyncio.to_thread(server.stop)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InternalClientError, OSError)):
            await query
        connection.terminate()

    server = start_temporary()
    asyncio.run(stop_under(server))

    assert is_gone(server.folder)


def test_the_thread_that_started_a_server_may_end(temporary: EmbeddedPostgres) -> None:
    """The server continues after the thread that started it has ended, like the fixture's."""
    assert serves(temporary.dsn)


def test_a_server_is_gone_when_its_program_has_ended() -> None:
    """A server is removed when its program ends without stopping it."""
    with Program(TEMPORARY) as program:
        dsn, folder = program.says()
        assert serves(dsn)

        assert program.end() == 0

        assert is_gone(Path(folder))


def test_a_server_is_gone_when_its_program_was_killed() -> None:
    """A server is removed when its program is killed; a child forked from it neither stops nor keeps it."""
    with Program(TEMPORARY.replace("input()", FORKING + "input()")) as program:
        dsn, folder = program.says()
        assert program.says() == ["stopped"]
        assert serves(dsn)

        program.process.kill()

        assert eventually(lambda: is_gone(Path(folder)))
        os.killpg(program.process.pid, signal.SIGKILL)


def test_ctrl_c_does_not_end_the_server_of_a_program_that_goes_on() -> None:
    """Ctrl-C does not stop the server of a program that continues, like pytest during its cleanup."""
    going_on = "import signal\nsignal.signal(signal.SIGINT, lambda *_: print('ouch', flush=True))\n"
    with Program(going_on + TEMPORARY) as program:
        [dsn, folder] = program.says()

        os.killpg(program.process.pid, signal.SIGINT)

        assert program.says() == ["ouch"]
        assert serves(dsn)
        assert program.end() == 0
        assert is_gone(Path(folder))


@pytest.mark.parametrize("sign", ["data/base", "data/postmaster.pid"])
def test_nothing_is_left_when_a_program_is_killed_while_it_starts_a_server(reachable: Path, sign: str) -> None:
    """When a program is killed while it starts a server, nothing is left."""
    with Program(TEMPORARY, env={"TMPDIR": str(reachable)}) as program:
        assert eventually(lambda: any(reachable.glob(f"voltmem-*/{sign}")))

        program.kill()

        assert eventually(lambda: not any(reachable.iterdir()) and not processes_in(reachable))


def test_a_server_that_does_not_come_up_is_an_error_that_ends_with_its_log(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not start is an error with the end of its log; nothing is left of it."""
    monkeypatch.setattr(tempfile, "tempdir", str(reachable))

    with pytest.raises(EmbeddedPostgresError, match='unrecognized configuration parameter "no_such"'):
        start_temporary({"no_such": "1"})

    assert not any(reachable.iterdir())


def test_a_port_that_another_program_takes_first_is_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that another program takes first is replaced by another."""
    free_port = cluster._free_port
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1]])
        monkeypatch.setattr(cluster, "_free_port", lambda: next(ports, None) or free_port())

        with start_temporary() as server:
            assert serves(server.dsn)

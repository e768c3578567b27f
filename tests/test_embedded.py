"""The embedded PostgreSQL: starts, is shared, lets nobody else in, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from voltmem._postgres.embedded import EmbeddedPostgres, cluster, is_available, programs, start_shared, start_temporary
from voltmem.errors import EmbeddedPostgresError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

CHECKOUT = Path(__file__).parents[1]
ROOT = os.geteuid() == 0
ONLY_ROOT = pytest.mark.skipif(not ROOT, reason="only root has to hand its servers over to another account")
ONLY_ROOT_CAN_BE_ANOTHER = pytest.mark.skipif(not ROOT, reason="not root: then this whole suite is the proof")

NOBODY = 65534

TEMPORARY = """
from voltmem._postgres.embedded import start_temporary
server = start_temporary()
print(server.dsn, server.folder, flush=True)
input()
"""
SHARED = """
import sys
from pathlib import Path
from voltmem._postgres.embedded import start_shared
server = start_shared(Path(sys.argv[1]))
print(server.dsn, flush=True)
input()
"""
FORKING = """
import os, time
if os.fork() == 0:
    server.stop()
    print("stopped", flush=True)
    time.sleep(60)
"""


class Program:
    """A Python program of its own, in a process group of its own, that lives until it is told to end."""

    def __init__(self, source: str, *arguments: object, **options: Any) -> None:
        options["env"] = {**os.environ, "PYTHONPATH": str(CHECKOUT), **options.get("env", {})}
        command = [sys.executable, "-W", "error", "-c", source, *map(str, arguments)]
        options |= dict.fromkeys(["stdin", "stdout", "stderr"], subprocess.PIPE)
        self.process: subprocess.Popen[str] = subprocess.Popen(command, text=True, process_group=0, cwd="/", **options)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def says(self) -> list[str]:
        """Return the words of the next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def end(self) -> int:
        """Let it run to its end, without a word of complaint, and return how that went."""
        assert self.process.communicate("\n", timeout=60) == ("", "")
        return self.process.returncode

    def kill(self) -> None:
        """Kill it as ``kill -9`` does, which it cannot notice."""
        self.process.kill()
        self.process.communicate()


def ask(dsn: str, *statements: str) -> Any:
    """Return the first value of the last statement."""

    async def run() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(run())


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Return whether it came true in time; it need not stay so (initdb makes and removes a lock file)."""
    deadline = time.monotonic() + seconds
    while not (came_true := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return came_true


def serves(dsn: str) -> bool:
    try:
        return bool(ask(dsn, "SELECT 1"))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return False


def processes_in(folder: Path) -> list[int]:
    """Return who works in *folder* or was started with it on the command line; who is about to end does neither."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            place = os.readlink(process / "cwd")
        except OSError:
            continue
        if not words:  # a process that ends loses its memory first, and its folder a moment later
            continue
        started_here = os.fsencode(folder) in words and b"postgres" in words and b"python" not in words
        if started_here or Path(place).is_relative_to(folder):
            found.append(int(process.name))
    return found


def is_gone(folder: Path) -> bool:
    return not folder.exists() and not processes_in(folder)


def postmaster_of(home: Path) -> int:
    return int((home / "server/data/postmaster.pid").read_text().split()[0])


def kill_postmaster_of(home: Path) -> None:
    process = postmaster_of(home)
    os.kill(process, signal.SIGKILL)
    assert eventually(lambda: process not in processes_in(home))


@pytest.fixture
def reachable() -> Iterator[Path]:
    """An empty folder that every account can use, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="voltmem-test-", dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    left = processes_in(folder)
    for process in left:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    shutil.rmtree(folder)
    assert not left


@pytest.fixture
def home(reachable: Path) -> Path:
    """Where a shared server can be made; missing yet."""
    return reachable / "home"


@pytest.fixture(scope="module")
def temporary() -> Iterator[EmbeddedPostgres]:
    # Started in a thread, which ends: its server must not end with it.
    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(start_temporary).result()
    with server:
        yield server


# --- The throw-away server ----------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["postgres", "postgres:", "postgres:wrong"])
def test_without_the_password_nobody_gets_in(temporary: EmbeddedPostgres, login: str) -> None:
    """Without the password nobody gets in."""
    address = temporary.dsn.partition("@")[2]

    assert ask(temporary.dsn, "SELECT current_user") == "postgres"
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InterfaceError)):
        ask(f"postgresql://{login}@{address}", "SELECT 1")


def test_the_password_is_in_the_dsn_and_nowhere_else(temporary: EmbeddedPostgres) -> None:
    """The password is in the DSN, in a file of the account's own, and nowhere else."""
    password = temporary.dsn.split(":")[2].partition("@")[0]
    command_lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            command_lines.append(path.read_bytes())

    assert len(password) > 40
    assert password not in repr(temporary)
    assert not any(password.encode() in words for words in command_lines)
    assert password not in (temporary.folder / "log").read_text()
    holders = [p for p in temporary.folder.glob("*") if p.is_file() and password in p.read_text()]
    assert [(holder.name, stat.S_IMODE(holder.stat().st_mode)) for holder in holders] == [("password", 0o600)]
    assert stat.S_IMODE(temporary.folder.stat().st_mode) == 0o700


def test_it_listens_on_this_machine_alone(temporary: EmbeddedPostgres) -> None:
    """It listens on this machine alone, on TCP and nothing else."""
    assert ask(temporary.dsn, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(temporary.dsn, "SHOW unix_socket_directories") == ""


def test_settings_reach_the_server_but_cannot_move_it(
    temporary: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings reach the server; neither they nor the environment's PG variables can move it."""
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nowhere")
    settings = {"work_mem": "5MB", "application_name": 'it\'s "ours"', "port": "1"}

    with start_temporary(settings, durable_writes=True) as server:
        assert ask(server.dsn, "SHOW work_mem") == "5MB"
        assert ask(server.dsn, "SELECT reset_val FROM pg_settings WHERE name = 'application_name'") == 'it\'s "ours"'
        assert ask(server.dsn, "SHOW fsync") == "on"
        assert ask(temporary.dsn, "SHOW fsync") == "off"


def test_a_stopped_server_is_gone_with_its_folder(temporary: EmbeddedPostgres) -> None:
    """A stopped server is gone with its folder, however often it is stopped; another one does not notice."""
    server = start_temporary()
    assert server.folder != temporary.folder
    assert server.dsn != temporary.dsn

    server.stop()
    server.stop()

    assert is_gone(server.folder)
    assert serves(temporary.dsn)


def test_a_server_stops_though_a_client_is_busy_and_the_server_suspended() -> None:
    """A server stops though a client is busy, and even though the server itself is suspended."""

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
    """The thread that started a server may end, as the fixture's has by now."""
    assert serves(temporary.dsn)


def test_a_server_is_gone_when_its_program_has_ended() -> None:
    """A server is gone when its program has ended, though nobody stopped it."""
    with Program(TEMPORARY) as program:
        dsn, folder = program.says()
        assert serves(dsn)

        assert program.end() == 0

        assert is_gone(Path(folder))


def test_a_server_is_gone_when_its_program_was_killed() -> None:
    """A server is gone when its program was killed; a child forked from that neither stops nor keeps it."""
    with Program(TEMPORARY.replace("input()", FORKING + "input()")) as program:
        dsn, folder = program.says()
        assert program.says() == ["stopped"]
        assert serves(dsn)

        program.process.kill()

        assert eventually(lambda: is_gone(Path(folder)))
        os.killpg(program.process.pid, signal.SIGKILL)


def test_ctrl_c_does_not_end_the_server_of_a_program_that_goes_on() -> None:
    """Ctrl-C does not end the server of a program that goes on, as pytest does to clean up."""
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
    """Nothing is left when a program is killed while it starts a server."""
    with Program(TEMPORARY, env={"TMPDIR": str(reachable)}) as program:
        assert eventually(lambda: any(reachable.glob(f"voltmem-*/{sign}")))

        program.kill()

        assert eventually(lambda: not any(reachable.iterdir()) and not processes_in(reachable))


def test_a_server_that_does_not_come_up_is_an_error_that_ends_with_its_log(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not come up is an error that ends with its log; nothing is left of it."""
    monkeypatch.setattr(tempfile, "tempdir", str(reachable))

    with pytest.raises(EmbeddedPostgresError, match='unrecognized configuration parameter "no_such"'):
        start_temporary({"no_such": "1"})

    assert not any(reachable.iterdir())


def test_a_port_that_another_program_takes_first_is_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that another program takes first is no harm."""
    free_port = cluster._free_port
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = iter([other.getsockname()[1]])
        monkeypatch.setattr(cluster, "_free_port", lambda: next(ports, None) or free_port())

        with start_temporary() as server:
            assert serves(server.dsn)


# --- Programs and accounts ----------------------------------------------------------------------------------


def test_without_any_postgresql_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any PostgreSQL the error says how to get one."""
    assert is_available()
    monkeypatch.setattr(programs, "_program_folders", lambda: iter([Path("/nowhere")]))

    assert not is_available()
    with pytest.raises(EmbeddedPostgresError, match=r"'\.\[embedded\]'.*VOLTMEM_DATABASE_URL"):
        start_temporary()


def test_programs_that_are_no_postgresql_are_an_error_with_what_they_said(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that are no PostgreSQL are an error with what they said."""
    for name in ("initdb", "pg_ctl", "postgres"):
        (reachable / name).write_text(f"#!/bin/sh\necho {name} 18, not really\ntest $1 = --version\n")
        (reachable / name).chmod(0o755)
    monkeypatch.setattr(programs, "_program_folders", lambda: iter([reachable]))

    with pytest.raises(EmbeddedPostgresError, match="initdb 18, not really"):
        start_temporary()
    with pytest.raises(EmbeddedPostgresError, match="initdb 18, not really"):
        start_shared(reachable / "home")


def test_a_postgresql_of_the_machine_serves_as_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL of the machine serves as well, be it older than the wheel's."""
    monkeypatch.setattr(programs, "_WHEELS", [])
    try:
        programs.find_programs()
    except EmbeddedPostgresError:
        pytest.skip("no PostgreSQL is installed on this machine")

    with start_temporary() as temporary, start_shared(home) as shared:
        assert serves(temporary.dsn)
        assert serves(shared.dsn)


def test_a_temporary_server_needs_no_other_package(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temporary server needs no other package; a shared one says which extra brings the one it needs."""
    monkeypatch.setitem(sys.modules, "fasteners", None)
    monkeypatch.setitem(sys.modules, "platformdirs", None)

    start_temporary().stop()
    with pytest.raises(EmbeddedPostgresError, match=r"fasteners .*'\.\[embedded\]'"):
        start_shared(home)


@ONLY_ROOT
def test_programs_out_of_the_accounts_reach_are_copied(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs out of the account's reach are copied, and nothing is opened up."""
    found = programs.find_programs()
    package, private = found.parents[1], reachable / "private"
    private.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, private / name, symlinks=True, copy_function=os.link)
    hidden = private / found.relative_to(package.parent)
    monkeypatch.setattr(programs, "_program_folders", lambda: iter([hidden]))

    with start_temporary() as temporary, start_shared(reachable / "home") as shared:
        assert serves(temporary.dsn)
        assert serves(shared.dsn)
        assert stat.S_IMODE(private.stat().st_mode) == 0o700


@ONLY_ROOT
def test_a_folder_out_of_the_accounts_reach_is_an_error(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder out of the account's reach is an error, and its rights stay as they are."""
    private = reachable / "private"
    private.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(private))

    with pytest.raises(EmbeddedPostgresError, match=f"cannot enter {private}/home"):
        start_shared(private / "home")
    with pytest.raises(EmbeddedPostgresError, match="set TMPDIR"):
        start_temporary()

    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@ONLY_ROOT_CAN_BE_ANOTHER
def test_an_ordinary_user_needs_no_more_than_a_folder(reachable: Path) -> None:
    """An ordinary user needs no more than a folder, which nobody else can enter."""
    found = programs.find_programs()
    if not programs.Account(NOBODY, NOBODY, []).may("-x", found / "postgres"):
        pytest.skip(f"{found} is out of the reach of the account 'nobody'")

    # Everything is imported first, as the interpreter's own folder may be out of reach, too.
    source = """
import os, fasteners, platformdirs
from voltmem._postgres.embedded import start_shared, start_temporary
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
shared, temporary = start_shared(), start_temporary()
print(shared.folder, shared.dsn, temporary.dsn, flush=True)
input()
"""
    with Program(source, env={"VOLTMEM_HOME": str(reachable / "home")}) as program:
        folder, shared_dsn, temporary_dsn = program.says()

        assert serves(shared_dsn)
        assert serves(temporary_dsn)
        home = Path(folder).stat()
        assert (home.st_uid, stat.S_IMODE(home.st_mode)) == (NOBODY, 0o700)
        assert program.end() == 0


def test_a_folder_that_exists_keeps_its_rights(home: Path) -> None:
    """A folder that exists keeps its rights; what is made in it is for nobody else."""
    home.mkdir()
    home.chmod(0o755)

    with start_shared(home):
        rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home, *home.iterdir())}

    assert rights == {"home": 0o755, "server": 0o700, "start.lock": 0o600, "users.lock": 0o600}


# --- The shared server --------------------------------------------------------------------------------------


def test_processes_share_one_server_until_the_last_has_left(home: Path) -> None:
    """Processes share one server and its rows until the last has left; the rows outlive it."""
    with Program(SHARED, home) as first, Program(SHARED, home) as second:
        [dsn] = first.says()
        assert second.says() == [dsn]
        ask(dsn, "CREATE TABLE notes (text text)", "INSERT INTO notes VALUES ('kept')")

        assert first.end() == 0
        assert ask(dsn, "SELECT text FROM notes") == "kept"
        assert ask(dsn, "SHOW fsync") == "on"

        assert second.end() == 0
        assert not processes_in(home)
        assert not serves(dsn)
    with start_shared(home) as server:
        assert ask(server.dsn, "SELECT text FROM notes") == "kept"


def test_programs_that_start_at_once_get_the_same_server(home: Path) -> None:
    """Programs that start at once, with nothing there yet, get the same server."""
    programs = [Program(SHARED, home) for _ in range(6)]
    try:
        answers = {tuple(program.says()) for program in programs}
        assert len(answers) == 1
        assert all(serves(dsn) for [dsn] in answers)

        assert [program.end() for program in programs] == [0] * 6
    finally:
        for program in programs:
            program.kill()
    assert not processes_in(home)
    assert {path.name for path in home.iterdir()} == {"server", "start.lock", "users.lock"}


def test_threads_share_one_server_until_the_last_has_left(home: Path) -> None:
    """Threads of one process share one server until the last has left it."""
    with ThreadPoolExecutor(8) as pool:
        servers = list(pool.map(lambda _: start_shared(home), range(8)))
        assert len({server.dsn for server in servers}) == 1

        for server in servers[:-1]:
            server.stop()
            server.stop()
        assert serves(servers[-1].dsn)

        servers[-1].stop()
        assert not processes_in(home)


def test_the_server_of_a_killed_program_is_used_and_stopped_by_the_next(home: Path) -> None:
    """The server of a killed program is used by the next, who stops it."""
    with Program(SHARED, home) as program:
        [dsn] = program.says()
        program.kill()
    assert serves(dsn)

    server = start_shared(home)
    assert server.dsn == dsn
    server.stop()

    assert not processes_in(home)


def test_a_killed_server_is_started_again(home: Path) -> None:
    """A killed server is started again, with all that was committed, by the process that used it and by others."""
    with start_shared(home) as server:
        ask(server.dsn, "CREATE TABLE notes (text text)", "INSERT INTO notes VALUES ('kept')")
        kill_postmaster_of(home)

        with start_shared(home) as again:
            assert ask(again.dsn, "SELECT text FROM notes") == "kept"

        kill_postmaster_of(home)
        with Program(SHARED, home) as program:
            [dsn] = program.says()
            assert ask(dsn, "SELECT text FROM notes") == "kept"
            assert program.end() == 0
            assert serves(dsn)
    assert not processes_in(home)


def test_a_lock_file_whose_pid_is_another_programs_by_now_does_not_keep_it_from_starting(home: Path) -> None:
    """A lock file whose pid is another program's by now does not keep the server from starting."""
    start_shared(home).stop()
    lock_file = home / "server/data/postmaster.pid"
    owner = lock_file.parent.stat()
    with subprocess.Popen(["sleep", "60"], user=owner.st_uid if ROOT else None) as other:
        lock_file.write_text(f"{other.pid}\n{lock_file.parent}\n1700000000\n1\n\n127.0.0.1\n 1 1\nready   \n")
        os.chown(lock_file, owner.st_uid, owner.st_gid)

        with start_shared(home) as server:
            assert serves(server.dsn)
            assert postmaster_of(home) != other.pid
        other.kill()


@pytest.mark.parametrize("sign", ["unfinished-*/data/base", "server/data/postmaster.pid"])
def test_a_start_that_was_killed_half_way_does_not_spoil_the_folder(home: Path, sign: str) -> None:
    """A start that was killed half-way does not spoil the folder."""
    with Program(SHARED, home) as program:
        assert eventually(lambda: any(home.glob(sign)))
        program.kill()

    with start_shared(home) as server:
        assert serves(server.dsn)
    assert eventually(lambda: not processes_in(home))


def test_ctrl_c_in_the_program_that_started_it_does_not_end_the_server_for_others(home: Path) -> None:
    """Ctrl-C in the program that started it does not end the server for others."""
    with Program(SHARED, home) as first, Program(SHARED, home) as second:
        [dsn] = first.says()
        assert second.says() == [dsn]

        os.killpg(first.process.pid, signal.SIGINT)

        first.process.wait(timeout=30)
        assert serves(dsn)
        assert second.end() == 0
    assert not processes_in(home)


@pytest.mark.parametrize("sign", ["unfinished-*/data/base", "server/data/postmaster.pid"])
def test_ctrl_c_while_it_starts_leaves_no_server(home: Path, sign: str) -> None:
    """Ctrl-C while it starts leaves no server behind."""
    with Program(SHARED, home) as program:
        assert eventually(lambda: any(home.glob(sign)))

        os.killpg(program.process.pid, signal.SIGINT)

        assert "KeyboardInterrupt" in program.process.communicate(timeout=30)[1]
        assert eventually(lambda: not processes_in(home))


def test_a_forked_child_neither_stops_nor_holds_its_parents_server(home: Path) -> None:
    """A forked child neither stops its parent's server nor holds it, and can join it for itself."""
    child = """
import os
if os.fork() == 0:
    server.stop()
    own = start_shared(Path(sys.argv[1]))
    assert own.dsn == server.dsn
    own.stop()
    sys.exit()
assert os.wait()[1] == 0
print("forked", flush=True)
"""
    with Program(SHARED.replace("input()", child + "input()"), home) as program:
        [dsn] = program.says()
        assert program.says() == ["forked"]

        assert serves(dsn)
        with Program(SHARED, home) as other:
            assert other.says() == [dsn]
            assert other.end() == 0
        assert serves(dsn)
        assert program.end() == 0
    assert not processes_in(home)


def test_data_of_another_major_version_are_an_error_that_names_both(home: Path) -> None:
    """Data of another major version are an error that names both versions and the folder."""
    start_shared(home).stop()
    (home / "server/data/PG_VERSION").write_text("9\n")

    with pytest.raises(
        EmbeddedPostgresError, match=rf"PostgreSQL 9 made the data in {home}, and this is PostgreSQL 1\d"
    ):
        start_shared(home)


def test_a_folder_that_cannot_be_made_is_an_error() -> None:
    """A folder that cannot be made is an error with the system's reason."""
    with pytest.raises(EmbeddedPostgresError, match=r"/dev/null/home cannot be used: .*Not a directory"):
        start_shared(Path("/dev/null/home"))


@pytest.mark.parametrize(
    ("root", "home", "expected"),
    [(True, "/srv/here", "/srv/here"), (True, "", "/var/lib/voltmem"), (False, "", "/data/voltmem")],
)
def test_the_folder_is_voltmem_home_or_the_users_own(
    monkeypatch: pytest.MonkeyPatch, root: bool, home: str, expected: str
) -> None:
    """The folder is VOLTMEM_HOME, or else the user's own; root's is one that the server's account can enter."""
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setenv("VOLTMEM_HOME", home)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")

    assert programs.default_folder() == Path(expected)

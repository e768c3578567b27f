"""The shared server: one for all processes that use a folder, until the last has left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.postgres.embedded.processes import IS_ROOT, Program, ask, eventually, processes_in, serves
from voltmem._postgres.embedded import programs, start_shared
from voltmem._postgres.embedded.cluster import Cluster
from voltmem.errors import EmbeddedPostgresError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

SHARED = """
import sys
from pathlib import Path
from voltmem._postgres.embedded import start_shared
server = start_shared(Path(sys.argv[1]))
print(server.dsn, flush=True)
input()
"""


def postmaster_of(home: Path) -> int:
    return int((home / "server/data/postmaster.pid").read_text().split()[0])


def kill_postmaster_of(home: Path) -> None:
    process = postmaster_of(home)
    os.kill(process, signal.SIGKILL)
    assert eventually(lambda: process not in processes_in(home))


def test_processes_share_one_server_until_the_last_has_left(home: Path) -> None:
    """Processes share one server and its rows until the last one has left; the rows survive the server."""
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
    """Programs that start at the same time in an empty folder get the same server."""
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
    """Threads of one process share one server until the last one has left it."""
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
    """The server of a killed program is used, and later stopped, by the next program."""
    with Program(SHARED, home) as program:
        [dsn] = program.says()
        program.kill()
    assert serves(dsn)

    server = start_shared(home)
    assert server.dsn == dsn
    server.stop()

    assert not processes_in(home)


def test_a_killed_server_is_started_again(home: Path) -> None:
    """A killed server is started again, with all committed data, by the process that used it and by others."""
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
    """A lock file with a pid that now belongs to another program does not prevent the start."""
    start_shared(home).stop()
    lock_file = home / "server/data/postmaster.pid"
    owner = lock_file.parent.stat()
    with subprocess.Popen(["sleep", "60"], user=owner.st_uid if IS_ROOT else None) as other:
        lock_file.write_text(f"{other.pid}\n{lock_file.parent}\n1700000000\n1\n\n127.0.0.1\n 1 1\nready   \n")
        os.chown(lock_file, owner.st_uid, owner.st_gid)

        with start_shared(home) as server:
            assert serves(server.dsn)
            assert postmaster_of(home) != other.pid
        other.kill()


@pytest.mark.parametrize("left", ["no pid", "\0\0\0\0", "-7"])
def test_a_lock_file_whose_first_line_is_no_pid_does_not_keep_it_from_starting(home: Path, left: str) -> None:
    """A lock file that a crash has left with something else than a pid in its first line does not prevent the start."""
    start_shared(home).stop()
    lock_file = home / "server/data/postmaster.pid"
    owner = lock_file.parent.stat()
    lock_file.write_text(f"{left}\n")
    os.chown(lock_file, owner.st_uid, owner.st_gid)

    with start_shared(home) as server:
        assert serves(server.dsn)
    assert not processes_in(home)


@pytest.mark.parametrize("sign", ["unfinished-*/data/base", "server/data/postmaster.pid"])
def test_a_start_that_was_killed_half_way_does_not_spoil_the_folder(home: Path, sign: str) -> None:
    """A start that was killed half-way does not damage the folder."""
    with Program(SHARED, home) as program:
        assert eventually(lambda: any(home.glob(sign)))
        program.kill()

    with start_shared(home) as server:
        assert serves(server.dsn)
    assert eventually(lambda: not processes_in(home))


def test_a_server_whose_lock_file_is_just_being_written_is_joined(home: Path) -> None:
    """A start joins a server that has created its lock file and not yet written it."""
    with Program(SHARED, home) as program:
        [dsn] = program.says()
        lock_file = home / "server/data/postmaster.pid"
        written = lock_file.read_text()
        lock_file.write_text("")
        writing = threading.Timer(0.5, lock_file.write_text, [written])
        writing.start()

        with start_shared(home) as server:
            assert server.dsn == dsn
        writing.join()
        assert program.end() == 0
    assert not processes_in(home)


@pytest.mark.parametrize("step", ["major_version", "disown_lock_file"])
def test_a_server_that_comes_up_during_the_start_is_joined(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A start joins a server that a killed process had begun to start, and that comes up during the start."""
    with Program(SHARED, home) as program:
        [dsn] = program.says()
        lock_file = home / "server/data/postmaster.pid"
        hidden = lock_file.rename(home / "server/hidden")
        original = getattr(Cluster, step)

        def come_up(*arguments: object) -> object:
            result = original(*arguments)
            if hidden.exists():
                hidden.rename(lock_file)
            return result

        monkeypatch.setattr(Cluster, step, come_up)

        with start_shared(home) as server:
            assert server.dsn == dsn
            assert serves(dsn)
        assert program.end() == 0
    assert not processes_in(home)


def test_ctrl_c_in_the_program_that_started_it_does_not_end_the_server_for_others(home: Path) -> None:
    """Ctrl-C in the program that started the server does not stop it for others."""
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
    """Ctrl-C during the start leaves no server behind."""
    with Program(SHARED, home) as program:
        assert eventually(lambda: any(home.glob(sign)))

        os.killpg(program.process.pid, signal.SIGINT)

        assert "KeyboardInterrupt" in program.process.communicate(timeout=30)[1]
        assert eventually(lambda: not processes_in(home))


def test_a_forked_child_neither_stops_nor_holds_its_parents_server(home: Path) -> None:
    """A forked child neither stops its parent's server nor keeps it running, and can use it with a start of its own."""
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
    """A folder that cannot be created is an error with the system's reason."""
    with pytest.raises(EmbeddedPostgresError, match=r"/dev/null/home cannot be used: .*Not a directory"):
        start_shared(Path("/dev/null/home"))


@pytest.mark.parametrize(
    ("root", "home", "expected"),
    [(True, "/srv/here", "/srv/here"), (True, "", "/var/lib/voltmem"), (False, "", "/data/voltmem")],
)
def test_the_folder_is_voltmem_home_or_the_users_own(
    monkeypatch: pytest.MonkeyPatch, root: bool, home: str, expected: str
) -> None:
    """The folder is VOLTMEM_HOME, or the user's own; for root it is one that the server's account can enter."""
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setenv("VOLTMEM_HOME", home)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")

    assert programs.default_folder() == Path(expected)

"""voltmem.sync in whole programs: forks, the end of the interpreter, Ctrl-C, notebooks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.checkout import ROOT
from voltmem.sync import PostgresStorage

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

BEGINNING = """
import atexit, os, sys, threading, time
from voltmem import EventLoopError, StorageClosedError
from voltmem.sync import PostgresStorage
storage = PostgresStorage(*sys.argv[1:2], schema=sys.argv[2], storage_limit=None)

def hello(text="Hello"):
    return {"role": "user", "content": text}

def pid():
    with storage.transaction() as tx:
        return tx.connection.fetchval("SELECT pg_backend_pid()")
"""


def command(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", "-c", BEGINNING + program, *arguments]


def run(program: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run a Python program. Returns its exit code, standard output and standard error."""
    given = {name: value for name, value in os.environ.items() if not name.endswith("DATABASE_URL")} | environment
    ran = subprocess.run(
        command(program, *arguments), cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env=given
    )
    return ran.returncode, ran.stdout, ran.stderr


# --- forks ----------------------------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.backend("one process of the server for each connection")
def test_a_forked_process_has_a_thread_and_connections_of_its_own(dsn: str, schema: str) -> None:
    """A storage of the parent works in a forked child on other connections; both processes end by themselves."""
    program = """
ada, memory = storage.for_user("ada"), storage.conversation("ada", "c1")
memory.add(hello("parent"))
every, ours = ada.get_conversations(), pid()
child = os.fork()
if not child:
    memory.add(hello("child"))
    assert [each.id for each in every] == ["c1"]
    assert pid() != ours
    sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pid() == ours, [each.content for each in memory.messages()])
"""
    assert run(program, dsn, schema) == (0, "7 True ['parent', 'child']\n", "")


@needs_fork
def test_a_fork_of_a_fork_works_while_threads_call(dsn: str, schema: str) -> None:
    """Locks that other threads hold at the time of a fork do not block the child, nor its own child."""
    program = """
def add():
    while not over.is_set():
        storage.add_message(hello(), "ada", "c1", resource_id="r")

over = threading.Event()
threads = [threading.Thread(target=add) for _ in range(4)]
for each in threads:
    each.start()
for _ in range(5):
    child = os.fork()
    if not child:
        storage.count_conversations()
        grandchild = os.fork()
        if not grandchild:
            storage.add_message(hello(), "eve", "c2", resource_id="r")
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitpid(child, 0)[1] == 0
over.set()
for each in threads:
    each.join()
print(len(storage.get_messages("eve", "c2")))
"""
    assert run(program, dsn, schema) == (0, "5\n", "")


@needs_fork
def test_a_fork_within_a_transaction_leaves_it_to_the_parent(dsn: str, schema: str) -> None:
    """A child that was forked within a transaction can neither use nor end it, or the parent's iterators."""
    program = """
storage.create_conversation({"id": "c1", "user_id": "ada"})
changes, lines = storage.watch("ada"), storage.export_user("ada")
assert next(changes).kind == "ready" and next(lines)

def refused(use):
    try:
        use()
    except EventLoopError as error:
        return "the parent process" in str(error)

with storage.transaction() as tx:
    tx.add_message(hello("one"), "ada", "c1")
    child = os.fork()
    if not child:
        uses = [lambda: tx.get_messages("ada", "c1"), lambda: tx.transaction().__enter__(), lambda: next(changes)]
        sys.exit(0 if all(map(refused, [*uses, lambda: next(lines)])) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    tx.add_message(hello("two"), "ada", "c1")
print([each.content for each in storage.get_messages("ada", "c1")], next(changes).kind, len(list(lines)) > 0)
"""
    assert run(program, dsn, schema) == (0, "0\n['one', 'two'] message-added True\n", "")


@needs_fork
def test_multiprocessing_by_fork_works(dsn: str, schema: str) -> None:
    """Workers of a multiprocessing pool use the storage that their parent has used."""
    program = """
import multiprocessing

def add(number):
    return storage.add_message(hello(f"{number}"), "ada", f"c{number % 3}", resource_id="r").content

storage.open()
with multiprocessing.get_context("fork").Pool(3) as pool:
    print(pool.map(add, range(12)) == [f"{number}" for number in range(12)])
print(storage.count_conversations())
"""
    assert run(program, dsn, schema) == (0, "True\n3\n", "")


# --- the end of a program -------------------------------------------------------------------------------------------

ENDS = {
    "not closed": "storage.add_message(hello(), 'ada', 'c1')",
    "not used": "",
    "closed": "storage.close()",
    "an iterator that was left": "changes = storage.watch('ada'); next(changes)",
    "an export that was left": "lines = storage.export_user('ada'); next(lines)",
    "a daemon that watches": """
def watch():
    for change in storage.watch("ada"):
        ready.set()

ready = threading.Event()
threading.Thread(target=watch, daemon=True).start()
ready.wait()
""",
    "a daemon that holds a transaction": """
def hold():
    with storage.transaction():
        held.set()
        time.sleep(600)

held = threading.Event()
threading.Thread(target=hold, daemon=True).start()
held.wait()
""",
    "a daemon that adds": """
def add():
    while True:
        try:
            storage.add_message(hello(), "ada", "c1")
        except StorageClosedError:
            return

threading.Thread(target=add, daemon=True).start()
time.sleep(0.1)
""",
    "used at exit": "atexit.register(lambda: storage.add_message(hello(), 'ada', 'c1'))",
    "an error": "raise SystemExit",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_program_ends_by_itself(end: str, dsn: str, schema: str) -> None:
    """With or without close(), a program ends without output on stderr and without hanging."""
    program = f"storage.create_conversation({{'id': 'c1', 'user_id': 'ada'}})\n{ENDS[end]}"

    assert run(program, dsn, schema) == (0, "", "")


def test_calls_of_threads_that_outlive_the_main_thread_are_done(dsn: str, schema: str) -> None:
    """Calls that threads of a pool have started are stored before the program ends; then the storage is closed."""
    program = """
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(4)
for number in range(60):
    pool.submit(storage.add_message, hello(f"{number}"), "ada", "c1", resource_id="r")
"""
    assert run(program, dsn, schema) == (0, "", "")

    with PostgresStorage(dsn, schema=schema) as storage:
        assert len(storage.get_messages("ada", "c1")) == 60


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for an embedded server that its account can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="voltmem-test-", dir="/tmp"))
    folder.chmod(0o1777)
    yield folder / "home"
    shutil.rmtree(folder)


def test_the_embedded_server_stops_with_the_program(home: Path) -> None:
    """Without a connection string, the embedded server stops with the program, without output on stderr."""
    program = """
storage = PostgresStorage()
storage.create_conversation({"id": "c1", "user_id": "ada"})
from voltmem._postgres.embedded import running
print(next(iter(running._running)).folder)
"""
    code, printed, problems = run(program, "postgresql://unused", "unused", VOLTMEM_HOME=str(home))

    assert (code, printed, problems) == (0, f"{home}\n", "")
    assert list(home.rglob("PG_VERSION"))
    assert not list(home.rglob("postmaster.pid"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_a_program_that_waits(dsn: str, schema: str) -> None:
    """Ctrl-C prints one traceback, which ends with KeyboardInterrupt, and none of asyncio's."""
    program = """
import asyncio

async def wait(_):
    print("waits", flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        print("cancelled", flush=True)

storage.count_conversations()
storage.run(wait)
"""
    with subprocess.Popen(
        command(program, dsn, schema), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        printed, problems = process.communicate(timeout=120)

    assert (printed, process.returncode) == ("cancelled\n", -signal.SIGINT)
    assert problems.count("Traceback") == 1
    assert problems.endswith("KeyboardInterrupt\n")


# --- notebooks ------------------------------------------------------------------------------------------------------


def test_a_notebook_may_block_and_await(dsn: str, schema: str) -> None:
    """
    A notebook cell, which runs on the kernel's event loop, may use both storages.

    Code on another loop may not block.
    """
    cells = [
        f"""
from voltmem.sync import PostgresStorage
storage = PostgresStorage({dsn!r}, schema={schema!r})
storage.add_message({{"role": "user", "content": "Hello"}}, "ada", "c1", resource_id="r").content
""",
        """
import voltmem
async with voltmem.PostgresStorage(*CONNECTION) as asynchronous:
    print([each.content for each in await asynchronous.get_messages("ada", "c1")])
""".replace("*CONNECTION", f"{dsn!r}, schema={schema!r}"),
        """
import asyncio, threading

async def elsewhere():
    try:
        storage.count_conversations()
    except voltmem.EventLoopError:
        print("refused")

thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
thread.start()
thread.join()
storage.close()
""",
    ]
    new_cell: Callable[[str], object] = nbformat.v4.new_code_cell
    new_notebook: Callable[..., nbformat.NotebookNode] = nbformat.v4.new_notebook
    notebook = new_notebook(cells=list(map(new_cell, cells)))

    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()

    outputs = [output.get("text") or output["data"]["text/plain"] for cell in notebook.cells for output in cell.outputs]
    assert outputs == ["'Hello'", "['Hello']\n", "refused\n"]

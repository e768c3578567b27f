"""Which workers of Citus a call needs: those of its shards, in one phase where that is one."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.citus import needs_citus
from tests.conftest import Connection
from voltmem import PostgresStorage, Share
from voltmem._agents.memory import MemoryStatements
from voltmem._agents.native import NativeStatements
from voltmem._areas.conversations import ConversationStatements
from voltmem._areas.files import FileStatements
from voltmem._areas.forks import ForkStatements
from voltmem._areas.shares import ShareStatements
from voltmem._areas.sidebar import SidebarStatements
from voltmem._tables import Tables
from voltmem.adapters.pydantic_ai._branches import BranchStatements


async def sent(connection: Connection, statement: str, *arguments: object) -> list[str]:
    """
    Run a statement on the coordinator. Returns the first word of each that it sends to a worker, all to the same one.
    """
    found: list[tuple[str, str]] = []

    def listen(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.message.startswith("issuing "):
            server = (message.detail or "").partition(" connectionId")[0]
            found.append((message.message.split()[1], server))

    connection.add_log_listener(listen)
    await connection.execute("SET client_min_messages = notice")
    await connection.execute("SET citus.log_remote_commands = on")
    assert len(await connection.fetch(statement, *arguments)) <= 1
    assert len({server for _, server in found}) == 1
    return [word for word, _ in found]


MARKS: dict[str, tuple[object, ...]] = {
    "pin": (True,),
    "archive": (True,),
    "tag": (["x"],),
    "rename": ("New", False),
    "read": (None,),
    "delete": (),
    "restore": (),
}


@needs_citus
@pytest.mark.parametrize("mark", MARKS)
async def test_a_mark_is_one_statement_on_one_worker(
    mark: str, storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """The marks of the sidebar are sent to the conversation's worker as they are, in no transaction."""
    await storage.add_message({"role": "user", "content": "one"}, "ada", "c1", resource_id="r")
    statement = getattr(SidebarStatements(Tables(schema, "voltagent_memory")), mark)

    assert await sent(connection, statement, "c1", "ada", *MARKS[mark]) == ["WITH"]


@needs_citus
async def test_create_conversation_commits_in_one_phase(connection: Connection, migrated: str) -> None:
    """A new conversation concerns one worker, so it needs no two-phase commit, which would wait for the disk twice."""
    statement = ConversationStatements(Tables(migrated, "voltagent_memory")).create

    commands = await sent(connection, statement, "c2", "r", "ada", None, "{}", None, None)

    assert commands == ["BEGIN", "INSERT", "SELECT", "COMMIT"]


@needs_citus
@pytest.mark.parametrize(
    ("is_there", "retitles", "words"),
    [
        (True, False, ["SELECT"]),
        (False, False, ["SELECT", "INSERT", "SELECT"]),
        (True, True, ["UPDATE"]),
        (False, True, ["UPDATE", "SELECT", "INSERT", "SELECT"]),
    ],
)
async def test_ensure_conversation_needs_one_worker(
    is_there: bool, retitles: bool, words: list[str], storage: PostgresStorage, connection: Connection
) -> None:
    """Each of its statements, and those of memory.title(), is sent to one worker, and they commit in one phase."""
    tables = storage._options.tables
    if is_there:
        await storage.create_conversation({"id": "c1", "user_id": "ada"})

    if retitles:
        commands = await sent(connection, MemoryStatements(tables).title, "c1", "ada", "New", False, "r", "hash", 1.0)
    else:
        row = "c1", "r", "ada", None, "{}", None, None
        commands = await sent(connection, ConversationStatements(tables).ensure, *row)

    assert [each for each in commands if each not in ("BEGIN", "COMMIT")] == words
    assert commands.count("BEGIN") == commands.count("COMMIT") <= 1


@needs_citus
@pytest.mark.parametrize("up_to", [None, "m0"])
async def test_share_conversation_needs_one_worker(
    up_to: str | None, storage: PostgresStorage, connection: Connection
) -> None:
    """The share is selected from the conversation, and inserted beside it."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    for number in range(2):
        await storage.add_message({"id": f"m{number}", "role": "user", "content": "one"}, "ada", "c1")

    commands = await sent(connection, ShareStatements(storage._options.tables).share, "c1", "ada", up_to, "token")

    assert commands.count("COMMIT") == 1
    assert "PREPARE" not in commands


SHARD = "SELECT get_shard_id_for_distribution_column($1::text::regclass, $2::text)"


@needs_citus
async def test_fork_conversation_needs_the_workers_of_the_two(storage: PostgresStorage, connection: Connection) -> None:
    """A copy that is beside its original is made by its worker alone."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message({"role": "user", "content": "one"}, "ada", "c1")
    tables = storage._options.tables
    shard = await connection.fetchval(SHARD, tables.conversations, "c1")
    beside = [
        each
        for each in (f"copy{number}" for number in range(100))
        if await connection.fetchval(SHARD, tables.conversations, each) == shard
    ]

    commands = await sent(connection, ForkStatements(tables).fork, "c1", "ada", None, beside[0], None)

    assert "INSERT" in commands
    assert await storage.count_messages("ada", beside[0]) == 1


@needs_citus
async def test_an_item_is_one_statement_on_one_worker(storage: PostgresStorage, connection: Connection) -> None:
    """get_conversation_item() asks the conversation's worker alone, for its last message, too."""
    await storage.add_message({"role": "user", "content": "one"}, "ada", "c1", resource_id="r")

    commands = await sent(connection, SidebarStatements(storage._options.tables).get, "c1", "ada")

    assert commands.count("WITH") + commands.count("SELECT") <= 2
    assert "PREPARE" not in commands


@needs_citus
async def test_delete_file_deletes_on_one_worker(storage: PostgresStorage, connection: Connection) -> None:
    """delete_file() is sent to the worker of the user's files alone."""
    file = await storage.put_file("ada", b"one")
    call = f"SELECT {storage._options.tables.release_files}($1, $2, true)"

    commands = await sent(connection, call, "ada", [file.id])

    assert commands == ["BEGIN", "SELECT", "DELETE", "COMMIT"]


UPLOADS: dict[str, dict[str, tuple[object, ...]]] = {
    "one chunk": {"put": ("a" * 64, 1, b"x", None)},
    "several": {"begin_with_chunk": (b"x",), "more": ("1", b"y"), "finish": ("2", b"z", "b" * 64, 3, None)},
}


@needs_citus
@pytest.mark.parametrize("upload", UPLOADS)
async def test_put_file_needs_one_worker(upload: str, connection: Connection, migrated: str) -> None:
    """Its rows, and the sweep of the user's old uploads, are sent to the worker of the user's files alone."""
    sql = FileStatements(Tables(migrated, "voltagent_memory"))

    for name, arguments in UPLOADS[upload].items():
        commands = await sent(connection, getattr(sql, name), "ada", "upload", *arguments)

        assert commands.count("COMMIT") == 1
        assert "PREPARE" not in commands


@needs_citus
@pytest.mark.parametrize(
    ("is_there", "expects", "expected", "words"),
    [
        (False, False, None, ["SELECT", "SELECT", "INSERT", "INSERT"]),
        (True, False, None, ["SELECT", "INSERT", "UPDATE"]),
        (True, True, None, ["SELECT", "INSERT", "UPDATE"]),
        (True, True, "r0", ["SELECT", "UPDATE"]),
    ],
)
async def test_save_payload_needs_one_worker(
    is_there: bool,
    expects: bool,
    expected: str | None,
    words: list[str],
    storage: PostgresStorage,
    connection: Connection,
    schema: str,
) -> None:
    """A framework's payload is stored by the conversation's worker, in one phase."""
    if is_there:
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
    statement = NativeStatements(Tables(schema, "voltagent_memory")).save
    payload = ("c1", "ada", "r", None, False, "form", "{}", "r1", expects, expected, True, "hash", 0.0)

    assert await sent(connection, statement, *payload) == ["BEGIN", *words, "COMMIT"]


@needs_citus
async def test_share_conversation_beside_a_change_of_owner_leaves_no_link(storage: PostgresStorage) -> None:
    """A link that is created while the conversation is given away is deleted, or is not created."""
    for number in range(20):
        id = f"c{number}"
        await storage.create_conversation({"id": id, "user_id": "ada"})
        shared, _ = await asyncio.gather(
            storage.share_conversation(id, owner="ada"),
            storage.update_conversation(id, user_id="bob"),
            return_exceptions=True,
        )
        assert not isinstance(shared, Share) or await storage.get_shared_conversation(shared.token) is None


@needs_citus
async def test_a_tip_is_read_on_one_worker(storage: PostgresStorage, connection: Connection, schema: str) -> None:
    """The payload and the newest message of a conversation are read by its worker."""
    await storage.add_message({"role": "user", "content": "one"}, "ada", "c1", resource_id="r")

    assert await sent(connection, BranchStatements(Tables(schema, "voltagent_memory")).tip, "form", "c1") == ["SELECT"]


@needs_citus
async def test_a_line_is_read_on_one_worker(storage: PostgresStorage, connection: Connection, schema: str) -> None:
    """The messages of a line of a known conversation are read by its worker."""
    await storage.add_message({"id": "m1", "role": "user", "content": "one"}, "ada", "c1", resource_id="r")
    statement = BranchStatements(Tables(schema, "voltagent_memory")).line

    assert "PREPARE" not in await sent(connection, statement, "c1", "m1", None)

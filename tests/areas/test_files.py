"""Files are stored once for each user, go in and out piece by piece, and are deleted when nothing refers to them."""

from __future__ import annotations

import asyncio
import io
import threading
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest

from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from tests.tables import move_times
from voltmem import (
    ANY_USER,
    InvalidInputError,
    InvalidQueryError,
    PostgresStorage,
    Storage,
    StoredFileNotFoundError,
    sync,
)
from voltmem._areas.files import CHUNK_BYTES
from voltmem._tables import Tables

NOW = timedelta(0)


@pytest.fixture
def tables(storage: PostgresStorage) -> Tables:
    return storage._options.tables


def pattern(size: int, seed: int = 0) -> bytes:
    """Return bytes of this size in which no two chunks are equal."""
    block = b"".join(sha256(f"{seed}:{n}".encode()).digest() for n in range(-(-size // 32)))
    return block[:size]


async def read(storage: Storage, file_id: str, user_id: str = "ada", **options: int) -> bytes:
    return b"".join([piece async for piece in storage.read_file(user_id, file_id, **options)])


async def rows(connection: Connection, table: str) -> int:
    found: int = await connection.fetchval(f"SELECT count(*) FROM {table}")
    return found


# --- storing and reading ------------------------------------------------------------------------------------------

SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 7]


@pytest.mark.parametrize("size", SIZES)
async def test_put_file_stores_what_read_file_returns(storage: PostgresStorage, size: int) -> None:
    """A file of any size comes back as it was; its id is the SHA-256 of the content, its url names the id."""
    content = pattern(size)

    stored = await storage.put_file("ada", content)

    assert stored.id == sha256(content).hexdigest()
    assert stored.size == size
    assert stored.url == f"voltmem:file/{stored.id}"
    assert await storage.get_file("ada", stored.id) == stored
    pieces = [piece async for piece in storage.read_file("ada", stored.id)]
    assert b"".join(pieces) == content
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in pieces)


async def test_put_file_takes_every_kind_of_content(storage: PostgresStorage, tmp_path: Path) -> None:
    """Bytes, an open file, one whose read() is a coroutine, and iterators of both kinds are one and the same file."""
    content = pattern(2 * CHUNK_BYTES + 5)
    path = tmp_path / "content"
    path.write_bytes(content)

    async def asynchronous(size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(content), size):
            yield content[at : at + size]

    def blocking(size: int) -> Iterator[bytes]:
        yield from (content[at : at + size] for at in range(0, len(content), size))

    class Upload:
        def __init__(self) -> None:
            self._file = io.BytesIO(content)

        async def read(self, size: int) -> bytes:
            return self._file.read(size)

    with path.open("rb") as file:
        given = [
            content,
            bytearray(content),
            file,
            Upload(),
            blocking(7_001),
            blocking(len(content)),
            asynchronous(99_999),
        ]
        stored = [await storage.put_file("ada", each) for each in given]  # type: ignore[arg-type]

    assert {each.id for each in stored} == {sha256(content).hexdigest()}
    assert await read(storage, stored[0].id) == content


async def test_put_file_stores_a_content_once_for_each_user(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """The same content again adds no row; another user has a file of his own, with the same id."""
    content = pattern(CHUNK_BYTES + 1)
    for kept in (content, b"small"):
        first = await storage.put_file("ada", kept)
        assert await storage.put_file("ada", iter([kept])) == first

    other = await storage.put_file("bob", content)

    assert await rows(connection, tables.files) == 3
    assert await rows(connection, tables.file_chunks) == 5
    assert await storage.delete_file("ada", other.id)
    assert await read(storage, other.id, "bob") == content


async def test_put_file_stores_a_content_once_that_is_uploaded_at_the_same_time(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """Of concurrent uploads of one content, small or large, one is kept, and all get it."""
    for content in (b"small", pattern(CHUNK_BYTES + 1)):
        for _ in range(5):
            stored = await asyncio.gather(*(storage.put_file("ada", content) for _ in range(8)))

            assert len(set(stored)) == 1
            assert await read(storage, stored[0].id) == content
            assert await rows(connection, tables.files) == 1
            assert await storage.delete_file("ada", stored[0].id)
    assert await rows(connection, tables.file_chunks) == 0


RANGES = [(0, 1), (0, None), (5, 5), (7, 3), (CHUNK_BYTES - 1, CHUNK_BYTES + 1), (CHUNK_BYTES, 2 * CHUNK_BYTES)]
RANGES += [(2 * CHUNK_BYTES, None), (1, 10**12), (2 * CHUNK_BYTES + 5, None), (10**15, None), (10**15, 2 * 10**15)]


@pytest.mark.parametrize(("start", "end"), RANGES)
async def test_read_file_returns_a_range(storage: PostgresStorage, start: int, end: int | None) -> None:
    """A range is a slice of the content, also beyond its end, and across chunks."""
    content = pattern(2 * CHUNK_BYTES + 5)
    stored = await storage.put_file("ada", content)

    pieces = [piece async for piece in storage.read_file("ada", stored.id, start=start, end=end)]

    assert b"".join(pieces) == content[start:end]


async def test_files_cost_a_statement_for_each_chunk(proxy: Proxy, make_storage: MakeStorage) -> None:
    """An upload and a download take one round trip for each 256 KiB, a range only for its own."""
    storage = make_storage(proxy.dsn, max_connections=1)
    counted: list[int] = []

    async def count(call: Callable[[], Awaitable[object]]) -> None:
        before = proxy.round_trips
        await call()
        counted.append(proxy.round_trips - before)

    for seed in range(2):  # the first time prepares the statements
        counted.clear()
        small, large = pattern(CHUNK_BYTES, seed), pattern(5 * CHUNK_BYTES, seed)
        await storage.put_file("ada", b"open")
        file_id = sha256(large).hexdigest()
        await count(partial(storage.put_file, "ada", small))
        await count(partial(storage.put_file, "ada", large))
        await count(partial(read, storage, file_id))
        await count(partial(read, storage, file_id, start=CHUNK_BYTES + 1, end=CHUNK_BYTES + 9))

    assert counted == [1, 5, 5, 1]


async def test_a_large_file_is_never_whole_in_memory(storage: PostgresStorage) -> None:
    """50 MB go in and out in less than 8 MB of memory."""
    size, block = 50_000_000, pattern(100_000)
    expected = sha256()
    found = sha256()

    def content() -> Iterator[bytes]:
        for n in range(size // len(block)):
            piece = str(n).encode().ljust(8) + block[8:]
            expected.update(piece)
            yield piece

    await storage.put_file("ada", pattern(2 * CHUNK_BYTES))  # what the first use loads
    tracemalloc.start()
    try:
        stored = await storage.put_file("ada", content())
        async for piece in storage.read_file("ada", stored.id):
            found.update(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert stored.size == size
    assert stored.id == expected.hexdigest() == found.hexdigest()
    assert peak < 8_000_000


async def test_read_file_holds_no_connection_between_its_pieces(make_storage: MakeStorage) -> None:
    """With one connection, a download that has stopped half-way delays no other call, and neither does an upload."""
    storage = make_storage(max_connections=1)
    content = pattern(3 * CHUNK_BYTES)

    async def slow() -> AsyncIterator[bytes]:
        for at in range(0, len(content), CHUNK_BYTES):
            yield content[at : at + CHUNK_BYTES]
            assert await storage.count_conversations() == 0

    stored = await storage.put_file("ada", slow())
    pieces = storage.read_file("ada", stored.id)
    first = await anext(pieces)
    assert await storage.count_conversations() == 0

    assert first + b"".join([piece async for piece in pieces]) == content


def test_put_file_of_code_that_blocks_reads_in_pieces(dsn: str, schema: str, tmp_path: Path) -> None:
    """voltmem.sync stores bytes, an open file without line ends, and what a generator makes in the caller's thread."""
    content = bytes(3 * CHUNK_BYTES)
    path = tmp_path / "content"
    path.write_bytes(content)
    threads: set[int] = set()

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(content), CHUNK_BYTES // 2):
            threads.add(threading.get_ident())
            yield content[at : at + CHUNK_BYTES // 2]

    with sync.PostgresStorage(dsn, schema=schema) as storage, path.open("rb") as file:
        one, *others = [storage.put_file("ada", given) for given in (content, file, pieces())]
        assert others == [one, one]
        assert b"".join(storage.read_file("ada", one.id)) == content
        assert storage.delete_file("ada", one.id)

    assert threads == {threading.get_ident()}


# --- another user, and values that are invalid ----------------------------------------------------------------------


async def test_a_file_is_its_owners_alone(storage: PostgresStorage) -> None:
    """To another user who has the id, the file does not exist."""
    stored = await storage.put_file("ada", b"private")
    bob = storage.for_user("bob")

    assert await bob.get_file(stored.id) is None
    assert not await bob.delete_file(stored.id)
    assert await bob.purge_unused_files(older_than=NOW) == 0
    with pytest.raises(StoredFileNotFoundError, match=f"file '{stored.id}' was not found among those of user 'bob'"):
        await read(storage, stored.id, "bob")
    assert await read(storage, stored.id) == b"private"
    assert await storage.for_user("ada").get_file(stored.id) == stored


@pytest.mark.parametrize("id", ["", "x", "voltmem:file/" + "a" * 64, "A" * 64, "a" * 63, "a" * 64 + "\n", None, 1])
async def test_get_file_refuses_what_is_no_id(storage: PostgresStorage, id: object) -> None:
    """Anything but 64 hexadecimal digits is an error before any SQL, for each method that takes an id."""
    for call in (storage.get_file, storage.delete_file, storage.read_file):
        with pytest.raises(InvalidInputError, match=r"is not the id of a file: pass the \.id of put_file"):
            await call("ada", id)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("content", ["text", 1, None, {"a": 1}, [b"a", "text"], [1], io.StringIO("text")])
async def test_put_file_refuses_what_is_not_bytes(
    storage: PostgresStorage, connection: Connection, tables: Tables, content: object
) -> None:
    """Content that is not bytes, or has a piece that is not, is an error, and nothing remains."""
    with pytest.raises(InvalidInputError, match=r"content (must be|has)"):
        await storage.put_file("ada", content)  # type: ignore[arg-type]

    assert await rows(connection, tables.files) == 0


@pytest.mark.parametrize("user", ["", None, ANY_USER])
async def test_put_file_needs_one_user(storage: PostgresStorage, user: object) -> None:
    """An empty user, None and ANY_USER are errors, for each method of one file."""
    for call in (
        storage.put_file(user, b"a"),  # type: ignore[arg-type]
        storage.get_file(user, "a" * 64),  # type: ignore[arg-type]
        storage.delete_file(user, "a" * 64),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidInputError, match="user_id is"):
            await call
    with pytest.raises(InvalidInputError, match="user_id is"):
        storage.read_file(user, "a" * 64)  # type: ignore[arg-type]


async def test_read_file_refuses_an_invalid_range(storage: PostgresStorage) -> None:
    """A negative start or end is an error at once."""
    for options in ({"start": -1}, {"end": -1}, {"start": 2**63}):
        with pytest.raises(InvalidQueryError, match=r"(start|end) must be"):
            storage.read_file("ada", "a" * 64, **options)


# --- uploads and downloads that end early ---------------------------------------------------------------------------


async def test_put_file_that_fails_or_is_cancelled_leaves_nothing(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """If the content raises, or the task is cancelled, the chunks that were stored are deleted."""
    stuck = asyncio.Event()

    async def content(broken: bool) -> AsyncIterator[bytes]:
        yield pattern(2 * CHUNK_BYTES)
        yield pattern(CHUNK_BYTES)
        assert await rows(connection, tables.file_chunks) == 2
        if broken:
            raise OSError("the client is gone")
        stuck.set()
        await asyncio.Event().wait()

    with pytest.raises(OSError, match="the client is gone"):
        await storage.put_file("ada", content(True))
    assert await rows(connection, tables.files) == 0

    task = asyncio.create_task(storage.put_file("ada", content(False)))
    await stuck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await rows(connection, tables.files) == await rows(connection, tables.file_chunks) == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (0, 1),
        (0, 2 * CHUNK_BYTES),
        (1, 0),
        (100_000, 100_000),
        (CHUNK_BYTES, 1),
        (CHUNK_BYTES + 1, CHUNK_BYTES),
        (2 * CHUNK_BYTES, 2 * CHUNK_BYTES),
    ],
)
async def test_delete_user_ends_an_upload_under_way(
    storage: PostgresStorage, connection: Connection, tables: Tables, before: int, after: int
) -> None:
    """Nothing of a deleted user comes back from an upload that was under way, however much of it had arrived."""

    async def content() -> AsyncIterator[bytes]:
        yield pattern(before)
        await storage.delete_user("ada")
        yield pattern(after)

    with pytest.raises(StoredFileNotFoundError):
        await storage.put_file("ada", content())
    assert await rows(connection, tables.files) == await rows(connection, tables.file_chunks) == 0


async def test_put_file_of_a_stream_stores_what_came_after_another_user_was_deleted(storage: PostgresStorage) -> None:
    """An upload goes on if another user is deleted meanwhile, and one that begins after the deletion is stored."""

    async def content() -> AsyncIterator[bytes]:
        yield b"a cat"
        await storage.delete_user("bob")
        yield b", asleep"

    await storage.delete_user("ada")

    assert await read(storage, (await storage.put_file("ada", content())).id) == b"a cat, asleep"


async def test_read_file_of_a_file_that_is_deleted_meanwhile_is_an_error(storage: PostgresStorage) -> None:
    """A download never ends early without an error."""
    stored = await storage.put_file("ada", pattern(2 * CHUNK_BYTES))
    pieces = storage.read_file("ada", stored.id)
    await anext(pieces)

    await storage.delete_file("ada", stored.id)

    with pytest.raises(StoredFileNotFoundError):
        await anext(pieces)


# --- the sweep ------------------------------------------------------------------------------------------------------


async def make_older(connection: Connection, tables: Tables, by: timedelta) -> None:
    await move_times(connection, tables.files, ("user_id", "upload"), ("pending_since",), -by)


async def test_purge_unused_files_deletes_what_no_message_refers_to(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """Files of a day ago are deleted, cut-off uploads too; newer ones and those of others stay."""
    old = await storage.put_file("ada", b"old")
    await storage.put_file("bob", b"old")
    await connection.execute(f"INSERT INTO {tables.files} (user_id, upload, pending_since) VALUES ('ada', 'u', now())")
    await make_older(connection, tables, timedelta(hours=24))
    new = await storage.put_file("carol", b"new")

    assert await storage.for_user("ada").purge_unused_files() == 2
    assert await storage.get_file("ada", old.id) is None
    assert await storage.get_file("carol", new.id) == new
    assert await storage.purge_unused_files() == 1
    assert await storage.purge_unused_files(older_than=NOW) == 1
    assert await rows(connection, tables.files) == 0


async def test_put_file_restarts_the_time_of_an_unused_file(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """A content that is stored again, in one chunk or more, lives another day."""
    for content in (b"again", pattern(CHUNK_BYTES + 1)):
        stored = await storage.put_file("ada", content)
        await make_older(connection, tables, timedelta(hours=25))

        assert await storage.put_file("ada", content) == stored

        assert await storage.purge_unused_files() == 0
        assert await read(storage, stored.id) == content


async def test_put_file_sweeps_the_users_own_old_files(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """An upload deletes some of the same user's files of more than a day ago."""
    for user in ("ada", "bob"):
        await storage.put_file(user, b"old")
    await make_older(connection, tables, timedelta(hours=25))

    await storage.put_file("ada", b"new")

    found = await connection.fetch(f"SELECT user_id FROM {tables.files} ORDER BY user_id")
    assert [row["user_id"] for row in found] == ["ada", "bob"]
    assert await storage.get_file("ada", sha256(b"old").hexdigest()) is None


async def test_purge_unused_files_deletes_any_number(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """More files than one statement deletes are deleted by several."""
    await connection.execute(f"""
        INSERT INTO {tables.files} (user_id, upload, pending_since)
        SELECT 'u' || n % 7, 'f' || n, now() - interval '2 days' FROM generate_series(1, 2345) AS n""")

    assert await storage.purge_unused_files() == 2345


@pytest.mark.parametrize("files", [1, 100])
async def test_purge_unused_files_sends_as_many_statements_for_more_users(
    files: int, storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """The number of statements depends on the files, a thousand for each, and not on the number of users."""
    counts = []
    for users in (1, 2, 20, 40):
        await connection.execute(f"""
            INSERT INTO {tables.files} (user_id, upload, pending_since)
            SELECT 'u' || n, 'f' || k, now() - CASE WHEN k > 0 THEN interval '2 days' ELSE '0' END
            FROM generate_series(1, {users}) AS n, generate_series(0, {files}) AS k""")
        sent: list[str] = []
        async with storage.transaction() as together:
            with together.connection.query_logger(lambda each, sent=sent: sent.append(each.query)):
                assert await together.purge_unused_files() == users * files
        counts.append(len(sent))
        await connection.execute(f"DELETE FROM {tables.files}")

    assert counts == [2 + users * files // 1000 for users in (1, 2, 20, 40)]


@pytest.mark.parametrize("older_than", [None, 1, "1 day"])
async def test_purge_unused_files_refuses_an_invalid_time(storage: PostgresStorage, older_than: object) -> None:
    """Anything but a timedelta is an error."""
    with pytest.raises(InvalidInputError, match="older_than must be a timedelta"):
        await storage.purge_unused_files(older_than=older_than)  # type: ignore[arg-type]


async def test_purge_unused_files_leaves_a_file_that_is_locked(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """The sweep waits for nobody: a file that another session is about to use stays for the next sweep."""
    stored = await storage.put_file("ada", b"in use")

    async with connection.transaction():
        await connection.execute(f"SELECT 1 FROM {tables.files} FOR KEY SHARE")
        assert await storage.purge_unused_files(older_than=NOW) == 0

    assert await storage.get_file("ada", stored.id) == stored
    assert await storage.purge_unused_files(older_than=NOW) == 1


async def test_delete_file_deletes_it_once(storage: PostgresStorage, connection: Connection, tables: Tables) -> None:
    """A file that nothing refers to is deleted with its chunks; a second time there is none."""
    stored = await storage.put_file("ada", pattern(CHUNK_BYTES + 1))

    assert await storage.delete_file("ada", stored.id)
    assert not await storage.delete_file("ada", stored.id)

    assert await rows(connection, tables.file_chunks) == 0
    assert await storage.get_file("ada", stored.id) is None

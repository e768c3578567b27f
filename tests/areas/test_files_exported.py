"""Files go along with the export and the import of a user."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import timedelta
from hashlib import sha256

import pytest

from tests.areas.transfer.exported import END, OTHER, conversation, header, line
from tests.conftest import Connection, MakeStorage
from voltmem import InvalidLineError, PostgresStorage
from voltmem._areas.files import CHUNK_BYTES

CONTENT = bytes(range(256)) * (CHUNK_BYTES // 256) + b"the end"
ID = sha256(CONTENT).hexdigest()
FILE = line("file", id=ID, size=len(CONTENT), created_at="2024-02-29T12:00:00Z")
CHUNKS = [
    line("chunk", data=b64encode(CONTENT[at : at + CHUNK_BYTES]).decode()) for at in range(0, len(CONTENT), CHUNK_BYTES)
]


async def content(storage: PostgresStorage, user_id: str, file_id: str) -> bytes:
    return b"".join([piece async for piece in storage.read_file(user_id, file_id)])


async def test_import_user_has_the_files_of_export_user(storage: PostgresStorage, make_storage: MakeStorage) -> None:
    """Files of all sizes come back, in use and waiting, and messages refer to them as before."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    files = [await storage.put_file("ada", given) for given in (CONTENT, b"", b"small")]
    await storage.put_file("bob", b"his own")
    await storage.add_message({"role": "user", "content": f"Look: {files[0].url}"}, "ada", "c1")
    lines = [each async for each in storage.export_user("ada")]
    other = make_storage(table_prefix=OTHER)

    result = await other.import_user("lovelace", lines)

    assert (result.files, result.conversations) == (3, 1)
    assert [json.loads(each)["kind"] for each in lines].count("chunk") == 4
    for file, expected in zip(files, (CONTENT, b"", b"small"), strict=True):
        assert await content(other, "lovelace", file.id) == expected
    assert await other.purge_unused_files(older_than=timedelta(0)) == 2
    assert await content(other, "lovelace", ID) == CONTENT
    await other.delete_conversation("c1")
    assert await other.get_file("lovelace", ID) is None


async def test_import_user_again_stores_no_file_twice(storage: PostgresStorage, connection: Connection) -> None:
    """A file that the user has already stays the one that it is."""
    for _ in range(2):
        result = await storage.import_user("ada", [header(), FILE, *CHUNKS, *conversation("c1", "Hello"), END])
        assert result.files == 1

    tables = storage._options.tables
    assert await connection.fetchval(f"SELECT count(*) FROM {tables.files}") == 1
    assert await connection.fetchval(f"SELECT count(*) FROM {tables.file_chunks}") == 2


DAMAGED = {
    "a chunk is missing": ([FILE, CHUNKS[0], END], 4, "the chunks of file"),
    "chunks changed places": ([FILE, *reversed(CHUNKS), END], 5, "the chunks of file"),
    "no chunk": ([FILE, END], 3, "the chunks of file"),
    "no file": ([CHUNKS[0], END], 2, "its kind is 'chunk'"),
    "not base64": ([FILE, CHUNKS[0], line("chunk", data="no base64!"), END], 4, "its data is not base64"),
    "no end": ([FILE, CHUNKS[0]], 4, "the end line is missing"),
    "an unknown field": ([FILE, line("chunk", data="", more=1), END], 3, "more"),
}


@pytest.mark.parametrize(("lines", "number", "error"), DAMAGED.values(), ids=DAMAGED)
async def test_import_user_of_a_damaged_file_is_an_error_and_leaves_nothing(
    storage: PostgresStorage, connection: Connection, lines: list[str], number: int, error: str
) -> None:
    """If the chunks are not the file's content, the error names the line, and nothing of the file is stored."""
    with pytest.raises(InvalidLineError, match=error) as raised:
        await storage.import_user("ada", [header(), *lines])

    assert raised.value.line == number
    assert await connection.fetchval(f"SELECT count(*) FROM {storage._options.tables.files}") == 0

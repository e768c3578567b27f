"""
The files of users: the verbs that store, read and delete them.

    put_file ──> a row ──> 256 KiB ──> 256 KiB ──> …    a statement for each, the last with the id
    a message ──> "voltmem:file/<id>" ──> a reference, which a trigger writes ──> the file stays

Bytes that are given whole need no row before their last chunk. Neither an upload nor a download holds a connection
between its chunks.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from inspect import iscoroutinefunction
from typing import IO, Any, Final, TypeAlias, cast

from voltmem._areas.area import Area
from voltmem._areas.file_sweeps import SweepStatements, may_go, purge, sweep
from voltmem._areas.quotas import QuotaStatements, room
from voltmem._model import Id, Model, Row, Time, construct_unchecked
from voltmem._postgres.connection import BoundConnection, Executor
from voltmem._tables import Tables
from voltmem._values import ANY_USER, check_count, check_owner, check_user, short_repr, uuid7
from voltmem.errors import DatabaseError, InvalidInputError, StoredFileNotFoundError, VoltMemError
from voltmem.models import MessageRow, Owner
from voltmem.parts._types import FILE_URL

CHUNK_BYTES: Final = 262_144
"""The size of a chunk. The functions in migrations_sql/ have the same number."""
UNUSED_FOR: Final = timedelta(days=1)
"""How long an upload waits for a message that refers to it."""

FileContent: TypeAlias = bytes | IO[bytes] | Iterable[bytes] | AsyncIterable[bytes]

# Also behind an escaped "v", as inlined.py writes it.
_URL: Final = re.compile(rf"{FILE_URL[1:]}([0-9a-f]{{64}})(?![0-9a-f])")
_ID: Final = re.compile(r"[0-9a-f]{64}")
_UNIQUE_VIOLATION: Final = "23505"
_SERIALIZATION_FAILURE: Final = "40001"
_JUST_STORED: Final = "another session has just stored the same content. Repeat the whole transaction"
# No file has as many chunks.
_LAST_CHUNK: Final = 2**31 - 1


class StoredFile(Model):
    """A file of a user. A name and a media type belong to the part of a message that refers to it."""

    id: Id
    """The SHA-256 of the content, in 64 hexadecimal digits."""
    size: int
    """The number of bytes."""
    created_at: Time
    """When it was stored first."""

    @property
    def url(self) -> str:
        """The address by which a message refers to it, "voltmem:file/…"."""
        return FILE_URL + self.id

    @classmethod
    def from_row(cls, row: Row) -> StoredFile:
        """Return the file of a row: id, size, created_at."""
        names = ("id", "size", "created_at")
        return construct_unchecked(cls, {name: row[name] for name in names})


class FileStatements:
    """The statements whose text does not depend on the arguments. An upload is complete once its row has an id."""

    def __init__(self, tables: Tables) -> None:
        files, chunks = tables.files, tables.file_chunks
        columns = "id, size, created_at"

        def swept(id: str) -> str:
            """Return a WITH that deletes some of the user's old uploads, without a round trip of its own."""
            return f"""
            WITH old AS (
                SELECT user_id, upload FROM {files}
                WHERE user_id = $1 AND pending_since < pg_catalog.statement_timestamp() - interval '1 day'
                    AND upload <> $2 AND id IS DISTINCT FROM {id} AND {may_go(tables)}
                LIMIT 10 FOR UPDATE SKIP LOCKED
            ), {sweep(tables, "$1")}"""

        self.put = f"""{swept("$3::text")}
            SELECT $3 AS id, $4::bigint AS size, created_at FROM {tables.put_file}($1, $2, $3, $4, $5, $6)
            {room(tables, "ARRAY[$1]", before="WHERE ", file_bytes="is_new")}"""

        self.begin = f"""
                INSERT INTO {files} (user_id, upload, pending_since) VALUES ($1, $2, pg_catalog.statement_timestamp())
                ON CONFLICT DO NOTHING"""
        length = "pg_catalog.length($3::bytea)"
        has_room = room(tables, "ARRAY[$1]", before=" RETURNING ", file_bytes="true", coming=length)
        self.begin_with_chunk = f"""
            WITH begun AS ({self.begin}{has_room}
            )
            INSERT INTO {chunks} (user_id, upload, number, bytes) VALUES ($1, $2, 0, $3::bytea)
            ON CONFLICT DO NOTHING"""

        def chunk(condition: str) -> str:
            """Return the INSERT of a chunk. On Citus, the worker that has the file's row, "f", inserts it."""
            return f"""
                INSERT INTO {chunks} (user_id, upload, number, bytes)
                SELECT f.user_id, f.upload, $3::text::integer, $4::bytea FROM {files} AS f
                WHERE f.user_id = $1 AND f.upload = $2 AND EXISTS (SELECT 1 FROM {condition})"""

        there = f"SELECT user_id, upload FROM {files} WHERE user_id = $1 AND upload = $2 FOR KEY SHARE"
        self.more = f"""
            WITH there AS ({there}), stored AS ({chunk("there")}
                ON CONFLICT DO NOTHING{room(tables, "ARRAY[$1]", before=" RETURNING ", file_bytes="true")}
            )
            SELECT upload FROM there"""
        # If the user has the content already, the new chunks are deleted. No row if the upload was deleted.
        self.finish = f"""{swept("$5::text")}
            , there AS (
                UPDATE {files} SET pending_since = pg_catalog.statement_timestamp()
                WHERE user_id = $1 AND id = $5
                RETURNING {columns}
            ), completed AS (
                UPDATE {files} SET id = $5, size = $6, pending_since = pg_catalog.statement_timestamp(),
                    created_at = coalesce($7::timestamptz, created_at)
                WHERE user_id = $1 AND upload = $2 AND id IS NULL AND NOT EXISTS (SELECT 1 FROM there)
                RETURNING {columns}{room(tables, "ARRAY[$1]", file_bytes="true")}
            ), last AS ({chunk("completed")}
            ), dropped AS (
                DELETE FROM {files}
                WHERE user_id = $1 AND upload = $2 AND id IS NULL AND EXISTS (SELECT 1 FROM there)
            )
            SELECT {columns} FROM there UNION ALL SELECT {columns} FROM completed"""
        self.abandon = f"DELETE FROM {files} WHERE user_id = $1 AND upload = $2 AND id IS NULL"
        self.get = f"SELECT {columns} FROM {files} WHERE user_id = $1 AND id = $2"
        # A range of a chunk; $4 and $5 count from its begin. Without a chunk, for the size alone.
        self.read = f"""
            SELECT f.size, pg_catalog.substring(c.bytes, $4::text::integer + 1, $5::text::integer) AS bytes
            FROM {files} AS f LEFT JOIN {chunks} AS c
                ON c.user_id = f.user_id AND c.upload = f.upload AND c.number = $3::text::integer
            WHERE f.user_id = $1 AND f.id = $2"""
        self.contents = f"""
            SELECT f.id, (
                SELECT pg_catalog.string_agg(c.bytes, '' ORDER BY c.number) FROM {chunks} AS c
                WHERE c.user_id = f.user_id AND c.upload = f.upload
            ) AS bytes
            FROM {files} AS f
            WHERE f.id = ANY ($3::text[]) AND f.user_id = (
                SELECT o.user_id FROM {tables.conversations} AS o
                WHERE o.id = $1 AND ($2::text IS NULL OR o.user_id = $2)
            )"""
        self.delete = f"SELECT {tables.release_files}($1, ARRAY[$2], true) AS deleted"


class Files(Area):
    """The verbs about files. PostgresStorage inherits from all areas."""

    async def put_file(self, user_id: str, content: FileContent, *, size: int | None = None) -> StoredFile:
        """
        Store a file of a user. Returns it; ``.url`` is its address for messages.

        ::

            file = await storage.put_file("ada", open("cat.png", "rb"))
            picture = {"type": "file", "mediaType": "image/png", "filename": "cat.png", "url": file.url}
            await storage.add_message({"role": "user", "content": [picture]}, "ada", "c1")

        Args:
            user_id: Its owner. Only messages of the user's conversations can refer to it.
            content: Bytes, a file that is open in binary mode, or an iterator of pieces of any size, such as the body
                of a request. It is read piece by piece, a file in a thread; it is not closed.
            size: How many bytes there will be, if you know it, such as the Content-Length of a request: a file that is
                too large for the user's quota is refused before its content is read.

        Raises:
            QuotaExceededError: The user would have more bytes of files than the storage's quotas allow. No chunk of an
                upload is stored beyond the quota; nothing of it remains.
            StoredFileNotFoundError: The user was deleted during the upload. Nothing of it remains.

        The id is the SHA-256 of the content, so a user has each content once. A file to which no message refers within
        a day is deleted by a sweep; storing the content again begins another day. The file is deleted with the last
        message, conversation or user that refers to it.

        One round trip for each 256 KiB; between them it holds no connection, and less than a megabyte. One more for
        content that is not bytes: a row is written before the first piece is waited for, so that delete_user() ends the
        upload. An upload that is cancelled, or whose content raises, deletes what it has stored.
        """
        check_user("user_id", user_id, "a file belongs to one user")
        if size is not None:
            check_count("size", size)
        # A file in one chunk may be there already, and then takes no room. Its statement looks.
        if size is not None and size > CHUNK_BYTES and self._options.tables.quotas is not None:
            await self._executor.fetchrow(self._sql(QuotaStatements).for_file, user_id, str(size))
        async with Upload(self._executor, self._sql(FileStatements), user_id) as upload:
            if not isinstance(content, bytes | bytearray | memoryview):
                check_content(content)
                await upload.begin()
            async for piece in _pieces(content):
                await upload.write(piece)
            return await upload.finish()

    async def get_file(self, user_id: str, file_id: str) -> StoredFile | None:
        """
        Return a file of a user, without its content; None if the user has none with this id.

        Args:
            user_id: The owner. Another user's file is None, even with its id.
            file_id: The id, without "voltmem:file/".
        """
        check_user("user_id", user_id, "a file belongs to one user")
        check_file_id(file_id)
        row = await self._executor.fetchrow(self._sql(FileStatements).get, user_id, file_id)
        return None if row is None else StoredFile.from_row(row)

    def read_file(self, user_id: str, file_id: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """
        Return the content of a file, or a range of it: yields pieces of at most 256 KiB.

        ::

            async for piece in storage.read_file("ada", file.id):
                await response.write(piece)

        Args:
            user_id: The owner.
            file_id: The id, without "voltmem:file/".
            start: The first byte, counted from 0.
            end: The byte after the last one; None, or a number beyond the size: to the end.

        Raises:
            StoredFileNotFoundError: The user has no file with this id, or it was deleted meanwhile.

        One round trip for each piece; only the pieces of the range are read. No connection is held in between, so a
        client that reads slowly delays nobody.
        """
        check_user("user_id", user_id, "a file belongs to one user")
        check_file_id(file_id)
        check_range(start, end)
        return read_range(self._executor, self._sql(FileStatements), user_id, file_id, start, end)

    async def delete_file(self, user_id: str, file_id: str) -> bool:
        """
        Delete a file to which no message refers. Returns whether it was deleted.

        Args:
            user_id: The owner.
            file_id: The id, without "voltmem:file/".

        False if the user has no such file, or if a message refers to it: one that is removed from a message that is
        being written may be part of another one, since equal contents are one file. A file that is in use is deleted
        with the last message that refers to it.
        """
        check_user("user_id", user_id, "a file belongs to one user")
        check_file_id(file_id)
        row = await self._executor.fetchrow(self._sql(FileStatements).delete, user_id, file_id, repeatable=False)
        return row is not None and bool(row["deleted"])

    async def purge_unused_files(self, user_id: Owner = ANY_USER, *, older_than: timedelta = UNUSED_FOR) -> int:
        """
        Delete the files to which no message refers, and uploads that were cut off. Returns how many.

        Args:
            user_id: Only this user's; ANY_USER: all users', for a cleanup task, once a day or more often.
            older_than: Only those that were stored at least this long ago.

        put_file() deletes some old ones of the same user, too. A file that gets a message at the same moment stays.
        One round trip for each thousand files; for everybody's, one more, and with Citus one more for each user.
        """
        owner = check_owner("user_id", user_id)
        if not isinstance(cast(object, older_than), timedelta):
            raise InvalidInputError(f"older_than must be a timedelta, not {short_repr(older_than)}")
        return await purge(self._executor, self._sql(SweepStatements), owner, older_than)


class Upload:
    """An upload under way: the context deletes what it has stored, unless finish() has returned."""

    def __init__(
        self, executor: Executor, sql: FileStatements, user_id: str, *, created_at: datetime | None = None
    ) -> None:
        self._executor = executor
        self._sql = sql
        self._user_id = user_id
        self._created_at = created_at
        self._upload = uuid7()
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self._size = self._chunks = 0
        self._has_begun = False

    async def __aenter__(self) -> Upload:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._has_begun and issubclass(kind, Exception | asyncio.CancelledError):
            with suppress(VoltMemError):  # then the sweep deletes it
                await self._executor.execute(self._sql.abandon, self._user_id, self._upload)

    async def begin(self, chunk: bytes | None = None) -> None:
        """Write the row of the upload, and the first chunk if it is given. The upload ends if the row is deleted."""
        self._has_begun = True
        if chunk is None:
            await self._fetchrow(self._sql.begin)
        else:
            await self._fetchrow(self._sql.begin_with_chunk, chunk)

    async def write(self, piece: bytes) -> None:
        """Add a piece. Full chunks are sent; one is kept, because the last one is sent with the id."""
        self._size += len(piece)
        for at in range(0, len(piece), CHUNK_BYTES):
            part = piece[at : at + CHUNK_BYTES]
            self._digest.update(part)
            self._buffer += part
            while len(self._buffer) > CHUNK_BYTES:
                await self._send(bytes(self._buffer[:CHUNK_BYTES]))
                del self._buffer[:CHUNK_BYTES]

    async def _send(self, chunk: bytes) -> None:
        number, self._chunks = self._chunks, self._chunks + 1
        if not self._has_begun:
            await self.begin(chunk)
        elif await self._fetchrow(self._sql.more, str(number), chunk) is None:
            raise StoredFileNotFoundError(self._upload, self._user_id)

    async def finish(self) -> StoredFile:
        """Complete the file with the last chunk. Returns it."""
        id, chunk, created_at = self._digest.hexdigest(), bytes(self._buffer), self._created_at
        while True:
            try:
                if not self._has_begun:
                    row = await self._fetchrow(self._sql.put, id, self._size, chunk, created_at)
                else:
                    last = str(self._chunks), chunk
                    row = await self._fetchrow(self._sql.finish, *last, id, self._size, created_at)
            except DatabaseError as error:
                # Another session has just completed the same content: the next try finds it. A transaction is over.
                if error.sqlstate != _UNIQUE_VIOLATION:
                    raise
                if isinstance(self._executor, BoundConnection):
                    raise DatabaseError(_JUST_STORED, _SERIALIZATION_FAILURE) from error
            else:
                break
        if row is None:
            raise StoredFileNotFoundError(id, self._user_id)
        return StoredFile.from_row(row)

    async def _fetchrow(self, sql: str, *arguments: object) -> Row | None:
        # Repeatable: the upload has a name of its own, and what a first try has stored is not stored again.
        return await self._executor.fetchrow(sql, self._user_id, self._upload, *arguments)


async def read_range(
    executor: Executor, sql: FileStatements, user_id: str, file_id: str, start: int, end: int | None
) -> AsyncIterator[bytes]:
    """Yield a range of a file, chunk by chunk."""
    while True:
        number, begin = divmod(start, CHUNK_BYTES)
        rest = CHUNK_BYTES - begin
        length = rest if end is None else max(0, min(rest, end - start))
        place = str(min(number, _LAST_CHUNK)), str(begin), str(length)
        row = await executor.fetchrow(sql.read, user_id, file_id, *place)
        if row is None:
            raise StoredFileNotFoundError(file_id, user_id)
        if row["bytes"]:
            yield row["bytes"]
        start += length
        if start >= (row["size"] if end is None else min(row["size"], end)):
            return


def check_range(start: int, end: int | None) -> None:
    """Raise InvalidQueryError unless these are places in a file. The end may be beyond it."""
    check_count("start", start)
    if end is not None:
        check_count("end", end)


def check_content(content: object) -> None:
    """Raise InvalidInputError unless the value can be read as bytes."""
    if not hasattr(content, "read") and (
        isinstance(content, str | Mapping) or not isinstance(content, Iterable | AsyncIterable)
    ):
        raise InvalidInputError(
            "content must be bytes, a file that is open in binary mode, or an iterator of bytes, not "
            f"{short_repr(content)}"
        )


async def _pieces(content: FileContent) -> AsyncIterator[bytes]:
    """Yield the content piece by piece; InvalidInputError for a piece that is not bytes."""
    if isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
    elif hasattr(content, "read"):
        async for piece in _pieces_of_file(content):
            yield _checked(piece)
    elif isinstance(content, AsyncIterable):
        async for piece in content:
            yield _checked(piece)
    else:
        for piece in content:
            yield _checked(piece)


async def _pieces_of_file(file: Any) -> AsyncIterator[object]:
    """Yield what a file has, also one whose read() is a coroutine, such as an upload of a web framework."""
    is_asynchronous = iscoroutinefunction(file.read)
    while piece := await (file.read(CHUNK_BYTES) if is_asynchronous else asyncio.to_thread(file.read, CHUNK_BYTES)):
        yield piece


def _checked(piece: object) -> bytes:
    if not isinstance(piece, bytes | bytearray | memoryview):
        binary = ": open the file in binary mode" if isinstance(piece, str) else ""
        raise InvalidInputError(f"the content has {short_repr(piece)}, a {type(piece).__name__}, not bytes{binary}")
    return bytes(piece)


def files_in(*texts: str | None) -> list[str]:
    """Return the ids of the files whose addresses are in texts or JSON."""
    found = [text for text in texts if text is not None and FILE_URL[1:] in text]
    return list(dict.fromkeys(id for text in found for id in _URL.findall(text)))


def used_files(row: MessageRow) -> str | None:
    """Return the ids of the files that a message refers to in its texts, separated by spaces; None: none."""
    _, _, content, content_json, _, metadata, _, _, payload, _ = row
    return " ".join(files_in(content, content_json, metadata, payload)) or None


def check_file_id(value: object) -> None:
    """Raise InvalidInputError unless the value has the form of a file's id."""
    if not isinstance(value, str) or _ID.fullmatch(value) is None:
        raise InvalidInputError(
            f"file_id {short_repr(value)} is not the id of a file: pass the .id of put_file(), which has 64 "
            f'hexadecimal digits, without "{FILE_URL}"'
        )

"""Opens what is imported: a file, a folder, a zip file, an open file, or text in memory."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Final, TypeAlias, TypeGuard, cast

from voltmem._values import short_repr
from voltmem.errors import InvalidInputError

_CHUNK: Final = 64 * 1024
# ChatGPT's export has conversations.json, or conversations-000.json and so on.
_CONVERSATIONS: Final = re.compile(r"conversations[-_]?\d*\.json", re.IGNORECASE)


Open: TypeAlias = IO[str] | IO[bytes]
File: TypeAlias = str | bytes | os.PathLike[str] | Open
Opened: TypeAlias = tuple[str, Iterator[bytes]]


def is_file(source: object) -> TypeGuard[File]:
    """Return whether this is a file or its text, rather than values."""
    return isinstance(source, str | bytes | os.PathLike) or hasattr(source, "read")


def opened(source: File) -> Iterator[Opened]:
    """
    Yield the name and the chunks of each file with conversations.

    The name is empty if there is just one. A file that is opened here is closed when the next one is asked for.
    """
    if isinstance(source, str):
        yield "", _chunks(BytesIO(source.encode("utf-8", "surrogatepass")))
    elif isinstance(source, bytes):
        yield from _from_open(BytesIO(source))
    elif isinstance(source, os.PathLike):
        yield from _from_path(Path(source))
    else:
        yield from _from_open(source)


def _from_path(path: Path) -> Iterator[Opened]:
    if not path.is_dir():
        with path.open("rb") as file:
            yield from _from_open(file)
        return
    files = {str(file.relative_to(path)): file for file in path.rglob("*.json")}
    for name in _with_conversations(files, short_repr(str(path))):
        with files[name].open("rb") as file:
            yield name, _chunks(file)


def _from_open(file: Open) -> Iterator[Opened]:
    if not _is_zip(file):
        yield "", _chunks(file)
        return
    try:
        with zipfile.ZipFile(cast(IO[bytes], file)) as archive:
            for name in _with_conversations(archive.namelist(), "the zip file"):
                yield name, _unpacked(archive, name)
    except _BROKEN as error:
        raise _not_unpacked(error) from error


_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


def _not_unpacked(error: Exception) -> InvalidInputError:
    return InvalidInputError(f"the zip file cannot be unpacked: {error}")


def _unpacked(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    try:
        with archive.open(name) as member:
            yield from _chunks(member)
    except _BROKEN as error:
        raise _not_unpacked(error) from error


def _is_zip(file: Open) -> bool:
    if not file.seekable():
        return False
    begin = file.tell()
    head = file.read(2)
    file.seek(begin)
    return head == b"PK"


def _with_conversations(names: Iterable[str], where: str) -> list[str]:
    """Return the names of the files with conversations, in order; without any, of all JSON files."""
    files = sorted(name for name in names if name.lower().endswith(".json"))
    found = [name for name in files if _CONVERSATIONS.fullmatch(name.rpartition("/")[2])]
    if not files:
        raise InvalidInputError(f"{where} has no conversations.json, and no other JSON file")
    return found or files


def _chunks(file: Open) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk.encode("utf-8", "surrogatepass") if isinstance(chunk, str) else chunk

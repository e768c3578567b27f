"""Files are read in constant memory, in a thread, from wherever they are: zip files, folders, shards, open files."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.importers.exports import JSON, chat, node, outcomes
from voltmem import ImportedConversation, InvalidInputError, Skipped
from voltmem.importers import _pieces, from_chatgpt, from_openai
from voltmem.importers._pieces import HEAD, pieces


def export(*titles: str) -> list[dict[str, Any]]:
    return [chat(node("m1", None, "Hello"), title=title, conversation_id=title) for title in titles]


SHARDS = {
    "export/conversations-000.json": json.dumps(export("a", "b")),
    "export/conversations-001.json": json.dumps(export("c")),
    "export/user.json": '{"id": "user-1"}',
    "export/shared_conversations.json": '[{"id": "s1"}]',
    "export/chat.html": "<html>",
}


def zipped(files: dict[str, str], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


# --- where conversations are --------------------------------------------------------------------------------------


def test_a_zip_file_with_shards_is_read(tmp_path: Path) -> None:
    """ChatGPT's zip file is read with all its shards, in order, from its path, its bytes, or open; nothing else is."""
    path = zipped(SHARDS, tmp_path / "export.zip")

    assert outcomes(from_chatgpt(path)) == ["a", "b", "c"]
    assert outcomes(from_chatgpt(path.read_bytes())) == ["a", "b", "c"]
    with path.open("rb") as opened:
        assert outcomes(from_chatgpt(opened)) == ["a", "b", "c"]


def test_an_unpacked_zip_file_is_read(tmp_path: Path) -> None:
    """The folder of an unpacked zip file is read with all its shards, and so is a single file, however often."""
    for name, text in SHARDS.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    conversations = from_chatgpt(tmp_path)

    assert outcomes(conversations) == outcomes(conversations) == ["a", "b", "c"]
    assert outcomes(from_chatgpt(tmp_path / "export/conversations-001.json")) == ["c"]
    with (tmp_path / "export/conversations-001.json").open(encoding="utf-8") as opened:
        assert outcomes(from_chatgpt(opened)) == ["c"]


def test_a_zip_file_without_conversations_json_is_read(tmp_path: Path) -> None:
    """Without a file of the usual name every JSON file of a zip file is read; without any, an error says so."""
    named = zipped({"mine/old.json": json.dumps(export("a"))}, tmp_path / "named.zip")
    empty = zipped({"chat.html": "<html>"}, tmp_path / "empty.zip")

    assert outcomes(from_chatgpt(named)) == ["a"]
    with pytest.raises(InvalidInputError, match=r"no conversations\.json"):
        list(from_chatgpt(empty))


def test_a_broken_shard_is_named_and_the_next_one_is_read(tmp_path: Path) -> None:
    """A shard that is cut off or empty is named, what it has is read, and the next shard follows."""
    shards = {
        "conversations-000.json": json.dumps(export("a", "b"))[:-9],
        "conversations-001.json": json.dumps(export("c"))[:-1],
        "conversations-002.json": " ",
        "conversations-003.json": json.dumps(export("d")),
    }

    found = list(from_chatgpt(zipped(shards, tmp_path / "export.zip")))

    assert outcomes(found) == [
        "a",
        "conversations-000.json, entry 1",
        "c",
        "conversations-001.json, entry 1",
        "conversations-002.json",
        "d",
    ]
    reasons = [each.reason for each in found if isinstance(each, Skipped)]
    assert ["cut off" in reason for reason in reasons] == [True, True, False]


def test_a_broken_zip_file_is_refused(tmp_path: Path) -> None:
    """A zip file that is cut off, or read from a pipe, raises voltmem's error; a damaged file in it is named."""
    path = zipped(SHARDS, tmp_path / "export.zip")
    damaged = bytearray(path.read_bytes())
    damaged[80:90] = bytes(10)

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert outcomes(from_chatgpt(bytes(damaged))) == ["export/conversations-000.json", "c"]
    for source in (path.read_bytes()[:-40], Pipe(path.read_bytes())):
        with pytest.raises(InvalidInputError, match="zip"):
            list(from_chatgpt(source))
    with pytest.raises(FileNotFoundError):
        list(from_chatgpt(tmp_path / "nowhere.json"))
    with pytest.raises(InvalidInputError, match="UTF-16"):
        list(from_chatgpt("[]".encode("utf-16")))


# --- pieces -------------------------------------------------------------------------------------------------------


def chunks(text: bytes, size: int) -> Iterator[bytes]:
    return (text[place : place + size] for place in range(0, len(text), size))


@given(st.lists(JSON, max_size=5), st.integers(1, 9), st.sampled_from([None, 2]), st.booleans())
def test_pieces_are_the_elements_whatever_the_chunks(values: Any, size: int, indent: Any, escaped: bool) -> None:
    """The elements of a list are found wherever chunks begin and end, and so are values that follow each other."""
    values = ["x" * HEAD, *values]  # the beginning is read at once
    text = json.dumps(values, indent=indent, ensure_ascii=escaped).encode("utf-8", "surrogatepass")

    found = list(pieces(chunks(text, size)))
    inside = list(pieces(chunks(b'{"conversations": ' + text + b', "more": [1, "]"]}', size)))

    assert repr([json.loads(piece.text) for piece in found]) == repr(json.loads(text))
    assert [piece.text for piece in inside] == [piece.text for piece in found]
    assert all(piece.is_element and not piece.problem for piece in found)


@given(st.lists(JSON.filter(lambda value: isinstance(value, list | dict)), min_size=2, max_size=4), st.integers(9, 99))
def test_pieces_are_lines(values: list[Any], size: int) -> None:
    """JSON lines are read line by line, also those after a broken one."""
    lines = [json.dumps(value).encode() for value in (*[["x" * (HEAD // 2)]] * 2, *values)]
    text = b"\n".join([lines[0], b"{", *lines[1:]]) + b"\n\n"

    found = list(pieces(chunks(text, size)))

    assert [piece.text for piece in found] == [lines[0], b"{", *lines[1:]]
    assert not any(piece.is_element for piece in found)


@given(st.binary(max_size=30), st.integers(1, 5))
def test_any_bytes_are_pieces(text: bytes, size: int) -> None:
    """Any bytes are read, and nothing but separators is lost."""
    text = b"[%s," % json.dumps("x" * HEAD).encode() + text

    found = list(pieces(chunks(text, size)))

    kept = b"".join(piece.text for piece in found)
    assert [byte for byte in kept if byte not in b" \n\r\t\v\f,[]{}"] == [
        byte for byte in text if byte not in b" \n\r\t\v\f,[]{}"
    ]


def test_an_entry_that_is_too_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry beyond the bound is not kept in memory; it is skipped, and the others are read."""
    monkeypatch.setattr(_pieces, "LONGEST", 3000)
    long = chat(node("m1", None, "x" * 4000), title="long")
    entries = [*export("a"), long, *export("b")]

    for text in (json.dumps(entries), "\n".join(map(json.dumps, entries))):
        found = list(from_chatgpt(text))
        assert outcomes(found) == ["a", "entry 1", "b"]
        assert any(isinstance(each, Skipped) and "at most 3,000" in each.reason for each in found)


# --- memory and the event loop ------------------------------------------------------------------------------------


class Generated(io.BytesIO):
    """An export of any length, as an open file that makes its text when it is read."""

    def __init__(self, count: int, text: str) -> None:
        super().__init__()
        self.handed_out = 0
        self.threads: set[int] = set()
        self._parts = iter([b"[", *(b"," * (number > 0) + self._entry(number, text) for number in range(count)), b"]"])

    @staticmethod
    def _entry(number: int, text: str) -> bytes:
        return json.dumps(chat(node("m1", None, text), title=f"{number}", conversation_id=f"c{number}")).encode()

    def seekable(self) -> bool:
        return False

    def read(self, size: int | None = -1, /) -> bytes:
        self.threads.add(threading.get_ident())
        part = next(self._parts, b"")
        self.handed_out += len(part)
        return part


def test_a_file_is_read_one_conversation_at_a_time() -> None:
    """No more of a file is read than the next conversation needs."""
    file = Generated(50, "Hello")
    read = []
    for conversation in from_chatgpt(file):
        assert isinstance(conversation, ImportedConversation)
        read.append(file.handed_out)

    shares = [read[0], *(after - before for before, after in pairwise(read))]
    assert max(shares) < 2 * read[0]


@pytest.mark.parametrize("packed", [False, True], ids=["json", "zip"])
def test_memory_does_not_grow_with_the_file(packed: bool, tmp_path: Path) -> None:
    """The memory that reading takes depends on the longest conversation, and not on the size of the file."""
    path = tmp_path / "conversations.json"
    text = "Hello [there] {you} \N{SNOWMAN} \\ " * 500
    entry = json.dumps(chat(node("m1", None, text)))
    with path.open("w") as file:
        file.write(f"[{entry}" + f",\n{entry}" * 300 + "]")
    source = zipped({path.name: path.read_text()}, tmp_path / "export.zip") if packed else path
    list(from_chatgpt(json.dumps(export("a"))))  # what is imported at first use

    tracemalloc.start()
    count = sum(1 for _ in from_chatgpt(source))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 301
    assert peak < path.stat().st_size / 8


async def test_reading_does_not_block_the_event_loop() -> None:
    """A file is read in a thread: while a read waits, the event loop goes on."""
    goes_on = threading.Event()

    class Waiting(Generated):
        def read(self, size: int | None = -1, /) -> bytes:
            assert goes_on.wait(30)
            return super().read(size)

    file = Waiting(3, "Hello")
    asyncio.get_running_loop().call_soon(goes_on.set)

    assert [each.title async for each in from_chatgpt(file) if isinstance(each, ImportedConversation)] == [
        "0",
        "1",
        "2",
    ]
    assert threading.get_ident() not in file.threads


async def test_a_generator_of_the_caller_stays_in_its_thread() -> None:
    """Values from a generator are read in the caller's thread, to which they may be bound."""
    threads = set()

    def messages() -> Iterator[list[dict[str, str]]]:
        for _ in range(2):
            threads.add(threading.get_ident())
            yield [{"role": "user", "content": "Hello"}]

    assert len([each async for each in from_openai(messages())]) == 2
    assert threads == {threading.get_ident()}


async def test_a_cancelled_reading_closes_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the task that reads is cancelled, the file is closed after the read that is under way."""
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(export("a", "b")))
    opened: list[BinaryIO] = []
    begun, goes_on, closed = asyncio.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            loop.call_soon_threadsafe(begun.set)
            assert goes_on.wait(30)
            return super().read(size)

        def close(self) -> None:
            super().close()
            loop.call_soon_threadsafe(closed.set)

    def slow(self: Path, mode: str) -> BinaryIO:
        opened.append(Slow(self.read_bytes() if mode != "rb" else b"[]"))
        return opened[-1]

    monkeypatch.setattr(Path, "open", slow)

    async def read() -> None:
        async for _ in from_chatgpt(path):
            pass

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [file.closed for file in opened] == [False]
    goes_on.set()
    await closed.wait()
    assert [file.closed for file in opened] == [True]

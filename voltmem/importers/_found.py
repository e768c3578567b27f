"""What an importer finds in a file: conversations, and what it skips."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeAlias

from voltmem._areas.transfer.models import ImportedConversation, Skipped
from voltmem._values import storable_text, strip_bom
from voltmem.errors import InvalidInputError
from voltmem.importers._files import File, opened
from voltmem.importers._pieces import pieces
from voltmem.importers._programs import program_of

Found: TypeAlias = ImportedConversation | Skipped


class Conversations:
    """
    The conversations of a file, read one at a time, for import_conversations().

    ``for`` and ``async for`` yield each conversation as an ImportedConversation, and each entry of the file that cannot
    be read as Skipped. ``async for`` reads a file in a thread, so that the event loop goes on.
    """

    def __init__(self, read: Callable[[], Generator[Found]], *, in_thread: bool) -> None:
        self._read = read
        self._in_thread = in_thread

    def __iter__(self) -> Iterator[Found]:
        """Read from the beginning."""
        return _unless_nothing(self._read())

    async def __aiter__(self) -> AsyncGenerator[Found]:
        """Read from the beginning, a file in a thread."""
        found = _unless_nothing(self._read())
        if not self._in_thread:  # a generator of the caller's may be bound to its thread
            for each in found:
                yield each
            return
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "voltmem-importer")
        try:
            while (each := await loop.run_in_executor(thread, partial(next, found, None))) is not None:
                yield each
        finally:  # a read that a cancelled task leaves under way ends, and its file is closed with the generator
            thread.shutdown(wait=False)


def _unless_nothing(found: Generator[Found]) -> Generator[Found]:
    """Yield all of it. Raises InvalidInputError if entries were skipped and no conversation was found."""
    first: Skipped | None = None
    has_conversation = False
    for each in found:
        if isinstance(each, ImportedConversation):
            has_conversation = True
        else:
            first = first or each
        yield each
    if first is not None and not has_conversation:
        raise InvalidInputError(f"there is no conversation that can be read. {first.id}: {first.reason}")


class Entry(NamedTuple):
    """A value of a file, or why there is none."""

    place: str
    """Where it is, for messages: "entry 3", "conversations-001.json, entry 3"."""
    value: object
    problem: str = ""
    group: tuple[str, int] = ("", 0)
    """The outermost value that it is in."""
    is_element: bool = False


def entries(source: File) -> Iterator[Entry]:
    """Yield the values in a file, counted from 0."""
    for name, chunks in opened(source):
        number = 0
        try:
            for number, piece in enumerate(pieces(chunks)):
                value, problem = (None, piece.problem) if piece.problem else parsed(piece.text)
                inside = [value] if piece.is_element else unwrapped(value)
                for place, each in enumerate(inside, number):
                    where = f"{name}, entry {place}" if name else f"entry {place}"
                    yield Entry(where, each, problem, (name, piece.value), piece.is_element or each is not value)
        except InvalidInputError as error:
            if not name:
                raise
            yield Entry(name, None, str(error), (name, -1))


def unwrapped(value: object) -> list[object]:
    """Return the conversations in the object that some programs put around them; of any other value itself."""
    if not isinstance(value, Mapping) or program_of(value) is not None or not {"mapping", "messages"}.isdisjoint(value):
        return [value]
    found = value.get("conversations")
    return found if isinstance(found, list) else [value]


def parsed(text: str | bytes) -> tuple[object, str]:
    """Return the value of JSON text, or what is wrong with it, without what it says."""
    try:
        return json.loads(strip_bom(text)), ""
    except (ValueError, RecursionError) as error:
        end = text[-6:] if isinstance(text, str) else text[-6:].decode(errors="replace")
        if end.endswith((".json", ".jsonl", ".zip")):
            return None, "it is not JSON: pass a path as pathlib.Path"
        return None, f"it is not JSON: {error}"


def skipped(place: str, reason: str) -> Skipped:
    """Return an entry without an id as skipped."""
    return Skipped(kind="conversation", id=place, reason=storable_text(reason))

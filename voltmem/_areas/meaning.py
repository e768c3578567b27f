"""What a storage needs to find messages by what they mean: the caller's function, and the table of vectors."""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self, cast

from voltmem._postgres.driver import logger
from voltmem._postgres.migrations.vectors import VectorStatements, why_missing
from voltmem._tables import Tables, rendered
from voltmem._values import short_repr
from voltmem.errors import EmbeddingError, SchemaError
from voltmem.options import Recall

if TYPE_CHECKING:
    from voltmem._postgres.connection import Executor

# Seconds after which a database without the table is looked at again.
_LOOKS_AGAIN: Final = 60.0
# Of a very long text, so many pieces are embedded.
MOST_PIECES: Final = 64
# Vectors with a larger number do not fit into a halfvec, and those with smaller ones only lose digits. They are scaled:
# what is compared is their direction.
_LARGEST: Final = 65_504.0
_SMALLEST: Final = 1e-3
# What any embed() can embed, unless it does not work at all.
_HARMLESS: Final = "Hello."


class Meaning:
    """The vectors of a storage. Whether the database has the table is looked up once."""

    def __init__(self, recall: Recall, tables: Tables) -> None:
        self.recall = recall
        self.has_imported = False
        """Whether messages were imported since the task in the background looked at all conversations."""
        self._names = tables
        self._tables: Tables | None = None
        self._lacking = ""
        self._looked = float("-inf")

    @classmethod
    def of(cls, recall: Recall | None, tables: Tables) -> Self | None:
        """Return the vectors of a storage with this option, if it has them."""
        return None if recall is None else cls(recall, tables)

    async def tables(self, executor: Executor) -> Tables | None:
        """Return the names for statements about vectors; None if there is no table of vectors, which is logged once."""
        if self._tables is None and time.monotonic() - self._looked > _LOOKS_AGAIN:
            row = await executor.fetchrow(rendered(VectorStatements, self._names).look)
            assert row is not None  # the statement has one row always
            self._looked = time.monotonic()
            if row["exists"] and row["place"] and not row["distributed"]:
                self._tables = replace(self._names, vectors=row["place"])
            elif lacking := why_missing(row, self._names):
                if not self._lacking:
                    logger.warning("recall() goes by words alone: %s", lacking)
                self._lacking = lacking
        return self._tables

    async def require_tables(self, executor: Executor) -> Tables:
        """Return the names for statements about vectors; SchemaError if there is no table of vectors."""
        self._looked = float("-inf")
        tables = await self.tables(executor)
        if tables is None:
            raise SchemaError(self._lacking)
        return tables

    async def question(self, text: str) -> str:
        """Return the vector of what is looked for, as SQL reads it. EmbeddingError if it does not come in time."""
        seconds = self.recall.question_timeout
        waiting = asyncio.timeout(seconds)
        try:
            async with waiting:
                (vector,) = await self.vectors([text[: self.recall.piece]])
        except TimeoutError as error:
            if not waiting.expired():
                raise
            raise EmbeddingError(f"embed() of {self.recall.model!r} took more than {seconds:g} seconds") from error
        return vector

    async def check_works(self) -> None:
        """Raise what embed() raises for any text."""
        await self.vectors([_HARMLESS])

    async def vectors(self, texts: Sequence[str]) -> list[str]:
        """Return the vectors of texts as SQL reads them. EmbeddingError if embed() returns something else."""
        made: list[str] = []
        for start in range(0, len(texts), self.recall.batch):
            asked = texts[start : start + self.recall.batch]
            made += self._checked(await self._embedded(asked), len(asked))
        return made

    async def _embedded(self, texts: Sequence[str]) -> object:
        given: object = self.recall.embed(texts)
        if not inspect.isawaitable(given):
            raise EmbeddingError(
                f"embed() of {self.recall.model!r} returned {short_repr(given)} at once: make it an async function"
            )
        return await given

    def _checked(self, given: object, count: int) -> Iterator[str]:
        model, dimensions = self.recall.model, self.recall.dimensions
        vectors = _listed(given) or []
        if len(vectors) != count:
            raise EmbeddingError(
                f"embed() of {model!r} returned {len(vectors)} vectors for {count} texts: return one for each, in order"
            )
        for vector in vectors:
            numbers = _numbers(vector)
            if numbers is None:
                raise EmbeddingError(
                    f"embed() of {model!r} returned {short_repr(vector)} among the vectors: return a list of numbers "
                    "for each text"
                )
            if len(numbers) != dimensions:
                raise EmbeddingError(
                    f"embed() of {model!r} returned a vector of {len(numbers)} numbers, and recall=Recall(…) says "
                    f"dimensions={dimensions}: pass the model's own"
                )
            if not all(map(math.isfinite, numbers)) or not any(numbers):
                raise EmbeddingError(
                    f"embed() of {model!r} returned a vector that has no direction: {short_repr(numbers[:4])} …"
                )
            yield f"[{','.join(f'{number:.6g}' for number in _fitting(numbers))}]"


def _listed(given: object) -> list[object] | None:
    """Return the values of a list, an array or another iterable; None for what is none."""
    if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping):
        with suppress(TypeError):  # an array of numpy without a dimension
            return list(cast(Iterable[object], given))
    return None


def _numbers(vector: object) -> list[float] | None:
    with suppress(TypeError, ValueError, OverflowError):
        values = _listed(vector)
        return None if values is None else [float(cast(float, value)) for value in values]
    return None


def _fitting(numbers: Sequence[float]) -> Sequence[float]:
    largest = max(map(abs, numbers))
    return numbers if _SMALLEST <= largest <= _LARGEST else [number / largest for number in numbers]


def pieces(text: str, longest: int) -> list[str]:
    """Return the pieces of a text, each at most so long, cut at the end of a sentence or a word if there is one."""
    text, found = text.strip(), list[str]()
    while len(text) > longest and len(found) < MOST_PIECES:
        end = max(text.rfind(mark, longest // 2, longest) + 1 for mark in ("\n", ". ", "。", "! ", "? "))
        end = end or text.rfind(" ", longest // 2, longest) + 1 or longest
        found.append(text[:end].strip())
        text = text[end:].strip()
    return [*found, text] if text and len(found) < MOST_PIECES else found

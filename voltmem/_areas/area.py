"""What all areas share: the storage's options, the way to the database, and the statements of a subject."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from voltmem._postgres.connection import Executor
from voltmem._tables import Tables, rendered
from voltmem.options import StorageOptions

StatementsT = TypeVar("StatementsT")


class Access(NamedTuple):
    """What a statement needs: the options of a storage, and what sends it."""

    options: StorageOptions
    executor: Executor

    def sql(self, kind: Callable[[Tables], StatementsT]) -> StatementsT:
        """Return the statements of a subject, rendered for the storage's tables."""
        return rendered(kind, self.options.tables)


class Area:
    """The base of all areas. PostgresStorage inherits from each of them."""

    def __init__(self, options: StorageOptions, executor: Executor) -> None:
        self._options = options
        self._executor = executor

    def _sql(self, kind: Callable[[Tables], StatementsT]) -> StatementsT:
        return rendered(kind, self._options.tables)


def access(area: Area) -> Access:
    """Return what code beside the areas (an agent's memory, an adapter) needs to send statements of its own."""
    return Access(area._options, area._executor)

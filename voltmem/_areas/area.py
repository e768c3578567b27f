"""The base of all areas: the options of the storage, the executor, and the statements of an area."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from voltmem._postgres.connection import Executor
from voltmem._tables import Tables, rendered
from voltmem.options import StorageOptions

StatementsT = TypeVar("StatementsT")


class Access(NamedTuple):
    """The options of a storage and its executor, to send statements."""

    options: StorageOptions
    executor: Executor

    def sql(self, kind: Callable[[Tables], StatementsT]) -> StatementsT:
        """Return the statements of this kind, rendered for the storage's tables."""
        return rendered(kind, self.options.tables)


class Area:
    """The base of all areas. PostgresStorage inherits from each of them."""

    def __init__(self, options: StorageOptions, executor: Executor) -> None:
        self._options = options
        self._executor = executor

    def _sql(self, kind: Callable[[Tables], StatementsT]) -> StatementsT:
        return rendered(kind, self._options.tables)


def access(area: Area) -> Access:
    """Return the access of an area, for code outside of the areas (an agent's memory, an adapter)."""
    return Access(area._options, area._executor)

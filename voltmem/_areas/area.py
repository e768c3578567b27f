"""The base of all areas: the options of the storage, the executor, the statements of an area, context managers."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, ParamSpec, TypeVar

from voltmem._postgres.connection import Executor
from voltmem._tables import Tables, rendered
from voltmem._values import short_repr
from voltmem.errors import InvalidOptionError
from voltmem.options import StorageOptions

if TYPE_CHECKING:
    from voltmem._areas.meaning import Meaning

StatementsT = TypeVar("StatementsT")
T = TypeVar("T")
Parameters = ParamSpec("Parameters")


class Access(NamedTuple):
    """The options of a storage and its executor, to send statements; and its vectors, if it has them."""

    options: StorageOptions
    executor: Executor
    meaning: Meaning | None = None

    def sql(self, kind: Callable[[Tables], StatementsT]) -> StatementsT:
        """Return the statements of this kind, rendered for the storage's tables."""
        return rendered(kind, self.options.tables)


class Area:
    """The base of all areas. PostgresStorage inherits from each of them."""

    def __init__(self, options: StorageOptions, executor: Executor, meaning: Meaning | None = None) -> None:
        self._options = options
        self._executor = executor
        self._meaning = meaning

    def _sql(self, kind: Callable[[Tables], StatementsT]) -> StatementsT:
        return rendered(kind, self._options.tables)


class OnlyAsync:
    """The base of what ``async with`` enters: for ``with``, TypeError says what to use."""

    if not TYPE_CHECKING:  # type checkers say it themselves

        def __enter__(self) -> NoReturn:
            """Refuse ``with``."""
            raise TypeError(
                "this is asynchronous: use 'async with', or 'with' and voltmem.sync.PostgresStorage in code that blocks"
            )

        def __exit__(self, *_: object) -> None:
            """Exist, as Python asks for it before it calls __enter__()."""


class _AsyncContext(OnlyAsync, AbstractAsyncContextManager[T]):
    """An asynchronous context manager."""

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        self._context = context

    async def __aenter__(self) -> T:
        return await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._context.__aexit__(kind, error, traceback)


def async_context(
    function: Callable[Parameters, AsyncIterator[T]],
) -> Callable[Parameters, AbstractAsyncContextManager[T]]:
    """Like contextlib.asynccontextmanager, with a clear error for ``with``."""
    make = asynccontextmanager(function)

    @wraps(function)
    def made(*arguments: Parameters.args, **named: Parameters.kwargs) -> AbstractAsyncContextManager[T]:
        return _AsyncContext(make(*arguments, **named))

    return made


# Reading this many characters keeps the event loop busy for some milliseconds; a thread costs a tenth of one.
_LONG: Final = 100_000


async def off_loop_if_long(size: int, function: Callable[..., T], *arguments: object) -> T:
    """Call a function on so many characters: long work in a thread, so that the event loop serves others meanwhile."""
    if size < _LONG:
        return function(*arguments)
    return await to_thread(function, *arguments)


def check_storage(storage: object, *classes: type) -> None:
    """Raise InvalidOptionError unless the storage is one of these classes: asynchronous, blocking, or either."""
    if not isinstance(storage, classes):
        needed = " or a ".join(f"{_package(each)}.PostgresStorage" for each in classes)
        given = f"{_package(type(storage))}.{type(storage).__qualname__}"
        # A string may be a connection string with a password.
        shown = "" if isinstance(storage, str) else f"{short_repr(storage)}, "
        raise InvalidOptionError(f"storage must be a {needed}, not {shown}a {given}")


def _package(cls: type) -> str:
    """Return the package from which callers import a class."""
    is_internal = cls.__module__.startswith("voltmem.") and cls.__module__ != "voltmem.sync"
    return "voltmem" if is_internal else cls.__module__


def access(area: Area) -> Access:
    """
    Return the access of an area, for code outside of the areas (an agent's memory, an adapter).

    Raises:
        InvalidOptionError: It is not an asynchronous storage.
    """
    check_storage(area, Area)
    return Access(area._options, area._executor, area._meaning)

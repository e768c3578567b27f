"""Calls what the application gives as a function. A plain one runs in a thread, so that it may block."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Final

# Of their own, since some block for long, also after "stop", and the loop's usual ones are few: six on two cores.
_THREADS: Final = ThreadPoolExecutor(256, "voltmem: chat")


async def call(function: Callable[..., Any], *arguments: object, **named: object) -> Any:
    """Call a function or a generator, plain or asynchronous. Returns what it returns, awaited if it can be."""
    given = partial(function, *arguments, **named)
    made = await in_thread(given) if _is_plain(function) else given()
    return await made if inspect.isawaitable(made) else made


def in_thread(function: Callable[..., Any], *arguments: object) -> asyncio.Future[Any]:
    """Call a plain function in a thread, in the context of the caller."""
    called = partial(copy_context().run, _called, function, *arguments)
    return asyncio.get_running_loop().run_in_executor(_THREADS, called)


def _called(function: Callable[..., Any], *arguments: object) -> Any:
    try:
        return function(*arguments)
    except StopIteration as error:  # a future never ends with it
        raise RuntimeError(f"a function raised {error!r}") from error


def _is_plain(function: Callable[..., Any]) -> bool:
    """Return whether a call of the function may block."""
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    candidates = (function, getattr(function, "__call__", None))  # noqa: B004 - an object with such a method is one, too
    return not any(kind(each) for kind in kinds for each in candidates)

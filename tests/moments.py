"""Cancel a call at each of its suspensions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from types import coroutine
from typing import Any, Literal

import pytest

# A waiting task is cancelled before its answer has arrived, or after it, but before the task has run.
Moment = Literal["while it waits", "when the answer is there"]
MOMENTS: tuple[Moment, ...] = ("while it waits", "when the answer is there")
every_moment = pytest.mark.parametrize("moment", MOMENTS)


async def cancelled_at(call: Callable[[], Awaitable[object]], suspension: int, moment: Moment) -> bool:
    """Run the call as a task, and cancel it at its n-th suspension, from 1. Returns whether it has that many."""
    seen = 0

    def suspended(future: asyncio.Future[object] | None) -> None:
        nonlocal seen
        seen += 1
        if seen != suspension:
            return
        if future is None or moment == "while it waits":
            asyncio.get_running_loop().call_soon(task.cancel)
        else:
            future.add_done_callback(lambda _: task.cancel())  # is before the callback that wakes the task

    async def run() -> None:
        await call()

    async def watched() -> None:
        await _watched(run(), suspended)

    task = asyncio.create_task(watched())
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled() == (seen >= suspension), "a call that is cancelled ends as cancelled"
    return task.cancelled()


@coroutine
def _watched(
    work: Coroutine[Any, Any, None], suspended: Callable[[asyncio.Future[object] | None], None]
) -> Generator[Any, Any, None]:
    go_on: Callable[[], Any] = partial(work.send, None)
    while True:
        try:
            future = go_on()
        except StopIteration:
            return
        suspended(future)
        try:
            yield future
            go_on = partial(work.send, None)
        except BaseException as error:
            go_on = partial(work.throw, error)

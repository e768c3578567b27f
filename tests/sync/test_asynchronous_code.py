"""voltmem.sync and asynchronous code: what blocks says so, and run() and submit() await."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

import voltmem
from voltmem import InvalidInputError
from voltmem.sync import PostgresStorage

# --- async with and async for ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "opened",
    [lambda storage: storage, lambda storage: storage.transaction(), lambda storage: storage.record_run("cook")],
)
async def test_async_with_is_refused(opened: Any, storage: PostgresStorage) -> None:
    """``async with`` on a blocking storage, a transaction or a run says to use ``with``, and opens nothing."""
    with pytest.raises(TypeError, match=r"blocks: use 'with', or voltmem\.PostgresStorage"):
        async with opened(storage):
            pass


async def test_async_for_is_refused(storage: PostgresStorage) -> None:
    """``async for`` over a blocking builder says to use ``for``."""
    with pytest.raises(TypeError, match=r"blocks: use 'for', or voltmem\.PostgresStorage"):
        async for _ in storage.get_user_conversations("ada"):  # type: ignore[attr-defined]
            pass


# --- run() and submit() ---------------------------------------------------------------------------------------------


async def two(storage: voltmem.Storage) -> tuple[int, int]:
    return await storage.count_conversations(), await storage.count_conversations(user_id="ada")


def both(storage: voltmem.Storage) -> Awaitable[tuple[int, int]]:
    return asyncio.gather(storage.count_conversations(), storage.count_conversations(user_id="ada"))


@pytest.mark.parametrize(
    ("work", "result"),
    [
        (two, (1, 1)),
        (both, [1, 1]),
        (lambda storage: storage.get_user_conversations("ada").limit(0), []),
        (lambda storage: asyncio.ensure_future(two(storage)), (1, 1)),
    ],
    ids=["coroutine", "gather", "builder", "task"],
)
def test_run_awaits_any_awaitable(work: Any, result: object, storage: PostgresStorage, c1: str) -> None:
    """run() and submit() await whatever can be awaited, in the storage's event loop."""
    assert storage.run(work) == result
    assert storage.submit(work).result(60) == result


@pytest.mark.parametrize(
    "work", [lambda _: 5, lambda storage: storage.export_user("ada")], ids=["number", "async generator"]
)
def test_run_refuses_a_result_that_cannot_be_awaited(work: Any, storage: PostgresStorage) -> None:
    """run() and submit() say what work must be, and the storage works on."""
    with pytest.raises(InvalidInputError, match="which cannot be awaited: pass an async function"):
        storage.run(work)
    with pytest.raises(InvalidInputError, match="which cannot be awaited: pass an async function"):
        storage.submit(work).result(60)

    assert storage.count_conversations() == 0


def test_run_refuses_work_that_is_not_a_function(storage: PostgresStorage) -> None:
    """run() and submit() refuse a coroutine at once, and close it."""
    for call in (storage.run, storage.submit):
        with pytest.raises(InvalidInputError, match="is not a function: pass an async function"):
            call(two(storage.asynchronous))  # type: ignore[arg-type]

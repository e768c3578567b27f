"""Runs that are recorded while they happen: the end is always written, and hides no exception."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import MakeStorage
from tests.proxy import Proxy
from voltmem import (
    AgentHistoryEntry,
    AgentRun,
    DatabaseError,
    HistoryEntryNotFoundError,
    InvalidInputError,
    PostgresStorage,
)


async def entry_of(storage: PostgresStorage, id: str) -> AgentHistoryEntry:
    entry = await storage.get_history_entry(id)
    assert entry is not None
    return entry


def names(entry: AgentHistoryEntry) -> list[tuple[int, str, str | None]]:
    return [(depth, event.name, event.status) for depth, event in entry.event_tree()]


# --- what is written, and when ------------------------------------------------------------------------------------


async def test_record_run_writes_the_run_from_its_start(storage: PostgresStorage) -> None:
    """record_run() writes a "working" entry while the body runs, with steps and events, then "completed"."""
    about: Any = {"input": {"text": "Hi"}, "user_id": "ada", "conversation_id": "c1", "metadata": {"n": 1}}
    async with storage.record_run("cook", **about) as run:
        started = await entry_of(storage, run.id)
        assert (started.agent_id, started.status, started.output) == ("cook", "working", None)
        assert {name: getattr(started, name) for name in about} == about

        step = await run.add_step("tool_call", name="search", arguments={"q": 1}, role="assistant")
        event = await run.add_event("memory:read", type="memory", output=0, tags=["fast"])
        so_far = await entry_of(storage, run.id)
        assert (so_far.steps, so_far.events) == ([step], [event])
        assert step.more["role"] == "assistant"

        run.output, run.usage, run.metadata = "", {"totalTokens": 0}, {"n": 2}

    ended = await entry_of(storage, run.id)
    assert (ended.status, ended.output, ended.usage, ended.metadata) == ("completed", "", {"totalTokens": 0}, {"n": 2})
    assert (ended.input, ended.timestamp, ended.events) == (about["input"], started.timestamp, [event])


async def test_a_run_that_was_deleted_is_not_created_again(
    storage: PostgresStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """If the user is deleted during a run, the end stores nothing and raises; after an error, that is logged."""
    with pytest.raises(HistoryEntryNotFoundError, match="r1"):
        async with storage.record_run("cook", input="My secret", user_id="ada", id="r1") as run:
            await storage.delete_user("ada")
            run.output = "Your secret"
    with pytest.raises(ZeroDivisionError):
        async with storage.record_run("cook", user_id="ada", id="r1"), storage.record_run("cook", user_id="ada"):
            await storage.delete_user("ada")
            raise ZeroDivisionError

    assert (await storage.list_history_entries()).entries == []
    assert "could not be written" in caplog.text


async def test_update_history_entry_creates_none_unless_it_is_told_to(storage: PostgresStorage) -> None:
    """After delete_user() the end of a run does not bring its entry back, which would be nobody's."""
    await storage.add_history_entry("h1", {"status": "working", "userId": "ada"}, "cook")
    await storage.delete_user("ada")

    with pytest.raises(HistoryEntryNotFoundError, match="h1"):
        await storage.update_history_entry("h1", {"status": "completed"}, "cook")
    assert await storage.get_history_entry("h1") is None

    await storage.add_history_entry("h1", {"status": "working", "input": [1], "output": "so far"}, "cook")
    changed = await storage.update_history_entry("h1", {"status": "completed", "output": None}, "chef")

    assert (changed.status, changed.input, changed.output, changed.agent_id) == ("completed", [1], None, "chef")
    assert await storage.get_history_entry("h1") == changed


async def test_a_run_keeps_what_its_body_does_not_set(storage: PostgresStorage) -> None:
    """The end writes the status and the fields that were set, and clears no others."""
    async with storage.record_run("cook", metadata={"n": 1}, id="r1", user_id="ada") as run:
        await storage.update_history_entry("r1", {"usage": {"totalTokens": 7}}, "cook")

    entry = await entry_of(storage, "r1")
    assert (run.id, run.agent_id) == ("r1", "cook")
    assert (entry.status, entry.usage, entry.metadata, entry.user_id) == (
        "completed",
        {"totalTokens": 7},
        {"n": 1},
        "ada",
    )


async def test_an_event_lasts_as_long_as_its_block(storage: PostgresStorage) -> None:
    """An event is "running" until its block ends, then "completed", with the output that the block set."""
    async with storage.record_run("cook") as run:
        async with run.event("tool:search", type="tool", input={"q": "soup"}, tags=["web"]) as event:
            (begun,) = (await entry_of(storage, run.id)).events
            event.output = ["a recipe"]
        (ended,) = (await entry_of(storage, run.id)).events

    assert (begun.status, begun.end_time, begun.output) == ("running", None, None)
    assert (ended.id, ended.status, ended.output) == (event.id, "completed", ["a recipe"])
    assert (ended.type, ended.input, ended.tags, ended.level) == ("tool", {"q": "soup"}, ["web"], "INFO")
    assert ended.start_time == begun.start_time
    assert ended.end_time is not None
    assert ended.end_time >= ended.start_time


async def test_events_that_begin_within_an_event_belong_to_it(storage: PostgresStorage) -> None:
    """Events that begin within an event's block, or in tasks started there, become its children; later ones do not."""
    async with storage.record_run("cook") as run:

        async def look(name: str) -> None:
            async with run.event(f"look:{name}"):
                await asyncio.sleep(0)
                await run.add_event(f"found:{name}")

        async with run.event("plan"), asyncio.TaskGroup() as group:
            group.create_task(look("shelf"))
            group.create_task(look("shop"))
        await run.add_event("done")

    tree = names(await entry_of(storage, run.id))
    below = {tree[place][1]: tree[place - 1][1] for place in range(len(tree)) if tree[place][0] == 2}
    assert tree[0] == (0, "plan", "completed")
    assert tree[-1] == (0, "done", "completed")
    assert sorted(name for depth, name, _ in tree if depth == 1) == ["look:shelf", "look:shop"]
    assert below == {"found:shelf": "look:shelf", "found:shop": "look:shop"}


async def test_two_runs_at_once_know_nothing_of_each_other(storage: PostgresStorage) -> None:
    """A sub-agent's run within an event of another run has its own timeline; its parents are only its own events."""
    async with (
        storage.record_run("cook") as outer,
        outer.event("delegate"),
        storage.record_run("buyer") as inner,
        inner.event("buy"),
    ):
        await inner.add_event("paid")
        await outer.add_event("waited")

    assert names(await entry_of(storage, outer.id)) == [(0, "delegate", "completed"), (1, "waited", "completed")]
    assert names(await entry_of(storage, inner.id)) == [(0, "buy", "completed"), (1, "paid", "completed")]


async def test_record_run_in_a_transaction_is_undone_with_it(storage: PostgresStorage) -> None:
    """record_run() on a transaction's storage is kept by a commit and removed by a rollback."""
    async with storage.transaction() as tx, tx.record_run("cook", id="kept") as run:
        await run.add_event("inside")
    with pytest.raises(ValueError, match="undo"):
        async with storage.transaction() as tx, tx.record_run("cook", id="undone"):
            raise ValueError("undo")

    assert names(await entry_of(storage, "kept")) == [(0, "inside", "completed")]
    assert await storage.get_history_entry("undone") is None


@pytest.mark.parametrize(
    "arguments",
    [{"agent_id": "\x00"}, {"id": 7}, {"user_id": "x" * 1001}, {"input": object()}, {"metadata": {1: 1}}],
)
async def test_record_run_refuses_what_cannot_be_stored(storage: PostgresStorage, arguments: Any) -> None:
    """record_run() refuses an invalid argument before anything is sent."""
    with pytest.raises(InvalidInputError):
        storage.record_run(**{"agent_id": "cook", **arguments})


async def test_what_cannot_be_stored_cannot_be_set(storage: PostgresStorage) -> None:
    """Setting an output, usage or metadata that is not JSON raises an error, and the run ends with "error"."""
    unstorable: Any = object()
    with pytest.raises(InvalidInputError, match="output"):
        async with storage.record_run("cook", id="r1") as run:
            run.output = unstorable

    assert (await entry_of(storage, "r1")).status == "error"


# --- blocks that raise or are cancelled ---------------------------------------------------------------------------


async def test_record_run_whose_body_raises_is_in_error(storage: PostgresStorage) -> None:
    """
    record_run() re-raises the exception of its block, records it in the timeline, and writes the fields set so far.
    """
    burnt = ValueError("burnt \x00")
    with pytest.raises(ValueError, match="burnt") as raised:
        async with storage.record_run("cook", id="r1") as run, run.event("tool:fry", type="tool") as event:
            run.output, event.output = "half a meal", "smoke"
            raise burnt

    entry = await entry_of(storage, "r1")
    assert raised.value is burnt
    assert (entry.status, entry.output) == ("error", "half a meal")
    assert names(entry) == [(0, "tool:fry", "error"), (0, "agent:error", "error")]
    description = {"message": "burnt \x00", "code": "ValueError"}
    assert [(event.level, event.status_message) for event in entry.events] == [("ERROR", description)] * 2
    assert (entry.events[0].output, entry.events[1].error) == ("smoke", description)


class Kitchen:
    """A run that waits in its block, or while its end is being written, to be cancelled there."""

    def __init__(self, storage: PostgresStorage, proxy: Proxy) -> None:
        self.storage = storage
        self.proxy = proxy
        self.cooking = asyncio.Event()
        self.failure: Exception | None = None
        self.hanging = False

    async def cook(self) -> None:
        async with self.storage.record_run("cook", id="r1") as run, run.event("tool:fry"):
            self.cooking.set()
            try:
                await asyncio.Event().wait() if self.failure is None else None
            finally:
                if self.hanging:
                    self.proxy.hang()
            assert self.failure is not None
            raise self.failure


@pytest.fixture
async def kitchen(make_storage: MakeStorage, proxy: Proxy) -> AsyncIterator[Kitchen]:
    storage = make_storage(proxy.dsn, max_connections=1)
    await storage.open()
    kitchen = Kitchen(storage, proxy)
    yield kitchen
    proxy.flow()


async def test_record_run_whose_body_is_cancelled_says_so(kitchen: Kitchen) -> None:
    """record_run() writes "cancelled" for the run and its open event, and the task is cancelled."""
    task = asyncio.create_task(kitchen.cook())
    await kitchen.cooking.wait()
    task.cancel()
    await asyncio.wait([task])

    entry = await entry_of(kitchen.storage, "r1")
    assert task.cancelled()
    assert entry.status == "cancelled"
    assert names(entry) == [(0, "tool:fry", "cancelled")]


async def test_a_run_that_is_cancelled_again_while_its_end_is_written_is_written(kitchen: Kitchen) -> None:
    """However often the task is cancelled meanwhile, the end is written as "cancelled" before the task ends."""
    kitchen.hanging = True
    task = asyncio.create_task(kitchen.cook())
    await kitchen.cooking.wait()
    task.cancel()
    await kitchen.proxy.something_held()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    kitchen.proxy.flow()
    await asyncio.wait([task])

    entry = await entry_of(kitchen.storage, "r1")
    assert task.cancelled()
    assert entry.status == "cancelled"
    assert names(entry) == [(0, "tool:fry", "cancelled")]


async def test_a_run_is_ended_also_when_all_tasks_are_cancelled(kitchen: Kitchen) -> None:
    """The end of a run is written even when asyncio.run() cancels the task that writes it."""
    kitchen.hanging = True
    before = asyncio.all_tasks()
    task = asyncio.create_task(kitchen.cook())
    await kitchen.cooking.wait()
    task.cancel()
    await kitchen.proxy.something_held()
    ours = {each for each in asyncio.all_tasks() - before if "Proxy" not in repr(each)}
    for each in ours:
        each.cancel()
    kitchen.proxy.flow()
    await asyncio.wait([task])

    assert len(ours) >= 2
    assert task.cancelled()
    assert (await entry_of(kitchen.storage, "r1")).status == "cancelled"


async def test_what_the_body_raised_prevails_over_a_cancellation(kitchen: Kitchen) -> None:
    """
    If a failed run is cancelled while its end is written, its exception is raised, and the next await is cancelled.
    """
    kitchen.hanging, kitchen.failure = True, ValueError("burnt")
    seen: list[Exception] = []

    async def serve() -> None:
        try:
            await kitchen.cook()
        except ValueError as error:
            seen.append(error)
        await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await kitchen.proxy.something_held()
    task.cancel()
    await asyncio.sleep(0)
    kitchen.proxy.flow()
    await asyncio.wait([task])

    assert seen == [kitchen.failure]
    assert task.cancelled()
    assert (await entry_of(kitchen.storage, "r1")).status == "error"


async def test_a_timeout_while_the_end_is_written_cancels_nothing_else(kitchen: Kitchen) -> None:
    """
    If a timeout expires while the end is written, the block's exception is raised, and later code is not cancelled.
    """
    kitchen.hanging, kitchen.failure = True, ValueError("burnt")

    timeout = asyncio.timeout(60)

    async def strike() -> None:
        await kitchen.proxy.something_held()
        timeout.reschedule(0)
        for _ in range(3):
            await asyncio.sleep(0)
        kitchen.proxy.flow()

    striking = asyncio.create_task(strike())
    with pytest.raises(ValueError, match="burnt"):
        async with timeout:
            await kitchen.cook()
    await striking
    await asyncio.sleep(0)

    assert timeout.expired()
    assert (await entry_of(kitchen.storage, "r1")).status == "error"


async def test_a_run_that_is_cancelled_while_it_starts_does_not_stay_working(kitchen: Kitchen) -> None:
    """A run that is cancelled at its start is stored as "cancelled", and its block never runs."""
    kitchen.proxy.hang()
    task = asyncio.create_task(kitchen.cook())
    await kitchen.proxy.something_held()
    task.cancel()
    await asyncio.sleep(0)
    kitchen.proxy.flow()
    await asyncio.wait([task])

    assert task.cancelled()
    assert not kitchen.cooking.is_set()
    assert (await entry_of(kitchen.storage, "r1")).status == "cancelled"


# --- ends that cannot be written ----------------------------------------------------------------------------------


@pytest.fixture
async def impatient(make_storage: MakeStorage, proxy: Proxy) -> PostgresStorage:
    storage = make_storage(proxy.dsn, max_connections=1, retry_timeout=0.2)
    await storage.open()
    return storage


def leave(proxy: Proxy) -> None:
    """Stop the server."""
    proxy.refusing = True
    proxy.cut()


async def test_an_end_that_cannot_be_written_is_raised_after_a_body_that_did_not(
    impatient: PostgresStorage, proxy: Proxy
) -> None:
    """If the block succeeds and the end cannot be written, record_run() raises that error."""
    with pytest.raises(DatabaseError):
        async with impatient.record_run("cook"):
            leave(proxy)


@pytest.mark.parametrize("failure", [ValueError("burnt"), asyncio.CancelledError("closed")], ids=repr)
async def test_an_end_that_cannot_be_written_masks_nothing(
    impatient: PostgresStorage, proxy: Proxy, failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """If the block raises and the end cannot be written, its exception is raised, and the other error is logged."""
    caught: BaseException | None = None
    try:
        async with impatient.record_run("cook"):
            leave(proxy)
            raise failure
    except (ValueError, asyncio.CancelledError) as error:
        caught = error

    assert caught is failure
    assert [(record.name, record.levelno) for record in caplog.records] == [("voltmem", logging.ERROR)]
    assert "could not be written" in caplog.text


async def test_an_end_is_written_on_the_next_connection(make_storage: MakeStorage, proxy: Proxy) -> None:
    """If the connection is lost before the end, the end is written on the next one."""
    storage = make_storage(proxy.dsn, max_connections=1)
    with pytest.raises(ValueError, match="burnt"):
        async with storage.record_run("cook", id="r1"):
            proxy.cut()
            raise ValueError("burnt")

    entry = await entry_of(storage, "r1")
    assert entry.status == "error"
    assert names(entry) == [(0, "agent:error", "error")]


def test_a_run_says_which_it_is(make_storage: MakeStorage) -> None:
    """The repr of a run has its id and its agent."""
    assert repr(AgentRun(make_storage(), "r1", "cook")) == "<AgentRun 'r1' of 'cook'>"

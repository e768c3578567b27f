"""Agno 1: concurrent runs, errors, other users, and the cost of runs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.adapters.agno.agno_1.sessions import ASK, PREFIX, WITH_ALL, MakeStore, agent, run, session, stored_runs
from tests.adapters.agno.both import assert_costs_stay, assert_reads_by_index, wal_of
from tests.adapters.agno.fakes import FakeModel, echo
from tests.calls import wait_until_blocked
from tests.checkout import ROOT
from tests.conftest import Connection
from tests.programs import python
from voltmem import ANY_USER, InvalidInputError, InvalidOptionError, NativeMemory, PostgresStorage
from voltmem._agents.native import NativeStatements
from voltmem._tables import Tables
from voltmem._values import JsonObject
from voltmem.adapters.agno import VoltMemStorage, import_sessions
from voltmem.adapters.agno._sessions import Sessions
from voltmem.adapters.agno._sessions_of_1 import Session, save_session
from voltmem.errors import ConversationNotFoundError, DatabaseError, SchemaError, UnreadableError

# --- A15 -------------------------------------------------------------------------------------------------------------


async def test_run_and_arun_and_streams_store_the_same(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A15: sync, async and streamed runs store equal messages."""
    await asyncio.to_thread(agent(store, session_id="sync").run, "hello")
    await agent(store, session_id="async").arun("hello")
    await asyncio.to_thread(lambda: list(agent(store, session_id="stream").run("hello", stream=True)))
    async for _ in await agent(store, session_id="astream").arun("hello", stream=True):
        pass

    for session_id in ("sync", "async", "stream", "astream"):
        stored = [(each.role, each.type, each.content) for each in await plain.get_messages("ada", session_id)]
        assert stored == [("user", "text", "hello"), ("assistant", "text", "seen=1 last=hello")], session_id


async def test_a_table_of_agnos_is_imported(
    store: VoltMemStorage, connection: Connection, plain: PostgresStorage, schema: str
) -> None:
    """A15: sessions of Agno's PostgresStorage are imported and continued; importing them again changes nothing."""
    await connection.execute(f'CREATE SCHEMA "{schema}"')
    await connection.execute(
        f'CREATE TABLE "{schema}".old_sessions (session_id varchar PRIMARY KEY, user_id varchar, memory jsonb, '
        "session_data jsonb, extra_data jsonb, created_at bigint, updated_at bigint, agent_id varchar, "
        "team_session_id varchar, agent_data jsonb)"
    )
    old = [run(1), run(2)]
    old[1]["messages"][1:1] = [each | {"from_history": True} for each in old[0]["messages"][1:]]
    for session_id, user, used_at in (("s2", None, 1_700_000_002), ("s1", "ada", 1_700_000_003)):
        await connection.execute(
            f'INSERT INTO "{schema}".old_sessions VALUES ($1, $2, $3, $4, NULL, 1700000000, $6, $5, NULL, NULL)',
            session_id,
            user,
            json.dumps({"runs": old, "summaries": {}}),
            json.dumps({"session_name": "Old"}),
            "helper",
            used_at,
        )

    for _ in range(2):
        assert await import_sessions(plain, "old_sessions", schema=schema) == 2
        assert store.get_all_session_ids("ada") == ["s1"]
        assert store.get_all_session_ids() == ["s2"]

    model = FakeModel()
    await asyncio.to_thread(agent(store, model).run, "and now?")
    assert [content for _, content in model.history()] == ["question 1", "answer 1", "question 2", "answer 2"]
    conversation = await plain.get_conversation("s1")
    assert conversation is not None
    assert (conversation.title, conversation.created_at.year) == ("Old", 2023)
    assert len(await plain.get_messages("default", "s2")) == 4


# --- B1 to B8 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writers", [2, 20])
async def test_runs_at_the_same_time_are_all_kept(store: VoltMemStorage, plain: PostgresStorage, writers: int) -> None:
    """B1: all runs have read the same session before any is stored; every run is stored, none is overwritten."""
    agent(store).run("before")
    barrier = threading.Barrier(writers)

    def meet(messages: Any) -> dict[str, Any]:
        barrier.wait(timeout=30)
        return echo(messages)

    agents = [agent(store, FakeModel(script=meet)) for _ in range(writers)]
    with ThreadPoolExecutor(writers) as threads:
        list(threads.map(lambda i: agents[i].run(f"from {i}"), range(writers)))

    assert len(stored_runs(store)) == min(writers + 1, 20)
    stored = [each.text for each in await plain.get_messages("ada", "s1")]
    assert len(stored) == 2 + 2 * writers
    assert {each for each in stored if each.startswith("from")} == {f"from {i}" for i in range(writers)}
    assert all(answer.endswith(f"last={question}") for question, answer in zip(stored[::2], stored[1::2], strict=True))


async def test_two_processes_write_in_one_session(dsn: str, schema: str, plain: PostgresStorage) -> None:
    """B1: ten interleaved runs of each process; all twenty are stored."""
    program = ASK.format(root=str(ROOT)).replace("agent.run(text)", "[agent.run(f'{text} {i}') for i in range(10)]")
    await python("-c", program.replace("range(10)", "range(1)"), dsn, schema, "before")

    await asyncio.gather(*(python("-c", program, dsn, schema, each) for each in ("left", "right")))

    (conversation,) = await plain.get_conversations_by_user_id("ada")
    stored = [each.text for each in await plain.get_messages("ada", conversation.id) if each.role == "user"]
    assert sorted(stored) == sorted(["before 0", *(f"{side} {i}" for side in ("left", "right") for i in range(10))])


async def test_a_failed_read_is_an_error_and_takes_nothing(
    store: VoltMemStorage, connection: Connection, schema: str, plain: PostgresStorage
) -> None:
    """B2: Agno's own storage would return None, and the next save would overwrite the session."""
    for text in ("one", "two"):
        agent(store).run(text)
    model = FakeModel()
    await connection.execute(f'ALTER TABLE "{schema}".{PREFIX}_payloads RENAME TO hidden')

    with pytest.raises(SchemaError):
        agent(store, model).run("three")
    assert model.calls == []

    await connection.execute(f'ALTER TABLE "{schema}".hidden RENAME TO {PREFIX}_payloads')
    agent(store, model).run("three")
    assert [content for role, content in model.history() if role == "user"] == ["one", "two"]


async def test_a_failed_write_is_an_error(store: VoltMemStorage, connection: Connection, schema: str) -> None:
    """B3: run() raises the error, and nothing is stored in part."""
    store.create()
    await connection.execute(f'ALTER TABLE "{schema}".{PREFIX}_payloads ADD CONSTRAINT none CHECK (format = $$x$$)')

    with pytest.raises(DatabaseError):
        agent(store).run("hello")

    assert store.read("s1") is None


async def test_another_users_session_is_an_error_before_the_model_is_called(
    store: VoltMemStorage, plain: PostgresStorage
) -> None:
    """B4: a storage for one user reads and lists that user's sessions only."""
    agent(store).run("my secret")
    model = FakeModel()

    for user in ("eve", "default"):
        bound = store.for_user(user)
        with pytest.raises(ConversationNotFoundError):
            agent(bound, model, user_id=user).run("what did she say?")
        assert bound.get_all_session_ids() == []
        bound.delete_session("s1")
    with pytest.raises(ConversationNotFoundError):
        agent(store.for_user("eve"), model, user_id="ada").run("as her")
    with pytest.raises(ConversationNotFoundError):
        store.read("s1", user_id="eve")

    assert model.calls == []
    assert [each.text for each in await plain.get_messages("ada", "s1")] == ["my secret", "seen=1 last=my secret"]


async def test_a_storage_for_one_user_makes_no_sessions_of_others(
    store: VoltMemStorage, plain: PostgresStorage
) -> None:
    """B4: it does not list them either; an unnamed user is its user, or "default" if it has none."""
    with pytest.raises(ConversationNotFoundError):
        agent(store.for_user("eve"), session_id="new", user_id="ada").run("as her")
    assert store.for_user("eve").get_all_session_ids("ada") == []

    agent(store.for_user("eve"), session_id="hers", user_id=None).run("hello")
    agent(store, session_id="nobodys", user_id=None).run("hello")

    owners = {each.id: each.user_id for each in await plain.query_conversations()}
    assert owners == {"hers": "eve", "nobodys": "default"}


async def test_a_call_that_names_no_user_means_the_user_default(
    store: VoltMemStorage, make_store: MakeStore, plain: PostgresStorage
) -> None:
    """B4: lists have the sessions of the user "default", or of all users with user_id=ANY_USER."""
    agent(store, session_id="hers").run("hello")
    agent(store, session_id="nobodys", user_id=None).run("hello")
    trusted = make_store(user_id=ANY_USER)

    assert store.get_all_session_ids() == ["nobodys"]
    assert [each.session_id for each in store.get_recent_sessions()] == ["nobodys"]
    assert trusted.get_all_session_ids() == ["nobodys", "hers"]
    assert trusted.get_all_session_ids("ada") == ["hers"]
    trusted.upsert(session([run(1)], session_id="hers", user_id=None))
    trusted.upsert(session([run(1)], session_id="new", user_id=None))
    owners = {each.id: each.user_id for each in await plain.query_conversations()}
    assert owners == {"hers": "ada", "nobodys": "default", "new": "default"}


def test_a_session_is_read_and_deleted_by_its_id(store: VoltMemStorage) -> None:
    """Agno 1 names no user in read() and delete_session(): any user's is found; in a storage for one user only hers."""
    agent(store).run("hello")

    assert store.read("s1") is not None
    store.for_user("eve").delete_session("s1")
    assert store.read("s1") is not None
    store.delete_session("s1")
    assert store.read("s1") is None


@pytest.mark.parametrize("user", ["", None])
def test_a_storage_is_made_for_a_user_or_for_any(user: Any, make_store: MakeStore) -> None:
    """user_id=None and "" raise, in for_user() and in each call, too; ANY_USER is no user's id."""
    with pytest.raises(InvalidInputError, match="user_id is "):
        make_store(user_id=user)
    with pytest.raises(InvalidInputError, match="user_id is "):
        make_store().for_user(user)
    with pytest.raises(InvalidInputError, match=r"user_id is voltmem\.ANY_USER, but for_user"):
        make_store().for_user(ANY_USER)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="user_id is ''"):
        make_store().get_all_session_ids("")


def test_an_asynchronous_storage_is_refused(plain: PostgresStorage) -> None:
    """VoltMemStorage refuses the asynchronous storage, and names the class to use."""
    with pytest.raises(
        InvalidOptionError, match=r"storage must be a voltmem\.sync\.PostgresStorage, not .* a voltmem\."
    ):
        VoltMemStorage(storage=plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("user", ["eve", None])
async def test_no_session_changes_its_owner(store: VoltMemStorage, plain: PostgresStorage, user: str | None) -> None:
    """B4: also without for_user(), a run of another user or of no user raises, and nothing is stored."""
    agent(store).run("my secret")

    with pytest.raises(ConversationNotFoundError):
        store.upsert(session([run(1)], user_id=user))

    model = FakeModel()
    agent(store, model).run("and now?")
    assert model.history() == [("user", "my secret"), ("assistant", "seen=1 last=my secret")]
    assert store.get_all_session_ids("ada") == ["s1"]
    conversation = await plain.get_conversation("s1")
    assert conversation is not None
    assert conversation.user_id == "ada"


def breaks(error: BaseException) -> Callable[[Any], dict[str, Any]]:
    def script(_: Any) -> dict[str, Any]:
        raise error

    return script


async def test_the_users_message_is_stored_before_the_model_is_called(
    store: VoltMemStorage, plain: PostgresStorage
) -> None:
    """B5: with keep_inputs(), the message is stored first; the finished run replaces it with two messages."""
    seen: list[Any] = []

    def script(messages: Any) -> dict[str, Any]:
        kept = asyncio.run_coroutine_threadsafe(plain.get_messages("ada", "s1"), loop).result(10)
        seen.extend((each.text, each.metadata) for each in kept)
        return echo(messages)

    loop = asyncio.get_running_loop()
    helper = agent(store, FakeModel(script=script))
    store.keep_inputs(helper)

    await asyncio.to_thread(helper.run, "hello")

    assert seen == [("hello", {"status": "RUNNING"})]
    assert [each.resource_id for each in await plain.query_conversations()] == ["helper"]
    assert [(each.text, each.metadata) for each in await plain.get_messages("ada", "s1")] == [
        ("hello", {}),
        ("seen=1 last=hello", {}),
    ]


@pytest.mark.parametrize("way", ["run", "arun", "stream", "astream"])
async def test_a_failed_run_keeps_the_users_message(store: VoltMemStorage, plain: PostgresStorage, way: str) -> None:
    """B5: the message has the run's status, and the next model does not receive it."""
    helper = agent(store, FakeModel(script=breaks(RuntimeError("no model"))))
    store.keep_inputs(helper)

    with pytest.raises(RuntimeError, match="no model"):
        if way == "run":
            await asyncio.to_thread(helper.run, "hello")
        elif way == "arun":
            await helper.arun("hello")
        elif way == "stream":
            await asyncio.to_thread(lambda: list(helper.run("hello", stream=True)))
        else:
            [each async for each in await helper.arun("hello", stream=True)]

    (kept,) = await plain.get_messages("ada", "s1")
    assert (kept.text, kept.metadata) == ("hello", {"status": "ERROR"})
    model = FakeModel()
    await asyncio.to_thread(agent(store, model).run, "again")
    assert model.history() == []
    assert len(await plain.get_messages("ada", "s1")) == 3


async def test_a_cancelled_run_and_an_abandoned_stream_keep_the_users_message(
    store: VoltMemStorage, plain: PostgresStorage
) -> None:
    """B5: the task is cancelled in the model, or the stream is not read to its end."""

    class Slow(FakeModel):
        async def ainvoke(self, messages: Any, **_: Any) -> Any:
            started.set()
            await asyncio.sleep(60)

        async def ainvoke_stream(self, messages: Any, **_: Any) -> AsyncIterator[Any]:
            yield self.reply(messages)
            await asyncio.sleep(60)

    started = asyncio.Event()
    helper = agent(store, Slow())
    store.keep_inputs(helper)
    task = asyncio.create_task(helper.arun("cancelled"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stream = await helper.arun("abandoned", stream=True)
    await anext(stream)
    await stream.aclose()

    kept = await plain.get_messages("ada", "s1")
    assert [each.text for each in kept] == ["cancelled", "abandoned"]
    assert kept[0].metadata == {"status": "CANCELLED"}


async def test_arun_waits_for_the_database_in_another_thread(
    store: VoltMemStorage, connection: Connection, schema: str
) -> None:
    """B7, as far as possible in Agno 1: the agent runs in a thread, and the event loop is not blocked."""
    agent(store).run("hello")

    async with connection.transaction():
        await connection.execute(f"SELECT FROM \"{schema}\".{PREFIX}_conversations WHERE id = 's1' FOR UPDATE")
        running = asyncio.create_task(asyncio.to_thread(agent(store).run, "locked"))
        # A blocked event loop could neither see the run wait nor release the lock.
        await wait_until_blocked(connection)
        assert not running.done()
    await running


# --- B9, B10, B11, B12 -----------------------------------------------------------------------------------------------


async def test_a_run_costs_the_same_after_a_thousand(store: VoltMemStorage, connection: Connection) -> None:
    """B9: a run of 1 kB writes less than 8 kB of WAL, and after 1,000 runs at most 1.5 times as much as after 10."""
    costs: dict[int, int] = {}
    question, answer = "q" * 200, "a" * 800
    for count in (10, 1000):
        session_id = f"after-{count}"
        runs = [run(number, question, answer, session_id=session_id) for number in range(count)]
        store.upsert(session(runs, session_id=session_id))
        one = agent(store, FakeModel(script=lambda _: {"content": answer}), session_id=session_id)
        costs[count] = await wal_of(connection, partial(asyncio.to_thread, one.run, question))

    assert_costs_stay(costs)


async def test_a_read_takes_only_the_window(make_store: MakeStore, connection: Connection, schema: str) -> None:
    """B10: the last 3 of 1,000 runs are read by index, and no other rows."""
    store = make_store(runs=3)
    store.upsert(session([run(number) for number in range(1000)]))
    await connection.execute(f'ANALYZE "{schema}".{PREFIX}_messages')

    sql = NativeStatements(Tables(schema, PREFIX)).since
    explained = await connection.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", "s1", "ada", "agno-1/agent/run", 3, 150
    )

    answers = [each["messages"][-1]["content"] for each in stored_runs(store)]
    assert answers == ["answer 997", "answer 998", "answer 999"]
    assert_reads_by_index(explained, most=6)


async def test_a_plain_run_is_two_messages(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """B12: without system message and history: after four runs with history there are eight messages."""
    for number in range(4):
        agent(store, description="You are kind").run(f"question {number}")

    stored = await plain.get_messages("ada", "s1")
    assert [each.role for each in stored] == ["user", "assistant"] * 4


async def test_a_run_that_is_stored_again_takes_its_place(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A run with fewer messages than before: no old message stays, none is stored twice, and its place is kept."""
    store.upsert(session([WITH_ALL, run(3)]))
    store.upsert(session([run(2)]))

    assert [each["run_id"] for each in stored_runs(store)] == ["run-2", "run-3"]
    stored = [each.text for each in await plain.get_messages("ada", "s1")]
    assert stored == ["question 2", "answer 2", "question 3", "answer 3"]


async def test_unchanged_runs_are_not_written_again(store: VoltMemStorage, connection: Connection, schema: str) -> None:
    """B9: Agno passes all its runs with each save; unchanged runs are not written."""
    for number in range(5):
        agent(store).run(f"question {number}")
    rows = f'SELECT message_id, xmin::text FROM "{schema}".{PREFIX}_messages ORDER BY seq'
    before = await connection.fetch(rows)

    agent(store).run("one more")

    after = await connection.fetch(rows)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2


async def test_a_session_that_agno_cannot_read_raises_and_stays(
    store: VoltMemStorage, plain: PostgresStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading it is UnreadableError, and a list leaves it out with a warning."""
    store.mode = "workflow_v2"
    of_another_release: JsonObject = {"run_id": "r1", "workflow_id": "w1", "content": "hello", "mood": "fine"}
    document: JsonObject = {"session_id": "s1", "workflow_id": "w1", "runs": [of_another_release]}
    await save_session(Sessions(plain, "ada", None), "workflow_v2", "s1", "ada", document)

    def read() -> list[Session]:
        with pytest.raises(UnreadableError, match=r"this Agno cannot read the session of conversation 's1': TypeError"):
            store.read("s1", "ada")
        return store.get_all_sessions("ada")

    assert await asyncio.to_thread(read) == []
    assert "left out of the list of sessions" in caplog.text
    assert [each.text for each in await plain.get_messages("ada", "s1")] == ["hello"]


async def test_a_document_without_an_id_has_the_one_of_its_conversation(
    store: VoltMemStorage, plain: PostgresStorage
) -> None:
    """Agno would take the session for a new one and overwrite what another program wrote."""
    memory = NativeMemory(plain, "ada", "s1")
    await memory.save_payload({"agent_id": "helper", "extra_data": {"key": 1}}, "agno-1/agent/session")

    await asyncio.to_thread(agent(store).run, "hello")

    kept = await memory.payload("agno-1/agent/session")
    assert kept is not None
    assert isinstance(kept.payload, dict)
    assert kept.payload["extra_data"] == {"key": 1}

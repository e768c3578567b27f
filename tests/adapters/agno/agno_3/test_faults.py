"""Agno 3 at the same time, with errors and for other users; what its runs cost."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from agno.db.base import SessionType
from agno.run.agent import RunInput
from agno.run.base import RunContext, RunStatus
from agno.session import AgentSession
from agno.tools import tool

from tests.adapters.agno.agno_3.sessions import (
    ASK,
    WITH_ALL,
    add,
    agent,
    delegate,
    listed,
    run,
    session,
    stored_runs,
    team,
)
from tests.adapters.agno.both import assert_costs_stay, assert_reads_by_index, wal_of
from tests.adapters.agno.fakes import FakeModel
from tests.calls import wait_until_blocked
from tests.conftest import Connection
from tests.programs import python
from voltmem import ANY_USER, PostgresStorage
from voltmem._agents.native import NativeStatements
from voltmem._tables import Tables
from voltmem.adapters.agno import VoltMemDb
from voltmem.errors import ConversationNotFoundError, InvalidInputError
from voltmem.options import DEFAULT_TABLE_PREFIX

# --- B1 to B7 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writers", [2, 20])
async def test_runs_at_the_same_time_are_all_kept(db: VoltMemDb, plain: PostgresStorage, writers: int) -> None:
    """B1: all are in their models at once, all have read the same; every run is kept, each in one piece."""

    class Meeting(FakeModel):
        async def ainvoke(self, messages: Any, **_: Any) -> Any:
            arrived.append(1)
            if len(arrived) == writers:
                all_there.set()
            await asyncio.wait_for(all_there.wait(), 30)
            return self.reply(messages)

    await agent(db).arun("before")
    arrived: list[int] = []
    all_there = asyncio.Event()
    await asyncio.gather(*(agent(db, Meeting()).arun(f"from {number}") for number in range(writers)))

    assert len(await stored_runs(VoltMemDb(plain, runs=None))) == 1 + writers
    said = [each.text for each in await plain.get_messages("ada", "s1")]
    assert {each for each in said if each.startswith("from")} == {f"from {number}" for number in range(writers)}
    assert all(answer.endswith(f"last={question}") for question, answer in zip(said[::2], said[1::2], strict=True))


async def test_two_processes_write_in_one_session(dsn: str, schema: str, plain: PostgresStorage) -> None:
    """B1: ten runs of each, interleaved as they come; all twenty are there."""
    await python("-c", ASK, dsn, schema, "before")
    texts = {side: [f"{side} {number}" for number in range(10)] for side in ("left", "right")}

    await asyncio.gather(*(python("-c", ASK, dsn, schema, *each) for each in texts.values()))

    (conversation,) = await plain.get_conversations_by_user_id("ada")
    said = [each.text for each in await plain.get_messages("ada", conversation.id) if each.role == "user"]
    assert sorted(said) == sorted(["before", *texts["left"], *texts["right"]])


async def test_a_failed_read_fails_the_run_and_takes_nothing(
    db: VoltMemDb, connection: Connection, schema: str
) -> None:
    """B2: the model is not called; afterwards all is as it was."""
    for text in ("one", "two"):
        await agent(db).arun(text)
    model = FakeModel()
    table = f'"{schema}".{DEFAULT_TABLE_PREFIX}_payloads'
    await connection.execute(f"ALTER TABLE {table} RENAME TO hidden")

    failed = await agent(db, model).arun("three")
    assert (failed.status, model.calls) == (RunStatus.error, [])
    assert "missing" in str(db.last_error)

    await connection.execute(f'ALTER TABLE "{schema}".hidden RENAME TO {DEFAULT_TABLE_PREFIX}_payloads')
    await agent(db, model).arun("three")
    assert [content for role, content in model.history() if role == "user"] == ["one", "two"]


async def test_a_failed_write_is_seen(plain: PostgresStorage) -> None:
    """B3, B6: Agno hides it: the database has it in last_error, and has called on_error."""
    errors: list[Exception] = []
    db = VoltMemDb(plain, on_error=errors.append)

    answered = await agent(db, session_state={"socket": object()}).arun("hello")

    assert answered.status == RunStatus.completed
    assert isinstance(db.last_error, InvalidInputError)
    assert "session_state.socket" in str(db.last_error)
    assert db.last_error in errors


async def test_values_that_json_has_words_for_are_put_in_them(db: VoltMemDb) -> None:
    """B6: tuples become lists, keys strings."""
    await db.upsert_session(AgentSession(session_id="s1", user_id="ada", session_data={"x": {1: (1, 2), "s": {3}}}))

    found: Any = await db.get_session("s1", user_id="ada")
    assert found.session_data["x"] == {"1": [1, 2], "s": [3]}


@pytest.mark.parametrize("user", ["eve", None])
async def test_another_users_session_is_an_error_before_the_model_is_called(
    db: VoltMemDb, plain: PostgresStorage, user: str | None
) -> None:
    """B4: the run fails, nothing of it is stored, and the owner's next prompt is hers alone."""
    await agent(db).arun("my secret")
    model = FakeModel()

    failed = await agent(db, model, user_id=user).arun("INTRUDER")

    assert failed.status == RunStatus.error
    assert model.calls == []
    assert isinstance(db.last_error, ConversationNotFoundError)
    hers = FakeModel()
    await agent(db, hers).arun("and now?")
    assert hers.history() == [("user", "my secret"), ("assistant", "seen=1 last=my secret")]
    assert [each.user_id for each in await plain.query_conversations()] == ["ada"]


@pytest.mark.parametrize("user", ["eve", None])
async def test_nothing_is_written_into_another_users_session(
    db: VoltMemDb, plain: PostgresStorage, user: str | None
) -> None:
    """B4: neither the session nor a run, whatever was read before; nor is a session of nobody taken over."""
    await agent(db).arun("my secret")
    await agent(db, user_id=None, session_id="nobodys").arun("hello")

    with pytest.raises(ConversationNotFoundError):
        await db.upsert_session(session([run(1)], user_id=user))
    with pytest.raises(ConversationNotFoundError):
        await db.upsert_run(run(1, user_id=user), "s1", user)
    with pytest.raises(ConversationNotFoundError):
        await db.upsert_session(session([], session_id="nobodys"))
    with pytest.raises(ConversationNotFoundError):
        await db.for_user("eve").upsert_session(session([], session_id="new"))

    owners = {each.id: each.user_id for each in await plain.query_conversations()}
    assert owners == {"s1": "ada", "nobodys": "default"}
    assert len(await stored_runs(db)) == 1
    assert await listed(db.for_user("eve"), user_id="ada") == []
    assert await listed(db.for_user("eve")) == []


async def test_a_call_that_names_no_user_means_the_user_default(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B4: it reads, lists, renames and deletes nothing of other users, as an application that forgot the user would."""
    await agent(db).arun("my secret")
    await agent(db, user_id=None, session_id="nobodys").arun("hello")

    assert [each.session_id for each in await listed(db)] == ["nobodys"]
    with pytest.raises(ConversationNotFoundError):
        await db.get_session("s1")
    assert await db.rename_session("s1", None, "Mine") is None
    assert await db.delete_session("s1") is False
    await db.delete_sessions(["s1"])

    assert await db.get_session("nobodys") is not None
    assert await db.delete_session("nobodys") is True
    assert [(each.id, each.title) for each in await plain.query_conversations()] == [("s1", None)]


async def test_any_user_means_all_users(plain: PostgresStorage) -> None:
    """With user_id=ANY_USER a call without a user is about whoever's session it is, as in Agno's own databases."""
    db = VoltMemDb(plain, user_id=ANY_USER)
    await agent(db).arun("hello")
    await agent(db, user_id=None).arun("and now?")
    await agent(db, user_id=None, session_id="new").arun("hello")

    assert [each.session_id for each in await listed(db)] == ["new", "s1"]
    assert [each.session_id for each in await listed(db, user_id="ada")] == ["s1"]
    owners = {each.id: each.user_id for each in await plain.query_conversations()}
    assert owners == {"s1": "ada", "new": "default"}
    assert len(await stored_runs(db)) == 2
    renamed: Any = await db.rename_session("s1", None, "Hers")
    assert renamed.session_data["session_name"] == "Hers"
    await agent(db).adelete_session("s1")
    assert [each.session_id for each in await listed(db)] == ["new"]


@pytest.mark.parametrize("user", ["", None])
async def test_a_database_is_made_for_a_user_or_for_any(user: Any, plain: PostgresStorage) -> None:
    """user_id=None or "" is a forgotten user, in for_user() and in each call, too; ANY_USER is no user."""
    with pytest.raises(InvalidInputError, match="user_id is "):
        VoltMemDb(plain, user_id=user)
    with pytest.raises(InvalidInputError, match="user_id is "):
        VoltMemDb(plain).for_user(user)
    with pytest.raises(InvalidInputError, match=r"user_id is voltmem\.ANY_USER, but for_user"):
        VoltMemDb(plain).for_user(ANY_USER)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="user_id is ''"):
        await VoltMemDb(plain).get_sessions(user_id="")


async def test_what_the_user_said_is_stored_before_the_model_is_called(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B5: with pre_hooks=[db.keep_input]; the answered run takes its place, with two messages."""
    seen: list[Any] = []

    class Looking(FakeModel):
        async def ainvoke(self, messages: Any, **_: Any) -> Any:
            seen.extend((each.text, each.metadata) for each in await plain.get_messages("ada", "s1"))
            return self.reply(messages)

    await agent(db, Looking(), pre_hooks=[db.keep_input]).arun("hello")

    assert db.last_error is None
    assert seen == [("hello", {"status": "RUNNING"})]
    assert [each.resource_id for each in await plain.query_conversations()] == ["helper"]
    said = [(each.text, each.metadata) for each in await plain.get_messages("ada", "s1")]
    assert said == [("hello", {}), ("seen=1 last=hello", {})]


async def test_a_team_keeps_its_inputs_too(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B5: the same hook, for teams."""
    await team(db, FakeModel(script=delegate), pre_hooks=[db.keep_input]).arun("go")

    assert db.last_error is None
    assert [each.role for each in await plain.get_messages("ada", "t1")] == ["user", "assistant", "tool", "assistant"]


async def test_an_input_takes_no_runs_place(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B5: a hook that comes again for a run that is stored, as when it goes on after a pause, changes nothing."""
    await db.upsert_run(run(1), "s1", "ada")

    await db.keep_input(RunInput("again"), RunContext(run_id="run-1", session_id="s1", user_id="ada"))
    with pytest.raises(ConversationNotFoundError):
        await db.keep_input(RunInput("hers"), RunContext(run_id="run-2", session_id="s1", user_id="eve"))

    assert await stored_runs(db) == [run(1)]
    assert len(await plain.get_messages("ada", "s1")) == 2


async def test_a_failed_run_keeps_what_the_user_said(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B5: with its status, for people and for Agno; the next model is not shown it."""

    def fail(_: Any) -> dict[str, Any]:
        raise RuntimeError("no model")

    failed = await agent(db, FakeModel(script=fail)).arun("hello")
    assert failed.status == RunStatus.error

    said = await plain.get_messages("ada", "s1")
    assert [(each.text, each.metadata) for each in said] == [("hello", {"status": "ERROR"})]
    model = FakeModel()
    await agent(db, model).arun("again")
    assert model.history() == []
    assert [each["status"] for each in await stored_runs(db)] == ["ERROR", "COMPLETED"]


async def test_an_abandoned_run_keeps_what_the_user_said(
    db: VoltMemDb, plain: PostgresStorage, dsn: str, schema: str
) -> None:
    """B5: a process that died in the model; the next model is not shown it, nor is Agno."""
    died = "async def ainvoke(self, messages, **_): __import__('os')._exit(0)"
    program = ASK.replace("async def main", f"class Dying(FakeModel):\n    {died}\n\nasync def main")
    program = program.replace("VoltMemDb(storage), FakeModel()", "VoltMemDb(storage), Dying()")
    program = program.replace("add_history", "pre_hooks=[db.keep_input], add_history")

    await python("-c", program, dsn, schema, "hello")

    (conversation,) = await plain.get_conversations_by_user_id("ada")
    (kept,) = await plain.get_messages("ada", conversation.id)
    assert (kept.text, kept.metadata) == ("hello", {"status": "RUNNING"})
    assert await stored_runs(db, conversation.id) == []
    model = FakeModel()
    await agent(db, model, session_id=conversation.id).arun("again")
    assert model.history() == []
    assert len(await plain.get_messages("ada", conversation.id)) == 3


async def test_the_event_loop_goes_on_while_a_row_is_locked(db: VoltMemDb, connection: Connection, schema: str) -> None:
    """B7: another connection holds the session; nothing else waits."""
    await agent(db).arun("hello")

    async with connection.transaction():
        await connection.execute(
            f"SELECT FROM \"{schema}\".{DEFAULT_TABLE_PREFIX}_conversations WHERE id = 's1' FOR UPDATE"
        )
        running = asyncio.create_task(agent(db).arun("locked"))
        # A loop that did not go on would neither see it wait nor let it go on.
        await wait_until_blocked(connection)
        assert not running.done()
    await running


# --- B9, B10, B12 ----------------------------------------------------------------------------------------------------


async def test_a_run_costs_the_same_after_a_thousand(db: VoltMemDb, connection: Connection) -> None:
    """B9: WAL for a run of 1 kB: below 8 kB, and after 1,000 runs no more than half as much again as after 10."""
    costs: dict[int, int] = {}
    question, answer = "q" * 200, "a" * 800
    for count in (10, 1000):
        session_id = f"after-{count}"
        runs = [run(number, question, answer, session_id=session_id) for number in range(count)]
        await db.upsert_session(session(runs, session_id=session_id))
        one = agent(db, FakeModel(script=lambda _: {"content": answer}), session_id=session_id)
        costs[count] = await wal_of(connection, partial(one.arun, question))

    assert_costs_stay(costs)


async def test_a_read_takes_the_window_and_nothing_else(db: VoltMemDb, connection: Connection, schema: str) -> None:
    """B10: of 1,000 runs the last 3 are read by index, in as many rows as they have."""
    await db.upsert_session(session([run(number) for number in range(1000)]))
    await connection.execute(f'ANALYZE "{schema}".{DEFAULT_TABLE_PREFIX}_messages')

    sql = NativeStatements(Tables(schema, DEFAULT_TABLE_PREFIX)).since
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", "s1", "ada", "agno/run", 3, 150)

    answers = [each["messages"][-1]["content"] for each in await stored_runs(db, runs_limit=3)]
    assert answers == ["answer 997", "answer 998", "answer 999"]
    assert_reads_by_index(explained, most=6)


async def test_a_plain_run_is_two_messages(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B12: no system message, no history: after four runs with history there are eight."""
    for number in range(4):
        await agent(db, description="You are kind").arun(f"question {number}")

    assert [each.role for each in await plain.get_messages("ada", "s1")] == ["user", "assistant"] * 4


async def test_history_is_not_stored_again_even_if_asked_for(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B12: with store_history_messages=True every run has those before it; they are there already."""
    for number in range(3):
        await agent(db, store_history_messages=True).arun(f"question {number}")

    assert len(await plain.get_messages("ada", "s1")) == 6
    assert [len(each["messages"]) for each in await stored_runs(db)] == [2, 2, 2]


async def test_unchanged_runs_are_not_written_again(db: VoltMemDb, connection: Connection, schema: str) -> None:
    """B9: Agno shows all it knows with each save; what it has read is left alone."""
    for number in range(5):
        await agent(db, tools=[add]).arun(f'TOOL:add {{"a": 1, "b": {number}}}')
    rows = f'SELECT message_id, xmin::text FROM "{schema}".{DEFAULT_TABLE_PREFIX}_messages ORDER BY seq'
    before = await connection.fetch(rows)

    await agent(db).arun("one more")

    after = await connection.fetch(rows)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2


async def test_a_run_that_is_stored_again_takes_its_place(db: VoltMemDb, plain: PostgresStorage) -> None:
    """3.x: a paused run that goes on, a run with fewer messages: no message is left over, none is there twice."""
    await db.upsert_run(WITH_ALL | {"status": "PAUSED"}, "s1", "ada")
    await db.upsert_run(run(3), "s1", "ada")
    first, *_ = await plain.get_messages("ada", "s1")
    assert first.metadata == {"status": "PAUSED"}

    await db.upsert_run(WITH_ALL, "s1", "ada")
    assert [each.role for each in await plain.get_messages("ada", "s1")] == [
        *("user", "assistant", "tool", "assistant"),
        *("user", "assistant"),
    ]
    await db.upsert_run(run(2), "s1", "ada")

    assert [each.text for each in await plain.get_messages("ada", "s1")] == [
        "question 2",
        "answer 2",
        "question 3",
        "answer 3",
    ]
    assert await stored_runs(db) == [run(2), run(3)]


async def test_a_paused_run_goes_on_in_another_process(db: VoltMemDb, plain: PostgresStorage) -> None:
    """3.x: a tool that a person must confirm: meanwhile it is no history; afterwards it stands where it began."""

    @tool(requires_confirmation=True)
    def remove(name: str) -> str:
        """Remove a file."""
        return f"removed {name}"

    paused = await agent(db, tools=[remove]).arun('TOOL:remove {"name": "a"}')
    assert paused.status == RunStatus.paused
    model = FakeModel()
    await agent(db, model).arun("meanwhile")
    assert model.history() == []

    other = VoltMemDb(plain)
    found: Any = await other.get_session("s1", SessionType.AGENT, "ada")
    requirements = found.get_run(paused.run_id).requirements
    for each in requirements:
        each.confirm()
    resumed = agent(other, tools=[remove]).acontinue_run(
        run_id=paused.run_id, requirements=requirements, session_id="s1", user_id="ada"
    )
    done = await resumed

    assert (done.status, done.content) == (RunStatus.completed, "tool said: removed a")
    assert [each["status"] for each in await stored_runs(other)] == ["COMPLETED", "COMPLETED"]
    window = await plain.conversation("ada", "s1").messages(limit=10)
    assert [each.type for each in window if each.role in ("assistant", "tool")].count("tool-result") == 1
    await agent(other, model).arun("and now?")
    assert [role for role, _ in model.history()].count("tool") == 1

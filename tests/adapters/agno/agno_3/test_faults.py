"""Agno 3: concurrent runs, errors, other users, and the cost of runs."""

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
from pydantic import JsonValue

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
from voltmem import ANY_USER, NativeMemory, PostgresStorage
from voltmem._agents.native import NativeStatements
from voltmem._tables import Tables
from voltmem._values import JsonObject
from voltmem.adapters.agno import VoltMemDb
from voltmem.errors import ConversationNotFoundError, InvalidInputError, UnreadableError
from voltmem.options import DEFAULT_TABLE_PREFIX

# --- B1 to B7 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writers", [2, 20])
async def test_runs_at_the_same_time_are_all_kept(db: VoltMemDb, plain: PostgresStorage, writers: int) -> None:
    """B1: all runs have read the same session before any is stored; every run is stored, and as a whole."""

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
    stored = [each.text for each in await plain.get_messages("ada", "s1")]
    assert {each for each in stored if each.startswith("from")} == {f"from {number}" for number in range(writers)}
    assert all(answer.endswith(f"last={question}") for question, answer in zip(stored[::2], stored[1::2], strict=True))


async def test_two_processes_write_in_one_session(dsn: str, schema: str, plain: PostgresStorage) -> None:
    """B1: ten interleaved runs of each process; all twenty are stored."""
    await python("-c", ASK, dsn, schema, "before")
    texts = {side: [f"{side} {number}" for number in range(10)] for side in ("left", "right")}

    await asyncio.gather(*(python("-c", ASK, dsn, schema, *each) for each in texts.values()))

    (conversation,) = await plain.get_conversations_by_user_id("ada")
    stored = [each.text for each in await plain.get_messages("ada", conversation.id) if each.role == "user"]
    assert sorted(stored) == sorted(["before", *texts["left"], *texts["right"]])


async def test_a_failed_read_fails_the_run_and_takes_nothing(
    db: VoltMemDb, connection: Connection, schema: str
) -> None:
    """B2: the model is not called, and the session is unchanged."""
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
    """B3, B6: Agno hides the error, but it is in last_error, and on_error was called."""
    errors: list[Exception] = []
    db = VoltMemDb(plain, on_error=errors.append)

    answered = await agent(db, session_state={"socket": object()}).arun("hello")

    assert answered.status == RunStatus.completed
    assert isinstance(db.last_error, InvalidInputError)
    assert "session_state.socket" in str(db.last_error)
    assert db.last_error in errors


async def test_values_are_converted_to_json(db: VoltMemDb) -> None:
    """B6: tuples become lists, and keys become strings."""
    await db.upsert_session(AgentSession(session_id="s1", user_id="ada", session_data={"x": {1: (1, 2), "s": {3}}}))

    found: Any = await db.get_session("s1", user_id="ada")
    assert found.session_data["x"] == {"1": [1, 2], "s": [3]}


@pytest.mark.parametrize("user", ["eve", None])
async def test_another_users_session_is_an_error_before_the_model_is_called(
    db: VoltMemDb, plain: PostgresStorage, user: str | None
) -> None:
    """B4: the run fails, nothing of it is stored, and the owner's next prompt has only her messages."""
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
    """B4: neither a session nor a run is stored in another user's session, nor in one that names no user."""
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
    """B4: if the application forgets the user, it reads, lists, renames and deletes no other user's sessions."""
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
    """With user_id=ANY_USER, a call without a user concerns any user's session, as in Agno's own databases."""
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
    """user_id=None and "" raise, in for_user() and in each call, too; ANY_USER is no user's id."""
    with pytest.raises(InvalidInputError, match="user_id is "):
        VoltMemDb(plain, user_id=user)
    with pytest.raises(InvalidInputError, match="user_id is "):
        VoltMemDb(plain).for_user(user)
    with pytest.raises(InvalidInputError, match=r"user_id is voltmem\.ANY_USER, but for_user"):
        VoltMemDb(plain).for_user(ANY_USER)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="user_id is ''"):
        await VoltMemDb(plain).get_sessions(user_id="")


async def test_the_users_message_is_stored_before_the_model_is_called(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B5: with pre_hooks=[db.keep_input], it is stored first; the finished run replaces it with two messages."""
    seen: list[Any] = []

    class Looking(FakeModel):
        async def ainvoke(self, messages: Any, **_: Any) -> Any:
            seen.extend((each.text, each.metadata) for each in await plain.get_messages("ada", "s1"))
            return self.reply(messages)

    await agent(db, Looking(), pre_hooks=[db.keep_input]).arun("hello")

    assert db.last_error is None
    assert seen == [("hello", {"status": "RUNNING"})]
    assert [each.resource_id for each in await plain.query_conversations()] == ["helper"]
    stored = [(each.text, each.metadata) for each in await plain.get_messages("ada", "s1")]
    assert stored == [("hello", {}), ("seen=1 last=hello", {})]


async def test_a_team_keeps_its_inputs_too(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B5: the same hook works for teams."""
    await team(db, FakeModel(script=delegate), pre_hooks=[db.keep_input]).arun("go")

    assert db.last_error is None
    assert [each.role for each in await plain.get_messages("ada", "t1")] == ["user", "assistant", "tool", "assistant"]


async def test_an_input_does_not_replace_a_run(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B5: calling the hook again for a stored run, for example one that continues after a pause, changes nothing."""
    await db.upsert_run(run(1), "s1", "ada")

    await db.keep_input(RunInput("again"), RunContext(run_id="run-1", session_id="s1", user_id="ada"))
    with pytest.raises(ConversationNotFoundError):
        await db.keep_input(RunInput("hers"), RunContext(run_id="run-2", session_id="s1", user_id="eve"))

    assert await stored_runs(db) == [run(1)]
    assert len(await plain.get_messages("ada", "s1")) == 2


async def test_a_failed_run_keeps_the_users_message(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B5: the message and the run have the run's status, and the next model does not receive the message."""

    def fail(_: Any) -> dict[str, Any]:
        raise RuntimeError("no model")

    failed = await agent(db, FakeModel(script=fail)).arun("hello")
    assert failed.status == RunStatus.error

    stored = await plain.get_messages("ada", "s1")
    assert [(each.text, each.metadata) for each in stored] == [("hello", {"status": "ERROR"})]
    model = FakeModel()
    await agent(db, model).arun("again")
    assert model.history() == []
    assert [each["status"] for each in await stored_runs(db)] == ["ERROR", "COMPLETED"]


async def test_an_abandoned_run_keeps_the_users_message(
    db: VoltMemDb, plain: PostgresStorage, dsn: str, schema: str
) -> None:
    """B5: after the process has died in the model, the message is stored; Agno and the next model do not receive it."""
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


async def test_the_event_loop_is_not_blocked_while_a_row_is_locked(
    db: VoltMemDb, connection: Connection, schema: str
) -> None:
    """B7: while another connection locks the session, only the run waits, not the event loop."""
    await agent(db).arun("hello")

    async with connection.transaction():
        await connection.execute(
            f"SELECT FROM \"{schema}\".{DEFAULT_TABLE_PREFIX}_conversations WHERE id = 's1' FOR UPDATE"
        )
        running = asyncio.create_task(agent(db).arun("locked"))
        # A blocked event loop could neither see the run wait nor release the lock.
        await wait_until_blocked(connection)
        assert not running.done()
    await running


# --- B9, B10, B12 ----------------------------------------------------------------------------------------------------


async def test_a_run_costs_the_same_after_a_thousand(db: VoltMemDb, connection: Connection) -> None:
    """B9: a run of 1 kB writes less than 8 kB of WAL, and after 1,000 runs at most 1.5 times as much as after 10."""
    costs: dict[int, int] = {}
    question, answer = "q" * 200, "a" * 800
    for count in (10, 1000):
        session_id = f"after-{count}"
        runs = [run(number, question, answer, session_id=session_id) for number in range(count)]
        await db.upsert_session(session(runs, session_id=session_id))
        one = agent(db, FakeModel(script=lambda _: {"content": answer}), session_id=session_id)
        costs[count] = await wal_of(connection, partial(one.arun, question))

    assert_costs_stay(costs)


async def test_a_read_takes_only_the_window(db: VoltMemDb, connection: Connection, schema: str) -> None:
    """B10: the last 3 of 1,000 runs are read by index, and no other rows."""
    await db.upsert_session(session([run(number) for number in range(1000)]))
    await connection.execute(f'ANALYZE "{schema}".{DEFAULT_TABLE_PREFIX}_messages')

    sql = NativeStatements(Tables(schema, DEFAULT_TABLE_PREFIX)).since
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", "s1", "ada", "agno/run", 3, 150)

    answers = [each["messages"][-1]["content"] for each in await stored_runs(db, runs_limit=3)]
    assert answers == ["answer 997", "answer 998", "answer 999"]
    assert_reads_by_index(explained, most=6)


async def test_a_plain_run_is_two_messages(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B12: without system message and history: after four runs with history there are eight messages."""
    for number in range(4):
        await agent(db, description="You are kind").arun(f"question {number}")

    assert [each.role for each in await plain.get_messages("ada", "s1")] == ["user", "assistant"] * 4


async def test_history_is_not_stored_again_even_if_asked_for(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B12: with store_history_messages=True every run repeats earlier messages, which are not stored again."""
    for number in range(3):
        await agent(db, store_history_messages=True).arun(f"question {number}")

    assert len(await plain.get_messages("ada", "s1")) == 6
    assert [len(each["messages"]) for each in await stored_runs(db)] == [2, 2, 2]


async def test_unchanged_runs_are_not_written_again(db: VoltMemDb, connection: Connection, schema: str) -> None:
    """B9: Agno passes all its runs with each save; unchanged runs are not written."""
    for number in range(5):
        await agent(db, tools=[add]).arun(f'TOOL:add {{"a": 1, "b": {number}}}')
    rows = f'SELECT message_id, xmin::text FROM "{schema}".{DEFAULT_TABLE_PREFIX}_messages ORDER BY seq'
    before = await connection.fetch(rows)

    await agent(db).arun("one more")

    after = await connection.fetch(rows)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2


async def test_a_run_that_is_stored_again_takes_its_place(db: VoltMemDb, plain: PostgresStorage) -> None:
    """3.x: a paused run that continues, a run with fewer messages: no old message stays, none is stored twice."""
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


async def test_a_paused_run_continues_in_another_process(db: VoltMemDb, plain: PostgresStorage) -> None:
    """3.x: a run that waits for a confirmation is no history; afterwards it is, in the place where it started."""

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


async def test_a_message_of_another_release_is_read_in_its_plain_form(
    db: VoltMemDb, plain: PostgresStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """A message that this Agno cannot read does not fail the session: its plain form is read, with a warning."""
    await agent(db).arun("My secret question")
    async with plain.transaction() as tx:
        renamed = """replace(payload::text, '"role"', '"speaker"')::json"""
        await tx.connection.execute(f"UPDATE {plain._options.tables.messages} SET payload = {renamed}")
    model = FakeModel()

    await agent(VoltMemDb(plain), model).arun("And now?")

    assert model.history() == [("user", "My secret question"), ("assistant", "seen=1 last=My secret question")]
    assert "its plain form is read" in caplog.text
    assert "secret" not in caplog.text


# --- documents that another program wrote ----------------------------------------------------------------------------

UNREADABLE: dict[str, JsonObject] = {
    "a summary with a field of another release": {"summary": {"summary": "s", "mood": "fine"}},
    "a summary whose time is no time": {"summary": {"summary": "s", "updated_at": "soon"}},
    "a kind of session of another release": {"session_type": "swarm"},
}


@pytest.mark.parametrize("part", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_session_that_agno_cannot_read_raises_and_stays(
    db: VoltMemDb, plain: PostgresStorage, part: JsonObject, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading it is UnreadableError, a list leaves it out with a warning, and a run fails on it and changes nothing."""
    document: JsonObject = {"session_type": "agent", "agent_id": "a1", **part}
    memory = NativeMemory(plain, "ada", "s1")
    await memory.save_payload(document, "agno/session")
    await agent(db, session_id="s2").arun("hello")

    with pytest.raises(UnreadableError, match=r"this Agno cannot read the session of conversation 's1': \w+Error: ."):
        await db.get_session("s1", user_id="ada")
    assert [each.session_id for each in await listed(db, user_id="ada")] == ["s2"]
    assert "left out of the list of sessions: this Agno cannot read the session of conversation 's1'" in caplog.text
    as_dict = await db.get_session("s1", user_id="ada", deserialize=False)
    assert isinstance(as_dict, dict)
    assert as_dict.items() >= document.items()
    if "summary" in part:  # an agent names its own kind
        assert (await agent(db, session_id="s1").arun("hello")).status == RunStatus.error
        kept = await memory.payload("agno/session")
        assert kept is not None
        assert kept.payload == document


async def test_a_list_of_sessions_sorts_values_of_different_types(db: VoltMemDb, plain: PostgresStorage) -> None:
    """Documents whose fields hold text, numbers or nothing are listed in one order, and filtered by a real time."""
    values: list[JsonValue] = ["yesterday", 7, None, 1.5, ["x"], True]
    for number, value in enumerate(values):
        document: JsonObject = {"session_type": "agent", "created_at": value, "of_another_program": value}
        await NativeMemory(plain, "ada", f"s{number}").save_payload(document, "agno/session")

    found = await listed(db, user_id="ada", sort_by="of_another_program", sort_order="asc")
    created = await listed(db, user_id="ada", sort_by="created_at", start_timestamp=1_000_000_000)

    assert [each.session_id for each in found] == ["s2", "s4", "s0", "s5", "s3", "s1"]
    assert {each.session_id for each in created} == {"s0", "s2", "s4"}

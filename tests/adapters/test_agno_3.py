"""Agno 3: agents, teams and workflows that keep their sessions in voltmem, with arun()."""

from __future__ import annotations

import asyncio
import json
import sys
from ast import literal_eval
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

try:
    MAJOR = int(version("agno").partition(".")[0])
except PackageNotFoundError:
    pytest.skip("Agno is not installed", allow_module_level=True)
if MAJOR != 3:
    pytest.skip("these are the tests for Agno 3", allow_module_level=True)

from agno.agent import Agent
from agno.db.base import SessionType
from agno.run.agent import RunInput
from agno.run.base import RunContext, RunStatus
from agno.session import AgentSession, TeamSession
from agno.team import Team
from agno.tools import tool
from agno.workflow import Step, StepInput, StepOutput, Workflow

from tests.adapters.agno_fakes import FakeModel, echo, python
from tests.calls import somebody_waits
from tests.conftest import Connection, MakeStorage
from voltmem import ANY_USER, UNSET, PostgresStorage
from voltmem._agents.native import NativeStatements
from voltmem._tables import Tables
from voltmem.adapters.agno import Formats, Sessions, VoltMemDb, VoltMemStorage, to_messages, to_runs
from voltmem.errors import ConversationNotFoundError, InvalidInputError, InvalidOptionError, MissingExtraError
from voltmem.models import NativeMessage
from voltmem.options import DEFAULT_TABLE_PREFIX


@pytest.fixture
async def plain(make_storage: MakeStorage) -> PostgresStorage:
    """What everybody else sees."""
    return make_storage(storage_limit=None)


@pytest.fixture
def db(plain: PostgresStorage) -> VoltMemDb:
    return VoltMemDb(plain)


def agent(db: VoltMemDb, model: FakeModel | None = None, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "user_id": "ada",
        "session_id": "s1",
        "id": "helper",
        "add_history_to_context": True,
    } | options
    return Agent(model=model or FakeModel(), db=db, telemetry=False, **given)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def run(number: int, text: str = "question", answer: str = "answer", **values: Any) -> dict[str, Any]:
    """A run as Agno 3 makes it a dict."""
    at = {"from_history": False, "stop_after_tool_call": False}
    messages = [("system", "You are kind"), ("user", f"{text} {number}"), ("assistant", f"{answer} {number}")]
    return {
        "run_id": f"run-{number}",
        "agent_id": "helper",
        "session_id": "s1",
        "user_id": "ada",
        "content": f"{answer} {number}",
        "content_type": "str",
        "model": "fake",
        "created_at": 1_700_000_000 + number,
        "status": "COMPLETED",
        "metrics": {"input_tokens": 3, "duration": 0.25},
        "messages": [
            {"id": f"{role}-{number}", "content": content, **at, "role": role, "created_at": 1_700_000_000 + number}
            for role, content in messages
        ],
        "input": {"input_content": f"{text} {number}"},
    } | values


def session(runs: list[dict[str, Any]], **values: Any) -> AgentSession:
    given = {"session_id": "s1", "user_id": "ada", "agent_id": "helper", "created_at": 1_700_000_000} | values
    made = AgentSession.from_dict(json.loads(json.dumps({**given, "runs": runs})))
    assert made is not None
    return made


async def stored_runs(db: VoltMemDb, session_id: str = "s1", **options: Any) -> list[dict[str, Any]]:
    found: Any = await db.get_session(session_id, user_id="ada", deserialize=False, **options)
    return (found or {}).get("runs") or []


def delegate(messages: Any) -> dict[str, Any]:
    """A team's leader who has "go" done by the member."""
    if messages[-1].role == "user" and messages[-1].content == "go":
        return {"tool": ("delegate_task_to_member", {"member_id": "m1", "task": "do it"})}
    return echo(messages)


def team(db: VoltMemDb, model: FakeModel, **options: Any) -> Team:
    given: dict[str, Any] = {
        "user_id": "ada",
        "session_id": "t1",
        "id": "crew",
        "add_history_to_context": True,
    } | options
    member = Agent(name="m1", id="m1", model=FakeModel(), telemetry=False)
    return Team(members=[member], model=model, db=db, telemetry=False, **given)


# --- A16: A1, A2, A3 -----------------------------------------------------------------------------------------------

ASK = """
import asyncio, sys
from tests.adapters.agno_fakes import FakeModel
from agno.agent import Agent
from voltmem import PostgresStorage
from voltmem.adapters.agno import VoltMemDb

async def main():
    dsn, schema, *texts = sys.argv[1:]
    async with PostgresStorage(dsn, schema=schema, storage_limit=None) as storage:
        db, model = VoltMemDb(storage), FakeModel()
        found = await db.get_sessions(user_id="ada", limit=1)
        agent = Agent(model=model, db=db, user_id="ada", session_id=found[0].session_id if found else None,
                      add_history_to_context=True, telemetry=False)
        for text in texts:
            await agent.arun(text)
        print(model.calls[-1])

asyncio.run(main())
"""


async def test_a_second_process_continues_what_the_first_began(dsn: str, schema: str) -> None:
    """A1: the second process sends its model what was said in the first, in order, as history."""
    await python("-W", "error", "-c", ASK, arguments=[dsn, schema, "How do I make pad thai?"])
    printed = await python("-W", "error", "-c", ASK, arguments=[dsn, schema, "What was my last message?"])

    assert literal_eval(printed) == [
        ("user", "How do I make pad thai?", True),
        ("assistant", "seen=1 last=How do I make pad thai?", True),
        ("user", "What was my last message?", False),
    ]


async def test_a_new_session_starts_without_history(db: VoltMemDb) -> None:
    """A2, A3: a second session knows nothing of the first; the last used is listed first, and only to its user."""
    await agent(db).arun("old")
    model = FakeModel()
    await agent(db, model, session_id="s2").arun("new")

    assert model.history() == []
    assert [each.session_id for each in await listed(db, user_id="ada")] == ["s2", "s1"]
    await agent(db).arun("again")
    assert [each.session_id for each in await listed(db, user_id="ada")] == ["s1", "s2"]
    assert await listed(db, user_id="eve") == []
    await db.upsert_session(session([], session_id="s2"))
    assert [each.session_id for each in await listed(db, user_id="ada")] == ["s2", "s1"]


async def listed(db: VoltMemDb, **options: Any) -> list[Any]:
    found = await db.get_sessions(**options)
    assert isinstance(found, list)
    return found


async def test_every_way_to_say_where_the_database_is(
    dsn: str, schema: str, plain: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A5: a storage, a pool in it, a URL as SQLAlchemy has it, the environment; what it made itself it closes."""
    await agent(VoltMemDb(plain)).arun("hello")
    pool = await asyncpg.create_pool(dsn, min_size=0, max_size=2)
    with_pool = PostgresStorage(pool=pool, schema=schema)
    assert len(await listed(VoltMemDb(with_pool), user_id="ada")) == 1
    await with_pool.close()
    await pool.close()
    url = dsn.replace("postgresql://", "postgresql+psycopg://")
    monkeypatch.setenv("VOLTMEM_DATABASE_URL", url)
    for db in (VoltMemDb(url), VoltMemDb()):
        assert await db.storage.schema_status() != []
        assert db.storage._options.storage_limit is None
        await db.close()
        with pytest.raises(RuntimeError, match="closed"):
            await db.get_sessions()
    await VoltMemDb(plain).close()
    assert await plain.get_conversation("s1") is not None


async def test_first_uses_at_once_all_succeed(make_storage: MakeStorage) -> None:
    """A5: eight on an empty schema at the same time."""
    dbs = [VoltMemDb(make_storage()) for _ in range(8)]

    await asyncio.gather(*(agent(each, session_id=str(number)).arun("hi") for number, each in enumerate(dbs)))

    assert len(await listed(dbs[0], user_id="ada")) == 8
    assert [each.last_error for each in dbs] == [None] * 8


def test_what_is_for_another_agno_says_so() -> None:
    """VoltMemStorage is there to be imported, and its error names what is to be used instead."""
    with pytest.raises(InvalidOptionError, match=r"VoltMemStorage is for Agno 1, and Agno 2 or later.*use VoltMemDb"):
        VoltMemStorage("agents")


async def test_what_is_not_kept_says_so(db: VoltMemDb) -> None:
    """Memories, knowledge, evaluations: NotImplementedError, with what to do."""
    for name in ("get_user_memories", "upsert_knowledge_content", "create_eval_run", "get_traces", "get_run"):
        with pytest.raises(NotImplementedError, match=f"{name}.*a database of Agno's own"):
            await getattr(db, name)()
    assert await db.table_exists("agno_sessions")
    assert await db.get_latest_schema_version("agno_sessions") == "3.0.0"
    await db.upsert_schema_version("agno_sessions", "3.0.0")


# --- A6, A7, A8 ----------------------------------------------------------------------------------------------------


async def test_a_team_continues_with_its_members_answers(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A6: another Team object sees what was said; the member's run is kept, and the conversation is the people's."""
    await team(db, FakeModel(script=delegate)).arun("go")
    model = FakeModel(script=delegate)

    await team(VoltMemDb(plain), model).arun("again")

    assert [role for role, _ in model.history()] == ["user", "assistant", "tool", "assistant"]
    member, first, _ = await stored_runs(db, "t1", session_type=SessionType.TEAM)
    assert (member["agent_id"], member["parent_run_id"]) == ("m1", first["run_id"])
    assert [each["content"] for each in member["messages"]] == ["do it", "seen=1 last=do it"]
    said = await plain.get_messages("ada", "t1")
    assert [each.role for each in said] == ["user", "assistant", "tool", "assistant", "user", "assistant"]


async def test_a_members_run_by_itself_goes_to_its_teams(db: VoltMemDb) -> None:
    """3.x: a run that changes alone is kept with the others of its team; without one it is an error."""
    member = run(1, parent_run_id="run-2")
    with pytest.raises(InvalidInputError, match="'run-2' is not stored yet, of which 'run-1' is a part"):
        await db.upsert_run(member, "s1", "ada")

    await db.upsert_run(run(2), "s1", "ada")
    await db.upsert_run(member, "s1", "ada")
    await db.upsert_run(run(3, parent_run_id="run-2"), "s1", "ada")
    await db.upsert_run(run(1, parent_run_id="run-2", content="changed"), "s1", "ada")
    await db.upsert_run(run(2, content="changed, too"), "s1", "ada")

    runs = await stored_runs(db)
    assert [(each["run_id"], each["content"]) for each in runs] == [
        ("run-1", "changed"),
        ("run-3", "answer 3"),
        ("run-2", "changed, too"),
    ]


async def test_members_at_the_same_time_are_all_kept(make_storage: MakeStorage) -> None:
    """B1: eight members of one team's run, stored at once by as many storages."""
    dbs = [VoltMemDb(make_storage()) for _ in range(8)]
    await dbs[0].upsert_run(run(0), "s1", "ada")

    await asyncio.gather(
        *(each.upsert_run(run(number, parent_run_id="run-0"), "s1", "ada") for number, each in enumerate(dbs, 1))
    )

    assert {each["run_id"] for each in await stored_runs(dbs[0])} == {f"run-{number}" for number in range(9)}


async def test_one_team_for_two_users_mixes_nothing(db: VoltMemDb, connection: Connection, schema: str) -> None:
    """B8: what one user said to a Team object is in no row of the other's."""
    crew = team(db, FakeModel(script=delegate), session_id=None, user_id=None)
    await crew.arun("go", session_id="of-alice", user_id="alice")
    await crew.arun("SECRET-OF-ALICE", session_id="of-alice", user_id="alice")
    await crew.arun("go", session_id="of-bob", user_id="bob")

    prefix = f'"{schema}".{DEFAULT_TABLE_PREFIX}'
    documents = await connection.fetch(
        f"SELECT payload::text AS text FROM {prefix}_payloads WHERE conversation_id = 'of-bob' "
        f"UNION ALL SELECT concat(content, payload) FROM {prefix}_messages WHERE conversation_id = 'of-bob'"
    )
    assert len(documents) > 1
    assert not [each for each in documents if "alice" in each["text"].lower()]


async def test_a_workflow_finds_what_it_cached_in_its_session(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A7: another object with the same session has its state and its runs, with another session not."""

    def step(step_input: StepInput, run_context: RunContext) -> StepOutput:
        assert run_context.session_state is not None
        found = run_context.session_state.setdefault("answers", {})
        source = "cached" if str(step_input.input) in found else "made"
        found.setdefault(str(step_input.input), 1)
        return StepOutput(content=f"{source}: {step_input.input}")

    async def answer(session_id: str) -> Any:
        one: Any = step  # Agno's type knows executors without a context only
        flow = Workflow(id="cache", name="cache", db=db, steps=[Step(name="one", executor=one)], telemetry=False)
        return (await flow.arun("cats", session_id=session_id, user_id="ada")).content

    assert [await answer(each) for each in ("w1", "w1", "w2")] == ["made: cats", "cached: cats", "made: cats"]
    kept: Any = await db.get_session("w1", SessionType.WORKFLOW, "ada")
    assert [(each.input, each.content) for each in kept.runs] == [("cats", "made: cats"), ("cats", "cached: cats")]
    said = [(each.role, each.text) for each in await plain.get_messages("ada", "w1")]
    assert said == [("user", "cats"), ("assistant", "made: cats"), ("user", "cats"), ("assistant", "cached: cats")]


async def test_an_agent_and_a_team_share_a_session(db: VoltMemDb) -> None:
    """A8: with one id there is one session: both see what was said, and neither takes the other's part of it."""
    await agent(db, session_id="same", session_state={"a": 1}).arun("to the agent")
    model = FakeModel()
    await team(db, model, session_id="same").arun("to the team")

    assert ("user", "to the agent") in model.history()
    found: Any = await db.get_session("same", user_id="ada", deserialize=False)
    assert (found["agent_id"], found["session_type"]) == ("helper", "agent")
    assert found["agent_data"] is not None
    assert found["session_data"]["session_state"] == {"a": 1}
    assert len(found["runs"]) == 2


async def test_sessions_are_found_by_what_they_are_of(db: VoltMemDb) -> None:
    """A8: by kind, by agent or team, by name, by time, page by page, in any order, as objects and as dicts."""
    for number in range(3):
        name = {"session_name": f"Name {number}"}
        values: dict[str, Any] = {"session_id": f"s{number}", "created_at": 1000 - number, "session_data": name}
        await db.upsert_session(session([run(number, session_id=f"s{number}")], **values))
    crew = TeamSession(session_id="t1", user_id="ada", team_id="crew", created_at=5)
    await db.upsert_session(crew)

    async def ids(**options: Any) -> list[str]:
        return [each.session_id for each in await listed(db, **{"user_id": "ada", **options})]

    assert await ids() == ["t1", "s2", "s1", "s0"]
    assert await ids(limit=3) == ["t1", "s2", "s1"]
    assert await ids(limit=3, page=2) == ["s0"]
    assert await ids(limit=0) == []
    assert await ids(session_type=SessionType.AGENT) == ["s2", "s1", "s0"]
    assert await ids(component_id="crew") == ["t1"]
    assert await ids(session_name="nAME 1") == ["s1"]
    assert await ids(start_timestamp=999) == ["s1", "s0"]
    assert await ids(end_timestamp=999) == ["t1", "s2", "s1"]
    assert await ids(sort_by="created_at", sort_order="asc") == ["t1", "s2", "s1", "s0"]
    assert await ids(sort_by="session_name", sort_order="desc") == ["s2", "s1", "s0", "t1"]
    assert await ids(sort_order="asc", limit=2, page=2) == ["s2", "t1"]
    assert await ids(user_id="eve") == []
    dicts, total = await db.get_sessions(user_id="ada", limit=1, deserialize=False, include_runs=False)
    assert (dicts[0]["session_id"], dicts[0]["runs"], total) == ("t1", None, 4)
    (whole,) = await listed(db, user_id="ada", session_name="Name 2")
    assert [each.run_id for each in whole.runs] == ["run-2"]
    assert isinstance((await listed(db, user_id="ada", component_id="crew"))[0], TeamSession)


async def test_a_users_sidebar_has_agnos_sessions(db: VoltMemDb, plain: PostgresStorage) -> None:
    """B11: by voltmem's own pages, which walk an index: the last used first, named, with the agent's id."""
    for number in range(7):
        await agent(db, session_id=f"s{number}").arun("hello")
    await agent(db, session_id="hers", user_id="eve").arun("hello")

    walked = [each async for each in plain.get_user_conversations("ada").limit(3)]
    page = await plain.get_paginated_user_conversations("ada", page=1, page_size=5)

    assert [each.id for each in walked] == ["s6", "s5", "s4"]
    assert [each.id for each in page.conversations] == ["s6", "s5", "s4", "s3", "s2"]
    assert (page.has_more, page.conversations[0].resource_id) == (True, "helper")


# --- A9, A10, A11 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [1, 3, 10])
async def test_history_is_the_last_exchanges(db: VoltMemDb, stored: int) -> None:
    """A9: exactly the last 3, oldest first, or all there are."""
    await db.upsert_session(session([run(number) for number in range(stored)]))
    model = FakeModel()

    await agent(db, model, num_history_runs=3).arun("and now?")

    last = range(max(stored - 3, 0), stored)
    assert model.history() == [
        (role, f"{text} {number}") for number in last for role, text in (("user", "question"), ("assistant", "answer"))
    ]


async def test_a_tool_call_keeps_its_result(db: VoltMemDb) -> None:
    """A9: the history of a run with a tool is the call with its result."""
    await agent(db, tools=[add]).arun('TOOL:add {"a": 1, "b": 2}')
    model = FakeModel()

    await agent(db, model, num_history_runs=1).arun("and now?")

    assert [role for role, _ in model.history()] == ["user", "assistant", "tool", "assistant"]


async def test_exchanges_are_the_last_pairs(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A10: what the user said last, and the answer; in a team, too, where members speak as well."""
    await agent(db, session_id="t1").arun("first")
    await team(db, FakeModel(script=delegate)).arun("go")

    ((question, answer),) = await plain.conversation("ada", "t1").exchanges(1)

    assert (question.text, answer.text) == ("go", "tool said: seen=1 last=do it")


async def test_a_limit_of_runs_counts_what_a_model_may_see(db: VoltMemDb) -> None:
    """3.x: runs_limit leaves out members' runs and those that failed, and is full all the same."""
    await db.upsert_session(
        session(
            [
                run(1),
                run(2),
                run(3, parent_run_id="run-2"),
                run(4, status="ERROR"),
                run(5, status="CANCELLED"),
                run(6, status="PAUSED"),
                run(7, status="REGENERATED"),
            ]
        )
    )

    assert [each["run_id"] for each in await stored_runs(db, runs_limit=2)] == ["run-1", "run-2"]
    assert [each["run_id"] for each in await stored_runs(db, runs_limit=1)] == ["run-2"]
    assert await stored_runs(db, runs_limit=0) == []
    assert len(await stored_runs(db)) == 7
    for_ada = db.for_user("ada")
    history = await agent(for_ada).aget_session_messages(session_id="s1", last_n_runs=1)
    assert [each.content for each in history][-2:] == ["question 2", "answer 2"]


async def test_the_window_is_an_option(plain: PostgresStorage) -> None:
    """The newest 20 runs are read unless told otherwise; saving such a window takes nothing from the others."""
    await VoltMemDb(plain).upsert_session(session([run(number) for number in range(30)]))
    counts = {runs: len(await stored_runs(VoltMemDb(plain, runs=runs))) for runs in (0, 1, 20, None)}
    assert counts == {0: 0, 1: 1, 20: 20, None: 30}

    await agent(VoltMemDb(plain, runs=1)).arun("one more")

    assert len(await stored_runs(VoltMemDb(plain, runs=None))) == 31


async def test_the_tools_that_read_past_sessions_find_the_users(db: VoltMemDb) -> None:
    """A11: an agent's tools are shown what its user said in other sessions, and nobody else's."""
    await agent(db, session_id="a1").arun("I love leeks")
    await agent(db, session_id="e1", user_id="eve").arun("I hate leeks")
    model = FakeModel()
    searching = agent(db, model, session_id="a2", search_past_sessions=True)

    await searching.arun("TOOL:search_past_sessions {}")
    (found,) = [content for role, content, _ in model.calls[-1] if role == "tool"]
    await searching.arun('TOOL:read_past_session {"session_id": "a1"}')
    (read,) = [content for role, content, is_history in model.calls[-1] if role == "tool" and not is_history]

    assert "a1" in found
    assert "e1" not in found
    assert "I love leeks" in read


# --- A12, A13 ------------------------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "session_data": {
        "session_name": "Leeks",
        "session_state": {"list": [1, {"b": None, "a": 1.5}], "z": "ü", "a": 10**20},
        "session_metrics": {"input_tokens": 3},
        "images": [{"id": "i", "url": "https://example.org/i.png"}],
    },
    "metadata": {"tenant": 7},
    "agent_data": {"agent_id": "helper", "model": {"id": "fake", "provider": "Fake"}},
    "summary": {"summary": "Leeks.", "topics": ["leeks"]},
    "workflow_id": "w",
}
WITH_ALL = run(
    2,
    tools=[{"tool_call_id": "k1", "tool_name": "add", "tool_args": {"a": 1}, "result": "3"}],
    images=[{"id": "i", "url": "https://example.org/i.png"}],
    citations={"raw": [1], "urls": [{"url": "https://example.org", "title": "t"}]},
    messages=[
        {"id": "0", "role": "system", "content": "You are kind"},
        {"id": "1", "role": "user", "content": "1 + 2?", "images": [{"id": "i", "url": "https://example.org/i.png"}]},
        {
            "id": "2",
            "role": "assistant",
            "tool_calls": [{"id": "k1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
            "provider_data": {"x": [{}]},
        },
        {"id": "3", "role": "tool", "content": "3", "tool_call_id": "k1", "tool_name": "add", "tool_args": {"a": 1}},
        {"id": "4", "role": "assistant", "content": "3", "reasoning_content": "…", "citations": {"raw": [0]}},
    ],
)


async def test_a_session_comes_back_equal(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A12: names, state, metadata, summary, metrics, tool calls, images, citations: the same JSON, keys in order."""
    given = session([run(1), WITH_ALL], **FULL)

    await db.upsert_session(given)
    found: Any = await VoltMemDb(plain).get_session("s1", SessionType.AGENT, "ada")

    times: dict[str, Any] = {"updated_at": 0}
    stored, loaded = given.to_dict() | times, found.to_dict() | times
    for each in (*stored["runs"], *loaded["runs"]):  # Agno adds and leaves out what is empty
        for key in [key for key, value in each.items() if value in ([], None)]:
            del each[key]
    assert json.dumps(loaded) == json.dumps(stored)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


async def test_any_state_and_any_message_come_back_equal(dsn: str, schema: str) -> None:
    """A12, B6: NUL, lone surrogates, big numbers, odd keys: whatever is JSON."""

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(state=st.dictionaries(st.text(), JSON, max_size=3), text=st.text(st.characters()), more=JSON)
    def check(state: dict[str, Any], text: str, more: Any) -> None:
        messages = [
            {"id": "1", "role": "user", "content": text},
            {"id": "2", "role": "assistant", "provider_data": more},
        ]
        given = run(1, messages=messages, metadata=more, session_id=(session_id := str(uuid4())))
        document = AgentSession(session_id=session_id, user_id="ada", session_data={"session_state": state}, runs=[])

        async def there_and_back() -> Any:
            async with PostgresStorage(dsn, schema=schema) as storage:
                db = VoltMemDb(storage)
                await db.upsert_session(document)
                await db.upsert_run(given, session_id)
                return await db.get_session(session_id, user_id="ada", deserialize=False)

        found = loop.run_until_complete(there_and_back())
        assert found["session_data"] == document.session_data
        assert found["runs"] == [given]

    loop = asyncio.new_event_loop()
    try:
        await asyncio.to_thread(check)
    finally:
        loop.close()


@pytest.mark.parametrize(
    "text", ["nul \x00 byte", "lone \ud800 surrogate", "x" * 10_000_000], ids=["nul", "lone", "10 MB"]
)
async def test_no_text_is_lost(db: VoltMemDb, text: str) -> None:
    """B6: of a user, whatever it has in it."""
    await agent(db).arun(text)

    (kept,) = await stored_runs(db)
    assert kept["messages"][0]["content"] == text


async def test_a_session_name_is_the_conversations_title(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A13: renaming in Agno names the conversation; a person's title stays, and Agno is shown it."""
    await agent(db).arun("hello")
    await agent(db.for_user("ada")).aset_session_name(session_id="s1", session_name="Named by Agno")
    assert [each.title for each in await plain.get_conversations_by_user_id("ada")] == ["Named by Agno"]

    await plain.update_conversation("s1", title="Named by Ada")
    await agent(db).arun("again")

    assert [each.title for each in await plain.get_conversations_by_user_id("ada")] == ["Named by Ada"]
    (found,) = await listed(db, user_id="ada", session_name="named by ada")
    assert found.session_data["session_name"] == "Named by Ada"
    again = session([], session_data={"session_name": "Named by Ada"})
    await db.upsert_session(again)
    await plain.update_conversation("s1", title="Named by Ada, later")
    await db.upsert_session(again)
    assert [each.title for each in await plain.get_conversations_by_user_id("ada")] == ["Named by Ada, later"]
    renamed: Any = await db.rename_session("s1", SessionType.AGENT, "By the database", user_id="ada")
    assert renamed.session_data["session_name"] == "By the database"
    assert await db.rename_session("s1", None, "Hers", user_id="eve") is None
    assert await db.rename_session("unknown", None, "Nobody's") is None


async def test_deleting_a_session_deletes_its_messages(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A13: nothing of it is left; an unknown id and another user's are False."""
    for session_id in ("s1", "s2", "s3"):
        await agent(db, session_id=session_id).arun("hello")

    assert await db.delete_session("s1", user_id="eve") is False
    assert await db.delete_session("unknown") is False
    await db.upsert_run(run(1), "s1")
    await agent(db).adelete_session("s1", user_id="ada")
    assert await plain.get_messages(ANY_USER, "s1") == []
    await db.upsert_run(run(1), "s1")
    assert len(await stored_runs(db)) == 1
    await db.delete_session("s1", user_id="ada")
    await db.delete_sessions(["s2", "unknown", "s3"], user_id="ada")
    assert await listed(db, user_id="ada") == []


async def test_streams_store_the_same(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A15: whether it was streamed or not, the messages are equal."""
    await agent(db, session_id="async").arun("hello")
    async for _ in agent(db, session_id="stream").arun("hello", stream=True):
        pass

    for session_id in ("async", "stream"):
        said = [(each.role, each.type, each.content) for each in await plain.get_messages("ada", session_id)]
        assert said == [("user", "text", "hello"), ("assistant", "text", "seen=1 last=hello")], session_id


# --- B1 to B7 ------------------------------------------------------------------------------------------------------


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
    await python("-c", ASK, arguments=[dsn, schema, "before"])
    texts = {side: [f"{side} {number}" for number in range(10)] for side in ("left", "right")}

    await asyncio.gather(*(python("-c", ASK, arguments=[dsn, schema, *each]) for each in texts.values()))

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

    await python("-c", program, arguments=[dsn, schema, "hello"])

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
        await somebody_waits(connection)
        assert not running.done()
    await running


# --- B9, B10, B12 --------------------------------------------------------------------------------------------------


async def wal(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def test_a_run_costs_the_same_after_a_thousand(db: VoltMemDb, connection: Connection) -> None:
    """B9: WAL for a run of 1 kB: below 8 kB, and after 1,000 runs no more than half as much again as after 10."""
    costs: dict[int, int] = {}
    question, answer = "q" * 200, "a" * 800
    for count in (10, 1000):
        session_id = f"after-{count}"
        runs = [run(number, question, answer, session_id=session_id) for number in range(count)]
        await db.upsert_session(session(runs, session_id=session_id))
        await connection.execute("CHECKPOINT")
        one = agent(db, FakeModel(script=lambda _: {"content": answer}), session_id=session_id)
        spent = [await wal(connection)]
        for _ in range(6):
            await one.arun(question)
            spent.append(await wal(connection))
        costs[count] = sorted(after - before for before, after in pairwise(spent))[2]

    assert costs[10] < 8192, costs
    assert costs[1000] < 8192, costs
    assert costs[1000] <= 1.5 * costs[10], costs


async def test_a_read_takes_the_window_and_nothing_else(db: VoltMemDb, connection: Connection, schema: str) -> None:
    """B10: of 1,000 runs the last 3 are read by index, in as many rows as they have."""
    await db.upsert_session(session([run(number) for number in range(1000)]))
    await connection.execute(f'ANALYZE "{schema}".{DEFAULT_TABLE_PREFIX}_messages')

    sql = NativeStatements(Tables(schema, DEFAULT_TABLE_PREFIX)).since
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", "s1", "ada", "agno/run", 3, 150)

    answers = [each["messages"][-1]["content"] for each in await stored_runs(db, runs_limit=3)]
    assert answers == ["answer 997", "answer 998", "answer 999"]
    scans = [each for each in nodes(json.loads(explained)[0]["Plan"]) if "messages" in each.get("Relation Name", "")]
    assert {each["Node Type"] for each in scans} == {"Index Scan"}
    touched = [each["Actual Rows"] + each.get("Rows Removed by Filter", 0) for each in scans]
    assert len(touched) == 2
    assert max(touched) <= 6


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", []):
        yield from nodes(each)


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


# --- together with everybody else ----------------------------------------------------------------------------------


async def begin_elsewhere(plain: PostgresStorage, format: str | None = None) -> None:
    await plain.create_conversation({"id": "s1", "user_id": "ada"})
    call = {"type": "tool-call", "toolCallId": "k1", "toolName": "add", "args": {"a": 1, "b": 2}}
    result = {"type": "tool-result", "toolCallId": "k1", "toolName": "add", "result": {"sum": 3}}
    said: list[dict[str, Any]] = [
        {"role": "system", "content": "You are kind"},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "1 + 2?"},
        {"role": "assistant", "type": "tool-call", "content": [{"type": "text", "text": "Well"}, call]},
        {"role": "tool", "type": "tool-result", "content": [result]},
        {"role": "assistant", "content": [{"type": "text", "text": "3"}]},
        {"role": "assistant", "type": "tool-call", "content": [{**call, "toolCallId": "never answered"}]},
    ]
    await plain.add_messages([NativeMessage(**each, format=format, payload=format) for each in said], "ada", "s1")


ELSEWHERE = [
    ("user", "hello"),
    ("assistant", "hi"),
    ("user", "1 + 2?"),
    ("assistant", "Well"),
    ("tool", '{"sum":3}'),
    ("assistant", "3"),
]


@pytest.mark.parametrize("format", [None, "openai-agents"])
async def test_an_agent_goes_on_with_a_conversation_begun_elsewhere(
    db: VoltMemDb, plain: PostgresStorage, format: str | None
) -> None:
    """Plain messages with a tool call, as another framework or the application stored them, are its history."""
    await begin_elsewhere(plain, format)
    model = FakeModel()

    await agent(db, model).arun("and now?")
    assert model.history() == ELSEWHERE

    await agent(db, model).arun("once more")
    assert model.history()[-2:] == [("user", "and now?"), ("assistant", "seen=3 last=and now?")]
    assert len(await plain.get_messages("ada", "s1")) == 8 + 4


async def test_a_team_goes_on_with_a_conversation_begun_elsewhere(db: VoltMemDb, plain: PostgresStorage) -> None:
    """The same for teams, and for workflows, whose history is what went in and what came out."""
    await begin_elsewhere(plain)
    model = FakeModel()

    await team(db, model, session_id="s1").arun("and now?")

    assert model.history() == ELSEWHERE
    kept: Any = await VoltMemDb(plain).get_session("s1", SessionType.WORKFLOW, "ada")
    assert kept.get_workflow_history() == [("hello", "hi"), ("1 + 2?", "3")]


async def test_what_agno_1_stored_goes_on(db: VoltMemDb, plain: PostgresStorage) -> None:
    """After the step to Agno 3 an agent knows what was said under Agno 1: its messages, by their plain form."""
    old = run(1) | {"metrics": {"input_tokens": [3]}, "status": "RUNNING"}
    formats = Formats("agno-1/agent")
    await Sessions(plain, UNSET, None).save("s1", "ada", formats, [old], {"memory": {"runs": []}})
    model = FakeModel()

    await agent(db, model).arun("and now?")

    assert model.history() == [("user", "question 1"), ("assistant", "answer 1")]


@pytest.mark.parametrize("limit", range(1, 10))
async def test_whatever_the_window_it_is_valid(db: VoltMemDb, plain: PostgresStorage, limit: int) -> None:
    """Who reads the agent's messages by voltmem's own methods never gets a tool's call without its result."""
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}', "thanks"):
        await agent(db, tools=[add]).arun(text)

    window = await plain.conversation("ada", "s1").messages(limit=limit)

    assert len(window) <= limit
    types = [each.type for each in window if each.type != "text"]
    assert types in ([], ["tool-call", "tool-result"])


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 8])
async def test_a_storage_limit_takes_whole_runs_from_agno(make_storage: MakeStorage, limit: int) -> None:
    """A run of which the limit has taken messages is not shown; the others are whole."""
    db = VoltMemDb(make_storage(storage_limit=limit))
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}', "thanks"):
        await agent(db, tools=[add]).arun(text)
    model = FakeModel()

    await agent(db, model).arun("and now?")

    whole = {1: 0, 2: 2, 5: 2, 6: 6, 8: 8}[limit]
    assert len(model.history()) == whole
    assert [role for role, _ in model.history()][:1] == ["user"][:whole]


async def test_a_run_that_lacks_a_message_is_not_shown(db: VoltMemDb, plain: PostgresStorage) -> None:
    """An application deletes what a tool answered: the model is not shown the call without it."""
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}'):
        await agent(db, tools=[add]).arun(text)
    (result,) = await plain.get_messages("ada", "s1", types=["tool-result"])

    await plain.delete_messages([result.id], "ada", "s1")

    model = FakeModel()
    await agent(db, model).arun("and now?")
    assert model.history() == [("user", "hello"), ("assistant", "seen=1 last=hello")]


CALL = {"type": "tool-call", "toolCallId": "k1", "toolName": "add", "args": {"a": 1}}
RESULT = {"type": "tool-result", "toolCallId": "k1", "toolName": "add", "result": "3"}
NATIVE_CALL = {"id": "k1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ANTHROPIC = {"type": "tool_result", "tool_use_id": "k1", "content": "3"}


@pytest.mark.parametrize(
    ("native", "plain"),
    [
        ({"role": "user", "content": "hi"}, ("user", "text", "hi")),
        ({"role": "assistant", "content": None}, ("assistant", "text", "")),
        ({"role": "model", "content": "hi"}, ("assistant", "text", "hi")),
        ({"role": "assistant", "content": {"sum": 3}}, ("assistant", "text", {"sum": 3})),
        ({"role": "assistant", "tool_calls": [NATIVE_CALL]}, ("assistant", "tool-call", [CALL])),
        (
            {"role": "assistant", "content": "Well", "tool_calls": [NATIVE_CALL]},
            ("assistant", "tool-call", [{"type": "text", "text": "Well"}, CALL]),
        ),
        (
            {"role": "tool", "content": "3", "tool_call_id": "k1", "tool_name": "add"},
            ("tool", "tool-result", [RESULT]),
        ),
        (
            {
                "role": "tool",
                "content": ["3"],
                "tool_calls": [{"tool_call_id": "k1", "tool_name": "add", "content": "3"}],
            },
            ("tool", "tool-result", [RESULT]),
        ),
        ({"role": "user", "content": [ANTHROPIC]}, ("tool", "tool-result", [RESULT | {"toolName": ""}])),
        (
            {"role": "user", "content": "See", "images": [{"url": "u", "content": "aGVsbG8="}], "files": [{"id": "f"}]},
            (
                "user",
                "text",
                [{"type": "text", "text": "See"}, {"type": "image", "url": "u"}, {"type": "file", "id": "f"}],
            ),
        ),
    ],
    ids=str,
)
def test_what_a_model_said_is_plain_for_others(native: dict[str, Any], plain: tuple[str, str, Any]) -> None:
    """However a provider has Agno write it; and Agno's own form is kept beside it."""
    (message,) = to_messages(run(1, messages=[native]), [], Formats("agno"))

    assert (message.role, message.type, message.content) == plain
    assert to_runs([message], Formats("agno"), {}) == [run(1, messages=[native])]


def test_a_run_that_says_nothing_is_kept() -> None:
    """Without messages, input, content and id: one empty message holds it, by the same id each time."""
    (message,) = to_messages({"agent_id": "helper"}, [], Formats("agno"))
    (again,) = to_messages({"agent_id": "helper"}, [], Formats("agno"))

    assert (message.content, message.id) == ("", again.id)
    assert to_runs([message], Formats("agno"), {}) == [{"agent_id": "helper"}]


async def test_a_changed_message_is_what_agno_reads(db: VoltMemDb, plain: PostgresStorage) -> None:
    """An application corrects an answer; the agent's history has the correction."""
    await agent(db).arun("hello")
    _, answer = await plain.get_messages("ada", "s1")

    await plain.add_message({"id": answer.id, "role": "assistant", "content": "corrected"}, "ada", "s1")

    model = FakeModel()
    await agent(db, model).arun("and now?")
    assert model.history() == [("user", "hello"), ("assistant", "corrected")]


@pytest.mark.parametrize("missing", ["agno", "agno.db.base"])
def test_without_agno_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Importing the adapter where Agno is missing, or is too early an Agno 2, names the extra."""
    for name in [name for name in sys.modules if name.startswith("voltmem.adapters.agno")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(MissingExtraError, match=r"'\.\[agno\]'"):
        import_module("voltmem.adapters.agno")

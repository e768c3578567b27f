"""Agno 1: agents, teams and workflows that keep their sessions in voltmem, as in the seed and better."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
from ast import literal_eval
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
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
if MAJOR != 1:
    pytest.skip("these are the tests for Agno 1", allow_module_level=True)

from tests.adapters.agno_fakes import ROOT, FakeModel, echo, python
from tests.calls import somebody_waits
from tests.conftest import Connection, MakeStorage
from voltmem import ANY_USER, PostgresStorage
from voltmem._agents.native import NativeStatements
from voltmem._postgres.migrations import migrations
from voltmem._tables import Tables
from voltmem.adapters.agno import VoltMemDb, VoltMemStorage, import_sessions
from voltmem.errors import (
    ConversationNotFoundError,
    DatabaseError,
    InvalidInputError,
    InvalidOptionError,
    MissingExtraError,
    SchemaError,
    SchemaNotReadyError,
)

# Not there for type checkers, who see Agno 3.
Agent: Any = import_module("agno.agent").Agent
Team: Any = import_module("agno.team").Team
AgentSession: Any = import_module("agno.storage.session.agent").AgentSession
Workflow: Any = import_module("agno.workflow").Workflow

PREFIX = "agents"
SEED = ROOT.parent / "shared" / "seeds" / "agno-storage.txt"

MakeStore = Callable[..., VoltMemStorage]


@pytest.fixture
def make_store(dsn: str, schema: str) -> Iterator[MakeStore]:
    """A factory of stores on the test's schema, closed at the end."""
    made: list[VoltMemStorage] = []

    def make(table_name: str | None = PREFIX, db_url: str | None = dsn, **options: Any) -> VoltMemStorage:
        made.append(VoltMemStorage(table_name, schema, db_url, **options))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> VoltMemStorage:
    return make_store()


@pytest.fixture
async def plain(make_storage: MakeStorage) -> PostgresStorage:
    """What everybody else sees: the same tables, by voltmem's own methods."""
    return make_storage(table_prefix=PREFIX, storage_limit=None)


def agent(store: VoltMemStorage, model: FakeModel | None = None, **options: Any) -> Any:
    options = {"user_id": "ada", "session_id": "s1", "agent_id": "helper", "add_history_to_messages": True} | options
    return Agent(model=model or FakeModel(), storage=store, telemetry=False, monitoring=False, **options)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def run(number: int, text: str = "question", answer: str = "answer", **values: Any) -> dict[str, Any]:
    """A run as Agno 1 makes it a dict."""
    at = {"from_history": False, "stop_after_tool_call": False, "created_at": 1_700_000_000 + number}
    return {
        "content": f"{answer} {number}",
        "content_type": "str",
        "metrics": {"input_tokens": [3], "time": [0.25]},
        "model": "fake",
        "run_id": f"run-{number}",
        "agent_id": "helper",
        "session_id": "s1",
        "created_at": 1_700_000_000 + number,
        "status": "RUNNING",
        "messages": [
            {"content": "You are kind", "role": "system", **at},
            {"content": f"{text} {number}", "role": "user", **at},
            {"content": f"{answer} {number}", "role": "assistant", **at, "metrics": {"time": 0.1}},
        ],
    } | values


def session(runs: list[dict[str, Any]], **values: Any) -> Any:
    values = {"session_id": "s1", "user_id": "ada", "agent_id": "helper", "created_at": 1_700_000_000} | values
    memory = {"summaries": {}, "memories": {}, "runs": runs}
    return AgentSession(**{"memory": memory, **values})


def stored_runs(store: VoltMemStorage, session_id: str = "s1") -> list[dict[str, Any]]:
    found: Any = store.read(session_id)
    return [] if found is None else list(found.memory["runs"])


def team(
    store: VoltMemStorage, model: FakeModel, *, member_storage: VoltMemStorage | None = None, **options: Any
) -> Any:
    member = Agent(
        name="m1", agent_id="m1", model=FakeModel(), storage=member_storage, telemetry=False, monitoring=False
    )
    options = {"session_id": "t1", "user_id": "ada", "team_id": "crew", "add_history_to_messages": True} | options
    return Team(
        members=[member], mode="coordinate", model=model, storage=store, telemetry=False, monitoring=False, **options
    )


def delegate(messages: Any) -> dict[str, Any]:
    """A team's leader who has "go" done by the member."""
    if messages[-1].role == "user" and messages[-1].content == "go":
        task = {"member_id": "m1", "task_description": "do it", "expected_output": "anything"}
        return {"tool": ("transfer_task_to_member", task)}
    return echo(messages)


# --- A1, A2, A3, A4: the seed --------------------------------------------------------------------------------------

ASK = """
import sys
sys.path.insert(0, {root!r})
from tests.adapters.agno_fakes import FakeModel
from agno.agent import Agent
from voltmem.adapters.agno import VoltMemStorage

dsn, schema, text = sys.argv[1:]
with VoltMemStorage("agents", schema, dsn) as storage:
    ids = storage.get_all_session_ids("ada")
    model = FakeModel()
    agent = Agent(model=model, storage=storage, user_id="ada", session_id=ids[0] if ids else None,
                  add_history_to_messages=True, telemetry=False, monitoring=False)
    agent.run(text)
    print(model.calls[-1])
"""


async def test_a_second_process_continues_what_the_first_began(dsn: str, schema: str) -> None:
    """A1: the second process sends its model what was said in the first, in order, as history."""
    program = ASK.format(root=str(ROOT))

    await python("-W", "error", "-c", program, arguments=[dsn, schema, "How do I make pad thai?"])
    printed = await python("-W", "error", "-c", program, arguments=[dsn, schema, "What was my last message?"])

    assert literal_eval(printed) == [
        ("user", "How do I make pad thai?", True),
        ("assistant", "seen=1 last=How do I make pad thai?", True),
        ("user", "What was my last message?", False),
    ]


def test_a_new_session_starts_without_history(store: VoltMemStorage) -> None:
    """A2: without a session id there is a second session, whose model is shown nothing of the first."""
    agent(store).run("old")
    model = FakeModel()

    new = agent(store, model, session_id=None)
    new.run("new")

    assert model.history() == []
    assert store.get_all_session_ids("ada") == [new.session_id, "s1"]
    assert store.get_all_session_ids("eve") == []


def test_the_first_id_is_the_session_that_was_used_last(store: VoltMemStorage) -> None:
    """A3: whoever writes to the older session finds it first; Agno's own storage says the newest made."""
    for session_id in ("s1", "s2", "s1"):
        agent(store, session_id=session_id).run("hello")

    assert store.get_all_session_ids("ada") == ["s1", "s2"]


def test_sessions_of_one_moment_have_an_order(store: VoltMemStorage, dsn: str, schema: str) -> None:
    """A3: equal times are told apart by id."""
    for session_id in ("b", "c", "a"):
        store.upsert(session([], session_id=session_id))

    async def at_one_moment() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(f'UPDATE "{schema}".{PREFIX}_conversations SET updated_at = now()')
        await connection.close()

    asyncio.run(at_one_moment())

    assert store.get_all_session_ids("ada") == ["c", "b", "a"]


@pytest.fixture
def seed_script(tmp_path: Path, dsn: str, schema: str) -> Path:
    """The seed's example as printed: another storage, database and model, and no PDF."""
    if not SEED.exists():
        pytest.skip("the seed's text is not beside the checkout")
    pytest.importorskip("typer")
    script = "import typer\n" + SEED.read_text().partition("import typer\n")[2].partition("\n3\n\nRun the agent")[0]
    replaced = {
        "from agno.storage.postgres import PostgresStorage": (
            "from voltmem.adapters.agno import VoltMemStorage as PostgresStorage"
        ),
        "from agno.knowledge.pdf_url import PDFUrlKnowledgeBase": "from tests.adapters.agno_fakes import FakeModel",
        "from agno.vectordb.pgvector import PgVector, SearchType": "",
        'db_url = "postgresql+psycopg://ai:ai@localhost:5532/ai"': (
            f"db_url = {dsn.replace('postgresql://', 'postgresql+psycopg://')!r}"
        ),
        'table_name="pdf_agent", db_url=db_url': f'table_name="pdf_agent", db_url=db_url, schema={schema!r}',
        "knowledge=knowledge_base,": "model=model, telemetry=False,",
        "    knowledge_base.load(upsert=True)": "    model = FakeModel(script=remember)",
    }
    for old, new in replaced.items():
        assert old in script
        script = script.replace(old, new)
    script = re.sub(r"knowledge_base = PDFUrl.*?\n\)\n", REMEMBER, script, flags=re.DOTALL)
    file = tmp_path / "agent_with_storage.py"
    file.write_text(script)
    return file


# The seed's model has a tool to read the chat history with.
REMEMBER = """
def remember(messages):
    last = messages[-1]
    if last.role == "tool":
        return {"content": "HISTORY " + last.content}
    if last.role == "user" and "last message" in last.content:
        return {"tool": ("get_chat_history", {})}
    return {"content": "Fry the noodles."}
"""


async def test_the_seeds_script_runs_as_printed(seed_script: Path, plain: PostgresStorage) -> None:
    """A4: asked, ended with bye, started again: the agent knows the last message; with --new it doesn't."""
    first = await python(seed_script, stdin="How do I make pad thai?\nbye\n")
    second = await python(seed_script, stdin="What was my last message?\nbye\n")
    third = await python(seed_script, arguments=["--new"], stdin="What was my last message?\nbye\n")

    assert "Started Session" in first
    assert "Continuing Session" in second
    assert "How do I make pad thai?" in second.partition("HISTORY")[2]
    assert "pad thai" not in third


# --- A5, A14: tables -----------------------------------------------------------------------------------------------


async def test_the_first_use_makes_the_tables(make_store: MakeStore, connection: Connection, schema: str) -> None:
    """A5: no SQL by anybody: prefix and schema are those asked for."""
    agent(make_store("cooks")).run("hello")

    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    assert {"cooks_conversations", "cooks_messages"} <= {each["tablename"] for each in tables}


async def test_first_uses_at_once_all_succeed(make_store: MakeStore) -> None:
    """A5: eight stores on an empty schema at the same time; none finds the tables half made."""
    stores = [make_store() for _ in range(8)]

    await asyncio.gather(
        *(asyncio.to_thread(agent(each, session_id=str(i)).run, "hi") for i, each in enumerate(stores))
    )

    assert len(stores[0].get_all_session_ids("ada")) == 8


async def test_every_way_to_say_where_the_database_is(make_store: MakeStore, dsn: str, schema: str) -> None:
    """A5: a URL as SQLAlchemy has it, its engine, a storage of ours that is not open yet."""

    class Url:
        def render_as_string(self, *, hide_password: bool) -> str:
            assert not hide_password
            return dsn.replace("postgresql://", "postgresql+psycopg://")

    class Engine:
        url = Url()

    made = PostgresStorage(dsn, schema=schema, table_prefix=PREFIX)
    stores = [
        make_store(db_url=Url().render_as_string(hide_password=False)),
        make_store(db_url=None, db_engine=Engine()),
        make_store(None, None, storage=made),
    ]

    for number, each in enumerate(stores):
        agent(each, session_id=str(number)).run("hello")

    assert stores[0].get_all_session_ids("ada") == ["2", "1", "0"]


@pytest.mark.parametrize(
    "options",
    [
        {"schema_version": 2},
        {"mode": "workflow_v3"},
        {"table_name": "no such; table"},
        {"storage": "not with a table_name"},
        {"runs": -1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    """Before anything is connected to."""
    with pytest.raises(InvalidInputError):
        VoltMemStorage(**{"table_name": "agents", "db_url": "postgresql://nowhere", **options})


def test_what_is_for_another_agno_says_so() -> None:
    """VoltMemDb is there to be imported, and its error names what is to be used instead."""
    with pytest.raises(InvalidOptionError, match=r"VoltMemDb is for Agno 2 or later.*use VoltMemStorage"):
        VoltMemDb()


async def older_tables(connection: Connection, schema: str, count: int) -> None:
    """Make the tables of an older release: the first so many migrations."""
    tables = Tables(schema, PREFIX)
    await connection.execute(f'CREATE SCHEMA "{schema}"')
    await connection.execute(
        f"CREATE TABLE {tables.migrations} (name text PRIMARY KEY, checksum text NOT NULL, "
        "applied_at timestamptz NOT NULL DEFAULT now())"
    )
    for each in migrations()[:count]:
        await connection.execute(tables.render(each.text))
        await connection.execute(f"INSERT INTO {tables.migrations} VALUES ($1, $2)", each.name, each.checksum)
    await connection.execute(f"INSERT INTO {tables.conversations} (id, resource_id, user_id) VALUES ('c', 'r', 'ada')")


@pytest.mark.parametrize("count", range(1, len(migrations())))
async def test_older_tables_are_upgraded_on_first_use_if_asked(
    make_store: MakeStore, connection: Connection, schema: str, plain: PostgresStorage, count: int
) -> None:
    """A14: auto_upgrade_schema=True, whatever the release that made the tables; what is there stays."""
    await older_tables(connection, schema, count)

    agent(make_store(auto_upgrade_schema=True)).run("hello")

    assert [each.id for each in await plain.get_conversations_by_user_id("ada")] == ["s1", "c"]


async def test_older_tables_are_an_error_otherwise_until_they_are_upgraded(
    make_store: MakeStore, connection: Connection, schema: str
) -> None:
    """A14: the error names what is missing; upgrade_schema() does it without the flag, and may be repeated."""
    await older_tables(connection, schema, 3)
    store = make_store()

    with pytest.raises(SchemaNotReadyError) as caught:
        agent(store).run("hello")
    assert caught.value.missing == [each.name for each in migrations()[3:]]

    store.upgrade_schema()
    store.upgrade_schema()
    assert "seen=1" in agent(store).run("hello").content


async def test_many_upgrades_at_once_do_it_once(make_store: MakeStore, connection: Connection, schema: str) -> None:
    """A14: eight stores upgrade at the same time."""
    await older_tables(connection, schema, 2)

    stores = [make_store(auto_upgrade_schema=True) for _ in range(8)]
    await asyncio.gather(*(asyncio.to_thread(each.create) for each in stores))

    applied = await connection.fetchval(f'SELECT count(*) FROM "{schema}".{PREFIX}_migrations')
    assert applied == len(migrations())


def test_drop_leaves_nothing_and_the_next_use_makes_it_anew(
    store: VoltMemStorage, make_store: MakeStore, dsn: str, schema: str
) -> None:
    """A13: the tables and functions are gone, those of another prefix stay."""
    other = make_store(f"{PREFIX}_append")
    agent(other).run("stay")
    agent(store).run("hello")

    async def names() -> set[str]:
        connection = await asyncpg.connect(dsn)
        rows = await connection.fetch(
            "SELECT relname AS name FROM pg_class WHERE relnamespace = to_regnamespace($1) "
            "UNION SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace($1)",
            f'"{schema}"',
        )
        await connection.close()
        return {each["name"] for each in rows}

    store.drop()

    assert {each for each in asyncio.run(names()) if not each.startswith(f"{PREFIX}_append_")} == set()
    assert other.get_all_session_ids("ada") == ["s1"]
    assert store.get_all_session_ids("ada") == []


# --- A6, A7, A8: teams and workflows -------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True], ids=["a team", "its member has the same storage"])
def test_a_team_continues_with_its_members_answers(store: VoltMemStorage, *, shared: bool) -> None:
    """A6: another Team object sees what was said, and what the member answered; both may share one storage."""
    team(store, FakeModel(script=delegate), member_storage=store if shared else None).run("go")
    model = FakeModel(script=delegate)
    again = team(store, model, member_storage=store if shared else None)

    again.run("again")

    assert [role for role, _ in model.history()] == ["user", "assistant", "tool", "assistant"]
    store.mode = "team"
    (first, second) = stored_runs(store, "t1")
    assert [each["agent_id"] for each in first["member_responses"]] == ["m1"]
    assert second["messages"][-1]["content"].startswith("seen=")


async def test_nobody_finds_a_members_talk_in_the_conversation(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A6: a member that keeps a session of its own has it back, and the people's conversation is the team's."""
    team(store, FakeModel(script=delegate), member_storage=store).run("go")

    assert [each.role for each in await plain.get_messages("ada", "t1")] == ["user", "assistant", "tool", "assistant"]
    store.mode = "agent"
    assert [each["agent_id"] for each in stored_runs(store, "t1")] == ["m1"]


async def test_one_team_for_two_users_mixes_nothing(store: VoltMemStorage, connection: Connection, schema: str) -> None:
    """B8: what one user said to a Team object is in no row of the other's."""
    crew = team(store, FakeModel(script=delegate), session_id=None, user_id=None)
    crew.run("go", session_id="of-alice", user_id="alice")
    crew.run("SECRET-OF-ALICE", session_id="of-alice", user_id="alice")
    crew.run("go", session_id="of-bob", user_id="bob")

    documents = await connection.fetch(
        f'SELECT payload::text AS text FROM "{schema}".{PREFIX}_payloads WHERE conversation_id = $1 '
        f'UNION ALL SELECT concat(content, payload) FROM "{schema}".{PREFIX}_messages WHERE conversation_id = $1',
        "of-bob",
    )
    assert len(documents) > 1
    assert not [each for each in documents if "alice" in each["text"].lower()]


def workflow(store: VoltMemStorage, session_id: str) -> Any:
    response: Any = import_module("agno.run.response")

    class Cache(Workflow):  # type: ignore[misc]
        description = "Answers once"

        def run(self, topic: str) -> Any:
            found = self.session_state.setdefault("answers", {})
            source = "cached" if topic in found else "made"
            found.setdefault(topic, f"about {topic}")
            return response.RunResponse(run_id=self.run_id, content=f"{source}: {found[topic]}")

    return Cache(storage=store, session_id=session_id, user_id="ada", workflow_id="cache", monitoring=False)


async def test_a_workflow_finds_what_it_cached_in_its_session(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A7: another object with the same session has it, with another session not; the runs are kept."""
    answers = [workflow(store, session_id).run(topic="cats").content for session_id in ("w1", "w1", "w2")]

    assert answers == ["made: about cats", "cached: about cats", "made: about cats"]
    store.mode = "workflow"
    assert len(stored_runs(store, "w1")) == 2
    said = await plain.get_messages("ada", "w1")
    assert [each.text for each in said if each.role == "assistant"] == answers[:2]


def test_a_workflow_of_steps_finds_its_runs(store: VoltMemStorage) -> None:
    """A7: the second kind of workflows of Agno 1, whose state lasts no longer than its object."""
    v2 = import_module("agno.workflow.v2")
    types: Any = import_module("agno.workflow.v2.types")

    def answer(session_id: str) -> str:
        def step(_: Any) -> Any:
            return types.StepOutput(content=f"{len(flow.workflow_session.runs) + 1} times")

        flow = v2.Workflow(
            name="cache",
            workflow_id="cache",
            storage=store,
            session_id=session_id,
            user_id="ada",
            steps=[v2.Step(name="one", executor=step)],
        )
        return str(flow.run(message="cats").content)

    assert [answer(each) for each in ("w1", "w1", "w2")] == ["1 times", "2 times", "1 times"]
    store.mode = "workflow_v2"
    kept: Any = store.read("w1")
    assert [each.content for each in kept.runs] == ["1 times", "2 times"]


def test_ids_are_found_by_agent_and_by_team_and_do_not_collide(store: VoltMemStorage) -> None:
    """A8: an agent and a team with the same session id each have their own."""
    agent(store, session_id="same").run("to the agent")
    agent(store, session_id="other", agent_id="writer").run("to the writer")
    team(store, FakeModel(), session_id="same").run("to the team")

    store.mode = "agent"
    assert store.get_all_session_ids("ada", "helper") == ["same"]
    assert store.get_all_session_ids("ada", "writer") == ["other"]
    assert store.get_all_session_ids("ada", "crew") == []
    assert [each["messages"][0]["content"] for each in stored_runs(store, "same")] == ["to the agent"]
    store.mode = "team"
    assert store.get_all_session_ids("ada", "crew") == ["same"]
    assert [each["messages"][-2]["content"] for each in stored_runs(store, "same")] == ["to the team"]


# --- A9, A10, A11: history -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["num_history_runs", "num_history_responses"])
@pytest.mark.parametrize("stored", [1, 3, 10])
def test_history_is_the_last_exchanges(store: VoltMemStorage, stored: int, option: str) -> None:
    """A9: exactly the last 3, oldest first, or all there are."""
    store.upsert(session([run(number) for number in range(stored)]))
    model = FakeModel()

    agent(store, model, **{option: 3}).run("and now?")

    last = range(max(stored - 3, 0), stored)
    assert model.history() == [
        (role, f"{text} {number}") for number in last for role, text in (("user", "question"), ("assistant", "answer"))
    ]


def test_a_tool_call_keeps_its_result(store: VoltMemStorage) -> None:
    """A9: the history of a run with a tool is the call with its result."""
    agent(store, tools=[add]).run('TOOL:add {"a": 1, "b": 2}')
    model = FakeModel()

    agent(store, model, num_history_runs=1).run("and now?")

    assert [role for role, _ in model.history()] == ["user", "assistant", "tool", "assistant"]


async def test_exchanges_are_the_last_pairs(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A10: what get_chat_history(num_chats=1) promises: what the user said last, and the answer."""
    for text in ("first", 'TOOL:add {"a": 1, "b": 2}', "last"):
        agent(store, tools=[add]).run(text)

    ((question, answer),) = await plain.conversation("ada", "s1").exchanges(1)

    assert (question.text, answer.text) == ("last", "seen=3 last=last")


def test_recent_sessions_are_the_users_last_two(store: VoltMemStorage) -> None:
    """A11: two, the last used first, and none of another user."""
    for user, session_id in (("ada", "a1"), ("eve", "e1"), ("ada", "a2"), ("ada", "a3")):
        agent(store, user_id=user, session_id=session_id).run(f"in {session_id}")

    recent: Any = store.get_recent_sessions(user_id="ada")

    assert [each.session_id for each in recent] == ["a3", "a2"]
    assert [each.memory["runs"][0]["messages"][0]["content"] for each in recent] == ["in a3", "in a2"]
    assert [each.session_id for each in store.get_all_sessions("ada")] == ["a3", "a2", "a1"]


def test_the_tool_that_searches_previous_sessions_finds_the_users(store: VoltMemStorage) -> None:
    """A11: an agent's tool is shown what its user said in other sessions."""
    agent(store, session_id="a1").run("I love leeks")
    agent(store, session_id="e1", user_id="eve").run("I hate leeks")
    model = FakeModel()

    agent(store, model, session_id="a2", search_previous_sessions_history=True).run(
        "TOOL:get_previous_session_messages {}"
    )

    (told,) = [content for role, content, _ in model.calls[-1] if role == "tool"]
    assert "I love leeks" in told
    assert "hate" not in told


async def test_the_first_memory_of_agno_1_goes_on_too(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A9: AgentMemory, with its runs in another form: its history is the same, and each message is stored once."""
    memory: Any = import_module("agno.memory.agent").AgentMemory
    model = FakeModel()
    for text in ("one", "two", "three"):
        agent(store, model, memory=memory()).run(text)

    assert [content for role, content in model.history() if role == "user"] == ["one", "two"]
    said = [each.text for each in await plain.get_messages("ada", "s1")]
    assert said[::2] == ["one", "two", "three"]
    assert len(said) == 6
    kept: Any = store.read("s1")
    assert [each["content"] for each in kept.memory["messages"]] == said


# --- A12, A13: what is kept ----------------------------------------------------------------------------------------

FULL = {
    "session_data": {
        "session_name": "Leeks",
        "session_state": {"list": [1, {"b": None, "a": 1.5}], "z": "ü", "a": 10**20},
        "session_metrics": {"input_tokens": 3},
        "images": [{"id": "i", "url": "https://example.org/i.png"}],
    },
    "extra_data": {"tenant": 7},
    "agent_data": {"agent_id": "helper", "model": {"id": "fake", "provider": "Fake"}},
    "team_session_id": None,
    "workflow_session_id": "w",
}
WITH_ALL = run(
    2,
    tools=[{"tool_call_id": "k1", "tool_name": "add", "tool_args": {"a": 1}, "result": "3", "confirmed": None}],
    images=[{"id": "i", "url": "https://example.org/i.png"}],
    citations={"raw": [1], "urls": [{"url": "https://example.org", "title": None}]},
    messages=[
        {"role": "system", "content": "You are kind"},
        {"role": "user", "content": "1 + 2?", "images": [{"url": "https://example.org/i.png", "content": "aGVsbG8="}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "k1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
            "provider_data": {"x": [{}]},
        },
        {"role": "tool", "content": "3", "tool_call_id": "k1", "tool_name": "add", "tool_args": {"a": 1}},
        {"role": "assistant", "content": [{"type": "text", "text": "3"}], "thinking": "…", "citations": {"raw": []}},
    ],
)


def test_a_session_comes_back_equal(store: VoltMemStorage) -> None:
    """A12: names, state, metrics, tool calls, images, citations, the order of keys: the same JSON."""
    given = session([run(1), WITH_ALL], **FULL)

    store.upsert(given)
    found: Any = store.read("s1")

    times = {"created_at": 0, "updated_at": 0}
    assert json.dumps(found.to_dict() | times) == json.dumps(given.to_dict() | times)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_any_state_and_any_message_come_back_equal(make_store: MakeStore) -> None:
    """A12, B6: NUL, lone surrogates, big numbers, odd keys: whatever is JSON."""
    store = make_store()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(state=st.dictionaries(st.text(), JSON, max_size=3), text=st.text(st.characters()), more=JSON)
    def check(state: dict[str, Any], text: str, more: Any) -> None:
        messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "ok", "provider_data": more}]
        session_id = str(uuid4())
        given = session(
            [run(1, messages=messages, extra_data=more)], session_id=session_id, session_data={"session_state": state}
        )
        store.upsert(given)
        found: Any = store.read(session_id)
        assert found.session_data == given.session_data
        assert found.memory == given.memory

    check()


@pytest.mark.parametrize(
    "text", ["nul \x00 byte", "lone \ud800 surrogate", "x" * 10_000_000], ids=["nul", "lone", "10 MB"]
)
def test_no_text_is_lost(store: VoltMemStorage, text: str) -> None:
    """B6: Agno's own storage drops such a session with a warning."""
    agent(store).run(text)

    (kept,) = stored_runs(store)
    assert kept["messages"][0]["content"] == text


def test_what_is_no_json_is_an_error_and_nothing_is_stored(store: VoltMemStorage) -> None:
    """B3, B6: the caller of run() hears of it."""
    with pytest.raises(InvalidInputError, match=r"session_data\.session_state\.socket"):
        agent(store, session_state={"socket": object()}).run("hello")

    assert store.read("s1") is None


def test_values_that_json_has_words_for_are_put_in_them(store: VoltMemStorage) -> None:
    """B6: tuples become lists, keys strings, dates their ISO text."""
    at = import_module("datetime").datetime(2025, 5, 1)

    store.upsert(session([], session_data={"session_state": {1: (1, 2), "at": at, "set": {3}}}))

    found: Any = store.read("s1")
    assert found.session_data["session_state"] == {"1": [1, 2], "at": "2025-05-01T00:00:00", "set": [3]}


async def test_a_session_name_is_the_conversations_title(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A13: renaming in Agno names the conversation; a person's title stays, and Agno is shown it."""
    helper = agent(store)
    helper.run("hello")
    helper.rename_session("Named by Agno")

    assert (await plain.get_conversations_by_user_id("ada"))[0].title == "Named by Agno"
    await plain.update_conversation("s1", title="Named by Ada")
    agent(store, session_name="Named by Agno").run("again")

    assert (await plain.get_conversations_by_user_id("ada"))[0].title == "Named by Ada"
    assert agent_name(store) == "Named by Ada"


def agent_name(store: VoltMemStorage) -> str:
    found: Any = store.read("s1")
    return str(found.session_data["session_name"])


async def test_deleting_a_session_deletes_its_messages(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A13: nothing of it is left, and an unknown id is no matter."""
    agent(store).run("hello")

    agent(store).delete_session("s1")
    store.delete_session("unknown")
    store.delete_session(None)

    assert store.read("s1") is None
    assert await plain.get_messages(ANY_USER, "s1") == []


def test_a_deleted_session_can_be_stored_again(store: VoltMemStorage) -> None:
    """A13: with all its runs, though this object has stored them before; after drop(), too."""
    store.upsert(session([run(1), run(2)]))
    store.delete_session("s1")
    store.upsert(session([run(1), run(2)]))
    assert len(stored_runs(store)) == 2

    store.drop()
    store.upsert(session([run(1), run(2)]))
    assert len(stored_runs(store)) == 2


# --- A15 -----------------------------------------------------------------------------------------------------------


async def test_run_and_arun_and_streams_store_the_same(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A15: sync, async and streamed runs leave equal messages."""
    await asyncio.to_thread(agent(store, session_id="sync").run, "hello")
    await agent(store, session_id="async").arun("hello")
    await asyncio.to_thread(lambda: list(agent(store, session_id="stream").run("hello", stream=True)))
    async for _ in await agent(store, session_id="astream").arun("hello", stream=True):
        pass

    for session_id in ("sync", "async", "stream", "astream"):
        said = [(each.role, each.type, each.content) for each in await plain.get_messages("ada", session_id)]
        assert said == [("user", "text", "hello"), ("assistant", "text", "seen=1 last=hello")], session_id


async def test_a_table_of_agnos_is_imported(
    store: VoltMemStorage, connection: Connection, plain: PostgresStorage, schema: str
) -> None:
    """A15: sessions that Agno's PostgresStorage stored go on here; importing again changes nothing."""
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


# --- B1 to B8 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writers", [2, 20])
async def test_runs_at_the_same_time_are_all_kept(store: VoltMemStorage, plain: PostgresStorage, writers: int) -> None:
    """B1: all are in their models at once, all have read the same; each finds its run, none is written over."""
    agent(store).run("before")
    barrier = threading.Barrier(writers)

    def meet(messages: Any) -> dict[str, Any]:
        barrier.wait(timeout=30)
        return echo(messages)

    agents = [agent(store, FakeModel(script=meet)) for _ in range(writers)]
    with ThreadPoolExecutor(writers) as threads:
        list(threads.map(lambda i: agents[i].run(f"from {i}"), range(writers)))

    assert len(stored_runs(store)) == min(writers + 1, 20)
    said = [each.text for each in await plain.get_messages("ada", "s1")]
    assert len(said) == 2 + 2 * writers
    assert {each for each in said if each.startswith("from")} == {f"from {i}" for i in range(writers)}
    assert all(answer.endswith(f"last={question}") for question, answer in zip(said[::2], said[1::2], strict=True))


async def test_two_processes_write_in_one_session(dsn: str, schema: str, plain: PostgresStorage) -> None:
    """B1: ten runs of each, interleaved as they come; all twenty are there."""
    program = ASK.format(root=str(ROOT)).replace("agent.run(text)", "[agent.run(f'{text} {i}') for i in range(10)]")
    await python("-c", program.replace("range(10)", "range(1)"), arguments=[dsn, schema, "before"])

    await asyncio.gather(*(python("-c", program, arguments=[dsn, schema, each]) for each in ("left", "right")))

    (conversation,) = await plain.get_conversations_by_user_id("ada")
    said = [each.text for each in await plain.get_messages("ada", conversation.id) if each.role == "user"]
    assert sorted(said) == sorted(["before 0", *(f"{side} {i}" for side in ("left", "right") for i in range(10))])


async def test_a_failed_read_is_an_error_and_takes_nothing(
    store: VoltMemStorage, connection: Connection, schema: str, plain: PostgresStorage
) -> None:
    """B2: Agno's own storage reads nothing, and then writes over what was there."""
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
    """B3: the caller of run() gets it, and nothing half-written stays."""
    store.create()
    await connection.execute(f'ALTER TABLE "{schema}".{PREFIX}_payloads ADD CONSTRAINT none CHECK (format = $$x$$)')

    with pytest.raises(DatabaseError):
        agent(store).run("hello")

    assert store.read("s1") is None


async def test_another_users_session_is_an_error_before_the_model_is_called(
    store: VoltMemStorage, plain: PostgresStorage
) -> None:
    """B4: a storage for one user reads and lists what is his."""
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
    """B4: nor does it list theirs; who is not named is its user, and Agno's "default" where there is none."""
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
    """B4: lists are of the user "default", or of all users with user_id=ANY_USER; the storage's option decides."""
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
    """Agno 1 names no user in read() and delete_session(): whoever's it is; only her own in a storage for one user."""
    agent(store).run("hello")

    assert store.read("s1") is not None
    store.for_user("eve").delete_session("s1")
    assert store.read("s1") is not None
    store.delete_session("s1")
    assert store.read("s1") is None


@pytest.mark.parametrize("user", ["", None])
def test_a_storage_is_made_for_a_user_or_for_any(user: Any, make_store: MakeStore) -> None:
    """user_id=None or "" is a forgotten user, in for_user() and in each call, too; ANY_USER is no user."""
    with pytest.raises(InvalidInputError, match="user_id is "):
        make_store(user_id=user)
    with pytest.raises(InvalidInputError, match="user_id is "):
        make_store().for_user(user)
    with pytest.raises(InvalidInputError, match=r"user_id is voltmem\.ANY_USER, but for_user"):
        make_store().for_user(ANY_USER)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="user_id is ''"):
        make_store().get_all_session_ids("")


@pytest.mark.parametrize("user", ["eve", None])
async def test_no_session_changes_its_owner(store: VoltMemStorage, plain: PostgresStorage, user: str | None) -> None:
    """B4: also without for_user(): the run of another user, or of nobody, is an error, and nothing of it is stored."""
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


async def test_what_the_user_said_is_stored_before_the_model_is_called(
    store: VoltMemStorage, plain: PostgresStorage
) -> None:
    """B5: with keep_inputs(); and the answered run takes its place, with two messages."""
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
async def test_a_failed_run_keeps_what_the_user_said(store: VoltMemStorage, plain: PostgresStorage, way: str) -> None:
    """B5: with its status, for people; the next model is not shown it."""
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


async def test_a_cancelled_run_and_an_abandoned_stream_keep_what_the_user_said(
    store: VoltMemStorage, plain: PostgresStorage
) -> None:
    """B5: a task that was cancelled in the model, a stream that nobody reads to its end."""

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
    """B7, as far as Agno 1 can: who may not block runs the agent in a thread, and the loop goes on."""
    agent(store).run("hello")

    async with connection.transaction():
        await connection.execute(f"SELECT FROM \"{schema}\".{PREFIX}_conversations WHERE id = 's1' FOR UPDATE")
        running = asyncio.create_task(asyncio.to_thread(agent(store).run, "locked"))
        # A loop that did not go on would neither see it wait nor let it go on.
        await somebody_waits(connection)
        assert not running.done()
    await running


# --- B9, B10, B11, B12 ---------------------------------------------------------------------------------------------


async def wal(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


async def test_a_run_costs_the_same_after_a_thousand(store: VoltMemStorage, connection: Connection) -> None:
    """B9: WAL for a run of 1 kB: below 8 kB, and after 1,000 runs no more than half as much again as after 10."""
    costs: dict[int, int] = {}
    question, answer = "q" * 200, "a" * 800
    for count in (10, 1000):
        session_id = f"after-{count}"
        runs = [run(number, question, answer, session_id=session_id) for number in range(count)]
        store.upsert(session(runs, session_id=session_id))
        await connection.execute("CHECKPOINT")
        one = agent(store, FakeModel(script=lambda _: {"content": answer}), session_id=session_id)
        spent = [await wal(connection)]
        for _ in range(6):
            await asyncio.to_thread(one.run, question)
            spent.append(await wal(connection))
        costs[count] = sorted(after - before for before, after in pairwise(spent))[2]

    assert costs[10] < 8192, costs
    assert costs[1000] < 8192, costs
    assert costs[1000] <= 1.5 * costs[10], costs


async def test_a_read_takes_the_window_and_nothing_else(
    make_store: MakeStore, connection: Connection, schema: str
) -> None:
    """B10: of 1,000 runs the last 3 are read by index, in as many rows as they have."""
    store = make_store(runs=3)
    store.upsert(session([run(number) for number in range(1000)]))
    await connection.execute(f'ANALYZE "{schema}".{PREFIX}_messages')

    sql = NativeStatements(Tables(schema, PREFIX)).since
    explained = await connection.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", "s1", "ada", "agno-1/agent/run", 3, 150
    )

    answers = [each["messages"][-1]["content"] for each in stored_runs(store)]
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


async def test_a_plain_run_is_two_messages(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """B12: no system message, no history: after four runs with history there are eight."""
    for number in range(4):
        agent(store, description="You are kind").run(f"question {number}")

    said = await plain.get_messages("ada", "s1")
    assert [each.role for each in said] == ["user", "assistant"] * 4


async def test_a_run_that_is_stored_again_takes_its_place(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """With fewer messages than before: none is left over, none is there twice, and it stays before what came later."""
    store.upsert(session([WITH_ALL, run(3)]))
    store.upsert(session([run(2)]))

    assert [each["run_id"] for each in stored_runs(store)] == ["run-2", "run-3"]
    said = [each.text for each in await plain.get_messages("ada", "s1")]
    assert said == ["question 2", "answer 2", "question 3", "answer 3"]


async def test_unchanged_runs_are_not_written_again(store: VoltMemStorage, connection: Connection, schema: str) -> None:
    """B9: Agno shows all it knows with each save; what it has read is left alone."""
    for number in range(5):
        agent(store).run(f"question {number}")
    rows = f'SELECT message_id, xmin::text FROM "{schema}".{PREFIX}_messages ORDER BY seq'
    before = await connection.fetch(rows)

    agent(store).run("one more")

    after = await connection.fetch(rows)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 2


# --- together with everybody else ----------------------------------------------------------------------------------


async def test_a_conversation_begun_elsewhere_goes_on(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """Plain messages with a tool call, as another framework or the application stored them, are the agent's history."""
    await plain.create_conversation({"id": "s1", "user_id": "ada"})
    call = {"type": "tool-call", "toolCallId": "k1", "toolName": "add", "args": {"a": 1, "b": 2}}
    result = {"type": "tool-result", "toolCallId": "k1", "toolName": "add", "result": {"sum": 3}}
    await plain.add_messages(
        [
            {"role": "system", "content": "You are kind"},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "1 + 2?"},
            {"role": "assistant", "type": "tool-call", "content": [{"type": "text", "text": "Well"}, call]},
            {"role": "tool", "type": "tool-result", "content": [result]},
            {"role": "assistant", "content": [{"type": "text", "text": "3"}]},
            {"role": "assistant", "type": "tool-call", "content": [{**call, "toolCallId": "never answered"}]},
        ],
        "ada",
        "s1",
    )
    model = FakeModel()

    agent(store, model).run("and now?")

    assert model.history() == [
        ("user", "hello"),
        ("assistant", "hi"),
        ("user", "1 + 2?"),
        ("assistant", "Well"),
        ("tool", '{"sum":3}'),
        ("assistant", "3"),
    ]
    await asyncio.to_thread(agent(store, model).run, "once more")
    assert [content for _, content in model.history()][-2:] == ["and now?", "seen=3 last=and now?"]
    assert len(await plain.get_messages("ada", "s1")) == 8 + 4


@pytest.mark.parametrize("limit", range(1, 10))
async def test_whatever_the_window_it_is_valid(store: VoltMemStorage, plain: PostgresStorage, limit: int) -> None:
    """Who reads the agent's messages by voltmem's own methods never gets a tool's call without its result."""
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}', "thanks"):
        agent(store, tools=[add]).run(text)

    window = await plain.conversation("ada", "s1").messages(limit=limit)

    assert len(window) <= limit
    types = [each.type for each in window if each.type != "text"]
    assert types in ([], ["tool-call", "tool-result"])


@pytest.mark.parametrize("limit", range(1, 9))
def test_a_storage_limit_takes_whole_runs_from_agno(make_store: MakeStore, limit: int) -> None:
    """A run of which the limit has taken messages is not shown; the others are whole."""
    store = make_store(storage_limit=limit)
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}', "thanks"):
        agent(store, tools=[add]).run(text)
    model = FakeModel()

    agent(store, model).run("and now?")

    whole = {1: [], 2: [2], 3: [2], 4: [2], 5: [2]}.get(limit, [4, 2])
    whole = [2, 4, 2] if limit >= 8 else whole
    assert len(model.history()) == sum(whole)
    assert [role for role, _ in model.history()].count("user") == len(whole)


async def test_a_changed_message_is_what_agno_reads(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """An application corrects an answer; the agent's history has the correction."""
    agent(store).run("hello")
    _, answer = await plain.get_messages("ada", "s1")

    await plain.add_message({"id": answer.id, "role": "assistant", "content": "corrected"}, "ada", "s1")

    model = FakeModel()
    agent(store, model).run("and now?")
    assert model.history() == [("user", "hello"), ("assistant", "corrected")]


async def test_a_run_that_lacks_a_message_is_not_shown(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """An application deletes what a tool answered: the model is not shown the call without it."""
    for text in ("hello", 'TOOL:add {"a": 1, "b": 2}'):
        agent(store, tools=[add]).run(text)
    (result,) = await plain.get_messages("ada", "s1", types=["tool-result"])

    await plain.delete_messages([result.id], "ada", "s1")

    model = FakeModel()
    agent(store, model).run("and now?")
    assert model.history() == [("user", "hello"), ("assistant", "seen=1 last=hello")]


async def test_what_an_application_clears_stays_cleared(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """An agent that has read the messages, and saves the session later, does not bring them back."""

    def clear_meanwhile(messages: Any) -> dict[str, Any]:
        asyncio.run_coroutine_threadsafe(plain.clear_messages("ada", "s1"), loop).result(10)
        return echo(messages)

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(agent(store).run, "old")
    await asyncio.to_thread(agent(store, FakeModel(script=clear_meanwhile)).run, "new")

    assert [each.text for each in await plain.get_messages("ada", "s1")] == ["new", "seen=2 last=new"]


def test_a_store_goes_on_after_close(store: VoltMemStorage) -> None:
    """close() ends its thread; the next call starts another."""
    agent(store).run("hello")
    store.close()
    store.close()

    assert store.get_all_session_ids("ada") == ["s1"]
    assert deepcopy(store) is store


FORK = """
import os, sys
from agno.storage.session.agent import AgentSession
from voltmem.adapters.agno import VoltMemStorage

storage = VoltMemStorage("agents", sys.argv[2], sys.argv[1])
storage.upsert(AgentSession(session_id="s1", user_id="ada"))
if child := os.fork():
    os.waitpid(child, 0)
    print("parent", storage.get_all_session_ids("ada"))
else:
    try:
        storage.get_all_session_ids()
    except Exception as error:
        print("child", type(error).__name__, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_a_program_ends_by_itself_and_a_fork_hears_an_error(dsn: str, schema: str) -> None:
    """Nobody calls close(): the thread ends with the program; a forked process is not left waiting for a thread."""
    printed = await asyncio.wait_for(python("-W", "error", "-c", FORK, arguments=[dsn, schema]), 60)

    assert printed.splitlines() == ["child EventLoopError", "parent ['s1']"]


def test_without_agno_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the adapter where Agno is missing names the extra."""
    for name in [name for name in sys.modules if name.startswith("voltmem.adapters.agno")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "agno", None)

    with pytest.raises(MissingExtraError, match=r"'\.\[agno\]'"):
        import_module("voltmem.adapters.agno")

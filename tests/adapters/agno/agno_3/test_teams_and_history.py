"""Agno 3's teams and workflows, and the history that a model receives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agno.db.base import SessionType
from agno.run.base import RunContext
from agno.session import TeamSession
from agno.workflow import Step, StepInput, StepOutput, Workflow

from tests.adapters.agno.agno_3.sessions import add, agent, delegate, listed, run, session, stored_runs, team
from tests.adapters.agno.fakes import FakeModel
from tests.conftest import Connection, MakeStorage
from voltmem import PostgresStorage
from voltmem.adapters.agno import VoltMemDb
from voltmem.errors import InvalidInputError
from voltmem.options import DEFAULT_TABLE_PREFIX

# --- A6, A7, A8 ------------------------------------------------------------------------------------------------------


async def test_a_team_continues_with_its_members_answers(db: VoltMemDb, plain: PostgresStorage) -> None:
    """A6: another Team object receives the history; the member's run is stored, but not as messages."""
    await team(db, FakeModel(script=delegate)).arun("go")
    model = FakeModel(script=delegate)

    await team(VoltMemDb(plain), model).arun("again")

    assert [role for role, _ in model.history()] == ["user", "assistant", "tool", "assistant"]
    member, first, _ = await stored_runs(db, "t1", session_type=SessionType.TEAM)
    assert (member["agent_id"], member["parent_run_id"]) == ("m1", first["run_id"])
    assert [each["content"] for each in member["messages"]] == ["do it", "seen=1 last=do it"]
    stored = await plain.get_messages("ada", "t1")
    assert [each.role for each in stored] == ["user", "assistant", "tool", "assistant", "user", "assistant"]


async def test_a_members_run_alone_is_stored_with_its_teams(db: VoltMemDb) -> None:
    """3.x: a member's run that changes alone is stored with its team's run; without the team's run it raises."""
    member = run(1, parent_run_id="run-2")
    with pytest.raises(InvalidInputError, match="'run-1' is part of run 'run-2', which is not stored"):
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
    """B1: eight members of one team's run, each stored by its own storage at the same time, are all stored."""
    dbs = [VoltMemDb(make_storage()) for _ in range(8)]
    await dbs[0].upsert_run(run(0), "s1", "ada")

    await asyncio.gather(
        *(each.upsert_run(run(number, parent_run_id="run-0"), "s1", "ada") for number, each in enumerate(dbs, 1))
    )

    assert {each["run_id"] for each in await stored_runs(dbs[0])} == {f"run-{number}" for number in range(9)}


async def test_one_team_for_two_users_keeps_them_apart(db: VoltMemDb, connection: Connection, schema: str) -> None:
    """B8: no row of one user contains what the other user said to the same Team object."""
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
    """A7: another object has the state and the runs with the same session, not with another session."""

    def step(step_input: StepInput, run_context: RunContext) -> StepOutput:
        assert run_context.session_state is not None
        found = run_context.session_state.setdefault("answers", {})
        source = "cached" if str(step_input.input) in found else "made"
        found.setdefault(str(step_input.input), 1)
        return StepOutput(content=f"{source}: {step_input.input}")

    async def answer(session_id: str) -> Any:
        one: Any = step  # Agno's type allows only executors without a context
        flow = Workflow(id="cache", name="cache", db=db, steps=[Step(name="one", executor=one)], telemetry=False)
        return (await flow.arun("cats", session_id=session_id, user_id="ada")).content

    assert [await answer(each) for each in ("w1", "w1", "w2")] == ["made: cats", "cached: cats", "made: cats"]
    kept: Any = await db.get_session("w1", SessionType.WORKFLOW, "ada")
    assert [(each.input, each.content) for each in kept.runs] == [("cats", "made: cats"), ("cats", "cached: cats")]
    stored = [(each.role, each.text) for each in await plain.get_messages("ada", "w1")]
    assert stored == [("user", "cats"), ("assistant", "made: cats"), ("user", "cats"), ("assistant", "cached: cats")]


async def test_an_agent_and_a_team_share_a_session(db: VoltMemDb) -> None:
    """A8: an agent and a team with one id share the session, and neither overwrites the other's fields."""
    await agent(db, session_id="same", session_state={"a": 1}).arun("to the agent")
    model = FakeModel()
    await team(db, model, session_id="same").arun("to the team")

    assert ("user", "to the agent") in model.history()
    found: Any = await db.get_session("same", user_id="ada", deserialize=False)
    assert (found["agent_id"], found["session_type"]) == ("helper", "agent")
    assert found["agent_data"] is not None
    assert found["session_data"]["session_state"] == {"a": 1}
    assert len(found["runs"]) == 2


async def test_sessions_are_found_by_their_fields(db: VoltMemDb) -> None:
    """A8: sessions are found by kind, component, name and time, page by page, in any order, as objects and as dicts."""
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
    """B11: voltmem's own pages list them by an index, the last used first, with their names and the agent's id."""
    for number in range(7):
        await agent(db, session_id=f"s{number}").arun("hello")
    await agent(db, session_id="hers", user_id="eve").arun("hello")

    walked = [each async for each in plain.get_user_conversations("ada").limit(3)]
    page = await plain.get_paginated_user_conversations("ada", page=1, page_size=5)

    assert [each.id for each in walked] == ["s6", "s5", "s4"]
    assert [each.id for each in page.conversations] == ["s6", "s5", "s4", "s3", "s2"]
    assert (page.has_more, page.conversations[0].resource_id) == (True, "helper")


# --- A9, A10, A11 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [1, 3, 10])
async def test_history_is_the_last_exchanges(db: VoltMemDb, stored: int) -> None:
    """A9: exactly the last 3 runs, oldest first, or all if there are fewer."""
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
    """A10: the user's last message and its answer; in a team, too, whose members answer as well."""
    await agent(db, session_id="t1").arun("first")
    await team(db, FakeModel(script=delegate)).arun("go")

    ((question, answer),) = await plain.conversation("ada", "t1").exchanges(1)

    assert (question.text, answer.text) == ("go", "tool said: seen=1 last=do it")


async def test_a_limit_of_runs_counts_runs_for_models(db: VoltMemDb) -> None:
    """3.x: runs_limit counts only runs for models: members' runs and failed runs are left out."""
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
    """By default the newest 20 runs are read; saving such a window keeps the older runs."""
    await VoltMemDb(plain).upsert_session(session([run(number) for number in range(30)]))
    counts = {runs: len(await stored_runs(VoltMemDb(plain, runs=runs))) for runs in (0, 1, 20, None)}
    assert counts == {0: 0, 1: 1, 20: 20, None: 30}

    await agent(VoltMemDb(plain, runs=1)).arun("one more")

    assert len(await stored_runs(VoltMemDb(plain, runs=None))) == 31


async def test_the_tools_that_read_past_sessions_find_the_users(db: VoltMemDb) -> None:
    """A11: an agent's tools find what its user said in other sessions, and no other user's messages."""
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

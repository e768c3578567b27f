"""Agno 1's teams and workflows, and the history that a model receives."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tests.adapters.agno.agno_1.sessions import PREFIX, Agent, add, agent, run, session, stored_runs
from tests.adapters.agno.fakes import FakeModel, echo
from tests.conftest import Connection
from voltmem import PostgresStorage
from voltmem.adapters.agno import VoltMemStorage

Team: Any = import_module("agno.team").Team
Workflow: Any = import_module("agno.workflow").Workflow


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
    """A script of a team's leader, which delegates "go" to the member."""
    if messages[-1].role == "user" and messages[-1].content == "go":
        task = {"member_id": "m1", "task_description": "do it", "expected_output": "anything"}
        return {"tool": ("transfer_task_to_member", task)}
    return echo(messages)


# --- A6, A7, A8: teams and workflows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True], ids=["a team", "its member has the same storage"])
def test_a_team_continues_with_its_members_answers(store: VoltMemStorage, *, shared: bool) -> None:
    """A6: another Team object receives the history with the member's answers; both may share one storage."""
    team(store, FakeModel(script=delegate), member_storage=store if shared else None).run("go")
    model = FakeModel(script=delegate)
    again = team(store, model, member_storage=store if shared else None)

    again.run("again")

    assert [role for role, _ in model.history()] == ["user", "assistant", "tool", "assistant"]
    store.mode = "team"
    (first, second) = stored_runs(store, "t1")
    assert [each["agent_id"] for each in first["member_responses"]] == ["m1"]
    assert second["messages"][-1]["content"].startswith("seen=")


async def test_a_members_own_session_is_not_in_the_conversation(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A6: a member's own session is stored and read back, but the conversation has only the team's messages."""
    team(store, FakeModel(script=delegate), member_storage=store).run("go")

    assert [each.role for each in await plain.get_messages("ada", "t1")] == ["user", "assistant", "tool", "assistant"]
    store.mode = "agent"
    assert [each["agent_id"] for each in stored_runs(store, "t1")] == ["m1"]


async def test_one_team_for_two_users_keeps_them_apart(
    store: VoltMemStorage, connection: Connection, schema: str
) -> None:
    """B8: no row of one user contains what the other user said to the same Team object."""
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
    """A7: another object has the cached value with the same session, not with another session; the runs are stored."""
    answers = [workflow(store, session_id).run(topic="cats").content for session_id in ("w1", "w1", "w2")]

    assert answers == ["made: about cats", "cached: about cats", "made: about cats"]
    store.mode = "workflow"
    assert len(stored_runs(store, "w1")) == 2
    stored = await plain.get_messages("ada", "w1")
    assert [each.text for each in stored if each.role == "assistant"] == answers[:2]


def test_a_workflow_of_steps_finds_its_runs(store: VoltMemStorage) -> None:
    """A7: the second kind of workflow in Agno 1, whose state is lost with its object."""
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
    """A8: an agent and a team with the same session id each have their own session."""
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


# --- A9, A10, A11: history -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["num_history_runs", "num_history_responses"])
@pytest.mark.parametrize("stored", [1, 3, 10])
def test_history_is_the_last_exchanges(store: VoltMemStorage, stored: int, option: str) -> None:
    """A9: exactly the last 3 runs, oldest first, or all if there are fewer."""
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
    """A10: get_chat_history(num_chats=1) returns the user's last message and its answer."""
    for text in ("first", 'TOOL:add {"a": 1, "b": 2}', "last"):
        agent(store, tools=[add]).run(text)

    ((question, answer),) = await plain.conversation("ada", "s1").exchanges(1)

    assert (question.text, answer.text) == ("last", "seen=3 last=last")


def test_recent_sessions_are_the_users_last_two(store: VoltMemStorage) -> None:
    """A11: the user's last two sessions, the last used first, and no other user's."""
    for user, session_id in (("ada", "a1"), ("eve", "e1"), ("ada", "a2"), ("ada", "a3")):
        agent(store, user_id=user, session_id=session_id).run(f"in {session_id}")

    recent: Any = store.get_recent_sessions(user_id="ada")

    assert [each.session_id for each in recent] == ["a3", "a2"]
    assert [each.memory["runs"][0]["messages"][0]["content"] for each in recent] == ["in a3", "in a2"]
    assert [each.session_id for each in store.get_all_sessions("ada")] == ["a3", "a2", "a1"]


def test_the_tool_that_searches_previous_sessions_finds_the_users(store: VoltMemStorage) -> None:
    """A11: an agent's tool finds what its user said in other sessions."""
    agent(store, session_id="a1").run("I love leeks")
    agent(store, session_id="e1", user_id="eve").run("I hate leeks")
    model = FakeModel()

    agent(store, model, session_id="a2", search_previous_sessions_history=True).run(
        "TOOL:get_previous_session_messages {}"
    )

    (result,) = [content for role, content, _ in model.calls[-1] if role == "tool"]
    assert "I love leeks" in result
    assert "hate" not in result


async def test_the_first_memory_of_agno_1_is_continued_too(store: VoltMemStorage, plain: PostgresStorage) -> None:
    """A9: with AgentMemory, whose runs have another form, the history is the same, and each message is stored once."""
    memory: Any = import_module("agno.memory.agent").AgentMemory
    model = FakeModel()
    for text in ("one", "two", "three"):
        agent(store, model, memory=memory()).run(text)

    assert [content for role, content in model.history() if role == "user"] == ["one", "two"]
    stored = [each.text for each in await plain.get_messages("ada", "s1")]
    assert stored[::2] == ["one", "two", "three"]
    assert len(stored) == 6
    kept: Any = store.read("s1")
    assert [each["content"] for each in kept.memory["messages"]] == stored

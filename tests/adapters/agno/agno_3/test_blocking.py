"""Agno 3's run() on the blocking storage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest
from agno.agent import Agent
from agno.db.base import AsyncBaseDb, BaseDb
from agno.run.base import RunContext, RunStatus
from agno.team import Team
from agno.workflow import Step, StepInput, StepOutput, Workflow

from tests.adapters.agno.agno_3.sessions import add, delegate, session
from tests.adapters.agno.agno_3.sessions import run as a_run
from tests.adapters.agno.fakes import FakeModel
from voltmem import ANY_USER, ConversationNotFoundError, EventLoopError, InvalidInputError, InvalidOptionError
from voltmem.adapters.agno import VoltMemDb, VoltMemSyncDb
from voltmem.sync import PostgresStorage


@pytest.fixture
def storage(dsn: str, migrated: str) -> Iterator[PostgresStorage]:
    with PostgresStorage(dsn, schema=migrated, storage_limit=None) as storage:
        yield storage


@pytest.fixture
def db(storage: PostgresStorage) -> VoltMemSyncDb:
    return VoltMemSyncDb(storage)


def agent(db: BaseDb | AsyncBaseDb, model: FakeModel | None = None, **options: Any) -> Agent:
    given: dict[str, Any] = {"user_id": "ada", "session_id": "s1", "id": "helper", "add_history_to_context": True}
    return Agent(model=model or FakeModel(), db=db, telemetry=False, **(given | options))


def stored_texts(storage: PostgresStorage, session_id: str = "s1") -> list[str]:
    return [message.text for message in storage.get_messages("ada", session_id)]


def test_run_continues_the_session(db: VoltMemSyncDb, storage: PostgresStorage) -> None:
    """Another agent receives the history with its tool calls; a streamed run stores the same."""
    agent(db, tools=[add]).run('TOOL:add {"a": 1, "b": 2}')
    model = FakeModel()
    assert list(agent(VoltMemSyncDb(storage), model).run("Thanks", stream=True))

    assert [role for role, _ in model.history()] == ["user", "assistant", "tool", "assistant"]
    assert [message.role for message in storage.get_messages("ada", "s1")] == [
        *("user", "assistant", "tool", "assistant"),
        *("user", "assistant"),
    ]


def test_run_in_many_threads_keeps_every_run(db: VoltMemSyncDb, storage: PostgresStorage) -> None:
    """Runs in the threads of a web application are all stored, in one session and in several."""
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(agent(db, session_id=f"s{n % 3}").run, f"q{n}") for n in range(12)]
        assert {each.result().status for each in runs} == {RunStatus.completed}

    questions = [text for n in range(3) for text in stored_texts(storage, f"s{n}") if text.startswith("q")]
    assert sorted(questions) == sorted(f"q{n}" for n in range(12))


def test_teams_and_workflows_run(db: VoltMemSyncDb, storage: PostgresStorage) -> None:
    """A team's session has its member's run; a workflow finds its cached value."""
    member = Agent(name="m1", id="m1", model=FakeModel(), telemetry=False)
    crew = Team(members=[member], model=FakeModel(script=delegate), db=db, id="crew", telemetry=False)
    crew.run("go", user_id="ada", session_id="t1")

    def count(step_input: StepInput, run_context: RunContext) -> StepOutput:
        assert run_context.session_state is not None
        run_context.session_state["count"] = run_context.session_state.get("count", 0) + 1
        return StepOutput(content=str(run_context.session_state["count"]))

    executor: Any = count  # Agno's type allows only executors without a context
    flow = Workflow(name="flow", steps=[Step(name="count", executor=executor)], db=db, telemetry=False)
    counted = [flow.run("x", user_id="ada", session_id="w1").content for _ in range(2)]

    assert counted == ["1", "2"]
    found: Any = db.get_session("t1", user_id="ada", deserialize=False)
    assert [each.get("agent_id") for each in found["runs"]] == ["m1", None]


def test_another_users_session_fails_the_run_before_the_model(db: VoltMemSyncDb, storage: PostgresStorage) -> None:
    """The error is in last_error and is passed to on_error; for_user() is limited to one user."""
    agent(db).run("secret")
    errors: list[Exception] = []
    watched, model = VoltMemSyncDb(storage, on_error=errors.append), FakeModel()

    with pytest.raises(ConversationNotFoundError):
        agent(watched, model, user_id="eve").run("What?")

    assert model.calls == []
    assert watched.last_error is errors[0]
    assert isinstance(errors[0], ConversationNotFoundError)
    with pytest.raises(ConversationNotFoundError):
        db.for_user("eve").get_session("s1")
    assert db.for_user("ada").get_session("s1") is not None
    assert len(VoltMemSyncDb(storage, user_id=ANY_USER).get_sessions()) == 1


def test_a_failed_run_keeps_the_users_message(db: VoltMemSyncDb, storage: PostgresStorage) -> None:
    """With the hook keep_input, a failed run keeps the user's message, as with VoltMemDb."""

    def script(_: Any) -> Any:
        raise RuntimeError("no model")

    run = agent(db, FakeModel(script=script), pre_hooks=[db.keep_input], retries=0).run("hello")

    assert run.status == RunStatus.error
    assert stored_texts(storage)[0] == "hello"


def test_sessions_are_listed_renamed_and_deleted(db: VoltMemSyncDb, storage: PostgresStorage) -> None:
    """An application lists, renames and deletes sessions by the same methods."""
    db.upsert_sessions([session([a_run(1)]), session([], session_id="s2")])
    db.rename_session("s1", None, "A talk", user_id="ada")
    listed = db.get_sessions(user_id="ada")

    conversation = storage.get_conversation("s1")
    assert conversation is not None
    assert conversation.title == "A talk"
    assert isinstance(listed, list)
    assert {each.session_id for each in listed} == {"s1", "s2"}
    assert db.delete_session("s1", user_id="ada")
    assert storage.get_conversation("s1") is None


def test_unsupported_methods_raise(db: VoltMemSyncDb) -> None:
    """Methods for memories, knowledge and evaluations raise NotImplementedError, which says what to use."""
    for name in ("get_user_memories", "upsert_memories", "create_eval_run", "get_traces"):
        with pytest.raises(NotImplementedError, match=f"{name}.*a database of Agno's own"):
            getattr(db, name)()
    assert db.table_exists("agno_sessions")


def test_a_database_of_a_url_closes_its_storage(dsn: str) -> None:
    """A storage that was passed in stays open; invalid options raise before any connection."""
    db = VoltMemSyncDb(dsn)
    assert db.storage.schema_status() != []
    assert deepcopy(db) is db
    db.close()
    with pytest.raises(RuntimeError, match="closed"):
        db.storage.count_conversations()
    with pytest.raises(InvalidInputError):
        VoltMemSyncDb(dsn, runs=-1)


async def test_arun_says_which_database_to_give(db: VoltMemSyncDb, storage: PostgresStorage) -> None:
    """On an event loop its methods raise; VoltMemDb with the application's storage works there."""
    with pytest.raises(EventLoopError, match=r"Give arun\(\) a VoltMemDb"):
        await agent(db).arun("hello")

    assert not isinstance(db, AsyncBaseDb)
    assert isinstance(VoltMemDb(storage.asynchronous), AsyncBaseDb)


def test_a_storage_of_the_other_kind_is_refused(storage: PostgresStorage) -> None:
    """VoltMemSyncDb takes the blocking storage, VoltMemDb the asynchronous one; each error names the class to use."""
    with pytest.raises(
        InvalidOptionError, match=r"must be a voltmem\.sync\.PostgresStorage, not .* a voltmem\.Postgres"
    ):
        VoltMemSyncDb(storage.asynchronous)  # type: ignore[arg-type]
    with pytest.raises(
        InvalidOptionError, match=r"must be a voltmem\.PostgresStorage, not .* a voltmem\.sync\.Postgres"
    ):
        VoltMemDb(storage)  # type: ignore[arg-type]
    with pytest.raises(InvalidOptionError, match=r"must be a voltmem\.PostgresStorage, not .* a voltmem\.UserStorage"):
        VoltMemDb(storage.asynchronous.for_user("ada"))  # type: ignore[arg-type]

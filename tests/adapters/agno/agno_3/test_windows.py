"""A model of Agno 3 that is shown windows: of tools, of teams, of runs that failed, and in run()."""

from __future__ import annotations

from typing import Any

from agno.run import RunStatus

from tests.adapters.agno.agno_3.sessions import add, agent, delegate, team
from tests.adapters.agno.fakes import FakeModel
from voltmem import Message, PostgresStorage, sync
from voltmem.adapters.agno import VoltMemDb, VoltMemSyncDb


def summarise(messages: list[Message], before: str | None) -> str:
    return f"They spoke of {len(messages)} things."


async def test_a_window_has_whole_turns_in_agnos_own_form(plain: PostgresStorage) -> None:
    """A call comes with its result; a failed run and the current question are not history; the session has all runs."""
    db = VoltMemDb(plain, turns=2)
    hooks = [db.keep_input, db.show_window]

    def fail(_: Any) -> dict[str, Any]:
        raise RuntimeError("no model")

    await agent(db, tools=[add], pre_hooks=hooks).arun("before")
    await agent(db, tools=[add], pre_hooks=hooks).arun('TOOL:add {"a": 1, "b": 2}')
    assert (await agent(db, FakeModel(script=fail), pre_hooks=hooks).arun("failed")).status == RunStatus.error
    model = FakeModel()
    await agent(db, model, pre_hooks=hooks, num_history_runs=1).arun("now")

    assert db.last_error is None
    assert [role for role, _ in model.history()] == ["user", "assistant", "tool", "assistant"]
    assert model.history()[2] == ("tool", "3")
    session: Any = await db.get_session("s1", user_id="ada")
    assert len(session.runs) == 4
    assert next(each.content for each in session.get_messages() if each.role == "user") == "before"


async def test_a_team_is_shown_a_window_too(plain: PostgresStorage) -> None:
    """The same hook works for teams; a member's run is no part of the window."""
    db = VoltMemDb(plain)
    await team(db, FakeModel(script=delegate), pre_hooks=[db.show_window]).arun("go")
    await team(db, FakeModel(), pre_hooks=[db.show_window]).arun("on")
    await plain.conversation("ada", "t1").compact(summarise, keep_turns=1)
    model = FakeModel()
    await team(db, model, pre_hooks=[db.show_window]).arun("now")

    assert db.last_error is None
    summary, *others = model.history()
    assert "They spoke of 4 things." in summary[1]
    assert [role for role, _ in others] == ["user", "assistant"]


def test_run_shows_a_window(dsn: str, migrated: str) -> None:
    """VoltMemSyncDb has the same hook."""
    with sync.PostgresStorage(dsn, schema=migrated, storage_limit=None) as blocking:
        db: Any = VoltMemSyncDb(blocking, limit=2)
        model = FakeModel()
        for number in range(3):
            model = FakeModel()
            agent(db, model, pre_hooks=[db.show_window]).run(str(number))

    assert db.last_error is None
    assert [content for _, content in model.history()] == ["1", "seen=2 last=1"]

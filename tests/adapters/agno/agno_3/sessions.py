"""Shared by the tests of Agno 3: agents, teams, runs and sessions."""

from __future__ import annotations

import json
from typing import Any

from agno.agent import Agent
from agno.session import AgentSession
from agno.team import Team

from tests.adapters.agno.fakes import FakeModel, echo
from voltmem.adapters.agno import VoltMemDb


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
    """Return a run as a dict in Agno 3's form."""
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
    """A script of a team's leader, which delegates "go" to the member."""
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


ASK = """
import asyncio, sys
from tests.adapters.agno.fakes import FakeModel
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


async def listed(db: VoltMemDb, **options: Any) -> list[Any]:
    found = await db.get_sessions(**options)
    assert isinstance(found, list)
    return found


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

"""Shared by the tests of Agno 1: agents, teams, runs and sessions."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from tests.adapters.agno.fakes import FakeModel
from voltmem.adapters.agno import VoltMemStorage

# Type checkers do not find it, because they use Agno 3.
Agent: Any = import_module("agno.agent").Agent
AgentSession: Any = import_module("agno.storage.session.agent").AgentSession

PREFIX = "agents"

MakeStore = Callable[..., VoltMemStorage]


def agent(store: VoltMemStorage, model: FakeModel | None = None, **options: Any) -> Any:
    options = {"user_id": "ada", "session_id": "s1", "agent_id": "helper", "add_history_to_messages": True} | options
    return Agent(model=model or FakeModel(), storage=store, telemetry=False, monitoring=False, **options)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def run(number: int, text: str = "question", answer: str = "answer", **values: Any) -> dict[str, Any]:
    """Return a run as a dict in Agno 1's form."""
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


ASK = """
import sys
sys.path.insert(0, {root!r})
from tests.adapters.agno.fakes import FakeModel
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

"""Shared by the tests of the OpenAI Agents SDK: items, agents and runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from agents import Agent, RunConfig, TResponseInputItem, function_tool
from agents.testing import ScriptedModel

CONFIG: Final = RunConfig(tracing_disabled=True)


def items(*given: Mapping[str, object]) -> list[TResponseInputItem]:
    return [cast(TResponseInputItem, dict(item)) for item in given]


def user(text: str) -> dict[str, object]:
    return {"role": "user", "content": text}


def assistant(text: str, **more: object) -> dict[str, object]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "role": "assistant", "status": "completed", "content": [part], **more}


def call(number: int, **more: object) -> dict[str, object]:
    return {"type": "function_call", "call_id": f"k{number}", "name": "weather", "arguments": '{"city":"Oslo"}', **more}


def answer(number: int) -> dict[str, object]:
    return {"type": "function_call_output", "call_id": f"k{number}", "output": "snow"}


def reasoning(number: int) -> dict[str, object]:
    summary = [{"type": "summary_text", "text": "It may be cold."}]
    return {"type": "reasoning", "id": f"rs_{number}", "summary": summary, "encrypted_content": "gAAAA"}


def without_id(item: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in item.items() if name != "id"}


def a_turn(number: int) -> list[TResponseInputItem]:
    return items(user(f"question {number}"), call(number), answer(number), assistant(f"reply {number}"))


@function_tool
def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"snow in {city}"


def agent(model: ScriptedModel) -> Agent[Any]:
    return Agent(name="guide", model=model, tools=[weather])

"""Agents of each framework get the window that begins with a summary, and store nothing of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from agents import Runner
from agents.testing import ScriptedModel, assistant_message
from langchain_core.messages import AIMessage

from tests.adapters.langchain import scripted as langchain
from tests.adapters.openai_agents import runs as openai_agents
from tests.adapters.pydantic_ai import histories as pydantic_ai
from voltmem import Message, PostgresStorage
from voltmem.adapters.langchain import VoltMemChatMessageHistory
from voltmem.adapters.openai_agents import VoltMemSession
from voltmem.adapters.pydantic_ai import load_history, save_history

Run = Callable[[PostgresStorage], Awaitable[list[str]]]


async def summarise(messages: list[Message], before: str | None) -> str:
    return f"They spoke of {len(messages)} things."


async def of_pydantic_ai(storage: PostgresStorage) -> list[str]:
    model, memory = pydantic_ai.Echo(), storage.conversation("ada", "c1")
    agent = pydantic_ai.agent_of(model)
    result = await agent.run("And now?", message_history=await load_history(memory))
    await save_history(memory, result.new_messages())
    # Pydantic AI makes one request of several.
    return [str(getattr(part, "content", "")) for message in model.requests[-1] for part in message.parts]


async def of_langchain(storage: PostgresStorage) -> list[str]:
    model = langchain.scripted("Fine.")
    await langchain.agent(model, storage).ainvoke(langchain.user_input("And now?"), langchain.C1)
    return langchain.texts(model.requests[-1])


async def of_langchains_history(storage: PostgresStorage) -> list[str]:
    history = VoltMemChatMessageHistory(storage, "ada", "c1")
    found = langchain.texts(await history.aget_messages())
    await history.aadd_messages([AIMessage("And now?"), AIMessage("Fine.")])
    return [*found, "And now?"]


async def of_openai_agents(storage: PostgresStorage) -> list[str]:
    model = ScriptedModel([[assistant_message("Fine.")]])
    session: VoltMemSession[Any] = VoltMemSession("c1", storage, user_id="ada")
    await Runner.run(openai_agents.agent(model), "And now?", session=session, run_config=openai_agents.CONFIG)
    (call,) = model.calls
    given: Any = call.input
    texts = [item["content"] for item in given]
    return [text if isinstance(text, str) else text[0]["text"] for text in texts]


@pytest.mark.parametrize("run", [of_pydantic_ai, of_langchain, of_langchains_history, of_openai_agents])
@pytest.mark.parametrize("system", [True, False])
async def test_an_agent_gets_the_summary_in_place_of_what_is_old(
    storage: PostgresStorage, run: Run, system: bool
) -> None:
    """The request has the system message, the summary, the last turn and the question; only the run is stored."""
    memory = storage.conversation("ada", "c1")
    turns = [(f"q{turn}", f"r{turn}") for turn in range(3)]
    begin = [{"role": "system", "content": "Be kind."}] if system else []
    said = [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    await memory.add_turn([*begin, *said])
    await memory.compact(summarise, keep_turns=1)

    told = await run(storage)

    assert told[: len(begin)] == [each["content"] for each in begin]
    assert "They spoke of 4 things." in told[len(begin)]
    assert told[len(begin) + 1 :] == ["q2", "r2", "And now?"]
    stored = [message.text for message in await storage.get_messages("ada", "c1")]
    assert stored == [each["content"] for each in [*begin, *said]] + ["And now?", stored[-1]]
    assert len(await storage.conversation("ada", "c1").messages()) == len(begin) + 5


async def test_an_openai_session_with_a_limit_of_its_own_is_exact(storage: PostgresStorage) -> None:
    """What the runner asks for by number has no summary; a limit of the session's own does not count it."""
    memory = storage.conversation("ada", "c1")
    for turn in range(3):
        await memory.add_turn([{"role": "user", "content": f"q{turn}"}, {"role": "assistant", "content": f"r{turn}"}])
    await memory.compact(summarise, keep_turns=1)
    session: VoltMemSession[Any] = VoltMemSession("c1", storage, user_id="ada", session_settings={"limit": 1})

    of_all, of_model = [[item.get("role") for item in await session.get_items(limit)] for limit in (3, None)]

    assert of_all == ["assistant", "user", "assistant"]
    assert of_model == ["system", "assistant"]

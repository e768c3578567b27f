"""Shared by the tests of all adapters: one turn with an agent of each framework, and what its model was shown."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from agents import Agent as OpenAIAgent
from agents import RunConfig, Runner, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from agno.agent import Agent as AgnoAgent
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool as langchain_tool
from pydantic_ai import Agent as PydanticAgent
from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import ModelMessage, ModelResponse, SystemPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.adapters.agno.fakes import FakeModel
from tests.adapters.langchain.scripted import scripted, user_input
from tests.adapters.pydantic_ai.histories import answered, called
from voltmem import CompactWhen, PostgresStorage
from voltmem.adapters import agno, langchain, openai_agents, pydantic_ai

ANSWER = "Fine."
Tool: TypeAlias = Callable[[], Awaitable[str]]


class Call(NamedTuple):
    """A call of a tool that the model makes."""

    name: str
    arguments: dict[str, Any]


@dataclass
class Turn:
    """What a user says in a conversation, and how the agent is made."""

    text: str
    user_id: str = "ada"
    conversation_id: str = "c1"
    compact_when: CompactWhen | None = None
    recall: bool = False
    memory: Callable[[Any], Any] | None = None
    """Returns the working memory for a run."""
    tool: Tool | None = None
    calls: Sequence[Call] = field(default_factory=list)
    """What the model calls, one after the other, before it answers."""


class Shown(NamedTuple):
    """A message that the model was shown."""

    role: str
    text: str


# --- Pydantic AI ----------------------------------------------------------------------------------------------------


async def _of_pydantic_ai(turn: Turn, capabilities: list[Any], **options: Any) -> tuple[Any, list[Shown]]:
    requests: list[list[ModelMessage]] = []
    script = [*turn.calls]

    def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        requests.append(messages)
        if script:
            each = script.pop(0)
            return called(f"k{len(requests)}", each.name, each.arguments)
        return answered(ANSWER)

    if turn.memory is not None:
        capabilities = [*capabilities, pydantic_ai.VoltMemWorkingMemory(turn.memory)]
    agent = PydanticAgent(FunctionModel(model), capabilities=capabilities)
    if turn.tool is not None:
        agent.tool_plain(turn.tool)
    result = await agent.run(turn.text, **options)
    parts = [part for message in requests[0] for part in message.parts]
    return result, [
        Shown(
            "system" if isinstance(part, SystemPromptPart) else "assistant" if part.part_kind == "text" else "user",
            str(getattr(part, "content", "")),
        )
        for part in parts
    ]


async def pydantic_history(storage: PostgresStorage, turn: Turn) -> list[Shown]:
    memory = storage.conversation(turn.user_id, turn.conversation_id, compact_when=turn.compact_when)
    history = await pydantic_ai.load_history(memory, recall=turn.text if turn.recall else None)
    result, shown = await _of_pydantic_ai(turn, [], message_history=history)
    await pydantic_ai.save_history(memory, result.new_messages())
    return shown


async def pydantic_store(storage: PostgresStorage, turn: Turn) -> list[Shown]:
    store = pydantic_ai.VoltMemConversationStore(storage, user_id=turn.user_id, compact_when=turn.compact_when)
    conversation = await store.load(turn.conversation_id) or Conversation(conversation_id=turn.conversation_id)
    window = pydantic_ai.VoltMemWindow(storage, user_id=turn.user_id, recall=turn.recall)
    result, shown = await _of_pydantic_ai(turn, [window], conversation=conversation)
    await store.save(result)
    return shown


# --- the others -----------------------------------------------------------------------------------------------------


async def langchain_agent(storage: PostgresStorage, turn: Turn) -> list[Shown]:
    calls = [
        AIMessage("", tool_calls=[{"id": f"k{number}", "name": each.name, "args": each.arguments}])
        for number, each in enumerate(turn.calls)
    ]
    model = scripted(*calls, ANSWER)
    kept = langchain.VoltMemMiddleware(
        storage, user_id=turn.user_id, compact_when=turn.compact_when, recall=turn.recall
    )
    more: list[Any] = [] if turn.memory is None else [langchain.VoltMemWorkingMemory(turn.memory)]
    tools = [] if turn.tool is None else [langchain_tool(turn.tool)]
    agent: Any = create_agent(model, tools, middleware=[kept, *more])
    await agent.ainvoke(user_input(turn.text), {"configurable": {"thread_id": turn.conversation_id}})
    roles = {"human": "user", "ai": "assistant"}
    return [Shown(roles.get(each.type, each.type), str(each.text)) for each in model.requests[0]]


async def openai_agent(storage: PostgresStorage, turn: Turn) -> list[Shown]:
    calls = [
        [function_call(each.name, json.dumps(each.arguments), call_id=f"k{number}")]
        for number, each in enumerate(turn.calls)
    ]
    model = ScriptedModel([*calls, [assistant_message(ANSWER)]])
    session: Any = openai_agents.VoltMemSession(
        turn.conversation_id, storage, user_id=turn.user_id, compact_when=turn.compact_when
    )
    shown = session.recalled if turn.recall else None
    tools: list[Any] = [] if turn.tool is None else [function_tool(turn.tool, strict_mode=False)]
    if turn.memory is not None:
        kept = openai_agents.VoltMemWorkingMemory(turn.memory)
        tools += kept.tools
        shown = kept if shown is None else kept.after(shown)
    agent = OpenAIAgent[Any](name="guide", model=model, tools=tools)
    config = RunConfig(tracing_disabled=True, call_model_input_filter=shown)
    await Runner.run(agent, turn.text, session=session, run_config=config)
    given: Any = model.calls[0].input
    said = [(item["role"], item["content"]) for item in given if "role" in item]
    return [Shown(role, content if isinstance(content, str) else content[0]["text"]) for role, content in said]


async def agno_agent(storage: PostgresStorage, turn: Turn) -> list[Shown]:
    script = [*turn.calls]

    def answer(_: object) -> dict[str, Any]:
        return {"tool": script.pop(0)} if script else {"content": ANSWER}

    model = FakeModel(script=answer)
    db = agno.VoltMemDb(storage, compact_when=turn.compact_when, recall=turn.recall)
    tools: list[Any] = [] if turn.tool is None else [turn.tool]
    tools += [] if turn.memory is None else [agno.VoltMemWorkingMemory(turn.memory)]
    agent = AgnoAgent(
        model=model, db=db, pre_hooks=[db.show_window], add_history_to_context=True, tools=tools, telemetry=False
    )
    await agent.arun(turn.text, user_id=turn.user_id, session_id=turn.conversation_id)
    if db.last_error is not None:
        raise db.last_error
    return [Shown(role, str(content)) for role, content, _ in model.calls[0]]


RUNS: dict[str, Callable[[PostgresStorage, Turn], Awaitable[list[Shown]]]] = {
    "Pydantic AI": pydantic_history,
    "Pydantic AI's store": pydantic_store,
    "LangChain": langchain_agent,
    "OpenAI Agents": openai_agent,
    "Agno": agno_agent,
}

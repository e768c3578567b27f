"""An agent of each framework, with a model that follows a script and a tool, for the tests of agents as answer=."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import agents
from agents.testing import ScriptedModel, assistant_message, function_call
from agno.agent import Agent as AgnoAgent
from agno.media import Image
from agno.models.message import Citations, UrlCitation
from agno.models.response import ModelResponse as AgnoResponse
from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from openai.types.responses.response_output_text import AnnotationURLCitation
from openai.types.responses.response_reasoning_item import ResponseReasoningItem, Summary
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel

from tests.adapters.agno.fakes import FakeModel

agents.set_tracing_disabled(True)

SYSTEM: Final = "You know the weather."


@dataclass
class Says:
    """What the model says in one step."""

    text: str
    reasoning: str = ""
    calls: Sequence[tuple[str, str]] = ()
    """The id and the city of each call."""
    tool: str = "weather"
    """The tool that is called; any other than this takes no arguments."""
    source: str = ""
    """The address of a page that the text cites."""
    picture: bytes = b""
    """What the model has drawn."""

    def called(self) -> Iterator[tuple[str, str, str]]:
        """Yield the id, the tool and the arguments of each call."""
        for id, city in self.calls:
            yield id, self.tool, json.dumps({"city": city} if self.tool == "weather" else {})


@dataclass
class Script:
    """The steps of the model, and what it was shown before each, as text."""

    steps: list[Says]
    shown: list[str] = field(default_factory=list)

    def next(self, shown: object) -> Says:
        self.shown.append(str(shown))
        if not self.steps:
            raise RuntimeError("out of order")
        return self.steps.pop(0)


Make: TypeAlias = Callable[..., Any]


def pydantic_ai(script: Script, *tools: Any, **options: Any) -> Any:
    async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Any]:
        says = script.next(ModelMessagesTypeAdapter.dump_json(messages).decode())
        if says.reasoning:
            yield {0: DeltaThinkingPart(content=says.reasoning)}
        for word in says.text.split():
            yield f"{word} "
        for number, (id, name, given) in enumerate(says.called(), 1):
            begin, rest = in_two(given)
            yield {number: DeltaToolCall(name=name, json_args=begin, tool_call_id=id)}
            yield {number: DeltaToolCall(json_args=rest)}

    return Agent(
        FunctionModel(stream_function=stream),
        system_prompt=SYSTEM,
        tools=tools,
        **options,
    )


def openai_agents(script: Script, *tools: Any, **options: Any) -> Any:
    def respond(call: Any) -> Any:
        says = script.next((call.system_instructions, call.input))
        thought = ResponseReasoningItem(
            id="rs_1", type="reasoning", summary=[Summary(type="summary_text", text=says.reasoning)]
        )
        return [
            *([thought] if says.reasoning else []),
            *([cited(assistant_message(f"{says.text} "), says.source)] if says.text else []),
            *(function_call(name, given, call_id=id) for id, name, given in says.called()),
        ]

    model = ScriptedModel([agents.testing.ModelStep.respond(respond)] * max(len(script.steps), 1))
    given = [each if isinstance(each, agents.FunctionTool) else agents.function_tool(each) for each in tools]
    return agents.Agent(name="guide", instructions=SYSTEM, model=model, tools=[*given], **options)


def cited(message: Any, url: str) -> Any:
    citation = AnnotationURLCitation(type="url_citation", url=url, title="A page", start_index=0, end_index=2)
    message.content[0].annotations = [citation] if url else []
    return message


class Streaming(BaseChatModel):
    """A model of LangChain that streams what the script says."""

    script: Any

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        says = self.script.next([(each.type, each.content, getattr(each, "tool_calls", None)) for each in messages])
        if says.reasoning:
            yield chunk([{"type": "reasoning", "reasoning": says.reasoning, "index": 0}])
        for word in says.text.split():
            yield chunk([{"type": "text", "text": f"{word} ", "index": 1}])
        if says.source:
            cites = {"type": "citation", "url": says.source, "title": "A page"}
            yield chunk([{"type": "text", "text": "", "annotations": [cites], "index": 1}])
        if says.picture:
            yield chunk([{"type": "image", "base64": b64encode(says.picture).decode(), "mime_type": "image/png"}])
        for number, (id, name, given) in enumerate(says.called()):
            begin, rest = in_two(given)
            yield chunk("", tool_call_chunks=[{"id": id, "name": name, "args": begin, "index": number}])
            yield chunk("", tool_call_chunks=[{"id": None, "name": None, "args": rest, "index": number}])
        yield chunk("", chunk_position="last")


def in_two(given: str) -> tuple[str, str]:
    """Return the arguments of a call in two pieces, as a model streams them."""
    return given[:5], given[5:]


def chunk(content: Any, **more: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=content, **more))


def langchain(script: Script, *tools: Any, **options: Any) -> Any:
    return create_agent(Streaming(script=script), tools, system_prompt=SYSTEM, **options)


class AgnoModel(FakeModel):
    """A model of Agno that streams what the script says."""

    says: Script

    async def ainvoke_stream(self, messages: Any, **_: Any) -> AsyncIterator[Any]:
        says = self.says.next([(each.role, each.content, each.tool_calls, each.images) for each in messages])
        if says.reasoning:
            yield AgnoResponse(reasoning_content=says.reasoning)
        for word in says.text.split():
            yield AgnoResponse(content=f"{word} ")
        if says.source:
            yield AgnoResponse(citations=Citations(urls=[UrlCitation(url=says.source, title="A page")]))
        if says.picture:
            yield AgnoResponse(images=[Image(content=says.picture, mime_type="image/png")])
        yield AgnoResponse(
            tool_calls=[
                {"id": id, "type": "function", "function": {"name": name, "arguments": given}}
                for id, name, given in says.called()
            ]
        )


def agno(script: Script, *tools: Any, **options: Any) -> Any:
    model = AgnoModel()
    model.says = script
    return AgnoAgent(model=model, tools=[*tools], instructions=SYSTEM, telemetry=False, **options)


AGENTS: Final[dict[str, Make]] = {
    "Agno": agno,
    "LangChain": langchain,
    "OpenAI Agents": openai_agents,
    "Pydantic AI": pydantic_ai,
}

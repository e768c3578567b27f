"""Agents of frameworks as answer=, as they are: what they stream, what is stored, and what the next run is shown."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import Any

import agents
import pytest
from agno.run import RunContext as AgnoContext
from agno.tools import tool as agno_tool
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain.tools import ToolRuntime, tool
from langgraph.checkpoint.memory import InMemorySaver
from openai.types.responses.response_output_item import ImageGenerationCall
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, DeferredToolRequests, RunContext, Tool
from pydantic_ai.messages import (
    Citation,
    FilePart,
    FunctionToolResultEvent,
    NativeToolCallPart,
    NativeToolReturnPart,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    ToolReturnPart,
    WebCitationSource,
)
from pydantic_ai.models.test import TestModel

from tests.across.said import PIXEL
from tests.chat.agents import AGENTS, SYSTEM, Make, Says, Script, agno
from voltmem import InvalidInputError, InvalidOptionError, Message, PostgresStorage
from voltmem import parts as stored
from voltmem._values import from_stored_json, to_json, uuid7
from voltmem.adapters.agno import VoltMemDb
from voltmem.adapters.langchain import VoltMemMiddleware
from voltmem.adapters.pydantic_ai import VoltMemWindow
from voltmem.chat import Context, Decision, File, Part, Source, ToolCall, ToolInput, ToolResult
from voltmem.chat._agents.openai_agents import Reading
from voltmem.chat._agents.pydantic_ai import parts_of
from voltmem.chat._answering import Answering
from voltmem.chat._growing import Growing
from voltmem.chat._parts import Waiting
from voltmem.parts import parts, to_ui_messages
from voltmem.parts._types import objects

every_framework = pytest.mark.parametrize("make", AGENTS.values(), ids=AGENTS)
LOOK = Says("Let me see.", "Norway is wet.", [("k1", "Oslo")])


class Conversation:
    """A conversation in which an agent answers."""

    def __init__(self, storage: PostgresStorage, agent: Any) -> None:
        self._mine = storage.for_user("ada")
        self.memory = storage.conversation("ada", "c1")
        self._answering = Answering(agent)
        self._waiting = Waiting()

    def go_on_with(self, agent: Any) -> None:
        """Let another agent go on, as in another process."""
        self._answering = Answering(agent)

    async def parts(self, *question: Any) -> AsyncGenerator[Part | Waiting, None]:
        await self.memory.add({"role": "user", "content": question[0] if len(question) == 1 else [*question]})
        context = Context("ada", "c1", self.memory)
        async for part in self._answering.parts(await self.memory.messages(), context, self._mine):
            yield part

    async def ask(self, *question: Any) -> Message:
        """Ask, and store the answer."""
        growing = Growing(uuid7())
        async for part in self.parts(*question):
            growing.add(part)
        return await self._end(growing)

    async def decide(self, answer: Message, decisions: Sequence[Decision]) -> Message:
        """Go on with an answer, and store it in its place."""
        growing = Growing.from_message(answer)
        context = Context("ada", "c1", self.memory, decisions=decisions, state=self._waiting.state)
        messages = [each for each in await self.memory.messages() if each.id != answer.id]
        async for part in self._answering.parts(messages, context, self._mine):
            growing.add(part)
        return await self._end(growing)

    async def _end(self, growing: Growing) -> Message:
        growing.end()
        if growing.waiting is not None:
            self._waiting = Waiting(from_stored_json(to_json(growing.waiting.state)))
        answer = growing.message()
        assert answer is not None
        return await self.memory.add(answer)


def kinds(message: Message) -> list[tuple[str, str]]:
    return [(type(part).__name__, str(getattr(part, "text", getattr(part, "value", "")))) for part in parts(message)]


@every_framework
async def test_an_agent_answers_with_all_that_it_does(storage: PostgresStorage, make: Make) -> None:
    """Reasoning, text, calls and results are stored in one message, which the agent's next run is shown."""
    script = Script([LOOK, Says("It rains."), Says("And now the sun shines.")])

    async def weather(city: str) -> str:
        """Return the weather."""
        return f"RAIN-42 in {city}"

    conversation = Conversation(storage, make(script, weather))
    first = await conversation.ask("Weather?")
    second = await conversation.ask("And now?")

    assert kinds(first) == [
        ("Reasoning", "Norway is wet."),
        ("Text", "Let me see. "),
        ("ToolCall", ""),
        ("ToolResult", "RAIN-42 in Oslo"),
        ("Text", "It rains. "),
    ]
    assert second.content == "And now the sun shines. "
    begun, _, shown = script.shown
    assert SYSTEM in begun
    places = [shown.index(each) for each in ("Weather?", "Let me see.", "Oslo", "RAIN-42 in Oslo", "It rains.")]
    assert places == sorted(places)
    assert shown.index("And now?") > places[-1]
    assert all(shown.count(each) == 1 for each in ("And now?", "RAIN-42 in Oslo", SYSTEM))


@every_framework
async def test_a_call_is_shown_while_its_tool_runs(storage: PostgresStorage, make: Make) -> None:
    """Its arguments come as they are written, the call before the tool answers, and each result as it is there."""
    going_on = {city: asyncio.Event() for city in ("Oslo", "Rome")}

    async def weather(city: str) -> str:
        """Return the weather."""
        await going_on[city].wait()
        return city

    calls = [("k1", "Oslo"), ("k2", "Rome")]
    conversation = Conversation(storage, make(Script([Says("", "", calls), Says("Both.")]), weather))
    seen: list[Part] = []
    written = {"k1": "", "k2": ""}
    async for part in conversation.parts("Weather?"):
        if isinstance(part, ToolInput):
            assert (part.name, seen) == ("weather", [])
            written[part.id] += part.text
        if isinstance(part, ToolCall | ToolResult):
            seen.append(part)
            if len(seen) == 2:
                going_on["Rome"].set()
                going_on["Oslo"].set()

    assert [part.name for part in seen if isinstance(part, ToolCall)] == ["weather", "weather"]
    assert {part.id: part.output for part in seen if isinstance(part, ToolResult)} == {"k1": "Oslo", "k2": "Rome"}
    if make is not agno:  # which tells them when they are complete
        assert {id: json.loads(text) for id, text in written.items()} == {id: {"city": city} for id, city in calls}


@every_framework
async def test_an_answer_that_is_stopped_stops_the_agent(storage: PostgresStorage, make: Make) -> None:
    """The tool that runs is cancelled. What was said is stored, and the next question runs."""
    runs, ended = asyncio.Event(), asyncio.Event()

    async def weather(city: str) -> str:
        """Return the weather."""
        runs.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    script = Script([LOOK, Says("Hello.")])
    conversation = Conversation(storage, make(script, weather))
    growing = Growing("a1")

    async def answer() -> None:
        async with aclosing(conversation.parts("Weather?")) as answered:
            async for part in answered:
                growing.add(part)

    task = asyncio.create_task(answer())
    await runs.wait()
    task.cancel()
    await asyncio.wait([task])
    await ended.wait()
    growing.end()
    answer_so_far = growing.message()
    assert answer_so_far is not None
    await conversation.memory.add(answer_so_far)

    assert answer_so_far.text == "Let me see. "
    assert (await conversation.ask("Hello?")).text == "Hello. "
    assert "The call was abandoned" in script.shown[-1]


@every_framework
async def test_an_agent_is_shown_files(storage: PostgresStorage, make: Make) -> None:
    """A picture in the question reaches the model with its bytes."""
    picture = await storage.put_file("ada", b64decode(PIXEL))
    script = Script([Says("A dot.")])

    shown = {"type": "file", "mediaType": "image/png", "url": picture.url}
    await Conversation(storage, make(script)).ask({"type": "text", "text": "What is it?"}, shown)

    assert PIXEL[:40] in script.shown[0] or str(b64decode(PIXEL))[2:40] in script.shown[0]


@pytest.mark.parametrize("framework", ["Agno", "LangChain", "OpenAI Agents"])
async def test_an_agent_cites_pages_and_draws(storage: PostgresStorage, framework: str) -> None:
    """Each source is shown once, and a picture's bytes are a file of the user's."""
    draws = framework != "OpenAI Agents"  # its model for tests does not
    script = Script([Says("It rains.", source="https://x.test/oslo", picture=b64decode(PIXEL) if draws else b"")])

    answer = await Conversation(storage, AGENTS[framework](script)).ask("Weather?")

    assert answer.text == "It rains. "
    found = [part for part in parts(answer) if isinstance(part, stored.File | stored.Source)]
    picture = stored.File("image/png", url=f"voltmem:file/{sha256(b64decode(PIXEL)).hexdigest()}")
    shown = [picture, stored.Source("https://x.test/oslo", "A page")]
    assert sorted(map(repr, found)) == [repr(part) for part in shown if draws or part is not picture]


def test_openai_draws() -> None:
    """What OpenAI's own tools do comes in one item: the call, its result, and the picture."""
    drawn = ImageGenerationCall(id="k1", type="image_generation_call", status="completed", result=PIXEL)
    item = agents.ToolCallItem(agent=agents.Agent(name="guide"), raw_item=drawn)

    assert [*Reading().parts(agents.RunItemStreamEvent(name="tool_called", item=item))] == [
        ToolCall("k1", "image_generation_call"),
        ToolResult("k1"),
        File(b64decode(PIXEL), "image/png"),
    ]


def test_pydantic_ai_cites_draws_and_searches() -> None:
    """Its model for tests does none of it; the events of its providers' models do."""
    page = WebCitationSource("https://x.test/oslo", title="A page")
    call = NativeToolCallPart("web_search", {"q": "Oslo"}, tool_call_id="k1")
    result = NativeToolReturnPart("web_search", {"found": 1}, tool_call_id="k1")
    events = [
        PartEndEvent(index=0, part=TextPart("It rains.", citations=[Citation([page])])),
        PartStartEvent(index=1, part=FilePart(BinaryContent(b"png", media_type="image/png"))),
        PartEndEvent(index=2, part=call),
        PartEndEvent(index=3, part=result),
        FunctionToolResultEvent(ToolReturnPart("radar", ["now", BinaryContent(b"a", media_type="image/png")], "k2")),
        FunctionToolResultEvent(ToolReturnPart("radar", "again, please", "k3", outcome="retried")),
    ]

    assert [part for event in events for part in parts_of(event)] == [
        Source("https://x.test/oslo", "A page"),
        File(b"png", "image/png"),
        ToolCall("k1", "web_search", {"q": "Oslo"}),
        ToolResult("k1", {"found": 1}),
        ToolResult("k2", "now"),
        File(b"a", "image/png"),
        ToolResult("k3", error="again, please"),
    ]


async def test_a_checkpointer_keeps_nothing_of_an_answer(storage: PostgresStorage) -> None:
    """The conversation is not repeated in a thread, which nobody would delete."""
    saver = InMemorySaver()
    script = Script([LOOK, Says("It rains."), Says("Sun.")])

    async def weather(city: str) -> str:
        """Return the weather."""
        return city

    conversation = Conversation(storage, AGENTS["LangChain"](script, weather, checkpointer=saver))
    await conversation.ask("Weather?")
    await conversation.ask("And now?")

    assert script.shown[-1].count("Weather?") == 1
    assert not saver.storage


class Forecast(BaseModel):
    """What some agents answer in place of text."""

    sky: str


async def test_a_structured_output_is_shown_as_json(storage: PostgresStorage) -> None:
    """An agent that answers with an object shows it as a block of JSON."""
    agent = Agent(TestModel(custom_output_args={"sky": "rain"}), output_type=Forecast)

    assert (await Conversation(storage, agent).ask("Weather?")).text == '```json\n{\n  "sky": "rain"\n}\n```'


async def test_tools_know_who_asks(storage: PostgresStorage) -> None:
    """The run's context, by the framework's own name for it, is the chat's: one agent serves every user."""
    asked: dict[str, object] = {}

    def of_pydantic_ai(ctx: RunContext[Context]) -> str:
        asked["Pydantic AI"] = ctx.deps.user_id
        return ""

    @agents.function_tool
    def of_openai(ctx: agents.RunContextWrapper[Context]) -> str:
        asked["OpenAI Agents"] = ctx.context.user_id
        return ""

    @tool
    def of_langchain(runtime: ToolRuntime[Context]) -> str:
        """Note who asks."""
        asked["LangChain"] = runtime.context.user_id
        return ""

    def of_agno(run_context: AgnoContext) -> str:
        asked["Agno"] = run_context.user_id
        return ""

    tools = {"Agno": of_agno, "LangChain": of_langchain, "OpenAI Agents": of_openai, "Pydantic AI": of_pydantic_ai}
    for framework, make in AGENTS.items():
        name = getattr(tools[framework], "name", getattr(tools[framework], "__name__", ""))
        script = Script([Says("", "", [(framework, "")], tool=name), Says("Yes.")])
        await Conversation(storage, make(script, tools[framework])).ask(framework)

    assert asked == dict.fromkeys(AGENTS, "ada")


@every_framework
async def test_an_agent_that_fails_fails_the_answer(storage: PostgresStorage, make: Make) -> None:
    """What the model raises is raised, so that it is in the log, and the page says that the answer failed."""

    with pytest.raises(Exception, match="out of order"):
        await Conversation(storage, make(Script([]))).ask("Weather?")


def asking_first(make: Make, script: Script, weather: Any) -> Any:
    """Return an agent that asks before each call, by the framework's own means."""
    if make is AGENTS["Agno"]:
        return make(script, agno_tool(requires_confirmation=True)(weather))
    if make is AGENTS["LangChain"]:
        asking = [HumanInTheLoopMiddleware({"weather": True})]
        return make(script, weather, middleware=asking, checkpointer=InMemorySaver())
    if make is AGENTS["OpenAI Agents"]:
        return make(script, agents.function_tool(weather, needs_approval=True))
    return make(script, Tool(weather, requires_approval=True), output_type=[str, DeferredToolRequests])


@every_framework
async def test_an_agent_that_asks_for_approval_goes_on_with_the_decisions(storage: PostgresStorage, make: Make) -> None:
    """The answer ends with the calls that wait. With the decisions it goes on, in the same message."""
    called: list[str] = []

    async def weather(city: str) -> str:
        """Return the weather."""
        called.append(city)
        return f"RAIN-42 in {city}"

    look = Says("Let me see.", "Norway is wet.", [("k1", "Oslo"), ("k2", "Rome")])
    script = Script([look, Says("It rains."), Says("Bye.")])
    agent = asking_first(make, script, weather)
    conversation = Conversation(storage, agent)
    waiting = await conversation.ask("Weather?")
    calls = [part for part in parts(waiting) if isinstance(part, stored.ToolCall)]

    assert [(call.id, call.name, call.arguments, call.state) for call in calls] == [
        ("k1", "weather", {"city": "Oslo"}, "waiting"),
        ("k2", "weather", {"city": "Rome"}, "waiting"),
    ]
    assert called == []

    yes, no = (ToolCall(call.id, call.name, call.arguments) for call in calls)
    answer = await conversation.decide(waiting, [Decision(no, False, "Not Rome."), Decision(yes, True)])

    assert (answer.id, called) == (waiting.id, ["Oslo"])
    assert answer.text == "Let me see. \nIt rains. "
    (shown,) = to_ui_messages([answer])
    outcomes = {part["toolCallId"]: part for part in objects(shown["parts"]) if "toolCallId" in part}
    assert outcomes["k1"]["output"] == "RAIN-42 in Oslo"
    assert outcomes["k2"]["approval"] == {"id": "k2", "approved": False, "reason": "Not Rome."}
    assert "Not Rome." in script.shown[1]
    await conversation.ask("Thank you.")
    assert script.shown[2].count("RAIN-42 in Oslo") == 1
    assert "Not Rome." in script.shown[2]


async def weather(city: str) -> str:
    """Return the weather."""
    return f"RAIN-42 in {city}"


async def test_a_decision_without_its_thread_fails_the_answer(storage: PostgresStorage) -> None:
    """A checkpointer that lacks the thread, as that of another process, fails the answer before a model is called."""
    conversation = Conversation(storage, asking_first(AGENTS["LangChain"], Script([LOOK]), weather))
    waiting = await conversation.ask("Weather?")
    script = Script([Says("Hello?")])
    conversation.go_on_with(asking_first(AGENTS["LangChain"], script, weather))

    with pytest.raises(InvalidOptionError, match=r"InMemorySaver, .*no thread of this answer.*AsyncPostgresSaver"):
        await conversation.decide(waiting, [Decision(ToolCall("k1", "weather", {"city": "Oslo"}), True)])

    assert script.shown == []


class BesideAFreeCall(Says):
    """A step with a call of the tool "radar" before the others."""

    def called(self) -> Iterator[tuple[str, str, str]]:
        yield "free", "radar", "{}"
        yield from super().called()


async def test_a_call_beside_one_that_asks_stays_open(storage: PostgresStorage) -> None:
    """A call that needs no approval, in a step with one that does, runs with the decision: it is not abandoned."""

    async def radar() -> str:
        """Return what the radar shows."""
        return "CLOUDS"

    script = Script([BesideAFreeCall("", calls=[("k1", "Oslo")]), Says("It rains.")])
    asking = [HumanInTheLoopMiddleware({"weather": True})]
    agent = AGENTS["LangChain"](script, weather, radar, middleware=asking, checkpointer=InMemorySaver())
    conversation = Conversation(storage, agent)
    waiting = await conversation.ask("Weather?")
    states = {part.id: part.state for part in parts(waiting) if isinstance(part, stored.ToolCall)}
    assert states == {"free": "running", "k1": "waiting"}
    (shown,) = to_ui_messages([waiting])
    assert [part.get("state") for part in objects(shown["parts"])] == ["input-available", "approval-requested"]

    answer = await conversation.decide(waiting, [Decision(ToolCall("k1", "weather", {"city": "Oslo"}), True)])

    results = {part.call_id: part.value for part in parts(answer) if isinstance(part, stored.ToolResult)}
    assert results == {"free": "CLOUDS", "k1": "RAIN-42 in Oslo"}


async def test_an_agent_that_asks_about_no_call_fails_the_answer(storage: PostgresStorage) -> None:
    """Approval of a call that has its result, or that nobody has seen, is an error that names the tool."""
    script = Script([LOOK, Says("", calls=[("k1", "Oslo")])])  # the id of the first call again
    conversation = Conversation(storage, asking_first(AGENTS["LangChain"], script, weather))
    waiting = await conversation.ask("Weather?")

    with pytest.raises(InvalidInputError, match="approval of 'weather', which it has not called"):
        await conversation.decide(waiting, [Decision(ToolCall("k1", "weather", {"city": "Oslo"}), True)])


def test_an_agent_that_asks_needs_a_checkpointer(caplog: pytest.LogCaptureFixture) -> None:
    """LangChain's agent that asks for approval is refused without a checkpointer; one in memory is warned of."""
    asking = [HumanInTheLoopMiddleware({"weather": True})]
    with pytest.raises(InvalidOptionError, match="HumanInTheLoopMiddleware and without a checkpointer"):
        Answering(AGENTS["LangChain"](Script([]), weather, middleware=asking))
    Answering(AGENTS["LangChain"](Script([]), weather, checkpointer=InMemorySaver()))
    assert caplog.text == ""

    Answering(asking_first(AGENTS["LangChain"], Script([]), weather))

    assert "its checkpointer keeps threads in memory" in caplog.text


@every_framework
async def test_a_question_in_place_of_a_decision_passes_the_call_over(storage: PostgresStorage, make: Make) -> None:
    """A call that waits for somebody who asks something else is not shown to the model, which would refuse it."""

    async def weather(city: str) -> str:
        """Return the weather."""
        return city

    script = Script([LOOK, Says("Hello.")])
    conversation = Conversation(storage, asking_first(make, script, weather))
    await conversation.ask("Weather?")

    assert (await conversation.ask("Hello?")).text == "Hello. "
    assert "k1" not in script.shown[-1]


def stores(storage: PostgresStorage) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        "VoltMemDb": ("Agno", {"db": VoltMemDb(storage)}),
        "VoltMemMiddleware": ("LangChain", {"middleware": [VoltMemMiddleware(storage, user_id="ada")]}),
        "VoltMemWindow": ("Pydantic AI", {"capabilities": [VoltMemWindow(storage, user_id="ada", limit=2)]}),
    }


@pytest.mark.parametrize("name", ["VoltMemDb", "VoltMemMiddleware", "VoltMemWindow"])
async def test_an_agent_that_stores_the_conversation_is_refused(storage: PostgresStorage, name: str) -> None:
    """The chat is the only writer: an agent with a store of voltmem's is refused when the chat is made."""

    framework, options = stores(storage)[name]
    with pytest.raises(InvalidOptionError, match=f"an agent with .*{name}"):
        Answering(AGENTS[framework](Script([]), **options))

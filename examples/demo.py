"""
``make demo``: an agent that remembers.

One program lets an agent with memory=PostgresStorage() hold a conversation with tool calls, and ends. A second
program continues it, and its model is shown what was said before. Then the user's sidebar is printed. The model is
a small scripted one, so no key is needed; everything else is real.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from pydantic import JsonValue

from voltmem import Message, PostgresStorage

USER = "ada"
RESOURCE = "demo"
FORECAST: dict[str, JsonValue] = {"today": "rain, 4 °C", "tomorrow": "sun, 7 °C"}


# --- an agent, as small as one can be ----------------------------------------------------------------------------


@dataclass
class ToolCall:
    name: str
    arguments: dict[str, JsonValue]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


Answer = str | ToolCall
Model = Callable[[list[Message]], Answer]


@dataclass
class Agent:
    model: Model
    tools: dict[str, Callable[..., JsonValue]]
    memory: PostgresStorage

    async def run(self, user_id: str, conversation_id: str, question: str) -> str:
        """Return the answer to a question; everything that is said on the way is remembered."""

        memory = self.memory.conversation(user_id, conversation_id)
        await memory.add({"role": "user", "content": question})
        while True:
            answer = self.model(await memory.messages())
            if isinstance(answer, str):
                await memory.add({"role": "assistant", "content": answer})
                return answer
            result = self.tools[answer.name](**answer.arguments)
            say("tool", f"{answer} → {json.dumps(result, ensure_ascii=False)}")
            await memory.add_turn(tool_turn(answer, result))


def tool_turn(call: ToolCall, result: JsonValue) -> list[Message]:
    """Both are stored, or none: no model is ever shown one without the other."""
    named: dict[str, JsonValue] = {"toolCallId": uuid4().hex, "toolName": call.name}
    asked: JsonValue = [{"type": "tool-call", **named, "args": call.arguments}]
    told: JsonValue = [{"type": "tool-result", **named, "result": result}]
    return [
        Message(role="assistant", type="tool-call", content=asked),
        Message(role="tool", type="tool-result", content=told),
    ]


def weather(city: str) -> JsonValue:
    return {"city": city, **FORECAST}


def scripted(answers: Iterator[Answer]) -> Model:
    """A model that says what is next in its script; it looks at what it is shown, as a real one would."""

    def model(shown: list[Message]) -> Answer:
        answer = next(answers)
        return answer.format(shown=len(shown)) if isinstance(answer, str) else answer

    return model


# --- the story ----------------------------------------------------------------------------------------------------


def say(who: str, what: str) -> None:
    print(f"    {who:>9}  {what}")


async def ask(agent: Agent, conversation_id: str, question: str) -> None:
    say(USER, question)
    say("assistant", await agent.run(USER, conversation_id, question))


async def first_program(conversation_id: str) -> None:
    print(f"\n1  A program starts (process {os.getpid()}); its agent has memory=PostgresStorage().\n")
    answers: list[Answer] = [
        "Half a day in the fridge; then it has time to rise.",
        ToolCall("weather", {"city": "Oslo"}),
        "It rains at 4 °C in Oslo. Take a coat.",
    ]
    async with PostgresStorage() as memory:
        agent = Agent(scripted(iter(answers)), {"weather": weather}, memory)
        bread = await memory.create_conversation({"user_id": USER, "resource_id": RESOURCE, "title": "Bread"})
        await ask(agent, bread.id, "How long should bread dough rest?")
        await memory.create_conversation(
            {"id": conversation_id, "user_id": USER, "resource_id": RESOURCE, "title": "A trip to Oslo"}
        )
        print()
        await ask(agent, conversation_id, "I'm flying to Oslo today. Do I need a coat?")
    print("\n   The program ends. What is left of it are rows in PostgreSQL.")


async def second_program(conversation_id: str) -> None:
    print(f"\n2  Another program starts (process {os.getpid()}) and opens the same conversation.\n")
    async with PostgresStorage() as memory:
        agent = Agent(scripted(iter(["Sun, at 7 °C: {shown} messages ago you'd have needed that coat."])), {}, memory)
        say(USER, question := "And tomorrow?")
        answer = await agent.run(USER, conversation_id, question)
        print("\n   Its model is shown:\n")
        for message in (await memory.conversation(USER, conversation_id).messages())[:-1]:
            say(
                message.role,
                message.text.replace("\n", " | ") + ("" if message.type == "text" else f"  ({message.type})"),
            )
        print("\n   and answers:\n")
        say("assistant", answer)


async def sidebar() -> None:
    print(f"\n3  The sidebar of {USER}, the last active conversation first:\n")
    async with PostgresStorage() as storage:
        for conversation in await storage.query_conversations(user_id=USER, resource_id=RESOURCE, limit=5):
            seconds = (datetime.now(UTC) - conversation.updated_at).total_seconds()
            ago = "just now" if seconds < 60 else f"{seconds / 60:.0f} minutes ago" if seconds < 7200 else "earlier"
            print(f"    {conversation.title:<20} {ago}")


PROGRAMS = {"first": first_program, "second": second_program}


def main() -> None:
    conversation_id = f"demo-{os.getpid()}-{datetime.now(UTC):%Y%m%d%H%M%S}"
    where = "VOLTMEM_DATABASE_URL" if os.environ.get("VOLTMEM_DATABASE_URL") else "the embedded one, no set-up"
    print(f"voltmem keeps the conversations of agents in PostgreSQL ({where}).", flush=True)  # before its programs
    for program in PROGRAMS:
        subprocess.run([sys.executable, __file__, program, conversation_id], check=True)
    asyncio.run(sidebar())
    print("\nNext: examples/demo.py shows the agent, README.md the rest; try  .venv/bin/python examples/sidebar.py")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(PROGRAMS[sys.argv[1]](sys.argv[2]))
    else:
        main()

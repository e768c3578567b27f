"""
``make demo``: an agent with a memory.

The first program runs an agent with memory=PostgresStorage() in a conversation with tool calls, and exits. A second
program continues the conversation, and its model receives the earlier messages. Then the user's sidebar is printed, and
an assistant remembers what a person said a hundred conversations ago (examples/assistant.py).
The model is scripted, so no API key is needed; everything else is real.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pydantic import JsonValue

from voltmem import Message, PostgresStorage

USER = "ada"
RESOURCE = "demo"
FORECAST: dict[str, JsonValue] = {"today": "rain, 4 °C", "tomorrow": "sun, 7 °C"}


# --- a minimal agent ----------------------------------------------------------------------------------------------


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
        """Answer a question. Stores the question, the tool calls, their results and the answer."""

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
    """Return the messages of a call and its result. They are stored together, because a model needs both."""
    ids: dict[str, JsonValue] = {"toolCallId": uuid4().hex, "toolName": call.name}
    call_content: JsonValue = [{"type": "tool-call", **ids, "args": call.arguments}]
    result_content: JsonValue = [{"type": "tool-result", **ids, "result": result}]
    return [
        Message(role="assistant", type="tool-call", content=call_content),
        Message(role="tool", type="tool-result", content=result_content),
    ]


def weather(city: str) -> JsonValue:
    return {"city": city, **FORECAST}


def scripted(answers: Iterator[Answer]) -> Model:
    """Return a model that gives the next answer of its script, with the number of messages it received."""

    def model(messages: list[Message]) -> Answer:
        answer = next(answers)
        return answer.format(count=len(messages)) if isinstance(answer, str) else answer

    return model


# --- the demo -----------------------------------------------------------------------------------------------------


def say(role: str, text: str) -> None:
    print(f"    {role:>9}  {text}")


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
    print("\n   The program exits. The conversation is in PostgreSQL.")


async def second_program(conversation_id: str) -> None:
    print(f"\n2  Another program starts (process {os.getpid()}) and opens the same conversation.\n")
    async with PostgresStorage() as memory:
        agent = Agent(scripted(iter(["Sun, at 7 °C: {count} messages ago you'd have needed that coat."])), {}, memory)
        say(USER, question := "And tomorrow?")
        answer = await agent.run(USER, conversation_id, question)
        print("\n   Its model receives:\n")
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


def assistant() -> None:
    print(
        "\n4  After a hundred conversations, Ada asks a question. This is what the model receives:\n",
        flush=True,
    )
    subprocess.run([sys.executable, Path(__file__).with_name("assistant.py")], check=True)


PROGRAMS = {"first": first_program, "second": second_program}


def main() -> None:
    conversation_id = f"demo-{os.getpid()}-{datetime.now(UTC):%Y%m%d%H%M%S}"
    server = "VOLTMEM_DATABASE_URL" if os.environ.get("VOLTMEM_DATABASE_URL") else "embedded, no set-up"
    # Flushed, so that it is printed before the output of the two programs.
    print(f"voltmem keeps the conversations of agents in PostgreSQL ({server}).", flush=True)
    for program in PROGRAMS:
        subprocess.run([sys.executable, __file__, program, conversation_id], check=True)
    asyncio.run(sidebar())
    assistant()
    print("\nNext: read examples/demo.py and README.md, or run  .venv/bin/python examples/sidebar.py")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(PROGRAMS[sys.argv[1]](sys.argv[2]))
    else:
        main()

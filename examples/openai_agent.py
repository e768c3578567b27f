"""An agent of the OpenAI Agents SDK that remembers each of its users: run it twice, and it remembers more."""

import asyncio
from dataclasses import dataclass

from agents import Agent, RunConfig, Runner, function_tool
from agents.items import TResponseOutputItem
from agents.testing import ModelCall, ModelStep, ScriptedModel, assistant_message, function_call

from voltmem import PostgresStorage
from voltmem.adapters.openai_agents import VoltMemSession


@dataclass
class SignedIn:
    """What the application knows of a request: the run's context."""

    user_id: str


@function_tool
def forecast(city: str) -> str:
    """Tell tomorrow's weather in a city."""
    return f"rain in {city}, 4 °C"


def answer(call: ModelCall) -> list[TResponseOutputItem]:
    """Stands for a language model: it asks its tool, then says what it is shown."""
    asked = [item["content"] for item in call.input if isinstance(item, dict) and item.get("role") == "user"]
    if len(call.input) % 4 == 1:
        return [function_call("forecast", {"city": "Oslo"}, call_id=f"call-{len(asked)}")]
    return [assistant_message(f"Question {len(asked)}. At first you asked {asked[0]!r}")]


async def main() -> None:
    async with PostgresStorage() as storage:  # the embedded PostgreSQL, unless VOLTMEM_DATABASE_URL names another
        for user, question in (("ada", "Do I need a coat?"), ("bob", "An umbrella?"), ("ada", "And boots?")):
            print(f"{user}> {question}")
            model = ScriptedModel([ModelStep.respond(answer)] * 2)
            session = VoltMemSession[SignedIn](f"weather-{user}", storage, user_id=lambda context: context.user_id)
            result = await Runner.run(
                Agent(name="guide", model=model, tools=[forecast]),
                question,
                session=session,
                context=SignedIn(user),
                run_config=RunConfig(tracing_disabled=True),
            )
            print(result.final_output)

        # Anybody reads it: these are plain messages.
        for message in await storage.get_messages("ada", "weather-ada", limit=4):
            print(f"{message.created_at:%H:%M:%S} {message.role}: {message.text}")


if __name__ == "__main__":
    asyncio.run(main())

"""An agent of the OpenAI Agents SDK with a conversation for each user. A second run continues the conversations."""

import asyncio
from dataclasses import dataclass

from agents import Agent, RunConfig, Runner, function_tool
from agents.items import TResponseOutputItem
from agents.testing import ModelCall, ModelStep, ScriptedModel, assistant_message, function_call

from voltmem import PostgresStorage
from voltmem.adapters.openai_agents import VoltMemSession


@dataclass
class SignedIn:
    """The run's context, in which the application passes the signed-in user."""

    user_id: str


@function_tool
def forecast(city: str) -> str:
    """Return tomorrow's weather in a city."""
    return f"rain in {city}, 4 °C"


def answer(call: ModelCall) -> list[TResponseOutputItem]:
    """Stand in for a language model: call the tool, then answer with the questions so far."""
    questions = [item["content"] for item in call.input if isinstance(item, dict) and item.get("role") == "user"]
    if len(call.input) % 4 == 1:
        return [function_call("forecast", {"city": "Oslo"}, call_id=f"call-{len(questions)}")]
    return [assistant_message(f"Question {len(questions)}. At first you asked {questions[0]!r}")]


async def main() -> None:
    async with PostgresStorage() as storage:  # the embedded PostgreSQL, unless VOLTMEM_DATABASE_URL is set
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

        # The items are stored as plain messages, which any code can read.
        for message in await storage.get_messages("ada", "weather-ada", limit=4):
            print(f"{message.created_at:%H:%M:%S} {message.role}: {message.text}")


if __name__ == "__main__":
    asyncio.run(main())

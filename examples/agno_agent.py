"""An Agno agent with a stored session and a model that needs no API key. A second run continues the count."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

os.environ["AGNO_TELEMETRY"] = "false"

from agno.agent import Agent
from agno.models.base import Model
from agno.models.response import ModelResponse

from voltmem import PostgresStorage
from voltmem.adapters.agno import VoltMemDb


class Counting(Model):
    """Stand in for a language model: answer with the number of the user's messages."""

    def _reply(self, messages: list[Any]) -> ModelResponse:
        count = sum(message.role == "user" for message in messages)
        return ModelResponse(role="assistant", content=f"You have said {count} things.")

    def invoke(self, messages: list[Any], **_: Any) -> Any:
        return self._reply(messages)

    async def ainvoke(self, messages: list[Any], **_: Any) -> Any:
        return self._reply(messages)

    def invoke_stream(self, messages: list[Any], **_: Any) -> Iterator[Any]:
        yield self._reply(messages)

    async def ainvoke_stream(self, messages: list[Any], **_: Any) -> AsyncIterator[Any]:
        yield self._reply(messages)

    def _parse_provider_response(self, response: Any, **_: Any) -> Any:
        return response

    def _parse_provider_response_delta(self, response: Any) -> Any:
        return response


async def main() -> None:
    async with PostgresStorage(storage_limit=None) as storage:
        db = VoltMemDb(storage)
        for question in ("Hello!", "Do you remember me?"):
            # A new agent for each question, as in a web server. Its history comes from the database.
            agent = Agent(model=Counting(id="counting"), db=db, add_history_to_context=True, num_history_runs=20)
            run = await agent.arun(question, user_id="ada", session_id="agno")
            print(f"ada: {question}\nagent: {run.content}")

        # Other code reads the same conversation: a sidebar, a search, another framework.
        messages = await storage.conversation("ada", "agno").messages(limit=2)
        print("stored:", [f"{message.role}: {message.text}" for message in messages])


asyncio.run(main())

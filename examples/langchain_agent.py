"""A LangChain agent with a stored conversation. In a second run, the model receives the first run's messages."""

import asyncio
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool

from voltmem import PostgresStorage
from voltmem.adapters.langchain import VoltMemMiddleware


@tool
def forecast(city: str) -> str:
    """Return tomorrow's weather in a city."""
    return f"rain in {city}, 4 °C"


class Scripted(BaseChatModel):
    """Stand in for a language model: call the tool for each city that was not asked about before."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        *before, last = messages
        print(f"   (the model receives {len(messages)} messages)")
        if isinstance(last, ToolMessage):
            answer = AIMessage(f"Tomorrow: {last.text}.")
        elif last.text in [message.text for message in before]:
            answer = AIMessage("As I said.")
        else:
            calls = [{"name": "forecast", "args": {"city": last.text}, "id": f"call-{len(messages)}"}]
            answer = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=answer)])


async def main() -> None:
    async with PostgresStorage() as storage:  # the embedded PostgreSQL, unless VOLTMEM_DATABASE_URL is set
        agent = create_agent(Scripted(), [forecast], middleware=[VoltMemMiddleware(storage, user_id="ada")])
        for city in ("Oslo", "Rome"):
            print(f"> {city}")
            state = await agent.ainvoke({"messages": [HumanMessage(city)]}, {"configurable": {"thread_id": "weather"}})
            print(state["messages"][-1].text)

        # They are stored as plain messages, which any code can read.
        for message in await storage.get_messages("ada", "weather", roles=["user", "assistant"], types=["text"]):
            print(f"{message.created_at:%H:%M:%S} {message.role}: {message.content}")


if __name__ == "__main__":
    asyncio.run(main())

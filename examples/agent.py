"""An agent whose answer is stored while it streams and whose run is recorded. A second run continues."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from voltmem import Memory, Message, PostgresStorage, Storage

Model = Callable[[list[Message]], AsyncIterator[str]]


async def scripted(messages: list[Message]) -> AsyncIterator[str]:
    """Stand in for a language model: stream an answer about the messages, word by word."""
    earlier = [message.text for message in messages if message.role == "user"][:-1]
    answer = f"Before, you asked {earlier[-1]!r}" if earlier else "This is the first thing that you ask me."
    for word in answer.split(" "):
        await asyncio.sleep(0.01)
        yield f"{word} "


@dataclass
class Agent:
    model: Model
    memory: Memory
    history: Storage

    async def run(self, question: str) -> str:
        """Answer a question. If the run is interrupted, the part of the answer so far is stored."""
        await self.memory.add({"role": "user", "content": question})
        answer = Message(role="assistant", content="")
        async with self.history.record_run("agent", input=question) as run:
            async for word in self.model(await self.memory.messages(limit=20)):
                print(word, end="", flush=True)
                answer = answer.model_copy(update={"content": answer.text + word})
                await self.memory.add(answer)  # replaces the shorter answer with the same id
            run.output = answer.text
        print()
        return answer.text


async def main() -> None:
    async with PostgresStorage() as storage:  # the embedded PostgreSQL, unless VOLTMEM_DATABASE_URL is set
        last = await storage.get_last_conversation("ada", resource_id="agent")
        memory = storage.conversation("ada", last.id if last else None, resource_id="agent")
        agent = Agent(scripted, memory, storage)
        for question in ("Where is Oslo?", "And Bergen?"):
            print(f"> {question}")
            await agent.run(question)
            await memory.title(question, if_unset=True)  # a title that is set stays

        print(f"{len(await memory.exchanges())} exchanges so far")
        page = await storage.list_history_entries(agent_id="agent", limit=1)
        print(f"the last run: {page.entries[0].status}, {page.entries[0].output!r}")


if __name__ == "__main__":
    asyncio.run(main())

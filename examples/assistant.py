"""
An assistant that remembers a person over a hundred conversations.

In each conversation the model receives three things: what it wrote down about the person (working memory), what was
said before that fits the question (recall), and the conversation itself, within a budget of tokens.
"""

import asyncio
import os
from collections.abc import Callable
from uuid import uuid4

from voltmem import Message, PostgresStorage, UserStorage

Model = Callable[[list[Message]], str | dict[str, str]]

TOPICS = ["the garden", "a novel", "the bus to work", "a recipe for soup", "the piano", "a leaking tap", "chess"]
OCCASIONS = {3: "Please remember that I'm allergic to peanuts.", 17: "I promised my sister Mira a trip to the fjords."}


def scripted(messages: list[Message]) -> str | dict[str, str]:
    """Stand in for a language model: write down what it is asked to remember, and answer from what it receives."""
    question = messages[-1].text
    if question.startswith("Please remember that "):
        return {"content": f"- {question.removeprefix('Please remember that ')}"}
    if question.endswith("?"):
        return f"I was given {len(messages)} messages to find out."
    return "I see."


class Assistant:
    """An agent's loop: memory, recall and window; then the model; then the tool that it calls."""

    def __init__(self, model: Model, person: UserStorage) -> None:
        self._model = model
        self._person = person
        self._notes = person.working_memory(author="assistant")

    async def received(self, conversation_id: str, question: str) -> list[Message]:
        """Return what the model receives: what it wrote down, what is recalled, and the conversation."""
        window = await self._person.conversation(conversation_id).messages(tokens=2000, recall=question)
        notes = await self._notes.as_message()
        return window if notes is None else [notes, *window]

    async def answer(self, conversation_id: str, question: str) -> str:
        memory = self._person.conversation(conversation_id, resource_id="assistant")
        await memory.add({"role": "user", "content": question})
        answer = self._model(await self.received(conversation_id, question))
        if isinstance(answer, dict):
            answer = await self._notes.call_tool("update_working_memory", answer, operation_id=uuid4().hex)
        await memory.add({"role": "assistant", "content": answer})
        return answer


async def main() -> None:
    async with PostgresStorage(search=True, storage_limit=None) as storage:
        ada = storage.for_user(f"ada-{os.getpid()}")
        assistant = Assistant(scripted, ada)
        for number in range(1, 101):
            topic = TOPICS[number % len(TOPICS)]
            await assistant.answer(f"assistant-{os.getpid()}-{number}", OCCASIONS.get(number, f"A word about {topic}."))
        print(f"{await ada.count_conversations()} conversations later: {(question := 'What did I promise Mira?')}")
        last = f"assistant-{os.getpid()}-101"
        print(await assistant.answer(last, question))
        for message in (await assistant.received(last, question))[:-1]:
            print(f"\n--- {message.role} ---\n{message.text}")
        await ada.delete_user()


if __name__ == "__main__":
    asyncio.run(main())

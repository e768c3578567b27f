"""Regenerate an answer and keep both as branches: Pydantic AI with voltmem, and a model that needs no API key."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from voltmem import PostgresStorage
from voltmem.adapters.pydantic_ai import VoltMemConversationStore

ANSWERS = iter(["Porridge.", "Pancakes, then.", "With blueberries."])


def scripted(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Stand in for a language model: return the next answer."""
    return ModelResponse([TextPart(next(ANSWERS))])


def one_line(conversation: Conversation) -> str:
    """Return the texts of the messages in one line."""
    texts = [getattr(part, "content", "") for message in conversation.messages for part in message.parts]
    return " | ".join(texts)


async def main() -> None:
    agent = Agent(FunctionModel(scripted))
    async with PostgresStorage() as storage:
        store = VoltMemConversationStore(storage, user_id="ada")
        conversation = Conversation()  # a new one; store.load(id) loads a stored one
        id = conversation.conversation_id

        result = await agent.run("What's for breakfast?", conversation=conversation)
        question, porridge = await store.save(result)

        # Go back to the question. The messages after it stay as a branch.
        again = await store.branch(id, from_entry=question.id, expected_revision=result.conversation.revision)
        pancakes = await agent.run(conversation=again)
        await store.save(pancakes)
        result = await agent.run("With what?", conversation=pancakes.conversation)
        await store.save(result)
        print("now: ", one_line(result.conversation))

        # Go back to the first answer in the same way.
        back = await store.branch(id, from_entry=porridge.id, expected_revision=result.conversation.revision)
        print("back:", one_line(back))

        # Other code reads the branch that is chosen: the sidebar, a search, another framework.
        print("read:", " | ".join(message.text for message in await storage.get_messages("ada", id)))
        siblings = await storage.list_siblings(id, porridge.id)
        print("also:", " | ".join(message.text for message in siblings))


asyncio.run(main())

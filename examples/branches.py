"""An answer is asked for again, and both are kept: Pydantic AI's agents on voltmem, with a model that needs no key."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from voltmem import PostgresStorage
from voltmem.adapters.pydantic_ai import VoltMemConversationStore

ANSWERS = iter(["Porridge.", "Pancakes, then.", "With blueberries."])


def scripted(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Stands for a language model, which would look at the messages."""
    return ModelResponse([TextPart(next(ANSWERS))])


def told(conversation: Conversation) -> str:
    """Return what was said, in a line."""
    said = [getattr(part, "content", "") for message in conversation.messages for part in message.parts]
    return " | ".join(said)


async def main() -> None:
    agent = Agent(FunctionModel(scripted))
    async with PostgresStorage() as storage:
        store = VoltMemConversationStore(storage, user_id="ada")
        conversation = Conversation()  # a new one; store.load(id) for one that is there
        id = conversation.conversation_id

        result = await agent.run("What's for breakfast?", conversation=conversation)
        question, porridge = await store.save(result)

        # Something else: back to the question. What came after it stays, as a branch.
        again = await store.branch(id, from_entry=question.id, expected_revision=result.conversation.revision)
        pancakes = await agent.run(conversation=again)
        await store.save(pancakes)
        result = await agent.run("With what?", conversation=pancakes.conversation)
        await store.save(result)
        print("now: ", told(result.conversation))

        # The first answer is as far away as before.
        back = await store.branch(id, from_entry=porridge.id, expected_revision=result.conversation.revision)
        print("back:", told(back))

        # Everybody else reads all of it as plain messages: the sidebar, a search, another framework.
        print("all: ", " | ".join(message.text for message in await storage.get_messages("ada", id)))


asyncio.run(main())

"""
Pydantic AI: a conversation store in PostgreSQL, with branches, forks and revisions.

::

    store = VoltMemConversationStore(storage, user_id="ada")
    conversation = await store.load("c1") or Conversation(conversation_id="c1")
    result = await agent.run("Do I need a coat?", conversation=conversation)
    await store.save(result)

    memory = storage.conversation("ada", "c1")  # without a store, on any release of Pydantic AI
    result = await agent.run("Do I need a coat?", message_history=await load_history(memory, limit=20))
    await save_history(memory, result.new_messages())

    agent = Agent(model, capabilities=[VoltMemWorkingMemory(storage.working_memory("ada"))])  # what it writes down
    agent = Agent(model, capabilities=[VoltMemWindow(storage, user_id="ada", tokens=8_000)])  # what it is shown
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Unpack

from voltmem._agents.memory import ConversationMemory
from voltmem._agents.native import NativeMemory
from voltmem.adapters.pydantic_ai._messages import FORMAT, asked_id, said, to_message, to_model_messages
from voltmem.adapters.pydantic_ai._store import DEFAULT_USER_ID, VoltMemConversationStore
from voltmem.adapters.pydantic_ai._window import VoltMemWindow
from voltmem.adapters.pydantic_ai._working_memory import VoltMemWorkingMemory
from voltmem.models import Message, NativeMessage
from voltmem.options import Window

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage

__all__ = [
    "DEFAULT_USER_ID",
    "FORMAT",
    "VoltMemConversationStore",
    "VoltMemWindow",
    "VoltMemWorkingMemory",
    "load_history",
    "save_history",
    "to_message",
    "to_model_messages",
]


async def load_history(
    memory: ConversationMemory, *, recall: str | None = None, **window: Unpack[Window]
) -> list[ModelMessage]:
    """
    Return the newest messages of a conversation, for ``agent.run(…, message_history=…)``; no store is needed.

    The arguments, the order, the errors and the messages left out are those of ``memory.messages()``.
    """
    found = await NativeMemory.of(memory).native_messages(recall=recall, **window)
    return to_model_messages(await memory.with_files(found))


async def save_history(memory: ConversationMemory, messages: Iterable[ModelMessage]) -> list[Message]:
    """
    Add messages, such as ``result.new_messages()``, to a conversation, all or none. Returns them as stored.

    What a window begins with, a summary or a quote of what was recalled, is left out. The first question of a run has
    an id made of the run's: VoltMemWorkingMemory names it as the source of what the model writes.

    Raises:
        ConversationNotFoundError: The conversation is another user's. Nothing is stored.
        InvalidInputError: A message cannot be stored.
    """
    return await memory.add_turn(_to_store(messages))


def _to_store(messages: Iterable[ModelMessage]) -> Iterator[NativeMessage]:
    asked: set[str] = set()
    for given in messages:
        message = said(given)
        if message is None:
            continue
        native, run_id = to_message(message), getattr(message, "run_id", None)
        if native.role == "user" and run_id and run_id not in asked:
            asked.add(run_id)
            native = NativeMessage(**{**dict(native), "id": asked_id(run_id)})
        yield native

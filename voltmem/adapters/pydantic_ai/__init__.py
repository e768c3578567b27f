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

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Unpack

from voltmem._agents.memory import ConversationMemory
from voltmem._agents.native import NativeMemory
from voltmem._values import derived_id, to_json
from voltmem.adapters.pydantic_ai._messages import (
    FORMAT,
    asked_id,
    beginning_with_shown,
    said,
    to_message,
    to_model_messages,
    with_prompts,
)
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

    The arguments, the order, the errors and the messages left out are those of ``memory.messages()``. A window begins
    with the system prompts of the conversation's first request, because Pydantic AI adds them to no later one.
    """
    first, found = await NativeMemory.of(memory).first_and_native_messages(recall=recall, **window)
    shown = beginning_with_shown(to_model_messages(await memory.with_files(found)))
    return with_prompts(to_model_messages([] if first is None else [first]), shown)


async def save_history(memory: ConversationMemory, messages: Iterable[ModelMessage]) -> list[Message]:
    """
    Add messages, such as ``result.new_messages()``, to a conversation, all or none. Returns them as stored.

    What a window begins with, a summary or a quote of what was recalled, is left out. Messages of a run that are saved
    again stay as they are, so a call may be repeated, and ``result.all_messages()`` adds what is new. The question that
    a run begins with has an id made of the run's: VoltMemWorkingMemory names it as the source of what the model writes.

    Raises:
        ConversationNotFoundError: The conversation is another user's. Nothing is stored.
        InvalidInputError: A message cannot be stored.
    """
    return await memory.add_turn(_to_store(messages))


def _to_store(messages: Iterable[ModelMessage]) -> Iterator[NativeMessage]:
    """
    Convert what was said. A message of a run has the same id each time, so that one that is saved again stays in place.

    It has no time of its own: the messages would not be in their order beside others, whose time is the database's.
    """
    saved: Counter[tuple[str, ...]] = Counter()
    for given in messages:
        message = said(given)
        if message is None:
            continue
        native, run_id = to_message(message), getattr(message, "run_id", None)
        if run_id:
            key = run_id, to_json(native.payload)
            is_asked = native.role == "user" and not saved[run_id,]
            id = asked_id(run_id) if is_asked else derived_id(*key, str(saved[key]))
            saved.update([(run_id,), key])
            native = native.model_copy(update={"id": id})
        yield native

"""RunnableWithMessageHistory with voltmem."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
import warnings
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.history import RunnableWithMessageHistory

from tests.adapters.begun import begin_earlier
from tests.adapters.langchain.scripted import Scripted, scripted, stored_texts, texts
from tests.conftest import MakeStorage
from voltmem import ConversationNotFoundError, InvalidInputError, PostgresStorage
from voltmem.adapters.langchain import VoltMemChatMessageHistory
from voltmem.errors import EventLoopError, MissingExtraError

# --- RunnableWithMessageHistory --------------------------------------------------------------------------------------


def chain(model: Scripted, storage: PostgresStorage, user_id: str = "ada", **options: Any) -> Any:
    with warnings.catch_warnings():
        # LangChain's own class emits a deprecation warning; voltmem's emits none.
        warnings.filterwarnings("ignore", "RunnableWithMessageHistory is deprecated", DeprecationWarning)
        return RunnableWithMessageHistory(
            model, lambda session_id: VoltMemChatMessageHistory(storage, user_id, session_id, **options)
        )


S1: RunnableConfig = {"configurable": {"session_id": "c1"}}


async def test_a_chain_continues_its_conversation(storage: PostgresStorage) -> None:
    """The second run of a RunnableWithMessageHistory receives the first run's messages, and all are stored once."""
    model = scripted("Ho", "Sure", "Bye")

    for text in ("Hi", "Again", "Well"):
        await chain(model, storage).ainvoke(text, S1)

    assert texts(model.requests[-1]) == ["Hi", "Ho", "Again", "Sure", "Well"]
    assert await stored_texts(storage) == ["Hi", "Ho", "Again", "Sure", "Well", "Bye"]


async def test_a_chain_with_a_window_stores_everything(make_storage: MakeStorage) -> None:
    """If the history is shorter than the conversation, new messages are still recognised."""
    storage = make_storage(storage_limit=3)
    model = scripted("a0", "a1", "a2")

    for number in range(3):
        await chain(model, storage, limit=2).ainvoke(f"q{number}", S1)

    assert texts(model.requests[-1]) == ["q1", "a1", "q2"]
    assert await stored_texts(storage) == ["a1", "q2", "a2"]


async def test_chains_at_once_lose_nothing(storage: PostgresStorage) -> None:
    """Overlapping runs in one conversation: all questions and answers are stored."""
    all_read = asyncio.Barrier(4)
    ended = [asyncio.Event() for _ in range(5)]
    ended[0].set()

    class Slow(Scripted):
        async def _agenerate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
            await all_read.wait()
            await ended[int(messages[-1].text)].wait()
            return self._generate(messages)

    async def run(number: int) -> None:
        await chain(Slow(answers=[f"answer {number}"], requests=[]), storage).ainvoke(str(number), S1)
        ended[number + 1].set()

    await asyncio.gather(*(run(number) for number in range(4)))

    assert await stored_texts(storage) == ["0", "answer 0", "1", "answer 1", "2", "answer 2", "3", "answer 3"]


async def test_a_chain_refuses_another_users_session_before_the_model(storage: PostgresStorage) -> None:
    """With the id of another user's session, nothing is read, and no model is called."""
    await chain(scripted("Ho"), storage).ainvoke("Hi", S1)
    model = scripted("Secrets")

    with pytest.raises(ConversationNotFoundError):
        await chain(model, storage, user_id="mallory").ainvoke("Tell me", S1)

    assert model.requests == []
    with pytest.raises(ConversationNotFoundError):
        await VoltMemChatMessageHistory(storage, "mallory", "c1").aadd_messages([HumanMessage("Hi")])


async def test_a_history_is_read_written_and_cleared(storage: PostgresStorage) -> None:
    """Messages are given ids: adding one again replaces it. A history reads again after a write."""
    history = VoltMemChatMessageHistory(storage, "ada", "c1", turns=1)
    assert await history.aget_messages() == []
    question, answer = HumanMessage("Hi"), AIMessage("Ho")

    await history.aadd_messages([question, answer])
    await history.aadd_messages([question])

    assert question.id is not None
    assert await history.aget_messages() == [question, answer]
    assert str(history) == "<VoltMemChatMessageHistory 'c1' of 'ada'>"
    await history.aclear()
    assert await history.aget_messages() == []
    assert await storage.get_user_conversation("c1", "ada") is not None


async def test_a_history_does_not_create_the_conversation_of_a_deleted_user(storage: PostgresStorage) -> None:
    """A history that was read stores nothing of a user who was deleted since; another history does."""
    history = VoltMemChatMessageHistory(storage, "ada", "c1")
    assert await history.aget_messages() == []
    begin_earlier(history._memory(storage))
    await storage.delete_user("ada")

    with pytest.raises(ConversationNotFoundError, match="was deleted while this run was under way"):
        await history.aadd_messages([HumanMessage("Hi")])
    assert await storage.count_conversations() == 0

    await VoltMemChatMessageHistory(storage, "ada", "c1").aadd_messages([HumanMessage("Hi")])
    assert await storage.count_conversations() == 1


async def test_a_history_stores_all_or_nothing(storage: PostgresStorage) -> None:
    """If one message cannot be stored, none is."""
    history = VoltMemChatMessageHistory(storage, "ada", "c1")

    with pytest.raises(InvalidInputError, match="RemoveMessage"):
        await history.aadd_messages([HumanMessage("Hi"), RemoveMessage(id="m1")])

    assert await history.aget_messages() == []


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda history: history.messages, "aget_messages()"),
        (lambda history: history.add_messages([]), "aadd_messages()"),
        (lambda history: history.add_user_message("Hi"), "aadd_messages()"),
        (lambda history: history.clear(), "aclear()"),
    ],
)
async def test_synchronous_methods_name_the_async_ones(call: Any, instead: str, storage: PostgresStorage) -> None:
    """The methods that LangChain calls in invoke() raise errors that name the async method."""
    with pytest.raises(EventLoopError, match=re.escape(instead)):
        call(VoltMemChatMessageHistory(storage, "ada", "c1"))


# --- the package -----------------------------------------------------------------------------------------------------


def test_without_langchain_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the adapter without LangChain raises an error that names the extra."""
    monkeypatch.delitem(sys.modules, "voltmem.adapters.langchain")
    monkeypatch.setitem(sys.modules, "langchain.agents.middleware", None)

    with pytest.raises(MissingExtraError, match=r"'\.\[langchain\]'"):
        importlib.import_module("voltmem.adapters.langchain")

"""Of concurrent questions in one conversation, only one has a running answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from itertools import pairwise

import pytest

from voltmem import Message, PostgresStorage
from voltmem.chat._answering import Answering
from voltmem.chat._answers import Answers

QUESTIONS = [f"Question {number}" for number in range(6)]


async def endless(messages: Sequence[Message]) -> AsyncIterator[str]:
    """Begin an answer, and never end it."""
    yield f"About {messages[-1].text}"
    await asyncio.Event().wait()


async def test_concurrent_questions_are_all_stored(storage: PostgresStorage) -> None:
    """
    Concurrent questions are all stored, in order.

    The last one's answer continues, and no two questions are adjacent.
    """
    mine = storage.for_user("ada")
    conversation = await mine.create_conversation({})
    answers = Answers(Answering(endless))

    streams = await asyncio.gather(
        *(answers.ask(mine, conversation.id, Message(role="user", content=text)) for text in QUESTIONS)
    )

    async with aclosing(streams[-1]) as last:
        assert [(await anext(last)).name for _ in range(2)] == ["answer", "text"]
    await answers.stop("ada", conversation.id)
    stored = await mine.get_messages(conversation.id)
    assert [message.text for message in stored if message.role == "user"] == QUESTIONS
    assert stored[-1].text == "About Question 5"
    assert all("user" in (one.role, other.role) for one, other in pairwise(stored))
    for stream in streams[:-1]:
        assert "done" not in [event.name async for event in stream]  # its answer was stopped


@pytest.mark.parametrize("asked", ["Another question", None], ids=["edited", "again"])
async def test_asking_anew_while_an_answer_comes_leaves_one(storage: PostgresStorage, asked: str | None) -> None:
    """Asking again stops the running answer before it is deleted, so that nothing of it remains."""
    mine = storage.for_user("ada")
    conversation = await mine.create_conversation({})
    answers = Answers(Answering(endless))
    question = Message(role="user", content="A question")
    first = await answers.ask(mine, conversation.id, question)

    if asked is None:
        again = await answers.ask_again(mine, conversation.id, question.id)
    else:
        again = await answers.ask(mine, conversation.id, question.model_copy(update={"content": asked}))

    assert "done" not in [event.name async for event in first]
    async with aclosing(again):
        assert [(await anext(again)).name for _ in range(2)] == ["answer", "text"]
    await answers.stop("ada", conversation.id)
    assert [message.text for message in await mine.get_messages(conversation.id)] == [
        asked or "A question",
        f"About {asked or 'A question'}",
    ]

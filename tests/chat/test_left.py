"""An answer belongs to its question, whatever is done with the conversation while it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.chat.test_answers import QUESTION, Deleter, Model, answers, expire, said, storage_of
from tests.chat.test_answers import mine as mine
from tests.chat.test_answers import model as model
from tests.chat.test_answers import tables as tables
from voltmem import Message, UserStorage
from voltmem._tables import Tables
from voltmem.chat._answering import Answering
from voltmem.chat._answers import Answers

if TYPE_CHECKING:
    from tests.conftest import Connection


async def line(mine: UserStorage) -> list[str]:
    return [each.text for each in await mine.get_messages("c1")]


@pytest.fixture
async def asked_before(mine: UserStorage, model: Model) -> Answers:
    """The answers of a chat, after a first question and its answer."""
    here = answers(mine, model)
    await mine.add_messages([QUESTION, Message(id="a1", role="assistant", content="First")], "c1")
    return here


@pytest.mark.parametrize("dies", [False, True])
async def test_an_answer_is_stored_after_its_question_whatever_branch_is_chosen(
    asked_before: Answers, mine: UserStorage, model: Model, connection: Connection, tables: Tables, dies: bool
) -> None:
    """Another branch that is chosen while an answer is written stays chosen and unchanged; the answer is in its own."""
    here = asked_before
    feed = await here.ask(mine, "c1", Message(id="q2", role="user", content="Rather this?"), after=None)
    assert await said(feed, 3) == "One"

    await mine.choose_branch("c1", "a1")
    if dies:
        await expire(connection, tables)
        assert [each.status for each in await here.unfinished(mine, "c1")] == ["failed"]
    model.may_go_on.set()
    await said(feed)

    assert await line(mine) == [QUESTION.text, "First"]
    await mine.choose_branch("c1", "q2")
    assert await line(mine) == ["Rather this?", "One" if dies else "One and two"]


async def test_another_answer_to_a_question_is_a_branch_whichever_is_chosen(
    asked_before: Answers, mine: UserStorage, model: Model
) -> None:
    """When the answer before is chosen again while another one is written, the two are branches after the question."""
    feed = await asked_before.ask_again(mine, "c1", "q1")
    assert await said(feed, 3) == "One"

    await mine.choose_branch("c1", "a1")
    model.may_go_on.set()
    await said(feed)

    assert await line(mine) == [QUESTION.text, "First"]
    assert [each.id for each in await mine.list_siblings("c1", "a1")] == ["a1", feed.answer_id]


async def test_what_is_added_while_an_answer_is_written_stands_before_it(mine: UserStorage, model: Model) -> None:
    """A message that is added to the branch meanwhile begins no other one: the answer follows it."""
    feed = await answers(mine, model).ask(mine, "c1", QUESTION)
    await mine.add_message({"role": "assistant", "content": "A note"}, "c1")

    model.may_go_on.set()
    await said(feed)

    assert await line(mine) == [QUESTION.text, "A note", "One and two"]
    assert await mine.list_branches("c1") == []


# --- what is deleted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_noticed", [True, False])
async def test_what_an_answer_said_is_stored_when_its_conversation_is_restored(
    mine: UserStorage, model: Model, is_noticed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that ends in a deleted conversation is a failed one after restoring, with all that it had said."""
    if is_noticed:
        monkeypatch.setattr("voltmem._areas.leases._RENEWALS", 75)  # the lease is lost within 200 ms
    here = answers(mine, model)
    feed = await here.ask(mine, "c1", QUESTION)
    assert await said(feed, 3) == "One"
    await asyncio.sleep(0.1)  # the piece is stored
    await mine.soft_delete_conversation("c1")

    if not is_noticed:
        model.may_go_on.set()
    await said(feed)
    await here.finish()
    await mine.restore_conversation("c1")

    assert [each.status for each in await here.unfinished(mine, "c1")] == ["failed"]
    last = (await mine.get_messages("c1"))[-1]
    assert (last.text, last.metadata) == ("One" if is_noticed else "One and two", {"failed": True})


async def test_an_answer_goes_on_if_its_conversation_is_restored_at_once(mine: UserStorage, model: Model) -> None:
    """A conversation that is deleted and restored while an answer is written has the whole answer."""
    feed = await answers(mine, model).ask(mine, "c1", QUESTION)
    await mine.soft_delete_conversation("c1")
    await mine.restore_conversation("c1")

    model.may_go_on.set()
    await said(feed)

    assert await line(mine) == [QUESTION.text, "One and two"]


@pytest.mark.parametrize("is_silent", [True, False])
@pytest.mark.parametrize("is_rewound", [True, False])
async def test_an_answer_ends_when_its_question_is_deleted(
    mine: UserStorage, is_rewound: bool, is_silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a question that is deleted ends, also while it is silent, and leaves nothing."""
    if is_silent:
        monkeypatch.setattr("voltmem.chat._writing._SECONDS_OF_SILENCE", 0.1)

    async def answer() -> AsyncIterator[str]:
        while True:
            yield "more "
            await asyncio.sleep(1000 if is_silent else 0.05)

    await mine.add_message({"id": "m1", "role": "assistant", "content": "Welcome"}, "c1")
    here = Answers(storage_of(mine), Answering(answer))
    feed = await here.ask(mine, "c1", QUESTION)
    if is_rewound:
        await mine.rewind_conversation("c1", "m1")
    else:
        await mine.delete_messages(["q1"], "c1")

    await said(feed)

    assert feed.status == "stopped"
    assert await line(mine) == ["Welcome"]
    assert await here.unfinished(mine, "c1") == []


# --- what is shared -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names_it", [False, True])
async def test_a_link_leaves_out_an_answer_that_waits(mine: UserStorage, names_it: bool) -> None:
    """A link that is made while an answer waits for approval ends before it, also after the answer has gone on."""
    here = answers(mine, Deleter())
    first = await here.ask(mine, "c1", QUESTION)
    await said(first)

    async def shown(token: str) -> list[str]:
        shared = await storage_of(mine).get_shared_conversation(token)
        assert shared is not None
        return [each.text for each in shared.messages]

    link = await mine.share_conversation("c1", up_to=first.answer_id if names_it else None)
    assert (link.up_to, await shown(link.token)) == ("q1", [QUESTION.text])
    await said(await here.decide(mine, "c1", first.answer_id, {"k1": (False, "no")}))

    assert await shown(link.token) == [QUESTION.text]
    later = await mine.share_conversation("c1")
    assert await shown(later.token) == [QUESTION.text, "One\n and two"]

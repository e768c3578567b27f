"""Answers are the server's: they go on without a page, one at a time, and other processes join and stop them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import JsonValue

from tests.calls import PATIENCE
from tests.roles import PREFIX
from voltmem import Message, PostgresStorage, Quotas, UserStorage
from voltmem._areas.answers import Status
from voltmem._tables import Tables
from voltmem.chat import Context, Part, ToolCall, ToolResult
from voltmem.chat._answering import Answering
from voltmem.chat._answers import Answers, UnderWayError
from voltmem.chat._approval import NotWaitingError
from voltmem.chat._feeds import Feed
from voltmem.errors import ConversationNotFoundError, InvalidInputError

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

QUESTION = Message(id="q1", role="user", content="What did you say?")


class Model:
    """Says a first word at once, and more when it may."""

    def __init__(self) -> None:
        self.calls = 0
        self.may_go_on = asyncio.Event()

    async def answer(self, messages: Sequence[Message]) -> AsyncIterator[str]:
        self.calls += 1
        yield "One"
        await self.may_go_on.wait()
        yield " and two"


@pytest.fixture
def tables(schema: str) -> Tables:
    return Tables(schema, PREFIX)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def mine(storage: PostgresStorage) -> UserStorage:
    """Ada's storage, with a conversation c1."""
    await storage.ensure_conversation({"id": "c1", "user_id": "ada"})
    return storage.for_user("ada")


@pytest.fixture
async def elsewhere(mine: UserStorage, make_storage: MakeStorage) -> UserStorage:
    """Ada's storage in another process, as far as the database can tell."""
    return make_storage().for_user("ada")


def answers(mine: UserStorage, model: Model | Deleter) -> Answers:
    return Answers(storage_of(mine), Answering(model.answer))


def storage_of(mine: UserStorage) -> PostgresStorage:
    made = getattr(mine, "_storage")  # noqa: B009 - the stub has only what is public
    assert isinstance(made, PostgresStorage)
    return made


async def said(feed: Feed, until: int | None = None) -> str:
    """Return what is said up to the end, or up to so many characters."""
    text = ""
    async with asyncio.timeout(PATIENCE):
        async for growth in feed.follow():
            text += "".join(str(chunk["delta"]) for chunk in growth.chunks if chunk["type"] == "text-delta")
            if until is not None and len(text) >= until:
                break
    return text


async def stored(mine: UserStorage) -> list[tuple[str, str, Any]]:
    return [(each.role, each.text, each.metadata) for each in await mine.get_messages("c1")]


async def expire(connection: Connection, tables: Tables) -> None:
    """Let the time of all leases pass."""
    await connection.execute(f"UPDATE {tables.leases} SET until = now()")


async def test_an_answer_is_joined_from_every_process(mine: UserStorage, elsewhere: UserStorage, model: Model) -> None:
    """Whoever joins an answer, here or in another process, gets it from its beginning to its end."""
    here, there = answers(mine, model), answers(elsewhere, model)
    asked = await here.ask(mine, "c1", QUESTION)
    joined = [asked, await here.join(mine, "c1"), await there.join(elsewhere, "c1")]
    following = [asyncio.create_task(said(feed)) for feed in joined if feed is not None]
    assert [each.status for each in await there.running(elsewhere)] == ["streaming"]

    model.may_go_on.set()

    assert await asyncio.gather(*following) == ["One and two"] * 3
    assert {feed.status for feed in joined if feed is not None} == {"complete"}
    assert await stored(mine) == [("user", QUESTION.text, {}), ("assistant", "One and two", {})]
    assert await there.unfinished(elsewhere, "c1") == []
    assert await there.running(elsewhere) == []


async def test_an_answer_is_stopped_from_every_process(mine: UserStorage, elsewhere: UserStorage, model: Model) -> None:
    """stop() in another process ends the answer, and returns when what it said is stored."""
    asked = await answers(mine, model).ask(mine, "c1", QUESTION)
    assert await said(asked, 3) == "One"

    await answers(elsewhere, model).stop(elsewhere, "c1")

    assert asked.status == "stopped"
    assert (await stored(mine))[-1] == ("assistant", "One", {"stopped": True})


async def test_of_questions_at_once_one_is_answered(mine: UserStorage, elsewhere: UserStorage, model: Model) -> None:
    """The same question in two processes at once has one answer; another question is refused until its end."""
    here, there = answers(mine, model), answers(elsewhere, model)

    both = await asyncio.gather(here.ask(mine, "c1", QUESTION), there.ask(elsewhere, "c1", QUESTION))

    assert both[0].answer_id == both[1].answer_id
    for each, user in ((here, mine), (there, elsewhere)):
        with pytest.raises(UnderWayError):
            await each.ask(user, "c1", Message(role="user", content="And this?"))
    model.may_go_on.set()
    assert [*await asyncio.gather(said(both[0]), said(both[1]))] == ["One and two"] * 2
    assert model.calls == 1
    assert [role for role, *_ in await stored(mine)] == ["user", "assistant"]


async def test_a_question_that_is_sent_again_is_answered_once(mine: UserStorage, model: Model) -> None:
    """A question whose response was lost can be sent again: it joins its answer; another text is refused."""
    here = answers(mine, model)
    model.may_go_on.set()
    first = await here.ask(mine, "c1", QUESTION)
    await said(first)

    again = await here.ask(mine, "c1", QUESTION)

    assert (again.answer_id, again.status, model.calls) == (first.answer_id, "complete", 1)
    with pytest.raises(InvalidInputError, match="an id of its own"):
        await here.ask(mine, "c1", QUESTION.model_copy(update={"content": "Another text"}))


async def test_asking_again_keeps_the_answer_before_in_a_branch(mine: UserStorage, model: Model) -> None:
    """Another answer to a question, and another question in its place, begin branches: nothing is deleted."""
    here = answers(mine, model)
    model.may_go_on.set()
    await said(await here.ask(mine, "c1", QUESTION))
    await said(await here.ask_again(mine, "c1", "q1"))
    await said(await here.ask(mine, "c1", Message(id="q2", role="user", content="Rather this?"), after=None))

    assert [text for _, text, _ in await stored(mine)] == ["Rather this?", "One and two"]
    assert [len(each.message_ids) for each in await mine.list_branches("c1")] == [2, 2]


class Deleter:
    """Asks before it deletes, and says what was decided."""

    async def answer(self, context: Context) -> AsyncIterator[Part]:
        if not context.decisions:
            yield "One"
            yield ToolCall("k1", "delete", {"file": "a"}, needs_approval=True)
        for decision in context.decisions:
            yield ToolResult("k1", error=decision.reason, is_denied=True)
            yield " and two"


async def test_an_answer_goes_on_with_what_was_decided(mine: UserStorage, elsewhere: UserStorage) -> None:
    """A decision continues an answer that waits for approval, in its message, in any process, and once."""
    here, there = answers(mine, Deleter()), answers(elsewhere, Deleter())
    first = await here.ask(mine, "c1", QUESTION)
    assert await said(first) == "One"
    assert first.status == "approval"
    assert [each.status for each in await there.unfinished(elsewhere, "c1")] == ["approval"]
    for wrong in ({}, {"k2": (True, "")}):
        with pytest.raises(InvalidInputError, match="k1"):
            await there.decide(elsewhere, "c1", first.answer_id, wrong)
    eve = storage_of(mine).for_user("eve")
    with pytest.raises(NotWaitingError):
        await here.decide(eve, "c1", first.answer_id, {"k1": (True, "")})

    second = await there.decide(elsewhere, "c1", first.answer_id, {"k1": (False, "no")})

    assert await said(second) == " and two"
    assert (second.answer_id, second.status) == (first.answer_id, "complete")
    assert [(role, text) for role, text, _ in await stored(mine)] == [
        ("user", QUESTION.text),
        ("assistant", "One\n and two"),
    ]
    with pytest.raises(NotWaitingError):
        await here.decide(mine, "c1", first.answer_id, {"k1": (True, "")})


async def test_a_question_passes_a_waiting_answer_over(mine: UserStorage) -> None:
    """Another question in place of a decision is answered; the calls before it can no longer be decided about."""
    here = answers(mine, Deleter())
    first = await here.ask(mine, "c1", QUESTION)
    await said(first)

    second = await here.ask(mine, "c1", Message(role="user", content="Rather not."))

    assert await said(second) == "One"
    assert {each.status for each in await here.unfinished(mine, "c1")} == {"approval", "stopped"}
    with pytest.raises(NotWaitingError):
        await here.decide(mine, "c1", first.answer_id, {"k1": (True, "")})


@pytest.mark.parametrize("dies", [False, True])
async def test_an_answer_that_ends_with_nothing_said_tells_who_watches(
    mine: UserStorage, elsewhere: UserStorage, connection: Connection, tables: Tables, dies: bool
) -> None:
    """It stores no message that would: those who watch the conversation are told all the same, in every process."""

    async def answer(message: Message) -> str:
        await asyncio.Event().wait()
        return ""

    here = Answers(storage_of(mine), Answering(answer))
    await here.ask(mine, "c1", QUESTION)
    async with asyncio.timeout(PATIENCE), aclosing(elsewhere.watch()) as changes:
        assert (await anext(changes)).kind == "ready"
        if dies:
            await expire(connection, tables)
            assert [each.status for each in await here.unfinished(mine, "c1")] == ["failed"]
        else:
            await here.stop(mine, "c1")
        change = await anext(changes)

    assert (change.kind, change.conversation_id) == ("updated", "c1")
    assert await stored(mine) == [("user", QUESTION.text, {})]
    await here.stop(mine, "c1")


# --- what dies ----------------------------------------------------------------------------------------------------

WORKER = """
import asyncio, sys
from voltmem import Message, PostgresStorage
from voltmem.chat import Context, Part, ToolCall, ToolResult
from voltmem.chat._answering import Answering
from voltmem.chat._answers import Answers

async def answer():
    yield "One"
    await asyncio.Event().wait()

async def main():
    async with PostgresStorage(sys.argv[1], schema=sys.argv[2]) as storage:
        mine = storage.for_user("ada")
        answers = Answers(storage, Answering(answer))
        await answers.ask(mine, "c1", Message(id="q1", role="user", content="What did you say?"))
        print("asked", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_an_answer_whose_process_dies_has_failed(
    mine: UserStorage, model: Model, connection: Connection, tables: Tables, dsn: str, schema: str
) -> None:
    """A killed worker leaves an answer that is failed for whoever looks, with what it said, and can be asked again."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER, dsn, schema), stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"asked\n"
    here = answers(mine, model)
    joined = await here.join(mine, "c1")
    assert joined is not None
    assert await said(joined, 3) == "One"
    worker.kill()
    await worker.wait()
    await expire(connection, tables)

    assert await said(joined) == "One"
    assert joined.status == "failed"
    assert await stored(mine) == [("user", QUESTION.text, {}), ("assistant", "One", {"failed": True})]
    assert [(each.question_id, each.status) for each in await here.unfinished(mine, "c1")] == [("q1", "failed")]
    assert await connection.fetchval(f"SELECT count(*) FROM {tables.answer_pieces}") == 0
    model.may_go_on.set()
    assert await said(await here.ask_again(mine, "c1", "q1")) == "One and two"
    assert (await stored(mine))[-1][1:] == ("One and two", {})


async def test_a_worker_that_lost_its_lease_stores_nothing(
    mine: UserStorage, elsewhere: UserStorage, model: Model, connection: Connection, tables: Tables
) -> None:
    """An answer whose time passed, and in whose place another is written, changes nothing when it goes on."""
    late = await answers(mine, model).ask(mine, "c1", QUESTION)
    assert await said(late, 3) == "One"
    await expire(connection, tables)
    there = answers(elsewhere, Model())
    assert [each.status for each in await there.unfinished(elsewhere, "c1")] == ["failed"]
    second = await there.ask_again(elsewhere, "c1", "q1")

    model.may_go_on.set()
    await said(late)

    assert late.status == "failed"
    assert second.is_open
    await there.stop(elsewhere, "c1")
    assert await stored(mine) == [("user", QUESTION.text, {}), ("assistant", "One", {"stopped": True})]


@pytest.mark.parametrize(("goes_on", "status"), [(True, "complete"), (False, "stopped")])
async def test_close_lets_answers_end(
    make_storage: MakeStorage,
    mine: UserStorage,
    model: Model,
    goes_on: bool,
    status: Status,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """close() waits for an answer for a few seconds, then stores what it said, as stopped."""
    if not goes_on:
        monkeypatch.setattr("voltmem.chat._answers._SECONDS_TO_FINISH", 0.1)
    storage = make_storage()
    feed = await answers(storage.for_user("ada"), model).ask(storage.for_user("ada"), "c1", QUESTION)
    assert await said(feed, 3) == "One"

    closing = asyncio.create_task(storage.close())
    await asyncio.sleep(0)
    if goes_on:
        model.may_go_on.set()
    await closing

    assert feed.status == status
    assert (await stored(mine))[-1][1] == ("One and two" if goes_on else "One")


async def test_an_answer_that_is_beyond_the_quota_has_failed(
    mine: UserStorage, make_storage: MakeStorage, model: Model, connection: Connection, tables: Tables
) -> None:
    """What can never be stored ends an answer as failed, also if its process dies: the conversation stays readable."""
    full = make_storage(quotas=Quotas(messages=1)).for_user("ada")
    here = answers(full, model)
    feed = await here.ask(full, "c1", QUESTION)
    assert await said(feed, 3) == "One"
    await expire(connection, tables)
    assert [each.status for each in await answers(full, Model()).unfinished(full, "c1")] == ["failed"]
    model.may_go_on.set()
    await here.finish()

    again = await here.ask_again(full, "c1", "q1")
    assert await said(again) == "One and two"

    assert again.status == "failed"
    assert [each.status for each in await here.unfinished(full, "c1")] == ["failed"]
    assert await stored(mine) == [("user", QUESTION.text, {})]


async def test_an_answer_that_is_cancelled_by_itself_has_failed(mine: UserStorage) -> None:
    """Only "stop" stops an answer: one whose own task is cancelled, as by a library, has failed."""

    async def answer(message: Message) -> str:
        raise asyncio.CancelledError

    feed = await Answers(storage_of(mine), Answering(answer)).ask(mine, "c1", QUESTION)
    await said(feed)

    assert feed.status == "failed"


async def test_a_question_of_files_gives_their_name_as_title(mine: UserStorage, model: Model) -> None:
    """A conversation that begins with a file has its name; one that begins with nothing to read has the next title."""
    model.may_go_on.set()
    here = answers(mine, model)
    for id, name in (("c2", ""), ("c3", "notes.txt")):
        await mine.create_conversation({"id": id})
        file: JsonValue = [{"type": "file", "url": "https://x.test/a", "mediaType": "text/plain", "filename": name}]
        await said(await here.ask(mine, id, Message(id="q1", role="user", content=file)))
    await said(await here.ask(mine, "c2", Message(id="q2", role="user", content="What is it?")))

    titles = [each.title for id in ("c2", "c3") if (each := await mine.get_conversation(id)) is not None]
    assert titles == ["What is it", "notes.txt"]


# --- what is deleted ----------------------------------------------------------------------------------------------


async def test_an_answer_to_a_deleted_question_is_not_stored(
    mine: UserStorage, model: Model, connection: Connection, tables: Tables
) -> None:
    """When the question is deleted meanwhile, nothing of its answer is stored."""
    here = answers(mine, model)
    feed = await here.ask(mine, "c1", QUESTION)
    assert await said(feed, 3) == "One"
    await mine.delete_messages(["q1"], "c1")

    model.may_go_on.set()
    await said(feed)
    await here.finish()

    assert feed.status == "stopped"
    assert await stored(mine) == []
    assert await connection.fetchval(f"SELECT count(*) FROM {tables.answer_pieces}") == 0


async def test_an_answer_in_a_deleted_conversation_ends(
    mine: UserStorage, elsewhere: UserStorage, model: Model
) -> None:
    """When the conversation is deleted meanwhile, its answer ends, for those in other processes as well."""
    feed = await answers(mine, model).ask(mine, "c1", QUESTION)
    joined = await answers(elsewhere, model).join(elsewhere, "c1")
    assert joined is not None
    await mine.delete_conversation("c1")

    model.may_go_on.set()
    await asyncio.gather(said(feed), said(joined))

    assert not feed.is_open
    assert not joined.is_open
    with pytest.raises(ConversationNotFoundError):
        await answers(mine, model).ask(mine, "c1", QUESTION)


async def test_another_user_joins_and_stops_nothing(storage: PostgresStorage, mine: UserStorage, model: Model) -> None:
    """Another user finds no answer, sees no list of them, and stops none."""
    here, eve = answers(mine, model), storage.for_user("eve")
    feed = await here.ask(mine, "c1", QUESTION)
    assert await said(feed, 3) == "One"

    await here.stop(eve, "c1")
    assert await here.join(eve, "c1") is None
    assert await here.unfinished(eve, "c1") == await here.running(eve) == []
    with pytest.raises(ConversationNotFoundError):
        await here.ask_again(eve, "c1", "q1")

    assert feed.is_open
    await here.stop(mine, "c1")


# --- the feed -----------------------------------------------------------------------------------------------------


async def test_what_comes_at_once_is_one_event() -> None:
    """Pieces that come within a moment are one event, and neighbouring pieces of a text one chunk."""
    feed = Feed("a", "q")
    for number in range(10_000):
        feed.say([{"type": "text-delta", "id": "0", "delta": f"{number} "}])
    feed.end("complete")

    assert len(feed.events) < 100
    assert await said(feed) == "".join(f"{number} " for number in range(10_000))
    assert all(len(event) == 1 for event in feed.events)


async def test_a_feed_goes_on_after_an_event() -> None:
    """Following from an event on gives what came after it, also if it has not come here yet."""
    feed = Feed("a", "q")
    for number in range(3):
        feed.add([{"type": "text-delta", "id": "0", "delta": str(number)}])
    late = asyncio.create_task(anext(feed.follow(4)))
    assert (await anext(feed.follow(1))).number == 3
    for number in range(3, 6):
        feed.add([{"type": "text-delta", "id": "0", "delta": str(number)}])

    assert [chunk["delta"] for chunk in (await late).chunks] == ["45"]
    feed.end("complete")

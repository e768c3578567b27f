"""recall() shows a message and its copies in forks once, and none of what a window shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import pytest

from tests.conftest import Connection, MakeStorage
from tests.plans import pages_read
from voltmem import Moment, PostgresStorage, Recall

QUESTION: Final = "Which tortoise have I adopted?"
AT: Final = datetime(2024, 5, 1, tzinfo=UTC)


async def embed(texts: Sequence[str]) -> list[list[float]]:
    """Return vectors of which those of animals are alike."""
    return [[0.1 + ("tortoise" in text or "pet" in text), 0.1 + ("food" in text), 0.1 + len(text)] for text in texts]


@pytest.fixture(params=["by words", "by meaning"])
async def storage(
    request: pytest.FixtureRequest, make_storage: MakeStorage, migrated: str, connection: Connection
) -> PostgresStorage:
    """A storage that recalls by words, or by vectors alone."""
    if request.param == "by words":
        return make_storage(search=True, storage_limit=None)
    if not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector')"):
        pytest.skip("this server has no pgvector")
    return make_storage(storage_limit=None, recall=Recall(embed=embed, dimensions=3, model="m"))


async def say(storage: PostgresStorage, conversation_id: str, **texts: str) -> None:
    """Add messages with these ids, at their own times."""
    messages = [{"id": id, "role": "user", "content": text} for id, text in texts.items()]
    await storage.add_messages(messages, "ada", conversation_id, resource_id="docs")


async def recalled(storage: PostgresStorage, text: str = QUESTION, limit: int = 20, around: int = 1) -> list[Moment]:
    if storage._meaning is not None:
        await storage.embed_messages()
    return await storage.recall("ada", text, limit=limit, around=around)


async def quoted(storage: PostgresStorage, conversation_id: str) -> str:
    """Return what a window of the conversation quotes for the question."""
    if storage._meaning is not None:
        await storage.embed_messages()
    found = await storage.conversation("ada", conversation_id).messages(recall=QUESTION)
    return next((message.text for message in found if "<earlier-conversations>" in message.text), "")


def places(moments: list[Moment]) -> list[tuple[str, str]]:
    return sorted((each.conversation.id, message.id) for each in moments for message in each.messages)


async def test_recall_shows_a_message_and_its_copies_once(storage: PostgresStorage) -> None:
    """Of a message and its copies in forks, recall() shows that of the original; copies take no place of others."""
    await say(storage, "c", t1="I have adopted a tortoise", t2="Lovely, a tortoise")
    for number in range(30):
        await storage.fork_conversation("c" if number % 2 else "f0" if number else "c", id=f"f{number}")
    await say(storage, "food", t9="The tortoise likes the food")

    assert places(await recalled(storage, limit=3)) == [("c", "t1"), ("c", "t2"), ("food", "t9")]
    assert places(await recalled(storage, limit=3, around=0)) == [("c", "t1"), ("c", "t2"), ("food", "t9")]


async def test_recall_of_one_conversation_shows_its_copies(storage: PostgresStorage) -> None:
    """recall() in a fork shows the fork's messages."""
    await say(storage, "c", t1="I have adopted a tortoise")
    await storage.fork_conversation("c", id="f")
    await recalled(storage)

    assert places(await storage.recall("ada", QUESTION, conversation_id="f")) == [("f", "t1")]


async def test_recall_shows_copies_whose_original_is_not_visible(storage: PostgresStorage) -> None:
    """Where the original is deleted, or its message, recall() shows the copy in the newest fork."""
    await say(storage, "c", t1="I have adopted a tortoise", t2="Lovely, a tortoise")
    await storage.fork_conversation("c", id="f0")
    await storage.fork_conversation("f0", id="f1")

    await storage.delete_messages(["t1"], "ada", "c")
    assert places(await recalled(storage)) == [("f1", "t1"), ("f1", "t2")]
    await storage.soft_delete_conversation("c")
    assert places(await recalled(storage)) == [("f1", "t1"), ("f1", "t2")]
    await storage.delete_conversation("f1")
    assert places(await recalled(storage)) == [("f0", "t1"), ("f0", "t2")]


async def test_recall_shows_what_a_fork_has_of_its_own(storage: PostgresStorage) -> None:
    """What was said or edited in a fork is found, with what was said before it, and no message is shown twice."""
    await say(storage, "c", t1="I have adopted a tortoise", t2="Lovely, a tortoise")
    await storage.fork_conversation("c", id="f")
    await say(storage, "f", t2="Lovely, an old tortoise", t3="The tortoise likes the food")
    await say(storage, "c", t3="My other tortoise sleeps")

    shown = places(await recalled(storage))

    assert sorted(id for _, id in shown) == ["t1", "t2", "t2", "t3", "t3"]
    [best] = await recalled(storage, "food", limit=1)
    assert places([best]) == [("f", "t2"), ("f", "t3")]


async def test_recall_takes_messages_with_the_same_id_for_different_ones(storage: PostgresStorage) -> None:
    """Ids, times and texts that repeat in conversations that are no forks make no copies."""
    for id in ("c1", "c2"):
        message = {"id": "m1", "role": "user", "content": "A tortoise", "created_at": AT}
        await storage.add_message(message, "ada", id, resource_id="docs")
    await say(storage, "c3", m1="A tortoise")
    await storage.fork_conversation("c3", id="f")
    await say(storage, "f", m2="Another tortoise")
    await say(storage, "c3", m2="Another tortoise")

    shown = places(await recalled(storage))

    assert [of for of in shown if of[1] == "m1"] == [("c1", "m1"), ("c2", "m1"), ("c3", "m1")]
    assert [of for of in shown if of[1] == "m2"] == [("c3", "m2"), ("f", "m2")]


@pytest.mark.parametrize("window", ["c", "f0", "f1", "f2"])
async def test_a_window_quotes_no_copy_of_what_it_shows(window: str, storage: PostgresStorage) -> None:
    """messages(recall=…) of a fork or an original quotes only what the window does not show."""
    await say(storage, "c", t1="I have adopted a tortoise", t2="Lovely, a tortoise")
    await storage.fork_conversation("c", id="f0")
    await storage.fork_conversation("c", id="f1")
    await storage.fork_conversation("f1", id="f2")
    assert await quoted(storage, window) == ""

    other = "c" if window != "c" else "f0"
    await say(storage, other, t3="The tortoise is called Speedy")

    text = await quoted(storage, window)
    assert "Speedy" in text
    assert "adopted" not in text
    assert "Lovely" not in text


async def test_recall_reads_nothing_for_copies_where_there_are_no_forks(
    make_storage: MakeStorage, migrated: str, connection: Connection
) -> None:
    """The index of forks says that a user has none, whatever the user and others have stored."""
    storage = make_storage(storage_limit=None)
    tables = storage._options.tables
    await storage.create_conversation({"id": "c", "user_id": "bob"})
    await storage.fork_conversation("c", id="f")
    await connection.execute(f"""
        INSERT INTO {tables.conversations} (id, user_id, resource_id, title, metadata, created_at, updated_at)
        SELECT 'c' || n, 'ada', 'r', repeat('long ', 100), '{{}}', now(), now() FROM generate_series(1, 300) AS n""")
    sql = f"SELECT * FROM {tables.copies_in_forks}('ada', NULL, NULL, NULL, NULL)"
    await pages_read(connection, sql)  # the first time reads the catalog, too

    assert await pages_read(connection, sql) <= 2

"""The sidebar: a list that pages without loss, and what a person does to a conversation without moving it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.calls import migrated_schema
from tests.conftest import Connection, MakeStorage
from voltmem import (
    ANY_USER,
    ConversationExistsError,
    ConversationItem,
    ConversationNotFoundError,
    ImportedConversation,
    InvalidInputError,
    InvalidQueryError,
    MessageNotFoundError,
    PostgresStorage,
)
from voltmem._agents.native import NativeMemory

START = datetime(2026, 1, 1, tzinfo=UTC)


async def make(storage: PostgresStorage, count: int, user_id: str = "ada", prefix: str = "c") -> list[str]:
    """Make conversations, each an hour younger than the one before; return their ids, the youngest first."""
    for number in range(count):
        await storage.create_conversation(
            {"id": f"{prefix}{number}", "user_id": user_id, "created_at": START + timedelta(hours=number)}
        )
    return [f"{prefix}{number}" for number in reversed(range(count))]


async def walk(storage: PostgresStorage, limit: int, **options: object) -> list[str]:
    ids: list[str] = []
    after: str | None = None
    while True:
        page = await storage.list_conversations("ada", limit=limit, after=after, **options)  # type: ignore[arg-type]
        assert len(page.items) <= limit
        ids += [item.id for item in page.items]
        if not page.has_more:
            assert page.next_cursor is None
            return ids
        after = page.next_cursor


# --- the list -----------------------------------------------------------------------------------------------------


async def test_the_list_has_every_conversation_of_the_user_once(storage: PostgresStorage) -> None:
    """Whatever the size of a page; the last active first."""
    ids = await make(storage, 7)
    await make(storage, 3, "bob", "b")

    for limit in (1, 2, 3, 7, 8):
        assert await walk(storage, limit) == ids


async def test_an_empty_list_is_a_list(storage: PostgresStorage) -> None:
    """No items, no cursor, nothing more."""
    page = await storage.list_conversations("ada")

    assert (page.items, page.next_cursor, page.has_more) == ([], None, False)


async def test_the_pinned_stand_first(storage: PostgresStorage) -> None:
    """In their own order of activity, and pages go from one part to the other."""
    ids = await make(storage, 6)
    await storage.pin_conversation("c0")
    await storage.pin_conversation("c3")

    assert await walk(storage, 2) == ["c3", "c0", *(each for each in ids if each not in ("c0", "c3"))]
    assert await walk(storage, 2, pinned=True) == ["c3", "c0"]
    assert await walk(storage, 3, pinned=False) == [each for each in ids if each not in ("c0", "c3")]


async def test_a_message_moves_its_conversation_to_the_front(storage: PostgresStorage) -> None:
    """Activity is what the list is sorted by."""
    await make(storage, 3)
    await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c0")

    assert (await walk(storage, 5))[0] == "c0"


async def test_nothing_else_moves_it(storage: PostgresStorage) -> None:
    """Renaming, pinning and unpinning, archiving and back, tags, reading, deleting and restoring."""
    ids = await make(storage, 3)
    for conversation_id in ids:
        await storage.rename_conversation(conversation_id, "Named")
        await storage.rename_conversation(conversation_id, "Named by a model", automatic=True)
        await storage.pin_conversation(conversation_id)
        await storage.pin_conversation(conversation_id, False)
        await storage.archive_conversation(conversation_id)
        await storage.archive_conversation(conversation_id, False)
        await storage.tag_conversation(conversation_id, ["work"])
        await storage.mark_conversation_read(conversation_id)
        await storage.soft_delete_conversation(conversation_id)
        await storage.restore_conversation(conversation_id)

        assert await walk(storage, 5) == ids


async def test_a_cursor_holds_whatever_happens(storage: PostgresStorage) -> None:
    """New conversations, deleted ones, the one that it points at included, and moved ones: nothing comes twice."""
    ids = await make(storage, 6)
    first = await storage.list_conversations("ada", limit=2)

    await storage.create_conversation({"id": "new", "user_id": "ada"})
    await storage.delete_conversation(ids[1])  # what the cursor was made of
    await storage.delete_conversation(ids[2])
    await storage.add_message({"role": "user", "content": "up"}, "ada", ids[4])
    second = await storage.list_conversations("ada", limit=10, after=first.next_cursor)

    assert [item.id for item in second.items] == [ids[3], ids[5]]


async def test_ties_in_time_are_paged_without_loss(storage: PostgresStorage) -> None:
    """Fifty conversations of the same moment: by id, each once."""
    for number in range(50):
        await storage.create_conversation({"id": f"c{number:02}", "user_id": "ada", "created_at": START})

    assert await walk(storage, 7) == [f"c{number:02}" for number in reversed(range(50))]


async def test_one_goes_back_the_way_one_came(storage: PostgresStorage) -> None:
    """before= is what stands right before, in the list's order."""
    ids = await make(storage, 9)
    await storage.pin_conversation("c0")
    order = await walk(storage, 9)
    assert order == ["c0", *ids[:-1]]
    page = await storage.list_conversations("ada", limit=7)

    back = await storage.list_conversations("ada", limit=3, before=page.next_cursor)
    further = await storage.list_conversations("ada", limit=30, before=page.next_cursor)

    assert ([item.id for item in back.items], back.has_more) == (order[3:6], True)
    assert ([item.id for item in further.items], further.has_more) == (order[:6], False)


@pytest.mark.parametrize("cursor", ["", "nonsense", "eyJ", "W10", "WzEsMiwzXQ", "\x00", "x" * 5000])
@pytest.mark.parametrize("name", ["after", "before"])
async def test_a_cursor_that_is_none_of_ours_is_refused(name: str, cursor: str, storage: PostgresStorage) -> None:
    """Before any SQL runs, with the way out."""
    with pytest.raises(InvalidQueryError, match="next_cursor"):
        await storage.list_conversations("ada", **{name: cursor})  # type: ignore[arg-type]


async def test_the_list_can_be_of_a_resource_or_a_tag(storage: PostgresStorage) -> None:
    """And of both at once."""
    for number, (resource, tags) in enumerate([("docs", ["a"]), ("docs", ["a", "b"]), ("code", ["b"]), ("code", [])]):
        await storage.create_conversation(
            {"id": f"c{number}", "user_id": "ada", "resource_id": resource, "created_at": START}
        )
        await storage.tag_conversation(f"c{number}", tags)

    assert await walk(storage, 1, resource_id="docs") == ["c1", "c0"]
    assert await walk(storage, 1, tag="b") == ["c2", "c1"]
    assert await walk(storage, 1, tag="b", resource_id="docs") == ["c1"]
    assert await walk(storage, 1, tag="nobody's") == []


async def test_archived_conversations_have_a_list_of_their_own(storage: PostgresStorage) -> None:
    """Put away, they are in it and not in the other; they are read and written as before."""
    await make(storage, 3)
    await storage.archive_conversation("c1")

    assert await walk(storage, 5) == ["c2", "c0"]
    assert await walk(storage, 5, archived=True) == ["c1"]
    await storage.add_message({"role": "user", "content": "still here"}, "ada", "c1")
    assert len(await storage.get_messages("ada", "c1")) == 1


# --- preview and unread -------------------------------------------------------------------------------------------


async def test_the_preview_is_what_was_said_last(storage: PostgresStorage) -> None:
    """By the user or the assistant, as text; not what tools were asked and answered, nor a system message."""
    await storage.add_messages(
        [
            {"role": "user", "content": "A coat?"},
            {"role": "assistant", "content": [{"type": "text", "text": "Yes, " + "a" * 300}]},
            {"role": "assistant", "type": "tool-call", "content": [{"type": "tool-call", "toolCallId": "k"}]},
            {"role": "tool", "type": "tool-result", "content": "rain"},
            {"role": "system", "content": "Be brief."},
        ],
        "ada",
        "c1",
        resource_id="docs",
    )

    (item,) = (await storage.list_conversations("ada")).items
    (bare,) = (await storage.list_conversations("ada", preview=False)).items

    assert item.preview == ("Yes, " + "a" * 300)[:200]
    assert (bare.preview, bare.unread) == (None, True)


async def test_what_the_assistant_said_is_unread_until_it_is_read(storage: PostgresStorage) -> None:
    """The user's own words never are."""

    async def unread() -> bool:
        return (await storage.list_conversations("ada")).items[0].unread

    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    assert not await unread()
    await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")
    assert not await unread()
    answer = await storage.add_message({"role": "assistant", "content": "Hello"}, "ada", "c1")
    assert await unread()
    assert not (await storage.mark_conversation_read("c1")).unread
    assert not await unread()
    # Reading less far than before unreads nothing.
    assert not (await storage.mark_conversation_read("c1", at=answer.created_at - timedelta(days=1))).unread
    await storage.add_message({"role": "assistant", "content": "Are you there?"}, "ada", "c1")
    assert await unread()
    assert (await storage.mark_conversation_read("c1", at=answer.created_at)).unread


async def test_what_was_there_is_read_whatever_time_it_bears(storage: PostgresStorage) -> None:
    """An answer whose application's clock is ahead is read like any other, and the next one is unread."""
    ahead = datetime.now(UTC) + timedelta(minutes=3)
    memory = storage.conversation("ada", "c1")
    await memory.add({"role": "assistant", "content": "Hello", "created_at": ahead})

    assert not (await storage.mark_conversation_read("c1")).unread

    await memory.add({"role": "assistant", "content": "More", "created_at": ahead + timedelta(seconds=1)})
    assert (await storage.list_conversations("ada")).items[0].unread


async def test_an_answer_that_bears_the_time_of_its_beginning_is_unread(storage: PostgresStorage) -> None:
    """It was stored after the conversation was read, and nobody has seen it."""
    memory = storage.conversation("ada", "c1")
    question = await memory.add({"role": "user", "content": "Hello?"})
    began = question.created_at + timedelta(microseconds=1)
    await storage.mark_conversation_read("c1")

    await memory.add({"role": "assistant", "content": "Hello", "created_at": began})

    assert (await storage.list_conversations("ada")).items[0].unread


@pytest.mark.parametrize("up_to", [None, "answer"])
async def test_a_fork_is_read(storage: PostgresStorage, up_to: str | None) -> None:
    """Whoever made it has seen what it is a copy of; what is answered in it is unread."""
    ahead = datetime.now(UTC) + timedelta(minutes=3)
    await storage.conversation("ada", "c1").add_turn(
        [
            {"role": "user", "content": "Hello?"},
            {"id": "answer", "role": "assistant", "content": "Hello", "created_at": ahead},
        ]
    )

    fork = await storage.fork_conversation("c1", up_to=up_to)

    unread = {item.id: item.unread for item in (await storage.list_conversations("ada")).items}
    assert unread == {"c1": True, fork.id: False}
    more = {"role": "assistant", "content": "More", "created_at": ahead + timedelta(seconds=1)}
    await storage.add_message(more, "ada", fork.id)
    assert {item.id: item.unread for item in (await storage.list_conversations("ada")).items}[fork.id]


# --- titles -------------------------------------------------------------------------------------------------------


async def test_a_model_never_renames_what_a_person_named(storage: PostgresStorage) -> None:
    """It names what has no name, and renames what a model named, in whatever way the person gave it."""
    await make(storage, 1)

    async def by_model(title: str) -> str | None:
        return (await storage.rename_conversation("c0", title, automatic=True)).title

    assert await by_model("first") == "first"
    assert await by_model("second") == "second"
    await storage.update_conversation("c0", title="Mine", touch=False)
    assert await by_model("third") == "Mine"
    await storage.rename_conversation("c0", "Mine, too")
    assert await by_model("fourth") == "Mine, too"
    assert (await storage.rename_conversation("c0", "By hand")).title == "By hand"
    await storage.create_conversation({"id": "named", "user_id": "ada", "title": "By the application"})
    assert (await storage.rename_conversation("named", "x", automatic=True)).title == "By the application"


async def test_a_title_that_an_agents_memory_gave_is_a_models(storage: PostgresStorage) -> None:
    """memory.title(if_unset=True) can be followed by a better one, memory.title() cannot."""
    memory = storage.conversation("ada", "c1")
    await memory.title("from the first words", if_unset=True)
    assert (await storage.rename_conversation("c1", "better", automatic=True)).title == "better"
    await memory.title("Mine")
    assert (await storage.rename_conversation("c1", "worse", automatic=True)).title == "Mine"


async def test_a_person_and_a_model_at_once_leave_the_persons(storage: PostgresStorage) -> None:
    """Whoever comes first."""
    await make(storage, 1)
    await asyncio.gather(
        *(storage.rename_conversation("c0", f"auto {n}", automatic=True) for n in range(5)),
        storage.rename_conversation("c0", "Mine"),
        *(storage.rename_conversation("c0", f"auto {n}", automatic=True) for n in range(5)),
    )

    found = await storage.get_conversation("c0")
    assert found is not None
    assert found.title == "Mine"


async def test_tags_are_what_was_given_last(storage: PostgresStorage) -> None:
    """In their order, each once; an empty list takes them all away."""
    await make(storage, 1)

    assert (await storage.tag_conversation("c0", ["b", "a", "b"])).tags == ["b", "a"]
    assert (await storage.tag_conversation("c0", [])).tags == []


async def test_a_tag_is_one_that_the_list_can_be_asked_for(storage: PostgresStorage) -> None:
    """As long as an id may be, and no longer; an import takes no other either."""
    await make(storage, 1)
    longest = "\N{GRINNING FACE}" * 250

    await storage.tag_conversation("c0", [longest])
    assert await walk(storage, 5, tag=longest) == ["c0"]
    with pytest.raises(InvalidInputError, match=r"tags .* 1000 bytes"):
        await storage.tag_conversation("c0", ["work", longest + "x"])
    with pytest.raises(InvalidInputError, match="1000 bytes"):
        ImportedConversation.of({"tags": [longest + "x"]})
    assert await walk(storage, 5, tag=longest) == ["c0"]


# --- deleting, with a way back ------------------------------------------------------------------------------------


async def test_a_deleted_conversation_looks_absent(storage: PostgresStorage) -> None:
    """To every reader and writer, its owner and trusted code included, until it is restored, whole."""
    message = await storage.conversation("ada", "c1").add({"role": "user", "content": "Hello"})
    before = await storage.get_conversation("c1")
    gone = await storage.soft_delete_conversation("c1")

    assert gone.deleted_at is not None
    assert await storage.get_conversation("c1") is None
    assert await storage.get_user_conversation("c1", "ada") is None
    assert await storage.get_conversations("default") == []
    assert await storage.get_conversations_by_user_id("ada") == []
    assert await storage.query_conversations() == []
    assert await storage.count_conversations() == 0
    assert await storage.get_last_conversation("ada") is None
    assert await walk(storage, 5) == []
    assert await walk(storage, 5, archived=True) == []
    assert await storage.get_messages(ANY_USER, "c1") == []
    assert await storage.get_conversation_messages("c1") == []
    assert await storage.conversation("ada", "c1").messages() == []
    assert await storage.delete_messages([message.id], ANY_USER, "c1") == 0
    assert await storage.clear_messages(ANY_USER, "c1") == 0
    for attempt in (
        lambda: storage.add_message({"role": "user", "content": "?"}, ANY_USER, "c1"),
        lambda: storage.conversation("ada", "c1").add({"role": "user", "content": "?"}),
        lambda: storage.conversation("ada", "c1").title("?"),
        lambda: storage.ensure_conversation({"id": "c1", "user_id": "ada"}),
        lambda: storage.update_conversation("c1", title="?"),
        lambda: storage.pin_conversation("c1"),
        lambda: storage.fork_conversation("c1"),
        lambda: storage.share_conversation("c1"),
        lambda: storage.rewind_conversation("c1", message.id),
    ):
        with pytest.raises(ConversationNotFoundError):
            await attempt()
    with pytest.raises(ConversationExistsError):
        await storage.create_conversation({"id": "c1", "user_id": "ada"})

    assert (await storage.restore_conversation("c1")).deleted_at is None
    assert await storage.get_conversation("c1") == before
    assert await storage.get_messages("ada", "c1") == [message]


async def test_clearing_all_messages_spares_what_can_be_restored(storage: PostgresStorage) -> None:
    """A deleted conversation looks absent, and comes back whole."""
    message = await storage.conversation("ada", "c1").add({"role": "user", "content": "Hello"})
    await storage.soft_delete_conversation("c1")

    assert await storage.clear_messages("ada") == 0

    await storage.restore_conversation("c1")
    assert await storage.get_messages("ada", "c1") == [message]


# What can be done to a conversation by its id, if it is there.
ATTEMPTS: dict[str, Callable[[PostgresStorage, str], Awaitable[object]]] = {
    "add_message": lambda storage, user: storage.add_message({"role": "user", "content": "?"}, user, "c1"),
    "add_message, making it": lambda storage, user: storage.conversation(user, "c1").add(
        {"role": "user", "content": "?"}
    ),
    "title": lambda storage, user: storage.conversation(user, "c1").title("?"),
    "save_payload": lambda storage, user: NativeMemory(storage, user, "c1").save_payload({}, "a framework"),
    "ensure_conversation": lambda storage, user: storage.ensure_conversation({"id": "c1", "user_id": user}),
    "update_conversation": lambda storage, user: storage.update_conversation("c1", title="?", owner=user),
    "giving away": lambda storage, user: storage.update_conversation("c1", user_id="eve", owner=user),
    "rename_conversation": lambda storage, user: storage.rename_conversation("c1", "?", owner=user),
    "pin_conversation": lambda storage, user: storage.pin_conversation("c1", owner=user),
    "fork_conversation": lambda storage, user: storage.fork_conversation("c1", owner=user),
    "share_conversation": lambda storage, user: storage.share_conversation("c1", owner=user),
    "rewind_conversation": lambda storage, user: storage.rewind_conversation("c1", "m1", owner=user),
}
MAKINGS: dict[str, Callable[[PostgresStorage, str], Awaitable[object]]] = {
    "create_conversation": lambda storage, user: storage.create_conversation({"id": "c1", "user_id": user}),
    "fork_conversation": lambda storage, user: storage.fork_conversation(f"{user}'s other", id="c1"),
}
WAY_BACK = r"was deleted.*restore_conversation\(\).*delete_conversation\(\)"


@pytest.mark.parametrize("name", ATTEMPTS)
async def test_its_own_user_is_told_that_it_was_deleted_and_how_it_comes_back(
    storage: PostgresStorage, name: str
) -> None:
    """Of foreign keys speaks nothing but what is about a message; to somebody else it looks absent."""
    await storage.conversation("ada", "c1").add({"id": "m1", "role": "user", "content": "Hello"})
    await storage.soft_delete_conversation("c1")

    with pytest.raises(ConversationNotFoundError, match=WAY_BACK) as own:
        await ATTEMPTS[name](storage, "ada")
    with pytest.raises(ConversationNotFoundError) as others:
        await ATTEMPTS[name](storage, "bob")

    assert own.value.is_deleted
    assert ("foreign key" in str(own.value)) is ("add_message" in name)
    assert not others.value.is_deleted
    assert "deleted" not in str(others.value)
    assert "foreign key" not in str(others.value) or "add_message" in name


@pytest.mark.parametrize("name", MAKINGS)
async def test_an_id_that_a_deleted_conversation_has_is_taken(storage: PostgresStorage, name: str) -> None:
    """Its user is told by whom, anybody else that it is; and it is free when the conversation is gone for good."""
    for user in ("ada", "bob"):
        await storage.create_conversation({"id": f"{user}'s other", "user_id": user})
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.soft_delete_conversation("c1")

    with pytest.raises(ConversationExistsError, match=WAY_BACK) as own:
        await MAKINGS[name](storage, "ada")
    with pytest.raises(ConversationExistsError, match="exists already") as others:
        await MAKINGS[name](storage, "bob")

    assert (own.value.is_deleted, others.value.is_deleted) == (True, False)
    assert not await storage.delete_conversation("c1", owner="bob")
    assert await storage.delete_conversation("c1", owner="ada")
    await MAKINGS[name](storage, "bob")


async def test_of_calls_that_leave_together_each_hears_why_it_failed(storage: PostgresStorage) -> None:
    """Stored, deleted, another's and missing ones in one statement."""
    for conversation_id, user in (("here", "ada"), ("gone", "ada"), ("bob's", "bob")):
        await storage.create_conversation({"id": conversation_id, "user_id": user})
    await storage.soft_delete_conversation("gone")
    await storage.soft_delete_conversation("bob's")

    names = ["gone", "here", "bob's", "nowhere", "gone", "here"]
    texts = [{"role": "user", "content": name} for name in names]
    calls = [storage.add_messages([text, text], "ada", name) for name, text in zip(names, texts, strict=True)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    told = [each.is_deleted if isinstance(each, ConversationNotFoundError) else each for each in outcomes]
    assert [told[0], told[2], told[3], told[4]] == [True, False, False, True]
    assert [len(each) for each in (outcomes[1], outcomes[5]) if isinstance(each, list)] == [2, 2]


async def test_what_was_deleted_is_listed_the_last_first(storage: PostgresStorage) -> None:
    """For an undo; another user's is not there."""
    await make(storage, 3)
    await make(storage, 1, "bob", "b")
    for conversation_id in ("c1", "c0", "b0"):
        await storage.soft_delete_conversation(conversation_id)

    assert [item.id for item in await storage.list_deleted_conversations("ada")] == ["c0", "c1"]
    assert [item.id for item in await storage.list_deleted_conversations("ada", limit=1)] == ["c0"]


async def test_purging_ends_what_was_deleted_long_enough(storage: PostgresStorage, connection: Connection) -> None:
    """A user's, or everybody's; what is not deleted stays."""
    await make(storage, 3)
    await make(storage, 1, "bob", "b")
    for conversation_id in ("c0", "c1", "b0"):
        await storage.soft_delete_conversation(conversation_id)
    table = storage._options.tables.conversations
    await connection.execute(f"UPDATE {table} SET deleted_at = deleted_at - interval '8 days' WHERE id = 'c0'")

    assert await storage.purge_deleted_conversations(older_than=timedelta(days=7)) == 1
    assert [item.id for item in await storage.list_deleted_conversations("ada")] == ["c1"]
    assert await storage.purge_deleted_conversations("ada") == 1
    assert await storage.purge_deleted_conversations("ada") == 0
    assert await storage.purge_deleted_conversations() == 1
    assert await walk(storage, 5) == ["c2"]


@pytest.mark.parametrize(("age", "purged"), [(timedelta.max, 0), (timedelta.min, 1)])
async def test_any_age_is_one_to_purge_by(storage: PostgresStorage, age: timedelta, purged: int) -> None:
    """Nothing is older than time itself."""
    await make(storage, 1)
    await storage.soft_delete_conversation("c0")

    assert await storage.purge_deleted_conversations(older_than=age) == purged


async def test_deleting_a_user_leaves_nothing_behind(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """No row of any table names the user or what was the user's, deleted and archived conversations included."""
    for user in ("ophelia", "horatio"):
        memory = storage.conversation(user, f"{user}-1")
        await memory.add({"role": "user", "content": f"{user} was here"})
        await storage.share_conversation(f"{user}-1")
        await storage.soft_delete_conversation((await storage.fork_conversation(f"{user}-1")).id)
        async with storage.record_run("agent", user_id=user, input=f"{user} asks") as run:
            await run.add_step("text", content=f"{user} thinks")
            async with run.event(f"event of {user}"):
                pass
    await NativeMemory(storage, "ophelia", "ophelia-1").save_payload("ophelia's", "a framework")
    await storage.fork_conversation("ophelia-1", id="given away")
    await storage.update_conversation("given away", user_id="horatio", title="ours")
    await storage.clear_messages("horatio", "given away")
    await storage.add_history_entry("nobody's", {"conversationId": "ophelia-1", "input": "ophelia asks"}, "agent")
    await storage.add_history_entry("horatio's", {"conversationId": "ophelia-1", "userId": "horatio"}, "agent")

    assert await storage.delete_user("ophelia") == 4

    for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema):
        found = await connection.fetch(f'SELECT t::text FROM "{schema}"."{table}" AS t')
        assert not [row for (row,) in found if "ophelia" in row], table
    assert await storage.count_conversations(user_id="horatio") == 2
    assert await storage.get_history_entry("horatio's") is not None
    assert await storage.delete_user("ophelia") == 0


# --- rewind and fork ----------------------------------------------------------------------------------------------


async def said(storage: PostgresStorage, conversation_id: str = "c1") -> list[str]:
    return [message.text for message in await storage.get_messages(ANY_USER, conversation_id, limit=None)]


@pytest.fixture
async def talk(storage: PostgresStorage) -> PostgresStorage:
    """A conversation of five messages, three of them of the same moment."""
    moment = START
    await storage.add_messages(
        [
            {"id": f"m{n}", "role": "user", "content": str(n), "created_at": moment + timedelta(seconds=n // 3)}
            for n in range(5)
        ],
        "ada",
        "c1",
        resource_id="docs",
    )
    return storage


async def test_rewinding_drops_what_follows(talk: PostgresStorage) -> None:
    """In the order of adding where times tie; the message itself stays, and another conversation's, too."""
    await talk.add_message({"id": "m1", "role": "user", "content": "other"}, "ada", "c2", resource_id="docs")

    assert await talk.rewind_conversation("c1", "m4") == 0
    assert await talk.rewind_conversation("c1", "m1", owner="ada") == 3
    assert await said(talk) == ["0", "1"]
    assert await said(talk, "c2") == ["other"]
    with pytest.raises(MessageNotFoundError):
        await talk.rewind_conversation("c1", "m4")
    with pytest.raises(ConversationNotFoundError):
        await talk.rewind_conversation("c1", "m0", owner="bob")
    assert await said(talk) == ["0", "1"]


async def windowed(storage: PostgresStorage, count: int) -> None:
    """A conversation of so many messages, as the storage's limit leaves it."""
    messages = [{"id": f"m{n}", "role": "user", "content": str(n)} for n in range(count)]
    await storage.add_messages(messages, "ada", "c1", resource_id="docs")


@pytest.mark.parametrize(("up_to", "shown"), [("m2", ["0", "1", "2"]), ("m6", ["4", "5", "6"]), ("m0", ["0"])])
async def test_what_was_put_aside_comes_back_as_far_as_the_limit_allows(
    make_storage: MakeStorage, up_to: str, shown: list[str]
) -> None:
    """Rewound or forked to a message that the limit put aside, a conversation shows what led to it."""
    storage = make_storage(storage_limit=3, on_limit="archive")
    await windowed(storage, 8)

    fork = await storage.fork_conversation("c1", up_to=up_to)
    await storage.rewind_conversation("c1", up_to)

    for conversation_id in ("c1", fork.id):
        assert await said(storage, conversation_id) == shown
        kept = await storage.get_messages("ada", conversation_id, limit=None, include_archived=True)
        assert [message.id for message in kept] == [f"m{n}" for n in range(int(up_to[1:]) + 1)]


@pytest.mark.parametrize(("limit", "shown"), [(None, ["0", "1", "2", "3"]), (0, [])])
async def test_without_a_limit_all_that_was_put_aside_comes_back(
    make_storage: MakeStorage, limit: int | None, shown: list[str]
) -> None:
    """And with a limit of none, nothing."""
    await windowed(make_storage(storage_limit=1, on_limit="archive"), 5)
    storage = make_storage(storage_limit=limit, on_limit="archive")

    fork = await storage.fork_conversation("c1", up_to="m3")
    await storage.rewind_conversation("c1", "m3")

    assert await said(storage) == await said(storage, fork.id) == shown


async def test_a_fork_is_a_copy_that_remembers(talk: PostgresStorage) -> None:
    """Up to the message, with ids, times and order; from then on each goes its own way."""
    await talk.rename_conversation("c1", "Trip")
    await talk.tag_conversation("c1", ["work"])

    fork = await talk.fork_conversation("c1", up_to="m2", id="f1")
    await talk.add_message({"role": "user", "content": "elsewhere"}, "ada", "f1")
    await talk.delete_conversation("c1")

    assert (fork.id, fork.user_id, fork.resource_id, fork.title) == ("f1", "ada", "docs", "Trip")
    assert await said(talk, "f1") == ["0", "1", "2", "elsewhere"]
    (item,) = (await talk.list_conversations("ada")).items
    assert (item.forked_from, item.forked_up_to, item.tags) == ("c1", "m2", ["work"])


async def test_a_fork_of_all_is_all_of_it(talk: PostgresStorage) -> None:
    """Without up_to; the messages are equal."""
    fork = await talk.fork_conversation("c1")

    assert await talk.get_messages("ada", fork.id) == await talk.get_messages("ada", "c1")


async def test_a_fork_is_younger_than_what_it_was_made_of(storage: PostgresStorage) -> None:
    """In the transaction that made both, too: an export tells of the source first, the list of the copy first."""
    async with storage.transaction() as tx:
        source = await tx.create_conversation({"id": "c2", "user_id": "ada"})
        fork = await tx.fork_conversation("c2", id="c1")

    assert source.created_at < fork.created_at
    assert [item.id for item in (await storage.list_conversations("ada")).items] == ["c1", "c2"]
    lines = [json.loads(line) async for line in storage.export_user("ada")]
    assert [line["id"] for line in lines[1:-1]] == ["c2", "c1"]


async def test_a_fork_that_cannot_be_leaves_nothing(talk: PostgresStorage) -> None:
    """A message that isn't there, a conversation that isn't there or is another's, an id that is taken."""
    await talk.create_conversation({"id": "taken", "user_id": "bob"})

    with pytest.raises(MessageNotFoundError):
        await talk.fork_conversation("c1", up_to="nowhere", id="f1")
    with pytest.raises(ConversationNotFoundError):
        await talk.fork_conversation("nowhere", id="f1")
    with pytest.raises(ConversationNotFoundError):
        await talk.fork_conversation("c1", id="f1", owner="bob")
    with pytest.raises(ConversationExistsError):
        await talk.fork_conversation("c1", id="taken")

    assert await talk.count_conversations() == 2
    assert await said(talk, "taken") == []


# --- pages of messages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9])
async def test_messages_are_paged_from_any_message_in_both_directions(limit: int, talk: PostgresStorage) -> None:
    """Ties in time included: every message once."""
    backwards: list[str] = []
    page = await talk.get_messages("ada", "c1", limit=limit)
    while page:
        backwards = [message.id for message in page] + backwards
        page = await talk.get_messages("ada", "c1", limit=limit, before=page[0].id)
    forwards = [(await talk.get_conversation_messages("c1", limit=1))[0].id]
    while page := await talk.get_conversation_messages("c1", limit=limit, after=forwards[-1]):
        forwards += [message.id for message in page]

    assert backwards == forwards == [f"m{n}" for n in range(5)]


async def test_a_page_from_a_message_that_is_not_there_is_an_error(talk: PostgresStorage) -> None:
    """An empty page would look like the end."""
    with pytest.raises(MessageNotFoundError):
        await talk.get_messages("ada", "c1", before="nowhere")
    with pytest.raises(MessageNotFoundError):
        await talk.get_messages("ada", "c1", after="2026-01-01")
    with pytest.raises(MessageNotFoundError):
        await talk.get_conversation_messages("c1", after="nowhere")
    assert await talk.get_messages("bob", "c1", before="m1") == []


# --- a list of any shape ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_schema() -> Iterator[str]:
    with migrated_schema() as schema:
        yield schema


@pytest.fixture
async def shared(dsn: str, shared_schema: str) -> AsyncIterator[PostgresStorage]:
    async with PostgresStorage(dsn, schema=shared_schema, max_connections=1) as storage:
        yield storage


class Row(NamedTuple):
    """A conversation of a list that is made up."""

    hour: int
    pinned: bool
    archived: bool
    is_deleted: bool
    resource_id: str


# Few hours, so that they tie.
ROWS = st.lists(
    st.builds(Row, st.integers(0, 5), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["docs", "code"])),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.integers(1, 7), st.booleans(), st.sampled_from([None, True, False]), st.sampled_from([None, "docs"]))
def test_pages_of_any_list_are_the_list(
    shared_schema: str,
    dsn: str,
    rows: list[Row],
    limit: int,
    archived: bool,
    pinned: bool | None,
    resource: str | None,
) -> None:
    """In every filter, what a sort in Python says."""
    made = {f"c{number:02}": row for number, row in enumerate(rows)}
    wanted = [
        id
        for id, row in sorted(made.items(), key=lambda each: (each[1].pinned, each[1].hour, each[0]), reverse=True)
        if not row.is_deleted
        and row.archived == archived
        and pinned in (None, row.pinned)
        and resource in (None, row.resource_id)
    ]

    async def check() -> None:
        async with PostgresStorage(dsn, schema=shared_schema, max_connections=1) as storage:
            table = storage._options.tables.conversations
            async with storage.transaction() as tx:
                await tx.connection.execute(f"DELETE FROM {table}")
                await tx.connection.executemany(
                    f"INSERT INTO {table} (id, user_id, resource_id, updated_at, pinned, archived, deleted_at) "
                    "VALUES ($1, 'ada', $2, $3, $4, $5, $6)",
                    [
                        (
                            id,
                            row.resource_id,
                            START + timedelta(hours=row.hour),
                            row.pinned,
                            row.archived,
                            START if row.is_deleted else None,
                        )
                        for id, row in made.items()
                    ],
                )

            assert await walk(storage, limit, archived=archived, pinned=pinned, resource_id=resource) == wanted

    asyncio.run(check())


def test_an_item_is_a_conversation() -> None:
    """Whatever takes a conversation takes an item of the list, and its JSON is VoltAgent's with what is ours."""
    item = ConversationItem(id="c1", user_id="ada", created_at=START, updated_at=START)

    assert item.model_dump(by_alias=True)["titleIsAutomatic"] is False
    assert item.titleIsAutomatic is item.title_is_automatic

"""The list of conversations has pages without loss, with every filter, and previews the last message."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.areas.sidebar.lists import START, make, walk
from tests.calls import migrated_schema
from tests.properties import examples
from voltmem import ConversationItem, ConversationNotFoundError, InvalidQueryError, PostgresStorage

# --- the list --------------------------------------------------------------------------------------------------------


async def test_list_conversations_has_every_conversation_of_the_user_once(storage: PostgresStorage) -> None:
    """list_conversations() lists each conversation once, the last active first, whatever the size of a page."""
    ids = await make(storage, 7)
    await make(storage, 3, "bob", "b")

    for limit in (1, 2, 3, 7, 8):
        assert await walk(storage, limit) == ids


async def test_list_conversations_of_a_user_without_any_is_empty(storage: PostgresStorage) -> None:
    """list_conversations() of a user without conversations has no items and no cursor."""
    page = await storage.list_conversations("ada")

    assert (page.items, page.next_cursor, page.has_more) == ([], None, False)


async def test_pin_conversation_puts_it_first(storage: PostgresStorage) -> None:
    """pin_conversation() puts it before the others; pages continue from the pinned ones to the rest."""
    ids = await make(storage, 6)
    await storage.pin_conversation("c0")
    await storage.pin_conversation("c3")

    assert await walk(storage, 2) == ["c3", "c0", *(each for each in ids if each not in ("c0", "c3"))]
    assert await walk(storage, 2, pinned=True) == ["c3", "c0"]
    assert await walk(storage, 3, pinned=False) == [each for each in ids if each not in ("c0", "c3")]


async def test_list_conversations_begins_with_the_last_active(storage: PostgresStorage) -> None:
    """list_conversations() is sorted by activity, and adding a message is an activity."""
    await make(storage, 3)
    await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c0")

    assert (await walk(storage, 5))[0] == "c0"


async def test_nothing_else_moves_it(storage: PostgresStorage) -> None:
    """Renaming, pinning, archiving, tagging, reading, deleting and restoring do not move a conversation in the list."""
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


async def test_list_conversations_after_a_cursor_repeats_nothing(storage: PostgresStorage) -> None:
    """list_conversations() after a cursor repeats nothing, whatever was created, deleted or moved meanwhile."""
    ids = await make(storage, 6)
    first = await storage.list_conversations("ada", limit=2)

    await storage.create_conversation({"id": "new", "user_id": "ada"})
    await storage.delete_conversation(ids[1])  # the conversation that the cursor was made from
    await storage.delete_conversation(ids[2])
    await storage.add_message({"role": "user", "content": "up"}, "ada", ids[4])
    second = await storage.list_conversations("ada", limit=10, after=first.next_cursor)

    assert [item.id for item in second.items] == [ids[3], ids[5]]


async def test_list_conversations_pages_through_ties_without_loss(storage: PostgresStorage) -> None:
    """list_conversations() lists fifty conversations with equal times by id, each once."""
    for number in range(50):
        await storage.create_conversation({"id": f"c{number:02}", "user_id": "ada", "created_at": START})

    assert await walk(storage, 7) == [f"c{number:02}" for number in reversed(range(50))]


async def test_list_conversations_before_a_cursor_goes_back(storage: PostgresStorage) -> None:
    """list_conversations() with before= returns the items directly before the cursor, in the list's order."""
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
async def test_list_conversations_refuses_an_invalid_cursor(name: str, cursor: str, storage: PostgresStorage) -> None:
    """list_conversations() refuses an invalid cursor before any SQL runs, and says what to do."""
    with pytest.raises(InvalidQueryError, match="next_cursor"):
        await storage.list_conversations("ada", **{name: cursor})  # type: ignore[arg-type]


async def test_list_conversations_filters_by_resource_and_tag(storage: PostgresStorage) -> None:
    """list_conversations() filters by resource, by tag, and by both at once."""
    for number, (resource, tags) in enumerate([("docs", ["a"]), ("docs", ["a", "b"]), ("code", ["b"]), ("code", [])]):
        await storage.create_conversation(
            {"id": f"c{number}", "user_id": "ada", "resource_id": resource, "created_at": START}
        )
        await storage.tag_conversation(f"c{number}", tags)

    assert await walk(storage, 1, resource_id="docs") == ["c1", "c0"]
    assert await walk(storage, 1, tag="b") == ["c2", "c1"]
    assert await walk(storage, 1, tag="b", resource_id="docs") == ["c1"]
    assert await walk(storage, 1, tag="nobody's") == []


async def test_archive_conversation_moves_it_to_the_archived_list(storage: PostgresStorage) -> None:
    """archive_conversation() moves it to the archived list; it is read and written as before."""
    await make(storage, 3)
    await storage.archive_conversation("c1")

    assert await walk(storage, 5) == ["c2", "c0"]
    assert await walk(storage, 5, archived=True) == ["c1"]
    await storage.add_message({"role": "user", "content": "still here"}, "ada", "c1")
    assert len(await storage.get_messages("ada", "c1")) == 1


# --- preview and unread ----------------------------------------------------------------------------------------------


async def test_list_conversations_previews_what_was_said_last(storage: PostgresStorage) -> None:
    """list_conversations() previews the last text of the user or the assistant, not of tools or system messages."""
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


async def test_mark_conversation_read_makes_the_assistants_answers_read(storage: PostgresStorage) -> None:
    """mark_conversation_read() makes the assistant's answers read; the user's own messages are never unread."""

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
    # Marking fewer messages as read does not make later ones unread.
    assert not (await storage.mark_conversation_read("c1", at=answer.created_at - timedelta(days=1))).unread
    await storage.add_message({"role": "assistant", "content": "Are you there?"}, "ada", "c1")
    assert await unread()
    assert (await storage.mark_conversation_read("c1", at=answer.created_at)).unread


async def test_mark_conversation_read_counts_what_is_there_whatever_its_time(storage: PostgresStorage) -> None:
    """mark_conversation_read() counts an answer with a time in the future as read; the next one is unread."""
    ahead = datetime.now(UTC) + timedelta(minutes=3)
    memory = storage.conversation("ada", "c1")
    await memory.add({"role": "assistant", "content": "Hello", "created_at": ahead})

    assert not (await storage.mark_conversation_read("c1")).unread

    await memory.add({"role": "assistant", "content": "More", "created_at": ahead + timedelta(seconds=1)})
    assert (await storage.list_conversations("ada")).items[0].unread


async def test_mark_conversation_read_leaves_a_later_answer_unread(storage: PostgresStorage) -> None:
    """mark_conversation_read() leaves an answer unread that was stored later with an earlier time."""
    memory = storage.conversation("ada", "c1")
    question = await memory.add({"role": "user", "content": "Hello?"})
    began = question.created_at + timedelta(microseconds=1)
    await storage.mark_conversation_read("c1")

    await memory.add({"role": "assistant", "content": "Hello", "created_at": began})

    assert (await storage.list_conversations("ada")).items[0].unread


@pytest.mark.parametrize("up_to", [None, "answer"])
async def test_fork_conversation_is_read_at_first(storage: PostgresStorage, up_to: str | None) -> None:
    """fork_conversation() makes a conversation without unread messages; a later answer in it is unread."""
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


# --- a list of any shape ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_schema() -> Iterator[str]:
    with migrated_schema() as schema:
        yield schema


class Row(NamedTuple):
    """A generated conversation of a list."""

    hour: int
    pinned: bool
    archived: bool
    is_deleted: bool
    resource_id: str


# Few hours, so that many are equal.
ROWS = st.lists(
    st.builds(Row, st.integers(0, 5), st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["docs", "code"])),
    max_size=25,
)


@examples(60)
@given(ROWS, st.integers(1, 7), st.booleans(), st.sampled_from([None, True, False]), st.sampled_from([None, "docs"]))
def test_list_conversations_pages_make_the_whole_list(
    shared_schema: str,
    dsn: str,
    rows: list[Row],
    limit: int,
    archived: bool,
    pinned: bool | None,
    resource: str | None,
) -> None:
    """The pages of list_conversations() together are the list as sorted in Python, with every filter."""
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


async def test_get_conversation_item_is_the_item_of_the_list(storage: PostgresStorage) -> None:
    """get_conversation_item() returns the same item as list_conversations(), for its owner only."""
    await make(storage, 2)
    await storage.add_message({"role": "assistant", "content": "words"}, "ada", "c1")
    await storage.pin_conversation("c1")
    listed = await storage.list_conversations("ada")

    assert [await storage.get_conversation_item(each.id, owner="ada") for each in listed.items] == listed.items
    with pytest.raises(ConversationNotFoundError):
        await storage.get_conversation_item("c1", owner="bob")


def test_an_item_is_a_conversation() -> None:
    """An item of the list is accepted as a conversation; its JSON is VoltAgent's with the additional fields."""
    item = ConversationItem(id="c1", user_id="ada", created_at=START, updated_at=START)

    assert item.model_dump(by_alias=True)["titleIsAutomatic"] is False


async def test_list_conversations_that_were_active_before_a_time(storage: PostgresStorage) -> None:
    """active_before= lists those last active before a time, from any page on."""
    await make(storage, 5)
    at = (await storage.get_conversation_item("c3")).updated_at

    page = await storage.list_conversations("ada", active_before=at, limit=2)
    assert [item.id for item in page.items] == ["c2", "c1"]
    page = await storage.list_conversations("ada", active_before=at, limit=2, after=page.next_cursor)
    assert [item.id for item in page.items] == ["c0"]

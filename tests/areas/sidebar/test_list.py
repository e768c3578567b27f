"""The list of conversations pages without loss, in every filter, and says what was said last."""

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
from voltmem import ConversationItem, InvalidQueryError, PostgresStorage

# --- the list --------------------------------------------------------------------------------------------------------


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


# --- preview and unread ----------------------------------------------------------------------------------------------


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


# --- a list of any shape ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_schema() -> Iterator[str]:
    with migrated_schema() as schema:
        yield schema


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


@examples(60)
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

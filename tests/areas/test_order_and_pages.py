"""Messages keep the order of adding, and pages together are the whole: nothing is repeated or skipped."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, TypeAlias
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.conftest import Connection, MakeStorage
from tests.model import Model
from tests.properties import examples
from voltmem import Conversation, DatabaseError, InvalidQueryError, Message, PostgresStorage, UserConversations
from voltmem.models import OrderBy, OrderDirection

ORDERS: Final[list[OrderBy]] = ["created_at", "updated_at", "title"]
DIRECTIONS: Final[list[OrderDirection]] = ["ASC", "DESC"]
TIMES: Final = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]

orders, directions = st.sampled_from(ORDERS), st.sampled_from(DIRECTIONS)
times = st.sampled_from(TIMES)
# Few values for many conversations, so that many are equal. The ids are numbers of equal length, which sort alike in
# every collation.
ties = st.fixed_dictionaries(
    {
        "id": st.integers(0, 10**9).map(lambda number: f"{number:010}"),
        "created_at": times,
        "updated_at": times,
        "title": st.sampled_from([None, "a", "b"]),
        "resource_id": st.sampled_from(["default", "helper"]),
    }
)
conversations = st.lists(ties, max_size=12, unique_by=lambda each: each["id"])
page_sizes = st.integers(1, 5)

Fields: TypeAlias = dict[str, Any]


def many_conversations() -> list[Fields]:
    """
    Return more than two batches of async for, with many equal values, and not in any of the orders that are tested.
    """
    return [
        {
            "id": f"{number * 7919 % 450:010}",
            "created_at": TIMES[number % 3],
            "updated_at": TIMES[number % 2],
            "title": [None, "a", "b", "c"][number % 4],
            "resource_id": "default",
        }
        for number in range(450)
    ]


class Sidebar:
    """The conversations of one new user, in the storage and in the model."""

    def __init__(self, storage: PostgresStorage, schema: str) -> None:
        self.user_id = uuid4().hex
        self.storage = storage
        self.model = Model(None, "delete")
        self._table = f"{schema}.voltagent_memory_conversations"

    async def add(self, conversations: list[Fields]) -> list[Conversation]:
        """Store them all in one statement. Different sidebars have different ids; within one they sort as given."""
        made = [
            self.model.create({**each, "id": f"{self.user_id} {each['id']}", "user_id": self.user_id})
            for each in conversations
        ]
        rows = [
            (each.id, each.resource_id, each.user_id, each.title, each.created_at, each.updated_at) for each in made
        ]
        async with self.storage.transaction() as tx:
            await tx.connection.executemany(
                f"INSERT INTO {self._table} (id, resource_id, user_id, title, created_at, updated_at)"
                " VALUES ($1, $2, $3, $4, $5, $6)",
                rows,
            )
        return made

    def in_order(self, order_by: OrderBy, direction: OrderDirection) -> list[Conversation]:
        return self.model.query(limit=None, order_by=order_by, order_direction=direction)

    def builder(self, order_by: OrderBy, direction: OrderDirection) -> UserConversations:
        return self.storage.get_user_conversations(self.user_id).order_by(order_by, direction)


NewSidebar: TypeAlias = Callable[[], Sidebar]


@pytest.fixture
def sidebars(storage: PostgresStorage, schema: str) -> NewSidebar:
    return lambda: Sidebar(storage, schema)


@pytest.fixture
async def closed_storage() -> PostgresStorage:
    """A closed storage: it raises StorageClosedError if a call would send any SQL."""
    storage = PostgresStorage("postgresql://127.0.0.1:1/nowhere")
    await storage.close()
    return storage


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three rows in async for, so that a few conversations span many batches."""
    monkeypatch.setattr("voltmem._areas.conversations.ROWS_PER_FETCH", 3)


# --- the order of messages ----------------------------------------------------------------------------------------


@examples(80)
@given(calls=st.lists(st.lists(times, max_size=6), max_size=5), page_size=page_sizes)
async def test_messages_of_one_time_keep_the_order_of_adding(
    storage: PostgresStorage, calls: list[list[datetime]], page_size: int
) -> None:
    """Messages with equal times, from one call or several, are in the order of adding on every page."""
    conversation = await storage.create_conversation({"user_id": "ada"})
    numbers = count(999, -1)  # ids that sort in the reverse order
    added: list[Message] = []

    for call in calls:
        messages = [Message(id=str(next(numbers)), role="user", content="", created_at=time) for time in call]
        added += await storage.add_messages(messages, "ada", conversation.id)

    in_order = sorted(added, key=lambda each: each.created_at)
    assert await storage.get_messages("ada", conversation.id) == in_order
    assert await storage.get_messages("ada", conversation.id, limit=page_size) == in_order[-page_size:]
    assert await message_pages(storage, conversation.id, page_size) == pages_of(in_order, page_size)


async def message_pages(storage: PostgresStorage, conversation_id: str, page_size: int) -> list[list[Message]]:
    """Return all pages of get_conversation_messages, and the one after the last, which must be empty."""
    pages: list[list[Message]] = []
    while not pages or pages[-1]:
        offset = page_size * len(pages)
        pages.append(await storage.get_conversation_messages(conversation_id, limit=page_size, offset=offset))
    return pages


def pages_of(values: list[Any], page_size: int) -> list[list[Any]]:
    """Cut a list into pages, up to the first empty one."""
    return [values[start : start + page_size] for start in range(0, len(values), page_size)] + [[]]


@examples(50)
@given(first=st.lists(times, min_size=1, max_size=6), number=st.integers(0, 5), moved_to=st.none() | times)
@example(first=[TIMES[0]] * 3, number=1, moved_to=None)
@example(first=[TIMES[0]] * 3, number=1, moved_to=TIMES[0])
async def test_a_replaced_message_keeps_its_place_among_equal_times(
    storage: PostgresStorage, first: list[datetime], number: int, moved_to: datetime | None
) -> None:
    """A message that is added again keeps its place, also among equal times, or moves to its new time."""
    conversation = await storage.create_conversation({"user_id": "ada"})
    messages = [{"id": f"m{n}", "role": "user", "content": n, "created_at": time} for n, time in enumerate(first)]
    added = await storage.add_messages(messages, "ada", conversation.id)
    old = added[number % len(added)]

    again = await storage.add_message(
        {"id": old.id, "role": "assistant", "content": "again", "created_at": moved_to}, "ada", conversation.id
    )

    added[number % len(added)] = again
    assert again.created_at == (moved_to or old.created_at)
    assert await storage.get_messages("ada", conversation.id) == sorted(added, key=lambda each: each.created_at)


# --- pages of conversations ---------------------------------------------------------------------------------------


@examples(80)
@given(made=conversations, page_size=page_sizes, order_by=orders, direction=directions)
async def test_the_pages_of_a_query_are_the_whole(
    sidebars: NewSidebar, made: list[Fields], page_size: int, order_by: OrderBy, direction: OrderDirection
) -> None:
    """The pages by offset have every conversation once, in the order of the whole, for any order and page size."""
    sidebar = sidebars()
    await sidebar.add(made)
    pages: list[list[Conversation]] = []

    while not pages or pages[-1]:
        pages.append(
            await sidebar.storage.query_conversations(
                user_id=sidebar.user_id,
                limit=page_size,
                offset=page_size * len(pages),
                order_by=order_by,
                order_direction=direction,
            )
        )

    assert pages == pages_of(sidebar.in_order(order_by, direction), page_size)


@examples(80)
@given(made=conversations, page_size=page_sizes)
async def test_has_more_is_exact(sidebars: NewSidebar, made: list[Fields], page_size: int) -> None:
    """has_more is true if and only if another page follows; the pages together are the whole, the last active first."""
    sidebar = sidebars()
    await sidebar.add(made)
    expected = pages_of(sidebar.in_order("updated_at", "DESC"), page_size)

    pages = [
        await sidebar.storage.get_paginated_user_conversations(sidebar.user_id, number, page_size)
        for number in range(1, len(expected) + 1)
    ]

    assert [page.conversations for page in pages] == expected
    assert [page.has_more for page in pages] == [bool(next_page) for next_page in [*expected[1:], []]]


@pytest.mark.usefixtures("small_batches")
@examples(150)
@given(
    made=conversations,
    order_by=orders,
    direction=directions,
    limit=st.none() | st.integers(0, 12),
    offset=st.integers(0, 12),
    resource_id=st.sampled_from([None, "default"]),
)
async def test_async_for_walks_what_await_returns(
    sidebars: NewSidebar,
    made: list[Fields],
    order_by: OrderBy,
    direction: OrderDirection,
    limit: int | None,
    offset: int,
    resource_id: str | None,
) -> None:
    """A builder's async for yields the same conversations as await, in the same order, also with equal values."""
    sidebar = sidebars()
    await sidebar.add(made)
    builder = sidebar.builder(order_by, direction).limit(limit).offset(offset).resource(resource_id)

    walked = [each async for each in builder]

    in_order = sidebar.in_order(order_by, direction)
    chosen = [each for each in in_order if resource_id in (None, each.resource_id)]
    assert walked == chosen[offset:][:limit]
    assert walked == await builder


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("order_by", ORDERS)
async def test_async_for_walks_over_many_batches(
    sidebars: NewSidebar, order_by: OrderBy, direction: OrderDirection
) -> None:
    """In more than two batches, 450 conversations with mostly equal values, none is repeated or skipped."""
    sidebar = sidebars()
    await sidebar.add(many_conversations())
    builder = sidebar.builder(order_by, direction)

    everything = [each async for each in builder]
    a_part = [each async for each in builder.limit(250).offset(130)]

    in_order = sidebar.in_order(order_by, direction)
    assert len(in_order) == 450
    assert everything == in_order
    assert a_part == in_order[130:380]


# --- concurrent writes --------------------------------------------------------------------------------------------

Change: TypeAlias = tuple[str, int] | tuple[str, datetime] | None
changes: st.SearchStrategy[Change] = (
    st.none()
    | st.tuples(st.sampled_from(["delete", "touch"]), st.integers(0, 11))
    | st.tuples(st.just("insert"), times)
)


@pytest.mark.usefixtures("small_batches")
@examples(100)
@given(
    made=st.lists(ties, min_size=4, max_size=12, unique_by=lambda each: each["id"]),
    direction=directions,
    plan=st.lists(changes, max_size=12),
)
async def test_async_for_misses_nothing_while_others_write(
    sidebars: NewSidebar, made: list[Fields], direction: OrderDirection, plan: list[Change]
) -> None:
    """By created_at, a conversation that exists throughout is yielded once, during any concurrent writes."""
    sidebar = sidebars()
    before = await sidebar.add(made)
    todo = iter(plan)
    seen: list[str] = []
    deleted: set[str] = set()

    async for each in sidebar.builder("created_at", direction):
        seen.append(each.id)
        match next(todo, None):
            case ("insert", datetime() as time):
                await sidebar.storage.create_conversation({"user_id": sidebar.user_id, "created_at": time})
            case ("delete", int() as number):
                deleted.add(before[number % len(before)].id)
                await sidebar.storage.delete_conversation(before[number % len(before)].id)
            case ("touch", int() as number) if before[number % len(before)].id not in deleted:
                await sidebar.storage.update_conversation(before[number % len(before)].id, title="touched")
            case _:
                pass

    stayed = [each.id for each in sidebar.in_order("created_at", direction) if each.id not in deleted]
    assert [each for each in seen if each in stayed] == stayed
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_async_for_over_many_batches_misses_nothing_while_others_write(
    sidebars: NewSidebar, direction: OrderDirection
) -> None:
    """The last conversation of a batch may be deleted, and others created, before the next batch is read."""
    sidebar = sidebars()
    await sidebar.add(many_conversations())
    seen: list[str] = []
    deleted: set[str] = set()

    async for each in sidebar.builder("created_at", direction):
        seen.append(each.id)
        if len(seen) % 10 == 0:  # also at the 200th and the 400th, the ends of batches
            deleted.add(each.id)
            await sidebar.storage.delete_conversation(each.id)
            await sidebar.storage.create_conversation({"user_id": sidebar.user_id, "created_at": each.created_at})

    stayed = [each.id for each in sidebar.in_order("created_at", direction) if each.id not in deleted]
    assert [each for each in seen if each in stayed] == stayed
    assert len(seen) == len(set(seen))


# --- limits and offsets -------------------------------------------------------------------------------------------

Call: TypeAlias = Callable[[PostgresStorage, Any], Awaitable[Any]]
LIMITS: Final[dict[str, Call]] = {
    "query": lambda storage, limit: storage.query_conversations(user_id="ada", limit=limit),
    "by user": lambda storage, limit: storage.get_conversations_by_user_id("ada", limit=limit),
    "builder": lambda storage, limit: storage.get_user_conversations("ada").limit(limit).execute(),
    "newest messages": lambda storage, limit: storage.get_messages("ada", "c000", limit=limit),
    "messages": lambda storage, limit: storage.get_conversation_messages("c000", limit=limit),
}
OFFSETS: Final[dict[str, Call]] = {
    "query": lambda storage, offset: storage.query_conversations(user_id="ada", limit=None, offset=offset),
    "by user": lambda storage, offset: storage.get_conversations_by_user_id("ada", limit=None, offset=offset),
    "builder": lambda storage, offset: storage.get_user_conversations("ada").offset(offset).execute(),
    "messages": lambda storage, offset: storage.get_conversation_messages("c000", limit=None, offset=offset),
}
PAGES: Final[dict[str, Call]] = {
    "page": lambda storage, page: storage.get_paginated_user_conversations("ada", page),
    "page size": lambda storage, page_size: storage.get_paginated_user_conversations("ada", 1, page_size),
}
LARGEST: Final = 2**63 - 1
NO_COUNTS: Final[list[object]] = [-1, -LARGEST, True, False, 1.5, 1.0, float("nan"), "1", LARGEST + 1, 10**100]


@pytest.fixture
async def hundred_and_twenty(make_storage: MakeStorage) -> PostgresStorage:
    """120 conversations of ada, and as many messages in the first: more than any default limit."""
    storage = make_storage(storage_limit=None)
    async with storage.transaction() as tx:
        for number in range(120):
            await tx.create_conversation({"id": f"c{number:03}", "user_id": "ada"})
        await tx.add_messages([{"role": "user", "content": number} for number in range(120)], "ada", "c000")
    return storage


@pytest.mark.parametrize("call", LIMITS.values(), ids=LIMITS)
async def test_a_limit_is_a_number_of_rows_or_none_for_all(hundred_and_twenty: PostgresStorage, call: Call) -> None:
    """limit=0 returns nothing, limit=None everything, and a limit beyond the end returns what there is."""
    found = {limit: len(await call(hundred_and_twenty, limit)) for limit in (0, 1, 119, 120, 121, LARGEST, None)}

    assert found == {0: 0, 1: 1, 119: 119, 120: 120, 121: 120, LARGEST: 120, None: 120}


@pytest.mark.parametrize("call", OFFSETS.values(), ids=OFFSETS)
async def test_an_offset_beyond_the_end_finds_nothing(hundred_and_twenty: PostgresStorage, call: Call) -> None:
    """An offset skips rows; beyond the end the result is empty, not an error."""
    found = {offset: len(await call(hundred_and_twenty, offset)) for offset in (0, 1, 119, 120, 121, LARGEST)}

    assert found == {0: 120, 1: 119, 119: 1, 120: 0, 121: 0, LARGEST: 0}


async def test_lists_with_a_cursor_take_the_largest_limit_as_well(storage: PostgresStorage) -> None:
    """Lists with a cursor take the largest limit, although they read one row more than they return."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.fork_conversation("c1", id="c2")
    await storage.soft_delete_conversation("c2")
    await storage.add_history_entry("h1", {"status": "working"}, "a1")

    listed = await storage.list_conversations("ada", limit=LARGEST)
    entries = await storage.list_history_entries(limit=LARGEST)
    deleted = await storage.list_deleted_conversations("ada", limit=LARGEST)

    assert (len(listed.items), listed.has_more, len(deleted)) == (1, False, 1)
    assert (len(entries.entries), entries.has_more) == (1, False)


async def test_pages_beyond_the_end_are_empty(hundred_and_twenty: PostgresStorage) -> None:
    """A page after the last has no conversations and has_more is false; one page may hold everything."""
    beyond = await hundred_and_twenty.get_paginated_user_conversations("ada", page=10**9, page_size=10**9)
    whole = await hundred_and_twenty.get_paginated_user_conversations("ada", page=1, page_size=LARGEST - 1)

    assert (beyond.conversations, beyond.has_more) == ([], False)
    assert (len(whole.conversations), whole.has_more) == (120, False)


async def test_what_is_not_given_is_limited_by_default(hundred_and_twenty: PostgresStorage) -> None:
    """The default limits are 50 for lists of conversations, 100 for messages and 10 for a page; a builder has none."""
    messages = await hundred_and_twenty.get_conversation_messages("c000")
    newest = await hundred_and_twenty.get_messages("ada", "c000")
    queried = await hundred_and_twenty.query_conversations()
    by_user = await hundred_and_twenty.get_conversations_by_user_id("ada")
    page = await hundred_and_twenty.get_paginated_user_conversations("ada")
    built = await hundred_and_twenty.get_user_conversations("ada")

    lengths = [len(each) for each in (messages, newest, queried, by_user, page.conversations, built)]
    assert lengths == [100, 120, 50, 50, 10, 120]


@pytest.mark.parametrize("value", NO_COUNTS, ids=repr)
@pytest.mark.parametrize("call", [*LIMITS.values(), *OFFSETS.values(), *PAGES.values()])
async def test_an_invalid_number_of_rows_is_refused(closed_storage: PostgresStorage, call: Call, value: object) -> None:
    """A limit, offset or page that is negative, not an integer or beyond bigint is refused before any SQL runs."""
    with pytest.raises(InvalidQueryError):
        await call(closed_storage, value)


@pytest.mark.parametrize(
    ("call", "value"),
    [(PAGES["page"], 0), (PAGES["page size"], 0), (PAGES["page"], LARGEST), (PAGES["page size"], LARGEST)]
    + [(call, None) for call in (*OFFSETS.values(), *PAGES.values())],
)
async def test_there_is_no_page_zero_and_no_row_after_the_last_that_postgresql_counts(
    closed_storage: PostgresStorage, call: Call, value: int | None
) -> None:
    """Pages and page sizes begin at 1, and a page whose offset exceeds bigint is refused before any SQL runs."""
    with pytest.raises(InvalidQueryError):
        await call(closed_storage, value)


@pytest.mark.parametrize("time", ["20000-01-01", "0044-03-15 BC"])
async def test_get_messages_names_a_time_that_cannot_be_read(
    storage: PostgresStorage, connection: Connection, time: str
) -> None:
    """A time outside of Python's calendar, set by SQL, is an error of ours that says what to do; check() names it."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message({"id": "m1", "role": "user", "content": "Hello"}, "ada", "c1")
    await connection.execute(f"UPDATE {storage._options.tables.messages} SET created_at = '{time}'")

    for _ in range(2):
        with pytest.raises(DatabaseError, match="'python -m voltmem check' names the row"):
            await storage.get_messages("ada", "c1")
    with pytest.raises(DatabaseError, match="names the row"):
        async with storage.transaction() as tx:
            await tx.get_messages("ada", "c1")
    with pytest.raises(DatabaseError, match="names the row"):
        [line async for line in storage.export_user("ada")]

    (finding,) = await storage.check()
    assert finding.name == "message-time-impossible"
    assert finding.examples == [{"conversation_id": "c1", "message_id": "m1"}]

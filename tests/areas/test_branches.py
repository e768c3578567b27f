"""Branches: one line that every reader reads, whoever made the branches, and the others kept aside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import citus
from tests.conftest import Connection, MakeStorage
from tests.plans import pages_read
from tests.properties import examples
from voltmem import (
    ANY_USER,
    BranchingPoint,
    ConversationNotFoundError,
    InvalidInputError,
    MessageNotFoundError,
    NativeMemory,
    NativeMessage,
    PostgresStorage,
)
from voltmem._areas.branches import BranchStatements
from voltmem._areas.messages import MessageStatements
from voltmem._areas.shares import ShareStatements
from voltmem._tables import rendered
from voltmem.adapters.pydantic_ai._branches import BranchStatements as AdapterStatements

Step: TypeAlias = tuple[str, int | None]


def following(id: str, parent: str | None, role: str = "user", text: str | None = None) -> NativeMessage:
    """Return a message that names its parent: "" for none, None to follow the line."""
    return NativeMessage(id=id, role=role, content=text or id, parent_id=parent)


async def line_of(storage: PostgresStorage, conversation_id: str = "c1") -> list[str]:
    return [message.id for message in await storage.get_messages(ANY_USER, conversation_id)]


async def add(storage: PostgresStorage, messages: Iterable[tuple[str, str | None]]) -> None:
    """Add messages, each with its parent, to conversation c1."""
    for id, parent in messages:
        await storage.add_message(following(id, parent), "ada", "c1", resource_id="r")


# --- a model ------------------------------------------------------------------------------------------------------


class Tree:
    """What a conversation with branches holds, worked out in Python."""

    def __init__(self) -> None:
        self.parents: dict[str, str] = {}
        self.line: list[str] = []

    def children(self, parent: str) -> list[str]:
        return [id for id, before in self.parents.items() if before == parent]

    def below(self, id: str) -> list[str]:
        found = [id]
        for each in found:
            found += self.children(each)
        return sorted(found, key=list(self.parents).index)

    def add(self, id: str, parent: str | None) -> None:
        head = self.line[-1] if self.line else ""
        if parent not in (None, head):
            self.branch(parent or "")
        self.parents[id] = head if parent is None else parent
        self.line.append(id)

    def branch(self, head: str) -> None:
        self.line = []
        while head:
            self.line.insert(0, head)
            head = self.parents[head]

    def choose(self, id: str) -> None:
        if id not in self.line:
            self.branch(self.below(id)[-1])

    def delete(self, ids: Iterable[str]) -> None:
        for id in sorted(ids, key=list(self.parents).index, reverse=True):
            for child in self.children(id):
                self.parents[child] = self.parents[id]
            del self.parents[id]
            self.line = [each for each in self.line if each != id]

    def rewind(self, id: str) -> None:
        if id not in self.line:
            self.branch(id)
        for each in self.below(id)[1:]:
            del self.parents[each]
        self.line = self.line[: self.line.index(id) + 1]

    def points(self) -> list[BranchingPoint]:
        found: list[BranchingPoint] = []
        for parent in ["", *self.parents]:
            children = self.children(parent)
            chosen = next((id for id in children if id in self.line), None)
            if len(children) > 1 or (children and chosen is None and (not parent or parent in self.line)):
                found.append(BranchingPoint(parent_id=parent or None, message_ids=children, chosen_id=chosen))
        return found


steps = st.lists(
    st.tuples(st.just("add"), st.none() | st.integers(0, 9))
    | st.tuples(st.sampled_from(["branch", "choose", "delete", "rewind"]), st.integers(0, 9)),
    max_size=14,
)


@given(steps)
@example([("add", None), ("add", None), ("add", 0), ("add", 1), ("delete", 1), ("choose", 2)])
@example([("add", None), ("add", None), ("branch", 1), ("add", None), ("choose", 2), ("rewind", 1)])
@examples(60)
async def test_branch_choose_delete_rewind_and_add_keep_one_line(storage: PostgresStorage, steps: list[Step]) -> None:
    """Whatever is added, chosen or deleted: readers read one line, and every other branch is listed."""
    conversation = (await storage.create_conversation({"user_id": "ada"})).id
    tree = Tree()
    for number, (verb, place) in enumerate(steps):
        ids = ["", *tree.parents]
        id = None if place is None else ids[place % len(ids)]
        if verb == "add":
            await storage.add_message(following(f"m{number}", id), "ada", conversation)
            tree.add(f"m{number}", id)
        elif verb == "branch":
            await storage.branch_conversation(conversation, id or None)
            tree.branch(id or "")
        elif id and verb == "choose":
            tree.choose(id)
            assert await storage.choose_branch(conversation, id) == tree.line[-1]
        elif id and verb == "delete":
            assert await storage.delete_messages([id], "ada", conversation) == 1
            tree.delete([id])
        elif id:
            await storage.rewind_conversation(conversation, id)
            tree.rewind(id)

        assert await line_of(storage, conversation) == tree.line
        assert await storage.list_branches(conversation) == tree.points()
    for id, parent in tree.parents.items():
        siblings = await storage.list_siblings(conversation, id)
        assert [each.id for each in siblings] == tree.children(parent)


# --- what users ask for -------------------------------------------------------------------------------------------


async def test_list_siblings_has_an_answer_that_was_asked_for_again(storage: PostgresStorage) -> None:
    """After a branch the old answer is aside, and both are siblings, one of which is chosen for all readers."""
    await add(storage, [("question", None), ("answer", None)])

    await storage.branch_conversation("c1", "question")
    assert await line_of(storage) == ["question"]
    await add(storage, [("better", None)])

    assert await line_of(storage) == ["question", "better"]
    assert [each.id for each in await storage.list_siblings("c1", "better")] == ["answer", "better"]
    assert await storage.choose_branch("c1", "answer") == "answer"
    assert await line_of(storage) == ["question", "answer"]


async def test_choose_branch_leads_to_the_newest_message_of_the_branch(storage: PostgresStorage) -> None:
    """Choosing a message chooses what was last said after it."""
    await add(storage, [("q", None), ("a", None), ("b", "q"), ("b1", "b"), ("b2", "b"), ("a1", "a")])
    assert await line_of(storage) == ["q", "a", "a1"]

    assert await storage.choose_branch("c1", "b") == "b2"

    assert await line_of(storage) == ["q", "b", "b2"]


async def test_a_message_with_a_missing_parent_follows_the_line(storage: PostgresStorage) -> None:
    """A parent that is gone, or not there yet, is no reason to hide a message or to set others aside."""
    await add(storage, [("m1", None), ("m2", "nowhere"), ("m3", None)])

    assert await line_of(storage) == ["m1", "m2", "m3"]


async def test_a_first_message_with_a_missing_parent_has_none(storage: PostgresStorage) -> None:
    """In an empty conversation it is a first message: a parent that is added later is not before it."""
    await add(storage, [("child", "parent"), ("parent", "")])

    assert await line_of(storage) == ["parent"]
    assert [each.id for each in await storage.list_siblings("c1", "parent")] == ["child", "parent"]


async def test_add_message_stands_after_its_parent_whatever_time_it_has(storage: PostgresStorage) -> None:
    """A time before the parent's becomes the parent's, so that the branch is whole, and a message goes on from it."""
    await add(storage, [("m0", None), ("m1", "m0"), ("m2", "m1")])
    old = following("n1", "m1").stored_at(datetime(2020, 1, 1, tzinfo=UTC))

    stored = await storage.add_message(old, "ada", "c1")
    await add(storage, [("n2", "n1")])

    assert await line_of(storage) == ["m0", "m1", "n1", "n2"]
    assert stored.created_at == (await storage.get_messages("ada", "c1"))[1].created_at
    if citus.DSN is None:  # check() works on one server only
        assert await storage.check() == []


async def test_add_messages_refuses_a_message_before_its_parent(storage: PostgresStorage) -> None:
    """A message whose parent comes later in the same list is an error, and nothing is stored."""
    messages = [following("a", ""), following("c", "b"), following("b", "a")]

    with pytest.raises(InvalidInputError, match=r"messages\[1\], 'c': its parent 'b' comes after it"):
        await storage.add_messages(messages, "ada", "c1", resource_id="r")

    assert await storage.get_conversation("c1") is None
    await storage.add_messages([messages[0], messages[2], messages[1]], "ada", "c1", resource_id="r")
    assert await line_of(storage) == ["a", "b", "c"]


async def test_a_replaced_message_moves_no_head(storage: PostgresStorage) -> None:
    """Storing a message of another branch again, with feedback or corrected, leaves the line as it is."""
    await add(storage, [("q", None), ("a", "q"), ("b", "q")])

    await storage.add_message(following("a", "q", text="corrected"), "ada", "c1")

    assert await line_of(storage) == ["q", "b"]
    assert (await storage.list_siblings("c1", "a"))[0].content == "corrected"


async def test_list_branches_names_the_chosen_one_of_each(storage: PostgresStorage) -> None:
    """Each branching point has its messages in the order of adding, and the one that is on the line, or None."""
    await add(storage, [("q", None), ("a", None), ("b", "q"), ("r", "")])
    edited = BranchingPoint(parent_id=None, message_ids=["q", "r"], chosen_id="r")
    answered = BranchingPoint(parent_id="q", message_ids=["a", "b"], chosen_id=None)
    assert await storage.list_branches("c1") == [edited, answered]

    await storage.choose_branch("c1", "a")
    await storage.branch_conversation("c1", "a")

    chosen = [edited.model_copy(update={"chosen_id": "q"}), answered.model_copy(update={"chosen_id": "a"})]
    assert await storage.list_branches("c1") == chosen


async def test_branches_from_before_the_upgrade_keep_the_newest(
    storage: PostgresStorage, make_storage: MakeStorage, connection: Connection
) -> None:
    """In a database whose branches were all read by everybody, upgrading chooses that of the newest message."""
    await add(storage, [("q", None), ("a", None), ("a1", None), ("b", "q"), ("b1", None)])
    tables = storage._options.tables
    await connection.execute(f"UPDATE {tables.messages} SET aside = false, parent_id = nullif(parent_id, 'a')")
    await connection.execute(f"DELETE FROM {tables.migrations} WHERE name = '0009_lines'")

    assert await make_storage().upgrade_schema() == ["0009_lines"]

    assert await line_of(storage) == ["q", "b", "b1"]
    assert await storage.choose_branch("c1", "a") == "a1"
    assert await line_of(storage) == ["q", "a", "a1"]


async def test_branches_are_exported_and_imported(storage: PostgresStorage, make_storage: MakeStorage) -> None:
    """An export has all branches, and an import chooses the same."""
    await add(storage, [("q", None), ("a", None), ("b", "q"), ("b1", "b"), ("q2", "")])
    await storage.choose_branch("c1", "a")
    other = make_storage(table_prefix="other")

    await other.import_user("ada", [line async for line in storage.export_user("ada")])

    assert await line_of(other) == ["q", "a"]
    assert await other.list_branches("c1") == await storage.list_branches("c1")
    assert await other.choose_branch("c1", "b") == "b1"


async def test_every_reader_reads_the_line(storage: PostgresStorage, make_storage: MakeStorage) -> None:
    """What is aside is in no window, page, preview, search, fork or public link."""
    searching = make_storage(search=True)
    await searching.add_message({"id": "q", "role": "user", "content": "apple"}, "ada", "c1", resource_id="r")
    await searching.add_message({"id": "a", "role": "assistant", "content": "banana"}, "ada", "c1")
    share = await searching.share_conversation("c1")
    await searching.branch_conversation("c1", "q")
    await searching.add_message({"id": "b", "role": "assistant", "content": "cherry"}, "ada", "c1")

    memory = searching.conversation("ada", "c1")
    assert [each.id for each in await memory.messages()] == ["q", "b"]
    assert [each.id for each in await memory.messages(turns=1)] == ["q", "b"]
    assert [each.id for each in await searching.get_conversation_messages("c1")] == ["q", "b"]
    assert [each.id for each in await searching.get_messages("ada", "c1", include_archived=True)] == ["q", "b"]
    (item,) = (await searching.list_conversations("ada")).items
    assert item.preview == "cherry"
    assert (await searching.search("ada", "banana")).hits == []
    assert len((await searching.search("ada", "cherry")).hits) == 1
    fork = await searching.fork_conversation("c1")
    assert await line_of(searching, fork.id) == ["q", "b"]
    shown = await searching.get_shared_conversation(share.token)
    assert shown is not None
    assert [each.id for each in shown.messages] == ["q", "a"]


async def test_a_share_shows_its_branch_whichever_is_chosen(storage: PostgresStorage) -> None:
    """A public link shows what was shared: never a branch that was not chosen then, however old."""
    await add(storage, [("q", None), ("secret", None), ("open", "q"), ("end", None)])
    share = await storage.share_conversation("c1")

    async def shown() -> list[str]:
        pages = [await storage.get_shared_conversation(share.token, limit=1)]
        while pages[-1] is not None and pages[-1].next_cursor is not None:
            pages.append(await storage.get_shared_conversation(share.token, limit=1, after=pages[-1].next_cursor))
        return [message.id for page in pages if page is not None for message in page.messages]

    assert await shown() == ["q", "open", "end"]
    await storage.choose_branch("c1", "secret")
    assert await shown() == ["q", "open", "end"]
    await storage.branch_conversation("c1", None)
    await add(storage, [("new", None)])
    assert await shown() == ["q", "open", "end"]


# --- the limit ----------------------------------------------------------------------------------------------------

LIMIT: Final = 4


async def test_the_limit_counts_the_line(make_storage: MakeStorage) -> None:
    """What is aside takes no place within the limit, and goes when the line around it goes."""
    storage = make_storage(storage_limit=LIMIT)
    await add(storage, [("m1", None), ("m2", None), ("old", None), ("m3", "m2"), ("m4", None)])
    assert await line_of(storage) == ["m1", "m2", "m3", "m4"]
    assert len(await storage.list_branches("c1")) == 1

    await add(storage, [("m5", None)])
    assert await line_of(storage) == ["m2", "m3", "m4", "m5"]
    assert [each.id for each in await storage.list_siblings("c1", "m3")] == ["old", "m3"]

    await add(storage, [("m6", None), ("m7", None)])
    assert await line_of(storage) == ["m4", "m5", "m6", "m7"]
    assert await storage.list_branches("c1") == []
    assert await storage.list_siblings("c1", "old") == []


@pytest.mark.parametrize("on_limit", ["delete", "archive"])
async def test_siblings_whose_parent_the_limit_took_are_first_messages(
    make_storage: MakeStorage, on_limit: Literal["delete", "archive"]
) -> None:
    """Messages whose parent is gone stay siblings, of each other and of the first message of the line."""
    storage = make_storage(storage_limit=2, on_limit=on_limit)
    await add(storage, [("q", ""), ("a", "q"), ("a1", "a"), ("b", "q"), ("b1", "b"), ("b2", "b1"), ("new", "")])
    assert await line_of(storage) == ["new"]

    for id in ("b1", "new"):
        assert [each.id for each in await storage.list_siblings("c1", id)] == ["b1", "new"]
    first = BranchingPoint(parent_id=None, message_ids=["b1", "new"], chosen_id="new")
    assert await storage.list_branches("c1") == [first]
    assert await storage.choose_branch("c1", "b1") == "b2"
    assert await line_of(storage) == ["b1", "b2"]
    assert await storage.list_branches("c1") == [first.model_copy(update={"chosen_id": "b1"})]


async def test_branch_conversation_brings_archived_messages_back(make_storage: MakeStorage) -> None:
    """With on_limit="archive", a line that becomes shorter is filled up from the archive."""
    storage = make_storage(storage_limit=LIMIT, on_limit="archive")
    await add(storage, [(f"m{number}", None) for number in range(8)])

    await storage.branch_conversation("c1", "m5")

    assert await line_of(storage) == ["m2", "m3", "m4", "m5"]
    await storage.choose_branch("c1", "m6")
    await add(storage, [("m8", None)])
    assert await line_of(storage) == ["m5", "m6", "m7", "m8"]


# --- the cost -----------------------------------------------------------------------------------------------------


async def costs(storage: PostgresStorage, connection: Connection, size: int) -> dict[str, int]:
    """Return the pages that each statement touches in a conversation with two branches of this size."""
    tables, sql = storage._options.tables, rendered(BranchStatements, storage._options.tables)
    await connection.execute(f"ALTER TABLE {tables.messages} SET (autovacuum_enabled = false)")
    conversation = f"c{size}"
    await storage.create_conversation({"id": conversation, "user_id": "ada"})
    for branch in "ab":
        messages = [{"id": f"{branch}{number}", "role": "user", "content": "x"} for number in range(size)]
        await storage.branch_conversation(conversation, None)
        await storage.add_messages(messages, "ada", conversation)
    share = await storage.share_conversation(conversation)

    async def pages(sql: str, *arguments: object) -> int:
        return await pages_read(connection, sql, *arguments)

    line = rendered(AdapterStatements, tables).line
    return {
        "choose": await pages(sql.choose, conversation, None, "a0", True, None),
        "list": await pages(sql.points, conversation, None),
        "siblings": await pages(sql.siblings, conversation, None, "a0"),
        "shared": await pages(rendered(ShareStatements, tables).shared, share.token, size, None, None),
        "line": await pages(line, conversation, f"b{size - 1}", None),
        "rewind": await pages(rendered(MessageStatements, tables).rewind, conversation, None, "b0", None),
    }


@pytest.mark.parametrize("analysed", [False, True], ids=["never analysed", "analysed when small"])
async def test_choosing_and_listing_cost_what_the_branches_are_long(
    make_storage: MakeStorage, connection: Connection, analysed: bool
) -> None:
    """
    Each message costs a number of pages that does not grow with the conversation, whatever the planner expects.

    Choosing updates the messages of both branches in every index: some 50 pages for each. With a statement that
    reads the conversation for each message, it was 470 at a length of 200.
    """
    storage = make_storage(storage_limit=None)
    await storage.open()
    if analysed:
        for number in range(30):
            await storage.create_conversation({"id": f"small{number}", "user_id": "ada"})
            await storage.add_messages([{"role": "user", "content": "x"}] * 3, "ada", f"small{number}")
        await connection.execute(f"ANALYZE {storage._options.tables.messages}")

    for size in (200, 400):
        pages = await costs(storage, connection, size)
        assert all(count < 80 * size for count in pages.values()), (size, pages)


# --- errors and concurrency ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["branch_conversation", "choose_branch"])
async def test_branch_and_choose_say_what_is_missing(storage: PostgresStorage, verb: str) -> None:
    """Another user's conversation, one that is missing, and a message that it does not have are errors."""
    await add(storage, [("m1", None)])
    call = getattr(storage, verb)

    with pytest.raises(ConversationNotFoundError):
        await call("c2", "m1")
    with pytest.raises(ConversationNotFoundError):
        await call("c1", "m1", owner="bob")
    with pytest.raises(MessageNotFoundError):
        await call("c1", "m2", owner="ada")
    assert await storage.list_branches("c1", owner="bob") == []
    assert await storage.list_siblings("c1", "m1", owner="bob") == []
    assert await line_of(storage) == ["m1"]


async def test_choose_branch_and_writers_at_once_keep_one_line(storage: PostgresStorage) -> None:
    """Calls that choose, branch and add at the same time leave a line in which each message follows its parent."""
    await add(storage, [("q", None), ("a", "q"), ("b", "q")])
    memory = storage.conversation("ada", "c1")

    calls = [
        call
        for number in range(10)
        for call in (
            storage.choose_branch("c1", "ab"[number % 2]),
            memory.add({"id": f"m{number}", "role": "user", "content": "x"}),
            storage.add_message(following(f"n{number}", "ab"[number % 2]), "ada", "c1"),
        )
    ]
    await asyncio.gather(*calls)

    stored = await NativeMemory.of(memory).newest_messages()
    assert [each.id for each in stored] == [each.id for each in await storage.get_messages("ada", "c1", limit=None)]
    assert stored[0].id == "q"
    assert stored[1].id in ("a", "b")
    kept = [id for point in await storage.list_branches("c1") for id in point.message_ids]
    assert {"a", "b"} <= {*kept, stored[1].id}
    for before, message in pairwise(stored):
        assert message.parent_id in (None, before.id)

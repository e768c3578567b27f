"""Adapters' payloads are returned exactly to them, and are invisible to other readers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.calls import PATIENCE, Rows, wait_until_blocked
from tests.conftest import Connection, MakeStorage
from tests.properties import examples
from tests.proxy import Proxy
from voltmem import (
    ConversationNotFoundError,
    InvalidInputError,
    NativeMessage,
    OutcomeUnknownError,
    PostgresStorage,
    RevisionConflictError,
    Storage,
)
from voltmem._agents.memory import ConversationMemory
from voltmem._agents.native import NativeMemory, Payload, list_payloads
from voltmem._values import uuid7


def native(id: str, payload: JsonValue = None, **fields: Any) -> NativeMessage:
    return NativeMessage(
        **{"id": id, "role": "user", "content": f"this is {id}", "format": "x", "payload": payload, **fields}
    )


def ids(messages: list[Any]) -> list[str]:
    return [message.id for message in messages]


@pytest.fixture
def memory(storage: PostgresStorage) -> NativeMemory:
    """Ada's conversation c1, which does not exist yet."""
    return NativeMemory(storage, "ada", "c1", resource_id="docs")


@pytest.fixture
async def rows(storage: PostgresStorage, connection: Connection, schema: str) -> Rows:
    return Rows(connection, schema)


async def everything(connection: Connection, rows: Rows) -> list[str]:
    """Return all rows."""
    payloads = rows.messages.replace("_messages", "_payloads")
    return [
        str(row)
        for table in (rows.conversations, rows.messages, payloads)
        for row in await connection.fetch(f"SELECT each::text FROM {table} AS each ORDER BY 1")
    ]


async def test_memory_of_another_kind_is_the_same_conversation(storage: PostgresStorage) -> None:
    """of() makes a memory of another class for the same conversation, user and resource."""
    memory = storage.conversation("ada", "c1", resource_id="docs")

    other = NativeMemory.of(memory)
    await other.add_turn([native("m1")])

    assert isinstance(other, NativeMemory)
    assert (other.user_id, other.conversation_id, other.resource_id) == ("ada", "c1", "docs")
    assert ids(await memory.messages()) == ["m1"]


# --- messages -----------------------------------------------------------------------------------------------------

characters = st.characters(categories=["L", "M", "N", "P", "S", "Z", "C"])
texts = st.lists(characters | st.sampled_from(["\x00", "\ud83d", "\ude00", "\\", '"', "\\ud83d", "\\u0000"])).map(
    "".join
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**310)
    | st.floats(allow_nan=False).filter(lambda number: abs(number) != float("inf"))
)
json: st.SearchStrategy[JsonValue] = st.recursive(
    scalars | texts,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4),
    max_leaves=10,
)


def written(value: object) -> str:
    """Return a text that is equal only for equal values with the same types and the same order of keys."""
    return repr(value)


@given(st.lists(json, min_size=1, max_size=5))
@examples(60)
async def test_a_payload_comes_back_bit_for_bit(storage: PostgresStorage, payloads: list[JsonValue]) -> None:
    """A payload of any JSON is returned exactly, with NUL, lone surrogates, order of keys and integers of any size."""
    memory = NativeMemory(storage, "ada", uuid7())
    stored = await memory.add_turn(native(f"m{n}", payload) for n, payload in enumerate(payloads))

    found = await memory.native_messages()

    assert found == stored == await memory.newest_messages()
    assert [written(message.payload) for message in found] == [written(payload) for payload in payloads]

    await memory.save_payload(payloads, "x")
    kept = await memory.payload("x")
    assert kept is not None
    assert written(kept.payload) == written(payloads)


async def test_native_messages_are_what_every_reader_gets(storage: PostgresStorage, memory: NativeMemory) -> None:
    """Whoever reads the message gets it with the payload, so that nothing is lost on the way to another form."""
    stored = await memory.add(native("m1", {"secret": 1}, parent_id=""))
    assert isinstance(stored, NativeMessage)
    assert (stored.format, stored.payload, stored.parent_id) == ("x", {"secret": 1}, "")

    for found in (
        await storage.get_messages("ada", "c1"),
        await storage.get_conversation_messages("c1"),
        await memory.messages(),
        await memory.messages(turns=1),
    ):
        assert found == [stored]
    assert await memory.native_messages() == await memory.native_messages(turns=1) == [stored]


async def test_a_plain_message_in_its_place_removes_the_payload(storage: PostgresStorage, memory: NativeMemory) -> None:
    """Replacing a native message with a plain one removes the payload, since it no longer matches."""
    await memory.add_turn([native("m1", [1], parent_id=""), native("m2", [2])])

    await storage.add_messages([{"id": "m1", "role": "user", "content": "changed"}], "ada", "c1")

    one, other = await memory.native_messages()
    assert (one.content, one.format, one.payload) == ("changed", None, None)
    assert one.parent_id == "", "its place in the branch is no part of either form"
    assert other.payload == [2]


async def test_a_native_message_takes_a_plain_ones_place(storage: PostgresStorage, memory: NativeMemory) -> None:
    """A native message replaces a plain one completely; one call may have both."""
    await memory.add({"id": "m1", "role": "user", "content": "plain"})

    await memory.add_turn([native("m1", [1]), {"id": "m2", "role": "assistant", "content": "plain, too"}])

    one, other = await memory.native_messages()
    assert (one.content, one.format, one.payload) == ("this is m1", "x", [1])
    assert (other.format, other.payload) == (None, None)


async def test_a_payload_must_be_json(memory: NativeMemory, rows: Rows, connection: Connection) -> None:
    """A payload that is not JSON is refused before anything is sent."""
    bad: list[Any] = [object(), {1: 2}, (1,), float("nan"), b""]
    for payload in bad:
        with pytest.raises((InvalidInputError, ValueError)):
            native("m1", payload)
        with pytest.raises(InvalidInputError):
            await memory.save_payload(payload, "x")
    with pytest.raises(InvalidInputError, match="None"):
        await memory.save_payload(None, "x")

    assert await everything(connection, rows) == []


async def test_newest_messages_are_what_was_stored(memory: NativeMemory) -> None:
    """newest_messages() returns the newest stored messages, with calls without results, and exactly up to the limit."""
    call = {"id": "m3", "role": "assistant", "content": "search", "type": "tool-call"}
    await memory.add_turn([native("m1"), native("m2"), call])

    assert ids(await memory.newest_messages()) == ["m1", "m2", "m3"]
    assert ids(await memory.newest_messages(2)) == ["m2", "m3"]
    assert await memory.newest_messages(0) == []
    assert ids(await memory.native_messages()) == ["m1", "m2"]


async def test_messages_since_a_format_begin_where_runs_do(memory: NativeMemory) -> None:
    """The last runs of a format are returned, each from its first message on; all, if there are fewer."""
    formats = ["run", "x", "x", "run", None, "run", "x"]
    await memory.add_turn(native(f"m{n}", format=format) for n, format in enumerate(formats))

    async def found(count: int, format: str = "run") -> list[str]:
        return ids(await memory.messages_since(format, count))

    assert await found(1) == ["m5", "m6"]
    assert await found(2) == ["m3", "m4", "m5", "m6"]
    assert await found(3) == await found(4) == await found(1, "y") == [f"m{n}" for n in range(7)]


# --- pop ----------------------------------------------------------------------------------------------------------


async def test_concurrent_pops_return_different_messages(make_storage: MakeStorage) -> None:
    """
    Twenty concurrent pops over two pools each return another message with its payload.

    Those left over return None.
    """
    pools = [make_storage(max_connections=10) for _ in range(2)]
    memories = [NativeMemory(storage, "ada", "c1") for storage in pools]
    stored = await memories[0].add_turn(native(f"m{n}", n) for n in range(25))

    popped = await asyncio.gather(*(memories[n % 2].pop() for n in range(20)))

    assert sorted(ids(popped)) == sorted(ids(stored[5:]))
    assert all(message in stored for message in popped)
    assert await memories[1].newest_messages() == stored[:5]
    popped = await asyncio.gather(*(memories[n % 2].pop() for n in range(8)))
    assert sorted(message.id for message in popped if message) == ids(stored[:5])


async def test_there_is_nothing_to_pop_of_nothing(memory: NativeMemory) -> None:
    """pop returns the newest message, or None if the conversation is missing or empty."""
    assert await memory.pop() is None
    stored = await memory.add_turn([native("m1"), native("m2")])

    assert [await memory.pop(), await memory.pop(), await memory.pop()] == [stored[1], stored[0], None]


async def test_pop_waits_for_a_message_that_is_being_added(
    storage: PostgresStorage, memory: NativeMemory, connection: Connection
) -> None:
    """pop waits for a message that is being added, and returns that one."""
    await memory.add_turn([native("question"), native("answer")])

    async with asyncio.timeout(PATIENCE), storage.transaction() as tx:
        await NativeMemory(tx, "ada", "c1").add(native("answer", ["grown"]))
        popping = asyncio.create_task(memory.pop())
        await wait_until_blocked(connection, tx.connection)

    popped = await popping
    assert popped is not None
    assert (popped.id, popped.payload) == ("answer", ["grown"])
    assert ids(await memory.messages()) == ["question"]


async def test_a_pop_in_a_transaction_delays_no_other_conversation(
    storage: PostgresStorage, memory: NativeMemory, connection: Connection
) -> None:
    """A pop in an open transaction delays only calls for the same conversation."""
    await memory.add_turn([native("m1"), native("m2")])
    others = [storage.conversation("ada", f"other {n}") for n in range(5)]

    async with asyncio.timeout(PATIENCE), storage.transaction() as tx:
        await NativeMemory(tx, "ada", "c1").pop()
        replacing = asyncio.create_task(NativeMemory(storage, "ada", "c1").add(native("m2", ["new"])))
        await asyncio.gather(*(other.add(native("m1")) for other in others))
        await wait_until_blocked(connection, tx.connection)
        assert not replacing.done()

    assert (await replacing).id == "m2"
    assert ids(await memory.messages()) == ["m1", "m2"]


async def test_archived_messages_are_not_popped(make_storage: MakeStorage) -> None:
    """pop does not return archived messages."""
    memory = NativeMemory(make_storage(storage_limit=2, on_limit="archive"), "ada", "c1")
    await memory.add_turn([native(f"m{n}", n) for n in range(4)])

    popped = [await memory.pop() for _ in range(3)]

    assert [message and message.id for message in popped] == ["m3", "m2", None]


async def test_popping_twice_by_mistake_is_not_done(proxy: Proxy, make_storage: MakeStorage) -> None:
    """A pop whose answer is lost is not repeated, since it may have happened: the outcome is unknown."""
    storage = make_storage(proxy.dsn)
    memory = NativeMemory(storage, "ada", "c1")
    await memory.add_turn([native("m1"), native("m2"), native("m3")])
    assert (await memory.pop()) is not None

    proxy.cut_when = lambda answer: b"m2" in answer
    with pytest.raises(OutcomeUnknownError):
        await memory.pop()

    assert len(await memory.messages()) >= 1


# --- payloads of conversations ------------------------------------------------------------------------------------


async def test_a_payload_makes_its_conversation(storage: PostgresStorage, memory: NativeMemory) -> None:
    """
    A payload creates its conversation with the handle's user and resource, and the title.

    Formats are independent.
    """
    assert await memory.payload("x") is None

    await memory.save_payload({"state": 1}, "x", title="Named", revision="r1")

    conversation = await storage.get_conversation("c1")
    assert conversation is not None
    assert (conversation.user_id, conversation.resource_id, conversation.title) == ("ada", "docs", "Named")
    assert await memory.payload("x") == Payload(conversation, {"state": 1}, "r1")
    assert await memory.payload("y") == Payload(conversation, None, None)


async def test_a_payload_is_kept_instead_of_the_one_before(storage: PostgresStorage, memory: NativeMemory) -> None:
    """Without an expected revision a payload replaces any other; a title is changed if given, and None clears it."""
    await memory.save_payload([1], "x", title="Named", revision="r1")
    await memory.save_payload([2], "x")
    await memory.save_payload([3], "y")

    kept = [await memory.payload("x"), await memory.payload("y")]

    assert [(each.payload, each.revision, each.conversation.title) for each in kept if each] == [
        ([2], None, "Named"),
        ([3], None, "Named"),
    ]
    await memory.save_payload([2], "x", title=None)
    conversation = await storage.get_conversation("c1")
    assert conversation is not None
    assert conversation.title is None


async def test_a_payload_touches_its_conversation_unless_touch_is_false(
    storage: PostgresStorage, memory: NativeMemory
) -> None:
    """A payload moves its conversation to the top of the sidebar; with touch=False it does not."""
    await memory.save_payload([1], "x")
    made = await storage.get_conversation("c1")
    await memory.save_payload([2], "x", touch=False)
    untouched = await storage.get_conversation("c1")
    await memory.save_payload([2], "x")
    touched = await storage.get_conversation("c1")

    assert made is not None
    assert touched is not None
    assert untouched == made
    assert touched.updated_at > made.updated_at


async def test_of_saves_that_expect_the_same_revision_exactly_one_succeeds(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Of twenty concurrent saves that expect the same revision exactly one succeeds; the others store nothing."""
    pools = [make_storage(max_connections=10) for _ in range(2)]
    memories = [NativeMemory(storage, "ada", "c1") for storage in pools]

    async def save(n: int, before: str | None) -> str | None:
        try:
            await memories[n % 2].save_payload(
                n, "x", title=f"{before} to {n}", revision=f"{before}.{n}", expected_revision=before
            )
        except RevisionConflictError:
            return None
        return f"{before}.{n}"

    before: str | None = None
    for _ in range(5):
        answers = await asyncio.gather(*(save(n, before) for n in range(20)))
        (won,) = [answer for answer in answers if answer is not None]

        kept = await memories[0].payload("x")
        assert kept is not None
        assert kept.revision == won
        assert kept.conversation.title == f"{before} to {kept.payload}"
        before = won


@pytest.mark.parametrize(
    ("kept", "expected"), [(None, "r1"), ("nothing", "r1"), ("nothing else", "r1"), ("r2", "r1"), ("r2", None)]
)
async def test_a_conflict_stores_nothing(
    kept: str | None, expected: str | None, memory: NativeMemory, rows: Rows, connection: Connection
) -> None:
    """A conflict stores nothing: no conversation, title, time of activity or payload."""
    if kept == "nothing":
        await memory.add(native("m1"))
    elif kept == "nothing else":
        await memory.save_payload(["other"], "y", revision="r1")
    elif kept is not None:
        await memory.save_payload(["kept"], "x", revision=kept, title="Named")
    before = await everything(connection, rows)

    with pytest.raises(RevisionConflictError) as conflict:
        await memory.save_payload(["new"], "x", title="New", revision="r3", expected_revision=expected)

    assert conflict.value.conversation_id == "c1"
    assert conflict.value.expected == expected
    assert await everything(connection, rows) == before


async def test_an_expected_revision_is_replaced(memory: NativeMemory) -> None:
    """
    An expected revision is replaced.

    None means that there is no payload, and one without a revision cannot be expected.
    """
    await memory.save_payload(1, "x", revision="r1", expected_revision=None)
    await memory.save_payload(2, "x", revision="r2", expected_revision="r1")
    kept = await memory.payload("x")
    assert kept is not None
    assert (kept.payload, kept.revision) == (2, "r2")

    await memory.save_payload(3, "x")
    with pytest.raises(RevisionConflictError):
        await memory.save_payload(4, "x", expected_revision=None)


async def test_many_may_save_at_once_where_nothing_is_expected(make_storage: MakeStorage) -> None:
    """Concurrent saves without an expected revision all succeed, also the first ones, which create the conversation."""
    pools = [make_storage(max_connections=10) for _ in range(2)]
    for round in range(5):
        memories = [NativeMemory(storage, "ada", f"c{round}") for storage in pools]

        await asyncio.gather(*(memories[n % 2].save_payload(n, "x", title=f"{n}") for n in range(20)))

        kept = await memories[0].payload("x")
        assert kept is not None
        assert kept.conversation.title == f"{kept.payload}"


Verb = Callable[[NativeMemory], Awaitable[object]]


@pytest.mark.parametrize(
    "verb",
    [
        lambda memory: memory.native_messages(),
        lambda memory: memory.native_messages(turns=1),
        lambda memory: memory.newest_messages(),
        lambda memory: memory.messages_since("x", 1),
        lambda memory: memory.pop(),
        lambda memory: memory.payload("x"),
        lambda memory: memory.payload("y"),
        lambda memory: memory.save_payload([1], "x", title="mine"),
        lambda memory: memory.save_payload([1], "y", title="mine"),
        lambda memory: memory.save_payload([1], "x", expected_revision="r1"),
        lambda memory: memory.save_payload([1], "y", expected_revision=None),
        lambda memory: memory.save_payload([1], "y", expected_revision="r0"),
        lambda memory: memory.add(native("m1", ["mine"])),
    ],
)
async def test_another_users_conversation_is_not_found(
    verb: Verb, storage: PostgresStorage, memory: NativeMemory, rows: Rows, connection: Connection
) -> None:
    """Reading and writing another user's conversation is an error, and changes nothing."""
    await memory.add_turn([native("m1", 1), native("m2", 2)])
    await memory.save_payload(["hers"], "x", revision="r1", title="hers")
    before = await everything(connection, rows)

    for user in ("bob", "ada "):
        with pytest.raises(ConversationNotFoundError):
            await verb(NativeMemory(storage, user, "c1"))

    assert await everything(connection, rows) == before


async def test_payloads_are_listed_the_last_active_first(storage: PostgresStorage) -> None:
    """Payloads are listed by format, user and resource, the last active first, in pages without repeats or gaps."""
    for n in range(6):
        memory = NativeMemory(storage, "ada" if n % 2 else "bob", f"c{n}", resource_id=f"r{n % 3}")
        if n < 4:
            await memory.save_payload(-n, "y", touch=False)
        await memory.save_payload(n, "x", touch=False)
    await NativeMemory(storage, "ada", "c9").add(native("m1"))

    async def found(*formats: str, **filters: Any) -> list[JsonValue]:
        return [each.payload for each in await list_payloads(storage, formats, **filters)]

    assert await found("x") == [5, 4, 3, 2, 1, 0]
    assert await found("y") == [-3, -2, -1, 0]
    assert await found("x", user_id="ada") == [5, 3, 1]
    assert await found("x", resource_id="r1") == [4, 1]
    assert await found("x", user_id="ada", resource_id="r1") == [1]
    assert await found("z") == await found() == await found("x", limit=0) == []
    both = await found("x", "y")
    assert both == [5, 4, 3, -3, 2, -2, 1, -1, 0, 0]
    assert [each for offset in range(5) for each in await found("x", "y", limit=2, offset=2 * offset)] == both
    bad: list[dict[str, Any]] = [{"limit": -1}, {"offset": -1}, {"limit": True}, {"user_id": 1}, {"resource_id": 1}]
    for filters in bad:
        with pytest.raises(InvalidInputError):
            await found("x", **filters)
    with pytest.raises(InvalidInputError):
        await list_payloads(storage, "x")


async def test_what_frameworks_keep_goes_with_the_conversation(
    storage: PostgresStorage, memory: NativeMemory, rows: Rows, connection: Connection
) -> None:
    """Deleting the conversation deletes its payloads; clearing its messages keeps them."""
    await memory.add(native("m1", 1))
    await memory.save_payload([1], "x")
    await memory.clear()
    assert await memory.payload("x") is not None

    assert await storage.delete_conversation("c1")

    assert await everything(connection, rows) == []


@pytest.mark.parametrize("on_limit", ["delete", "archive"])
async def test_the_limit_holds_for_native_messages(on_limit: Any, make_storage: MakeStorage) -> None:
    """The storage limit applies to native messages as to all others."""
    memory = NativeMemory(make_storage(storage_limit=2, on_limit=on_limit), "ada", "c1")
    for n in range(5):
        await memory.add(native(f"m{n}", n))

    assert [message.payload for message in await memory.native_messages(limit=None)] == [3, 4]
    assert [message.payload for message in await memory.newest_messages()] == [3, 4]


async def test_each_verb_is_one_round_trip(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Each verb is one round trip, also the first save, which creates the conversation."""
    storage = make_storage(proxy.dsn, max_connections=1)
    verbs: dict[str, Verb] = {
        "save_payload": lambda memory: memory.save_payload([1], "x", revision="r1"),
        "save_payload, expected": lambda memory: memory.save_payload([1], "x", revision="r2", expected_revision="r1"),
        "payload": lambda memory: memory.payload("x"),
        "add": lambda memory: memory.add(native("m1", 1)),
        "native_messages": lambda memory: memory.native_messages(limit=5),
        "native_messages, turns": lambda memory: memory.native_messages(turns=5),
        "newest_messages": lambda memory: memory.newest_messages(5),
        "pop": lambda memory: memory.pop(),
        "list_payloads": lambda memory: list_payloads(storage, ["x"]),
    }
    counted: dict[str, int] = {}
    for conversation in ("c1", "c2"):  # the first call prepares the statements
        for name, verb in verbs.items():
            before = proxy.round_trips
            await verb(NativeMemory(storage, "ada", conversation))
            counted[name] = proxy.round_trips - before

    assert counted == dict.fromkeys(verbs, 1)


async def test_everything_works_inside_a_transaction(
    storage: PostgresStorage, memory: NativeMemory, rows: Rows, connection: Connection
) -> None:
    """Within a transaction all verbs work, and a rollback undoes them."""

    async def use(storage: Storage) -> None:
        inside: ConversationMemory = NativeMemory(storage, "ada", "c1")
        assert isinstance(inside, NativeMemory)
        await inside.save_payload([1], "x", revision="r1")
        await inside.add_turn([native("m1", 1), native("m2", 2)])
        assert (await inside.pop()) is not None
        with pytest.raises(RevisionConflictError):
            await inside.save_payload([2], "x", expected_revision="r0")
        assert [message.payload for message in await inside.native_messages()] == [1]

    with pytest.raises(ZeroDivisionError):
        async with storage.transaction() as tx:
            await use(tx)
            raise ZeroDivisionError
    assert await everything(connection, rows) == []
    async with storage.transaction() as tx:
        await use(tx)
    assert [message.payload for message in await memory.native_messages()] == [1]

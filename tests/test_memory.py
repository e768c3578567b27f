"""The handle that an agent keeps as its memory: made on first write, closed to others, and never an invalid window."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.calls import LONG_AGO, PATIENCE, Rows, migrated_schema, somebody_waits
from tests.conftest import Connection, MakeStorage
from tests.dialogues import dialogues, needs_dialogues
from tests.proxy import Proxy
from tests.test_statements import assert_walks, plan
from voltmem import (
    ANY_USER,
    ConversationMemory,
    ConversationNotFoundError,
    DatabaseError,
    InvalidInputError,
    InvalidQueryError,
    Memory,
    Message,
    PostgresStorage,
    UserStorage,
)
from voltmem._agents.memory import MemoryStatements
from voltmem._areas.queries import WindowQuery
from voltmem._parts import ToolCall, ToolResult, call_part, result_part, tool_turns, window
from voltmem._tables import Tables
from voltmem._values import uuid7
from voltmem.options import DEFAULT_TABLE_PREFIX, OnLimit

ROOT: Final = Path(__file__).parent.parent

Fields = dict[str, Any]


def says(role: str, text: str = "words", **fields: object) -> Fields:
    return {"role": role, "content": text, **fields}


def asks(*ids: str) -> Fields:
    return {"role": "assistant", "content": [call_part(ToolCall(id, "search", {})) for id in ids], "type": "tool-call"}


def answers(*ids: str) -> Fields:
    parts = [result_part(ToolResult(id, "search", "found")) for id in ids]
    return {"role": "tool", "content": parts, "type": "tool-result"}


def contents(messages: Sequence[Message]) -> list[object]:
    return [message.content for message in messages]


@pytest.fixture
def memory(storage: PostgresStorage) -> ConversationMemory:
    """Ada's conversation c1, which nobody has made yet."""
    return storage.conversation("ada", "c1", resource_id="docs")


@pytest.fixture
async def unlimited(make_storage: MakeStorage) -> PostgresStorage:
    """An open storage that keeps all messages."""
    storage = make_storage(storage_limit=None)
    await storage.open()
    return storage


# --- making -------------------------------------------------------------------------------------------------------


async def test_a_handle_does_nothing_until_it_is_used(storage: PostgresStorage) -> None:
    """Nothing is made by making a handle, nor by reading: what is not there is empty."""
    memory = storage.conversation("ada", "c1", resource_id="docs")

    assert (memory.user_id, memory.conversation_id, memory.resource_id) == ("ada", "c1", "docs")
    assert "'c1' of 'ada'" in repr(memory)
    assert await memory.messages() == await memory.messages(turns=3) == []
    assert await memory.exchanges() == []
    assert await memory.clear() == 0
    assert await memory.add_turn([]) == []
    assert await storage.get_conversation("c1") is None


async def test_the_first_write_makes_the_conversation(storage: PostgresStorage, memory: ConversationMemory) -> None:
    """With the handle's user and resource, and no title; the next finds it as it is."""
    await memory.add(says("user", "Hello"))
    made = await storage.get_conversation("c1")
    assert made is not None
    assert (made.user_id, made.resource_id, made.title) == ("ada", "docs", None)

    await storage.conversation("ada", "c1", resource_id="other").add_turn([says("assistant", "Hi"), says("user", "?")])

    after = await storage.get_conversation("c1")
    assert after is not None
    assert (after.resource_id, after.created_at) == ("docs", made.created_at)
    assert after.updated_at > made.updated_at
    assert contents(await memory.messages()) == ["Hello", "Hi", "?"]


async def test_a_handle_without_an_id_is_a_new_conversation(storage: PostgresStorage) -> None:
    """Each has a UUIDv7 of its own, known before anything is written; the resource is VoltAgent's default."""
    one, other = storage.conversation("ada"), storage.for_user("ada").conversation()
    assert one.conversation_id != other.conversation_id
    assert one.conversation_id[14] == "7"

    await one.add(says("user"))

    (made,) = await storage.query_conversations()
    assert (made.id, made.resource_id) == (one.conversation_id, "default")


async def test_the_users_storage_gives_the_same_handle(storage: PostgresStorage, memory: ConversationMemory) -> None:
    """What one writes the other reads."""
    mine: UserStorage = storage.for_user("ada")

    stored = await mine.conversation("c1").add(says("user"))
    made = await mine.add_message(says("user"), "c2", resource_id="docs")

    assert await memory.messages() == [stored]
    assert await mine.conversation("c2").messages() == [made]


async def test_twenty_who_write_first_make_one_conversation(make_storage: MakeStorage) -> None:
    """All at once, over two pools, alone and in turns: each message is stored, each turn in one piece."""
    pools = [make_storage(max_connections=5), make_storage(max_connections=5)]
    for round in range(5):
        memories = [storage.conversation("ada", f"c{round}") for storage in pools]
        calls: list[Awaitable[object]] = [
            memories[n % 2].add(says("user", f"{n}"))
            if n % 4 < 2
            else memories[n % 2].add_turn([asks(f"{n}"), answers(f"{n}")])
            for n in range(20)
        ]
        await asyncio.gather(*calls)

        found = await memories[0].messages(limit=None)
        assert len(found) == 30
        assert found == await pools[1].get_messages("ada", f"c{round}", limit=None)
    assert len(await pools[0].query_conversations()) == 5


async def test_of_two_users_who_write_first_one_has_the_conversation(make_storage: MakeStorage) -> None:
    """Its id is taken: all of the other's calls fail, and nothing of them is stored."""
    pools = [make_storage(), make_storage()]
    for round in range(5):
        memories = [
            storage.conversation(user, f"c{round}") for storage, user in zip(pools, ("ada", "bob"), strict=True)
        ]

        outcomes = await asyncio.gather(
            *(memories[n % 2].add(says("user", f"{n}")) for n in range(10)), return_exceptions=True
        )

        conversation = await pools[0].get_conversation(f"c{round}")
        assert conversation is not None
        owner = ["ada", "bob"].index(conversation.user_id)
        assert [isinstance(outcome, Message) for outcome in outcomes] == [n % 2 == owner for n in range(10)]
        assert all(isinstance(outcome, Message | ConversationNotFoundError) for outcome in outcomes)
        found = await pools[0].get_messages(ANY_USER, f"c{round}")
        assert sorted(message.id for message in found) == sorted(
            each.id for each in outcomes if isinstance(each, Message)
        )


WRITER: Final = """
import asyncio, sys
from voltmem import PostgresStorage

async def main(dsn, schema, process):
    async with PostgresStorage(dsn, schema=schema, storage_limit=None) as storage:
        print("ready", flush=True)
        sys.stdin.readline()
        for round in range(5):
            memory = storage.conversation("ada", f"c{round}")
            await asyncio.gather(*(memory.add({"role": "user", "content": f"{process}.{n}"}) for n in range(10)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_processes_that_write_first_make_one_conversation(
    unlimited: PostgresStorage, dsn: str, schema: str
) -> None:
    """What each has written is there, in the order that it was written in."""

    def run() -> list[int]:
        processes = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", WRITER, dsn, schema, f"{number}"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            process.communicate("go\n", timeout=60)
        return [process.returncode for process in processes]

    assert await asyncio.to_thread(run) == [0, 0]
    for round in range(5):
        found = contents(await unlimited.conversation("ada", f"c{round}").messages())
        for process in range(2):
            mine = [content for content in found if str(content).startswith(f"{process}.")]
            assert mine == [f"{process}.{n}" for n in range(10)]
        assert len(found) == 20


@pytest.mark.parametrize("ending", ["commit", "roll back"])
async def test_who_makes_a_conversation_keeps_only_those_of_it_waiting(
    ending: str, unlimited: PostgresStorage, connection: Connection
) -> None:
    """A transaction that has made one is still open: calls for others that leave together with one for it are done."""
    new = [unlimited.conversation("ada", name) for name in ("new", "new", "new", "another")]
    others = [unlimited.conversation("ada", f"other {n}") for n in range(10)]
    await others[0].add(says("user"))

    waiting: list[asyncio.Task[Message]] = []

    async def make() -> None:
        async with unlimited.transaction() as tx:
            await tx.conversation("ada", "new").add(says("user", "first"))
            await tx.conversation("ada", "another").add(says("user", "first"))
            waiting.extend(asyncio.create_task(memory.add(says("user", "then"))) for memory in new)
            for _ in range(3):
                await asyncio.gather(*(memory.add(says("user")) for memory in others))
            await somebody_waits(connection, tx.connection.get_server_pid())
            assert not any(task.done() for task in waiting)
            if ending == "roll back":
                raise ZeroDivisionError

    async with asyncio.timeout(PATIENCE):
        with suppress(ZeroDivisionError):
            await make()
        await asyncio.gather(*waiting)

    first = ["first"] if ending == "commit" else []
    assert contents(await new[0].messages()) == [*first, "then", "then", "then"]
    assert contents(await new[-1].messages()) == [*first, "then"]
    assert [len(await memory.messages()) for memory in others] == [4, *[3] * 9]


async def test_waiting_for_a_conversation_that_is_made_leaves_the_lock_timeout_alone(
    unlimited: PostgresStorage, connection: Connection
) -> None:
    """The statement that does not wait long changes the setting for itself only."""
    async with unlimited.transaction() as tx:
        await tx.connection.execute("SET LOCAL lock_timeout = '7s'")
        sql = f"SELECT * FROM {unlimited._options.tables.add_messages}({', '.join(f'${n}' for n in range(1, 18))})"
        arguments = [["new"], ["ada"], ["docs"], ["1"], ["m1"], ["user"], ["words"], None, ["text"], *[None] * 5]
        await tx.connection.fetch(sql, *arguments, None, False, False)
        assert await tx.connection.fetchval("SHOW lock_timeout") == "7s"

        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '9s'")
            answer = await connection.fetch(sql, *arguments, None, False, False)
            assert [row["stored_at"] for row in answer] == [None]  # locked
            assert await connection.fetchval("SHOW lock_timeout") == "9s"


async def test_a_conversation_made_in_a_transaction_goes_with_it(
    storage: PostgresStorage, memory: ConversationMemory
) -> None:
    """Every method joins the transaction that its storage is bound to."""
    with pytest.raises(ZeroDivisionError):
        async with storage.transaction() as tx:
            inside = tx.for_user("ada").conversation("c1")
            await inside.add(says("user", "hello"))
            await inside.title("Named")
            assert contents(await inside.messages()) == ["hello"]
            assert await memory.messages() == []
            raise ZeroDivisionError

    assert await storage.get_conversation("c1") is None


async def test_add_message_makes_a_conversation_only_for_a_resource(storage: PostgresStorage) -> None:
    """Without one a missing conversation is an error, as ever; so is a conversation for nobody."""
    with pytest.raises(ConversationNotFoundError):
        await storage.add_message(says("user"), "ada", "c1")
    with pytest.raises(InvalidInputError, match="user_id"):
        await storage.add_message(says("user"), ANY_USER, "c1", resource_id="docs")
    assert await storage.count_conversations() == 0

    await storage.add_messages([says("user")], "ada", "c1", resource_id="docs")
    await storage.addMessage(says("user"), "ada", "c2", resourceId="docs")

    assert {each.id: each.resource_id for each in await storage.query_conversations()} == {"c1": "docs", "c2": "docs"}
    with pytest.raises(ConversationNotFoundError):
        await storage.add_message(says("user"), "bob", "c1", resource_id="docs")


async def test_a_conversation_that_cannot_have_its_message_is_not_made(
    storage: PostgresStorage, memory: ConversationMemory, connection: Connection, schema: str
) -> None:
    """All or nothing, the conversation included."""
    await Rows(connection, schema).fail("23514")

    with pytest.raises(DatabaseError):
        await memory.add_turn([says("user"), says("assistant")])

    assert await storage.get_conversation("c1") is None


# --- whose it is --------------------------------------------------------------------------------------------------


Verb = Callable[[ConversationMemory], Awaitable[object]]


@pytest.mark.parametrize(
    "verb",
    [
        lambda memory: memory.messages(),
        lambda memory: memory.messages(limit=0),
        lambda memory: memory.messages(limit=None),
        lambda memory: memory.messages(turns=1),
        lambda memory: memory.messages(turns=0),
        lambda memory: memory.exchanges(),
        lambda memory: memory.exchanges(0),
        lambda memory: memory.add(says("user", id="m1")),
        lambda memory: memory.add_turn([says("user", id="m1"), says("user")]),
        lambda memory: memory.clear(),
        lambda memory: memory.title("Mine"),
        lambda memory: memory.title("Mine", if_unset=True),
    ],
)
@pytest.mark.parametrize("messages", [[], [says("user", id="m1"), says("assistant")]])
async def test_another_users_conversation_is_not_found(
    verb: Verb, messages: list[Fields], storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """Reading it and writing to it are an error, whether it has messages or none, and nothing changes."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_messages(messages, "ada", "c1")
    before = await Rows(connection, schema).all()

    for user in ("bob", "", "ada "):
        with pytest.raises(ConversationNotFoundError) as missing:
            await verb(storage.conversation(user, "c1"))
        assert missing.value.conversation_id == "c1"

    assert await Rows(connection, schema).all() == before


async def test_clearing_leaves_the_conversation(storage: PostgresStorage, memory: ConversationMemory) -> None:
    """The messages go, the title stays, and it goes on."""
    await memory.add_turn([says("user"), says("assistant")])
    await memory.title("Named")

    assert await memory.clear() == 2

    assert await memory.messages() == []
    conversation = await storage.get_conversation("c1")
    assert conversation is not None
    assert conversation.title == "Named"


# --- titles -------------------------------------------------------------------------------------------------------


async def test_of_those_who_name_a_conversation_if_unset_the_first_does(make_storage: MakeStorage) -> None:
    """Twenty at once over two pools, also where it is not there yet: all hear the same title."""
    pools = [make_storage(), make_storage()]
    for round in range(5):
        memories = [storage.conversation("ada", f"c{round}", resource_id="docs") for storage in pools]

        named = await asyncio.gather(*(memories[n % 2].title(f"title {n}", if_unset=True) for n in range(20)))

        (title,) = {each.title for each in named}
        conversation = await pools[0].get_conversation(f"c{round}")
        assert conversation is not None
        assert (conversation.title, conversation.resource_id) == (title, "docs")


async def test_a_title_leaves_the_sidebar_in_its_order(storage: PostgresStorage, memory: ConversationMemory) -> None:
    """It is no activity; without if_unset it replaces the one that is there."""
    await memory.add(says("user"))
    await storage.conversation("ada", "c2").add(says("user"))
    before = await storage.get_conversation("c1")

    named = await memory.title("Named")
    unchanged = await memory.title("Again", if_unset=True)
    renamed = await memory.title("Renamed")

    assert before is not None
    assert (named.title, unchanged.title, renamed.title) == ("Named", "Named", "Renamed")
    assert {each.updated_at for each in (named, unchanged, renamed)} == {before.updated_at}
    assert [each.id for each in await storage.get_user_conversations("ada")] == ["c2", "c1"]


# --- windows ------------------------------------------------------------------------------------------------------


def expected(every: Sequence[Message], limit: int | None) -> list[Message]:
    """Return the window over all messages, made in Python."""
    system = [message for message in every[:1] if message.role == "system"]
    if limit is not None and limit <= len(system):
        return system[:limit]
    groups = tool_turns(every[len(system) :])
    return system + window(groups, None if limit is None else limit - len(system))[0]


def expected_turns(every: Sequence[Message], turns: int) -> list[Message]:
    """Return the last turns, each from where a user speaks after somebody else, made in Python."""
    if turns == 0:
        return []
    roles = [message.role for message in every]
    begins = [n for n, role in enumerate(roles) if role == "user" and (n == 0 or roles[n - 1] != "user")]
    begin = begins[-turns] if turns <= len(begins) else 0
    system = [message for message in every[:1] if message.role == "system"]
    return system + [each for group in tool_turns(every[max(begin, len(system)) :]) for each in group]


def expected_exchanges(every: Sequence[Message], limit: int | None) -> list[tuple[Message, Message]]:
    """Return the last exchanges, made in Python."""
    pairs: list[tuple[Message, Message]] = []
    said: Message | None = None
    answer: Message | None = None
    for message in every:
        if message.type in ("tool-call", "tool-result") or message.role not in ("user", "assistant"):
            continue
        if message.role == "user":
            if said and answer:
                pairs.append((said, answer))
            said, answer = message, None
        else:
            answer = message
    if said and answer:
        pairs.append((said, answer))
    return pairs if limit is None else pairs[len(pairs) - min(limit, len(pairs)) :]


async def assert_reads_are_right(memory: ConversationMemory, every: Sequence[Message], counts: Sequence[int]) -> None:
    for count in (*counts, None):
        assert await memory.messages(limit=count) == expected(every, count), count
        assert await memory.exchanges(count) == expected_exchanges(every, count), count
    for count in counts:
        assert await memory.messages(turns=count) == expected_turns(every, count), count
    assert await memory.messages(limit=2**63 - 1) == expected(every, None)
    assert await memory.messages(turns=2**63 - 1) == expected_turns(every, len(every) + 1)
    assert await memory.exchanges(2**63 - 1) == expected_exchanges(every, None)


ids = st.sampled_from(["a", "b", "c"])
some_ids = st.lists(ids, min_size=1, max_size=2, unique=True)
any_message = (
    st.sampled_from(["user", "user", "assistant", "assistant", "system", "tool"]).map(says)
    | some_ids.map(lambda ids: asks(*ids))
    | some_ids.map(lambda ids: answers(*ids))
)
tool_turn = some_ids.map(lambda ids: [asks(*ids), answers(*ids)])
any_conversation = st.lists(st.lists(any_message, min_size=1, max_size=2) | tool_turn, max_size=20).map(
    lambda parts: [message for part in parts for message in part]
)


@given(any_conversation, st.lists(st.integers(0, 12), min_size=3, max_size=3))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_read_is_what_python_makes_of_all_messages(
    unlimited: PostgresStorage, conversation: list[Fields], counts: list[int]
) -> None:
    """Windows by messages and by turns, and exchanges: of any conversation, the same as from the whole of it."""
    memory = unlimited.conversation("ada", uuid7())
    every = await memory.add_turn(conversation)

    await assert_reads_are_right(memory, every, counts)


@needs_dialogues
@pytest.mark.parametrize("losses", [0, 0.3])
async def test_the_windows_of_real_dialogues_are_those_of_the_whole(losses: float, unlimited: PostgresStorage) -> None:
    """Whole ones, and such of which messages are missing; also with a system message before them."""
    chance = random.Random(f"{losses}")  # noqa: S311
    for dialogue in chance.sample(list(dialogues()), 40):
        messages = [each for each in dialogue["messages"] if chance.random() >= losses]
        system = [says("system", "Be kind.")] if chance.random() < 0.5 else []
        memory = unlimited.conversation("ada", dialogue["id"])
        every = await memory.add_turn(system + messages)

        await assert_reads_are_right(memory, every, chance.sample(range(40), 5))


async def test_more_is_read_where_what_was_read_is_not_enough(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Behind a hundred results without calls there is something to say: it is found, in a few round trips."""
    storage = make_storage(proxy.dsn, max_connections=1, storage_limit=None)
    memory = storage.conversation("ada", "c1")
    every = await memory.add_turn([says("user", "1"), says("assistant", "2"), *[answers("lost")] * 100, says("user")])
    await memory.messages(limit=None)

    before = proxy.round_trips
    found = await memory.messages(limit=2)

    assert found == [every[1], every[-1]]
    assert proxy.round_trips - before <= 4


async def test_a_turn_that_began_before_what_is_read_is_not_taken_for_another(unlimited: PostgresStorage) -> None:
    """Two turns that overlap are one: where the call of the older is not read, the newer is not handed on."""
    memory = unlimited.conversation("ada", "c1")
    lost = [answers("lost")] * 6  # so that the older call stands one row before what is read for a window of 4
    every = await memory.add_turn(
        [says("user"), asks("old"), *[says("user")] * 3, asks("new"), answers("old"), *lost, answers("new")]
    )

    assert await memory.messages(limit=4) == every[2:5] == expected(every, 4)
    assert len(await memory.messages(limit=7)) == 7


async def test_messages_of_one_time_stand_in_their_order(unlimited: PostgresStorage) -> None:
    """Where all times are equal, windows by messages, turns and exchanges follow the order of adding."""
    memory = unlimited.conversation("ada", "c1")
    turn = [says("user"), asks("a"), answers("a"), says("assistant")]
    every: list[Message] = []
    for _ in range(5):
        every += await memory.add_turn({**message, "created_at": LONG_AGO} for message in turn)

    await assert_reads_are_right(memory, every, range(22))


async def test_a_message_that_stands_earlier_is_read_there(unlimited: PostgresStorage) -> None:
    """A system message that is added last with a time before all others is the first of every window."""
    memory = unlimited.conversation("ada", "c1")
    spoken = await memory.add_turn([says("user"), says("assistant"), says("user")])

    system = await memory.add(says("system", created_at=spoken[0].created_at - timedelta(days=1)))

    assert await memory.messages(limit=2) == [system, spoken[2]]
    assert await memory.messages(limit=1) == [system]
    assert await memory.messages(limit=0) == []
    assert await memory.messages(turns=1) == [system, spoken[2]]


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_the_system_message_is_kept(role: str, unlimited: PostgresStorage) -> None:
    """It counts, and comes first; one in the middle is a message as all others."""
    memory = unlimited.conversation("ada", "c1")
    turn = [says("user"), says("assistant")]
    every = await memory.add_turn([says(role, "Be kind."), *turn * 3, says(role, "Be brief."), *turn])

    assert await memory.messages(limit=3) == [every[0], *every[-2:]]
    assert await memory.messages(limit=4) == [every[0], *every[-3:]]
    assert await memory.messages(limit=5) == [every[0], *every[-4:]]
    assert await memory.messages(limit=len(every)) == every
    assert await memory.messages(turns=1) == [every[0], *every[-2:]]
    assert await memory.messages(turns=9) == await memory.messages(limit=None) == every


async def test_what_a_user_says_at_once_is_one_turn(unlimited: PostgresStorage) -> None:
    """A turn begins with the first message of the user's after somebody else spoke, and the one under way counts."""
    memory = unlimited.conversation("ada", "c1")
    every = await memory.add_turn(says({"u": "user", "a": "assistant"}[each], each) for each in "uuauauuaauu")

    assert await memory.messages(turns=1) == every[9:]
    assert await memory.messages(turns=2) == every[5:]
    assert await memory.messages(turns=3) == every[3:]
    assert await memory.messages(turns=4) == await memory.messages(turns=100) == every
    assert await memory.exchanges(1) == [(every[6], every[8])]
    assert await memory.exchanges() == [(every[1], every[2]), (every[3], every[4]), (every[6], every[8])]


@pytest.mark.parametrize("type", ["text", "tool-result"])
async def test_a_tool_result_in_anthropics_form_is_nothing_that_the_user_said(
    type: str, unlimited: PostgresStorage
) -> None:
    """Its role is the user's, and yet the turn goes on; NUL and lone surrogates are in nobody's way."""
    memory = unlimited.conversation("ada", "c1")
    call = {"type": "tool_use", "id": "t1", "name": "search", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "found \x00\ud800"}
    every = await memory.add_turn(
        [
            says("user", "Hello"),
            says("assistant", "Hi"),
            {"role": "user", "content": [{"type": "text", "text": 'What is\x00 "type":"tool_result"?'}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, call]},
            {"role": "user", "content": [result], "type": type},
            says("assistant", "It is a kind of block."),
        ]
    )

    assert await memory.messages(turns=1) == every[2:]
    assert await memory.messages(turns=2) == every
    assert await memory.messages(limit=3) == every[3:]
    assert await memory.messages(limit=2) == every[5:]
    assert await memory.exchanges() == [(every[0], every[1]), (every[2], every[5])]


async def test_a_turn_that_is_being_added_is_never_seen_in_part(make_storage: MakeStorage) -> None:
    """Readers meanwhile see whole turns only, in windows of any length, and so do they after a turn that failed."""
    storage, other = make_storage(storage_limit=None), make_storage(storage_limit=None)
    turn = [says("user"), asks("a", "b"), answers("a"), answers("b"), says("assistant")]
    writing = True
    seen: list[list[Message]] = []

    async def write(user: str) -> None:
        memory = storage.conversation(user, "c1")
        for _ in range(20):
            if user == "ada":
                await memory.add_turn(turn)
            else:
                with pytest.raises(ConversationNotFoundError):
                    await memory.add_turn(turn)

    async def read() -> None:
        while writing:
            seen.append(await other.get_messages("ada", "c1", limit=None))
            window = await other.conversation("ada", "c1").messages(limit=7)
            assert len(window) in (0, 5, 6)
            assert [message.role for message in window[-5:]] in ([], [message["role"] for message in turn])

    await storage.conversation("ada", "c1").add_turn([])
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    reading = [asyncio.create_task(read()) for _ in range(3)]
    await asyncio.gather(write("ada"), write("ada"), write("bob"))
    writing = False
    await asyncio.gather(*reading)

    assert {len(messages) % 5 for messages in seen} == {0}
    every = await storage.get_messages("ada", "c1", limit=None)
    assert [message.role for message in every] == [message["role"] for message in turn] * 40


@pytest.mark.parametrize("on_limit", ["delete", "archive"])
@pytest.mark.parametrize("limit", [0, 1, 3, None])
async def test_the_storage_limit_cuts_no_turn_in_a_window(
    limit: int | None, on_limit: OnLimit, make_storage: MakeStorage
) -> None:
    """What the limit kept is what windows are made of, and it is the default of their length."""
    memory = make_storage(storage_limit=limit, on_limit=on_limit).conversation("ada", "c1")
    every: list[Message] = []
    for turn in ([says("user"), asks("a"), answers("a"), says("assistant")], [asks("b")], [answers("b"), says("user")]):
        every += await memory.add_turn(turn)
        kept = every[len(every) - min(len(every), limit) :] if limit is not None else every

        await assert_reads_are_right(memory, kept, range(6))
        assert await memory.messages() == expected(kept, limit)


async def test_one_verb_is_one_round_trip(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Each method of the handle, the first write included."""
    storage = make_storage(proxy.dsn, max_connections=1)
    turn = [says("user"), asks("a"), answers("a"), says("assistant")]
    verbs: dict[str, Verb] = {
        "add": lambda memory: memory.add(says("system")),
        "add_turn": lambda memory: memory.add_turn(turn * 5),
        "messages": lambda memory: memory.messages(),
        "messages(limit)": lambda memory: memory.messages(limit=3),
        "messages(None)": lambda memory: memory.messages(limit=None),
        "messages(turns)": lambda memory: memory.messages(turns=2),
        "exchanges": lambda memory: memory.exchanges(),
        "exchanges(2)": lambda memory: memory.exchanges(2),
        "title": lambda memory: memory.title("Named"),
        "clear": lambda memory: memory.clear(),
    }
    counted: dict[str, int] = {}
    for conversation in ("c1", "c2"):  # the first time prepares
        for name, verb in verbs.items():
            before = proxy.round_trips
            await verb(storage.conversation("ada", conversation))
            counted[name] = proxy.round_trips - before

    assert counted == dict.fromkeys(verbs, 1)


# --- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    [
        lambda memory: memory.messages(limit=-1),
        lambda memory: memory.messages(limit=True),
        lambda memory: memory.messages(limit="3"),
        lambda memory: memory.messages(limit=2.0),
        lambda memory: memory.messages(limit=2**63),
        lambda memory: memory.messages(turns=-1),
        lambda memory: memory.messages(turns=True),
        lambda memory: memory.messages(turns="1"),
        lambda memory: memory.messages(limit=1, turns=1),
        lambda memory: memory.messages(limit=None, turns=1),
        lambda memory: memory.exchanges(-1),
        lambda memory: memory.exchanges(1.5),
        lambda memory: memory.exchanges(False),
        lambda memory: memory.add({"role": "user"}),
        lambda memory: memory.add("hello"),
        lambda memory: memory.add(None),
        lambda memory: memory.add([says("user")]),
        lambda memory: memory.add_turn(says("user")),
        lambda memory: memory.add_turn("hello"),
        lambda memory: memory.add_turn([says("user"), {"role": "user"}]),
        lambda memory: memory.add_turn(None),
        lambda memory: memory.title(None),
        lambda memory: memory.title("\x00"),
        lambda memory: memory.title(3),
        lambda memory: memory.title("Named", if_unset=1),
        lambda memory: memory.title("Named", if_unset=None),
    ],
)
async def test_a_mistake_is_an_error_before_anything_is_sent(verb: Callable[[Any], Awaitable[object]]) -> None:
    """The storage of this handle is closed: what raises InvalidInputError has not tried to send something."""
    storage = PostgresStorage("postgresql://127.0.0.1:1/nowhere")
    await storage.close()

    with pytest.raises(InvalidInputError):
        await verb(storage.conversation("ada", "c1"))


@pytest.mark.parametrize(
    "arguments",
    [
        (None, "c1"),
        ("", "c1"),
        (ANY_USER, "c1"),
        (1, "c1"),
        ("a\x00", "c1"),
        ("a" * 1001, "c1"),
        ("ada", 1),
        ("ada", ""),
        ("ada", "\ud800"),
        ("ada", "c" * 1001),
    ],
)
def test_a_handle_is_not_made_for_what_cannot_be_stored(arguments: tuple[Any, Any]) -> None:
    """Whose it is and which one is checked where it is said, not at the first message."""
    storage = PostgresStorage("postgresql://127.0.0.1:1/nowhere")
    with pytest.raises(InvalidInputError):
        storage.conversation(*arguments)
    resource: Any = arguments[1] if arguments[0] == "ada" else arguments[0]
    with pytest.raises(InvalidInputError):
        storage.conversation("ada", "c1", resource_id=resource)


def test_limit_and_turns_exclude_each_other() -> None:
    """The error says so."""
    memory = PostgresStorage("postgresql://127.0.0.1:1/nowhere").conversation("ada")
    with pytest.raises(InvalidQueryError, match="one of them"):
        asyncio.run(memory.messages(limit=1, turns=1))


# --- the protocol -------------------------------------------------------------------------------------------------


class Notes:
    """A memory of an application's own, as a test may pass one."""

    def __init__(self) -> None:
        self._kept: list[Message] = []

    async def messages(self, *, limit: int | None = None, turns: int | None = None) -> list[Message]:
        return self._kept if limit is None else self._kept[len(self._kept) - limit :]

    async def add(self, message: Message | Mapping[str, object]) -> Message:
        self._kept.append(Message.of(message))
        return self._kept[-1]

    async def add_turn(self, messages: Any) -> list[Message]:
        return [await self.add(message) for message in messages]

    async def clear(self) -> int:
        count = len(self._kept)
        self._kept.clear()
        return count


async def answer(memory: Memory) -> list[object]:
    """What an agent does with its memory."""
    await memory.add(says("user", "Hello"))
    await memory.add_turn([asks("a"), answers("a")])
    found = await memory.messages(limit=10)
    assert await memory.clear() == 3
    return contents(found)


async def test_an_agent_takes_any_memory(memory: ConversationMemory) -> None:
    """The handle and an application's own are both a Memory, and an agent cannot tell them apart."""
    notes = Notes()
    assert isinstance(memory, Memory)
    assert isinstance(notes, Memory)
    assert not isinstance(object(), Memory)

    assert await answer(memory) == await answer(notes)


# --- plans --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large_schema() -> Iterator[str]:
    """A schema with a conversation of 20,000 messages in 4,000 turns among 20,000 other messages."""
    with migrated_schema() as schema:
        yield schema


@pytest.fixture
async def large(connection: Connection, large_schema: str) -> Connection:
    tables = Tables(large_schema, DEFAULT_TABLE_PREFIX)
    if await connection.fetchval(f"SELECT count(*) FROM {tables.conversations}") == 0:
        await connection.execute(f"""
            INSERT INTO {tables.conversations} (id, user_id, resource_id)
            SELECT 'c' || n, 'u' || n % 100, 'r' FROM generate_series(1, 2000) AS n""")
        await connection.execute(f"""
            INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type, format, created_at)
            SELECT CASE WHEN n <= 20000 THEN 'c1' ELSE 'c' || n % 2000 + 1 END, 'm' || n,
                (ARRAY['user', 'assistant', 'tool', 'assistant', 'assistant'])[n % 5 + 1], 'words',
                (ARRAY['text', 'tool-call', 'tool-result', 'text', 'text'])[n % 5 + 1],
                CASE WHEN n % 5 = 0 THEN 'run' END,
                timestamptz '2024-01-01' + n / 3 * interval '1 second'
            FROM generate_series(1, 40000) AS n""")
        await connection.execute(f"ANALYZE {tables.conversations}")
        await connection.execute(f"ANALYZE {tables.messages}")
    return connection


@pytest.mark.parametrize(
    "query",
    [
        WindowQuery("c1", "u1", limit=28),
        WindowQuery("c1", limit=28),
        WindowQuery("c1", "u1", turns=5),
        WindowQuery("c1", "u1", exchanges=5),
    ],
)
async def test_a_window_reads_no_more_than_it_has(query: WindowQuery, large: Connection, large_schema: str) -> None:
    """Of 20,000 messages the newest are read by their index: no sort, and some tens of rows."""
    shown = await plan(large, *query.sql(Tables(large_schema, DEFAULT_TABLE_PREFIX)))

    assert_walks("messages_in_order", shown)
    scans = [line for line in shown.splitlines() if "_messages" in line and "actual" in line]
    assert scans
    for line in scans:
        assert float(line.partition("rows=")[2].split()[0]) < 60, shown


async def test_the_whole_conversation_is_read_by_its_index(large: Connection, large_schema: str) -> None:
    """Also without a limit, and with more turns than there are: nothing is sorted, in the order of the index."""
    for query in (WindowQuery("c1", "u1"), WindowQuery("c1", "u1", turns=10_000)):
        shown = await plan(large, *query.sql(Tables(large_schema, DEFAULT_TABLE_PREFIX)))
        assert "messages_in_order" in shown, shown


async def test_a_title_is_found_by_its_key(large: Connection, large_schema: str) -> None:
    """One row by the primary key."""
    sql = MemoryStatements(Tables(large_schema, DEFAULT_TABLE_PREFIX)).title

    shown = await plan(large, sql, ["c1", "u1", "r", "Named", True])

    assert "conversations_pkey" in shown
    assert "Seq Scan" not in shown

"""An agent's memory belongs to one user, is created by the first write, and checks its arguments."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar, cast

import pytest

from tests.agents.talk import Fields, Verb, answers, asks, says
from tests.calls import PATIENCE, Rows, wait_until_blocked
from tests.checkout import ROOT
from tests.conftest import Connection, MakeStorage
from voltmem import (
    ANY_USER,
    Conversation,
    ConversationMemory,
    ConversationNotFoundError,
    DatabaseError,
    InvalidInputError,
    InvalidQueryError,
    Memory,
    Message,
    PostgresStorage,
    Summarize,
    Summary,
    UserStorage,
)

MessageT = TypeVar("MessageT", bound=Message)


def contents(messages: Sequence[Message]) -> list[object]:
    return [message.content for message in messages]


@pytest.fixture
def memory(storage: PostgresStorage) -> ConversationMemory:
    """Ada's conversation c1, which does not exist yet."""
    return storage.conversation("ada", "c1", resource_id="docs")


# --- creating --------------------------------------------------------------------------------------------------------


async def test_conversation_does_no_io(storage: PostgresStorage) -> None:
    """conversation() returns a handle and creates no row; reading a missing conversation returns nothing."""
    memory = storage.conversation("ada", "c1", resource_id="docs")

    assert (memory.user_id, memory.conversation_id, memory.resource_id) == ("ada", "c1", "docs")
    assert "'c1' of 'ada'" in repr(memory)
    assert await memory.messages() == await memory.messages(turns=3) == []
    assert await memory.exchanges() == []
    assert await memory.clear() == 0
    assert await memory.add_turn([]) == []
    assert await storage.get_conversation("c1") is None


async def test_memory_add_makes_the_conversation(storage: PostgresStorage, memory: ConversationMemory) -> None:
    """add() of a memory creates the conversation, with the handle's user and resource and no title."""
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


async def test_conversation_without_an_id_is_a_new_one(storage: PostgresStorage) -> None:
    """conversation() without an id gets a UUIDv7, known before anything is written."""
    one, other = storage.conversation("ada"), storage.for_user("ada").conversation()
    assert one.conversation_id != other.conversation_id
    assert one.conversation_id[14] == "7"

    await one.add(says("user"))

    (made,) = await storage.query_conversations()
    assert (made.id, made.resource_id) == (one.conversation_id, "default")


async def test_for_user_gives_the_same_handle(storage: PostgresStorage, memory: ConversationMemory) -> None:
    """for_user() returns an equal handle: what one writes the other reads."""
    mine: UserStorage = storage.for_user("ada")

    stored = await mine.conversation("c1").add(says("user"))
    made = await mine.add_message(says("user"), "c2", resource_id="docs")

    assert await memory.messages() == [stored]
    assert await mine.conversation("c2").messages() == [made]


async def test_concurrent_first_writes_create_one_conversation(make_storage: MakeStorage) -> None:
    """
    Twenty concurrent first writes over two pools create one conversation.

    Each message is stored, each turn in one piece.
    """
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


async def test_of_two_users_who_write_first_one_gets_the_conversation(make_storage: MakeStorage) -> None:
    """Of two users who write first, one gets the conversation; all calls of the other fail, and store nothing."""
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
    """Two processes that write first create one conversation; the messages of each are in the order of writing."""

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
async def test_creating_a_conversation_delays_no_other_conversation(
    ending: str, unlimited: PostgresStorage, connection: Connection
) -> None:
    """While a transaction has created a conversation and is open, batched calls for other conversations complete."""
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
            await wait_until_blocked(connection, tx.connection)
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
    """The statement with a short lock_timeout changes the setting only for itself."""
    async with unlimited.transaction() as tx:
        await tx.connection.execute("SET LOCAL lock_timeout = '7s'")
        sql = f"SELECT * FROM {unlimited._options.tables.add_messages}({', '.join(f'${n}' for n in range(1, 19))})"
        arguments = [["new"], ["ada"], ["docs"], ["1"], ["m1"], ["user"], ["words"], None, ["text"], *[None] * 6]
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
    """Every method of a memory takes part in the transaction of its storage: a rollback removes the conversation."""
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
    """
    add_message() creates a missing conversation only with a resource_id.

    Otherwise, or without a user, it is an error.
    """
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
    """If a message cannot be stored, its conversation is not created."""
    await Rows(connection, schema).fail("23514")

    with pytest.raises(DatabaseError):
        await memory.add_turn([says("user"), says("assistant")])

    assert await storage.get_conversation("c1") is None


# --- the owner -------------------------------------------------------------------------------------------------------


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
    """
    Reading another user's conversation and writing to it is an error, with messages or without, and changes nothing.
    """
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_messages(messages, "ada", "c1")
    before = await Rows(connection, schema).all()

    for user in ("bob", "ADA", "ada "):
        with pytest.raises(ConversationNotFoundError) as missing:
            await verb(storage.conversation(user, "c1"))
        assert missing.value.conversation_id == "c1"

    assert await Rows(connection, schema).all() == before


async def test_memory_clear_leaves_the_conversation(storage: PostgresStorage, memory: ConversationMemory) -> None:
    """clear() of a memory deletes the messages; the title and the conversation stay."""
    await memory.add_turn([says("user"), says("assistant")])
    await memory.title("Named")

    assert await memory.clear() == 2

    assert await memory.messages() == []
    conversation = await storage.get_conversation("c1")
    assert conversation is not None
    assert conversation.title == "Named"


# --- titles ----------------------------------------------------------------------------------------------------------


async def test_memory_title_if_unset_keeps_the_first(make_storage: MakeStorage) -> None:
    """title() of a memory with if_unset keeps the first title of twenty concurrent calls, and returns it to all."""
    pools = [make_storage(), make_storage()]
    for round in range(5):
        memories = [storage.conversation("ada", f"c{round}", resource_id="docs") for storage in pools]

        named = await asyncio.gather(*(memories[n % 2].title(f"title {n}", if_unset=True) for n in range(20)))

        (title,) = {each.title for each in named}
        conversation = await pools[0].get_conversation(f"c{round}")
        assert conversation is not None
        assert (conversation.title, conversation.resource_id) == (title, "docs")


async def test_memory_title_names_what_another_session_is_creating(
    storage: PostgresStorage, memory: ConversationMemory
) -> None:
    """title() of a memory that meets an uncommitted creation waits for it, and gives that conversation the title."""
    async with storage.transaction() as tx:
        created = await tx.create_conversation({"id": "c1", "user_id": "ada", "resource_id": "other"})
        naming = asyncio.create_task(memory.title("Named"))
        await asyncio.sleep(0.1)
        assert not naming.done()

    assert await naming == created.model_copy(update={"title": "Named"})


async def test_memory_title_leaves_the_sidebar_in_its_order(
    storage: PostgresStorage, memory: ConversationMemory
) -> None:
    """title() of a memory is not an activity; without if_unset it replaces the title."""
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


# --- mistakes --------------------------------------------------------------------------------------------------------


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
    """An invalid argument raises InvalidInputError before anything is sent, as a closed storage shows."""
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
def test_conversation_refuses_what_cannot_be_stored(arguments: tuple[Any, Any]) -> None:
    """conversation() checks its user and ids at once, not at the first message."""
    storage = PostgresStorage("postgresql://127.0.0.1:1/nowhere")
    with pytest.raises(InvalidInputError):
        storage.conversation(*arguments)
    resource: Any = arguments[1] if arguments[0] == "ada" else arguments[0]
    with pytest.raises(InvalidInputError):
        storage.conversation("ada", "c1", resource_id=resource)


def test_memory_messages_refuse_limit_and_turns_together() -> None:
    """messages() of a memory takes a limit or turns; both together are an error that says so."""
    memory = PostgresStorage("postgresql://127.0.0.1:1/nowhere").conversation("ada")
    with pytest.raises(InvalidQueryError, match="one of them"):
        asyncio.run(memory.messages(limit=1, turns=1))


# --- the protocol ----------------------------------------------------------------------------------------------------


class Notes:
    """A memory implementation of an application, as a test may pass one."""

    def __init__(self) -> None:
        self._kept: list[Message] = []
        self.conversation_id, self.user_id, self.resource_id = "c1", "ada", "docs"

    async def messages(self, *, limit: int | None = None, turns: int | None = None) -> list[Message]:
        return self._kept if limit is None else self._kept[len(self._kept) - limit :]

    async def add(self, message: Message | Mapping[str, object]) -> Message:
        self._kept.append(Message.of(message))
        return self._kept[-1]

    async def add_turn(self, messages: Any) -> list[Message]:
        return [await self.add(message) for message in messages]

    async def compact(self, summarize: Summarize, *, keep_turns: int = 6) -> Summary | None:
        return None

    async def clear(self) -> int:
        count = len(self._kept)
        self._kept.clear()
        return count

    async def with_files(self, messages: Sequence[MessageT]) -> list[MessageT]:
        return list(messages)

    async def exchanges(self, limit: int | None = None) -> list[tuple[Message, Message]]:
        return []

    async def title(self, title: str, *, if_unset: bool = False) -> Conversation:
        return Conversation(id=self.conversation_id, user_id=self.user_id, title=title)


async def answer(memory: Memory) -> list[object]:
    """Use the memory as an agent does."""
    await memory.add(says("user", "Hello"))
    await memory.add_turn([asks("a"), answers("a")])
    found = await memory.messages(limit=10)
    assert await memory.clear() == 3
    return contents(found)


async def test_an_agent_takes_any_memory(memory: ConversationMemory) -> None:
    """Both the handle and an application's own class satisfy Memory, and an agent works with either."""
    notes = Notes()
    assert isinstance(memory, Memory)
    assert isinstance(notes, Memory)
    assert not isinstance(object(), Memory)

    assert await answer(memory) == await answer(notes)


def public_members(kind: type) -> dict[str, object]:
    return {name: member for name, member in inspect.getmembers_static(kind) if not name.startswith("_")}


def test_memory_declares_all_members_of_the_handle() -> None:
    """Memory has each public method and property of the handle, with the same parameters and result."""
    handle, protocol = public_members(ConversationMemory), public_members(Memory)

    assert protocol.keys() == handle.keys() - {"of"}  # makes a handle
    for name, declared in protocol.items():
        if isinstance(declared, property):
            assert isinstance(handle[name], property), name
            continue
        ours, theirs = (inspect.signature(cast(Any, each), eval_str=False) for each in (handle[name], declared))
        assert [(each.name, each.kind) for each in theirs.parameters.values()] == [
            (each.name, each.kind) for each in ours.parameters.values()
        ], name
        assert theirs.return_annotation == ours.return_annotation, name


def test_memory_declares_what_the_documentation_calls() -> None:
    """Each member of a memory that the documentation and the examples use is declared by Memory."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]
    used = {name for page in pages for name in re.findall(r"\bmemory\.([a-z_]+)", page.read_text(encoding="utf-8"))}
    of_the_handle = used & public_members(ConversationMemory).keys()

    assert {"messages", "exchanges", "add", "add_turn", "title", "conversation_id"} <= of_the_handle
    assert of_the_handle <= public_members(Memory).keys()

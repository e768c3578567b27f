"""Quotas: how many conversations, messages and bytes of files a user may have, whatever the way in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

import httpx2
import pytest

from tests.calls import wait_until_blocked
from tests.conftest import Connection, MakeStorage
from tests.postgres.test_statements import statements
from tests.web.conftest import application
from voltmem import (
    ANY_USER,
    ConversationNotFoundError,
    ImportedConversation,
    ImportedMessage,
    InvalidOptionError,
    Message,
    NativeMessage,
    PostgresStorage,
    QuotaExceededError,
    Quotas,
    Usage,
)
from voltmem._agents.native import NativeMemory
from voltmem._areas.files import CHUNK_BYTES
from voltmem._areas.quotas import QuotaStatements
from voltmem._areas.transfer import columns
from voltmem._areas.transfer.growth import progress

pytestmark = pytest.mark.usefixtures("migrated")

Write = Callable[[PostgresStorage], Awaitable[object]]


def said(number: int | str) -> dict[str, object]:
    return {"id": f"m{number}", "role": "user", "content": "words"}


def imported(id: str, *messages: str) -> list[ImportedConversation]:
    return [
        ImportedConversation(
            id=id, messages=[ImportedMessage(id=each, role="user", content="words") for each in messages]
        )
    ]


async def refused(write: Awaitable[object], quota: str, needed: int, limit: int, user_id: str = "ada") -> None:
    """Check that a write is refused, and that its error says which quota, its value, and what there would be."""
    with pytest.raises(QuotaExceededError) as caught:
        await write
    error = caught.value
    assert (error.quota, error.needed, error.limit, error.user_id) == (quota, needed, limit, user_id)
    assert str(limit) in str(error)
    assert str(needed) in str(error)


# --- every way in -------------------------------------------------------------------------------------------------


async def lines(storage: PostgresStorage, id: str) -> list[str]:
    """Return the export of a user with one conversation of two messages."""
    author = storage.for_user("author")
    await author.create_conversation({"id": id})
    await author.add_messages([said(1), said(2)], id)
    found = [line async for line in author.export_user()]
    await author.delete_user()
    return found


async def import_an_export(storage: PostgresStorage) -> object:
    return await storage.import_user("ada", await lines(storage, "new"))


async def give(storage: PostgresStorage) -> object:
    await storage.create_conversation({"id": "bobs", "user_id": "bob"})
    await storage.add_messages([said(1), said(2)], "bob", "bobs")
    return await storage.update_conversation("bobs", user_id="ada")


MAKES: dict[str, Write] = {
    "create_conversation": lambda s: s.create_conversation({"id": "new", "user_id": "ada"}),
    "ensure_conversation": lambda s: s.ensure_conversation({"id": "new", "user_id": "ada"}),
    "add_message": lambda s: s.add_message(said(1), "ada", "new", resource_id="r"),
    "add_messages": lambda s: s.add_messages([said(1), said(2)], "ada", "new", resource_id="r"),
    "memory.add_turn": lambda s: s.conversation("ada", "new").add_turn([said(1)]),
    "memory.title": lambda s: s.conversation("ada", "new").title("New"),
    "native payload": lambda s: NativeMemory.of(s.conversation("ada", "new")).save_payload({}, "mine"),
    "fork_conversation": lambda s: s.fork_conversation("c1", id="new"),
    "import_conversations": lambda s: s.import_conversations("ada", imported("new", "m1")),
    "import_user": import_an_export,
    "update_conversation": give,
}


@pytest.mark.parametrize("way", MAKES)
async def test_a_conversation_beyond_the_quota_is_refused(way: str, make_storage: MakeStorage) -> None:
    """No verb creates a conversation beyond the quota; nothing of it remains, and one within the quota is created."""
    storage = make_storage(quotas=Quotas(conversations=2))
    for id in ("c1", "c2"):
        await storage.create_conversation({"id": id, "user_id": "ada"})
    await storage.add_message(said(1), "ada", "c1")

    await refused(MAKES[way](storage), "conversations", 3, 2)

    assert await storage.get_usage("ada") == Usage(conversations=2, messages=1, file_bytes=0)
    assert await storage.get_conversation("new") is None
    await storage.delete_conversation("c2")
    if way == "update_conversation":
        await storage.update_conversation("bobs", user_id="ada")
    else:
        await MAKES[way](storage)
    assert (await storage.get_usage("ada")).conversations == 2


ADDS: dict[str, Write] = {
    "add_message": lambda s: s.add_message(said("new"), "ada", "c1"),
    "add_message by trusted code": lambda s: s.add_message(said("new"), ANY_USER, "c1"),
    "add_messages": lambda s: s.add_messages([said(1), said("new")], "ada", "c1"),
    "memory.add": lambda s: s.conversation("ada", "c1").add(said("new")),
    "native message": lambda s: NativeMemory.of(s.conversation("ada", "c1")).add(
        NativeMessage(id="new", role="user", content="words", format="mine", payload={"text": "words"})
    ),
    "fork_conversation": lambda s: s.fork_conversation("c1", id="new"),
    "import_conversations": lambda s: s.import_conversations("ada", imported("new", "m1", "m2")),
    "import_user": import_an_export,
    "update_conversation": give,
}


@pytest.mark.parametrize("way", ADDS)
async def test_a_message_beyond_the_quota_is_refused(way: str, make_storage: MakeStorage) -> None:
    """No verb adds a message beyond the quota; nothing of the call remains, its conversation neither."""
    storage = make_storage(quotas=Quotas(messages=3))
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_messages([said(1), said(2), said(3)], "ada", "c1")
    if way not in ("add_message", "add_messages", "memory.add", "native message", "add_message by trusted code"):
        await storage.delete_messages(["m3"], "ada", "c1")
    before = await storage.get_usage("ada")

    needed = before.messages + (1 if before.messages == 3 else 2)
    await refused(ADDS[way](storage), "messages", needed, 3)

    assert await storage.get_usage("ada") == before
    assert [each.content for each in await storage.get_messages("ada", "c1")] == ["words"] * before.messages


async def test_a_replaced_message_is_none_more(make_storage: MakeStorage) -> None:
    """At the quota a message is replaced, and with a limit that deletes the oldest one is added."""
    storage = make_storage(quotas=Quotas(messages=2), storage_limit=2)
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_messages([said(1), said(2)], "ada", "c1")

    await storage.add_message({**said(2), "content": "grown"}, "ada", "c1")
    await storage.add_message(said(3), "ada", "c1")

    assert [each.content for each in await storage.get_messages("ada", "c1")] == ["grown", "words"]


async def test_get_usage_counts_what_takes_space(make_storage: MakeStorage) -> None:
    """Soft-deleted conversations, archived messages and other branches count; what is deleted for good does not."""
    storage = make_storage(quotas=Quotas(conversations=2, messages=6), storage_limit=2, on_limit="archive")
    mine = storage.for_user("ada")
    for id in ("c1", "c2"):
        await mine.create_conversation({"id": id})
    await mine.add_messages([said(1), said(2), said(3)], "c1")
    await mine.branch_conversation("c1", "m2")
    await mine.add_messages([said(1), said(2), said(3)], "c2")
    await mine.soft_delete_conversation("c2")

    assert await mine.get_usage() == Usage(conversations=2, messages=6, file_bytes=0)
    await refused(mine.add_message(said(4), "c1"), "messages", 7, 6)
    await mine.purge_deleted_conversations()
    await mine.add_message(said(4), "c1")
    await mine.create_conversation({"id": "c3"})
    assert await mine.get_usage() == Usage(conversations=2, messages=4, file_bytes=0)


async def test_a_lowered_quota_deletes_nothing(make_storage: MakeStorage) -> None:
    """Who has more than a lowered quota reads, deletes, changes and lists; only what adds is refused."""
    mine = make_storage().for_user("ada")
    for id in ("c1", "c2", "c3"):
        await mine.create_conversation({"id": id})
        await mine.add_messages([said(1), said(2)], id)
    mine = make_storage(quotas=Quotas(conversations=1, messages=1)).for_user("ada")

    await mine.ensure_conversation({"id": "c1"})
    await mine.conversation("c1").title("Changed")
    await mine.update_conversation("c1", title="Changed")
    await mine.rewind_conversation("c1", "m1")
    with pytest.raises(ConversationNotFoundError):
        await mine.add_message(said(1), "absent")
    await refused(mine.add_message(said(9), "c1"), "messages", 6, 1)
    await refused(mine.create_conversation({}), "conversations", 4, 1)
    assert await mine.delete_conversation("c3")


async def test_an_import_of_several_statements_is_refused_whole(
    make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation that an import stores in several statements is refused as a whole; those before it are stored."""
    monkeypatch.setattr(columns, "_FULL_AT_MESSAGES", 2)
    storage = make_storage(quotas=Quotas(messages=6))
    both = imported("c1", "a", "b", "c") + imported("c2", *map(str, range(5)))

    await refused(storage.import_conversations("ada", both), "messages", 7, 6)

    assert await storage.get_usage("ada") == Usage(conversations=1, messages=3, file_bytes=0)


async def test_an_import_that_grows_a_conversation_is_refused(make_storage: MakeStorage) -> None:
    """Messages that a newer import adds to a conversation count."""
    storage = make_storage(quotas=Quotas(messages=2))

    def export(*messages: str) -> list[ImportedConversation]:
        (made,) = imported("c1", *messages)
        record = progress(messages, messages[-1], datetime(2026, 1, len(messages), tzinfo=UTC))
        return [made.model_copy(update={"payloads": [record]})]

    await storage.import_conversations("ada", export("m1"))
    await refused(storage.import_conversations("ada", export("m1", "m2", "m3")), "messages", 3, 2)
    assert (await storage.get_usage("ada")).messages == 1
    assert (await storage.import_conversations("ada", export("m1", "m2"))).messages == 1


# --- files --------------------------------------------------------------------------------------------------------

LARGE = 3 * CHUNK_BYTES


async def test_a_file_beyond_the_quota_is_refused_and_leaves_nothing(
    make_storage: MakeStorage, connection: Connection
) -> None:
    """An upload is refused at the first chunk beyond the quota, and the chunks before it are deleted."""
    storage = make_storage(quotas=Quotas(file_bytes=LARGE))
    chunks = storage._options.tables.file_chunks
    taken = []

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(9):
            taken.append(number)
            yield bytes([number]) * CHUNK_BYTES

    await refused(storage.put_file("ada", pieces()), "file_bytes", 4 * CHUNK_BYTES, LARGE)
    await refused(storage.put_file("ada", b"x" * (LARGE + 1)), "file_bytes", LARGE + 1, LARGE)

    assert len(taken) == 5  # one is kept back, since the last is sent with the id
    assert await connection.fetchval(f"SELECT count(*) FROM {chunks}") == 0
    assert (await storage.get_usage("ada")).file_bytes == 0
    await storage.put_file("ada", b"x" * LARGE)
    assert await storage.get_usage("ada") == Usage(conversations=0, messages=0, file_bytes=LARGE)
    await refused(storage.put_file("ada", b"y"), "file_bytes", LARGE + 1, LARGE)
    await storage.put_file("bob", b"y")


async def test_a_file_that_is_there_takes_no_room(make_storage: MakeStorage) -> None:
    """The same content again is stored at the quota, and a file of which the size is given is refused unread."""
    storage = make_storage(quotas=Quotas(file_bytes=10))
    stored = await storage.put_file("ada", b"0123456789", size=10)

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    assert await storage.put_file("ada", b"0123456789", size=10) == stored
    await refused(storage.put_file("ada", unread(), size=LARGE), "file_bytes", LARGE + 10, 10)


async def test_files_in_messages_count(make_storage: MakeStorage) -> None:
    """Base64 that files="extract" takes out of messages counts, added or imported; so do files of a gift."""
    storage = make_storage(quotas=Quotas(file_bytes=4000), files="extract")
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    memory = NativeMemory.of(storage.conversation("ada", "c1"))

    def picture(id: str, letter: str) -> NativeMessage:
        return NativeMessage(
            id=id, role="user", content="words", format="mine", payload={"data": letter * 4000}
        )  # 3,000 bytes

    await memory.add(picture("m1", "A"))
    await memory.add(picture("m2", "A"))
    await refused(memory.add(picture("m3", "B")), "file_bytes", 6000, 4000)
    assert (await storage.get_usage("ada")).file_bytes == 3000
    exported = [line async for line in storage.export_user("ada")]
    await storage.put_file("bob", b"b" * 3000)
    await storage.put_file("eve", b"e" * 3000)
    await refused(storage.update_conversation("c1", user_id="bob"), "file_bytes", 6000, 4000, "bob")
    await refused(storage.import_user("eve", exported), "file_bytes", 6000, 4000, "eve")
    assert (await storage.get_usage("ada")).file_bytes == 3000


async def test_two_uploads_share_the_quota(make_storage: MakeStorage) -> None:
    """Of two uploads at once, which fit alone and not together, one is refused before both are stored."""
    storage = make_storage(quotas=Quotas(file_bytes=LARGE))
    half_way = asyncio.Barrier(2)

    async def pieces(number: int) -> AsyncIterator[bytes]:
        yield bytes([number]) * (CHUNK_BYTES + 1)
        await half_way.wait()
        yield bytes([number]) * (CHUNK_BYTES - 1)

    uploads = [storage.put_file("ada", pieces(number)) for number in range(2)]
    found = await asyncio.gather(*uploads, return_exceptions=True)

    assert sorted(type(each).__name__ for each in found) == ["QuotaExceededError", "StoredFile"]
    assert (await storage.get_usage("ada")).file_bytes == 2 * CHUNK_BYTES


# --- at once ------------------------------------------------------------------------------------------------------

AT_ONCE: dict[str, Callable[[PostgresStorage, int], Awaitable[object]]] = {
    "create_conversation": lambda s, n: s.create_conversation({"id": f"new{n}", "user_id": "ada"}),
    "ensure_conversation": lambda s, n: s.ensure_conversation({"id": f"new{n}", "user_id": "ada"}),
    "add_message to new ones": lambda s, n: s.add_message(said(n), "ada", f"new{n}", resource_id="r"),
    "add_message to several": lambda s, n: s.add_message(said(n), "ada", f"c{n % 4}"),
    "add_message to one": lambda s, n: s.add_message(said(n), "ada", "c0"),
    "fork_conversation": lambda s, n: s.fork_conversation("c0", id=f"new{n}"),
    "put_file": lambda s, n: s.put_file("ada", bytes([n]) * 10),
}


@pytest.mark.parametrize("way", AT_ONCE)
async def test_writers_at_the_bound_never_exceed_it(way: str, make_storage: MakeStorage) -> None:
    """Of many writers at once, over two storages, exactly as many succeed as the quota allows."""
    quotas = Quotas(conversations=10, messages=11, file_bytes=60)
    storages = [make_storage(quotas=quotas) for _ in range(2)]
    for number in range(4):
        await storages[0].create_conversation({"id": f"c{number}", "user_id": "ada"})
        await storages[0].add_message(said("first"), "ada", f"c{number}")

    calls = [AT_ONCE[way](storages[number % 2], number) for number in range(20)]
    found = await asyncio.gather(*calls, return_exceptions=True)

    failed = [each for each in found if isinstance(each, BaseException)]
    assert all(isinstance(each, QuotaExceededError) for each in failed), failed
    used = await storages[0].get_usage("ada")
    most = Usage(conversations=10, messages=11, file_bytes=60)
    one_more = {"put_file": "file_bytes", "add_message to one": "messages", "add_message to several": "messages"}
    quota = one_more.get(way, "conversations")
    assert getattr(used, quota) == getattr(most, quota)
    assert len(failed) == 20 - (7 if quota == "messages" else 6)


async def test_a_batch_has_a_result_for_each_of_its_calls(make_storage: MakeStorage) -> None:
    """Calls of users without room fail alone: those of others in the same statement are stored."""
    storage = make_storage(quotas=Quotas(messages=2))
    users = [f"u{number}" for number in range(8)]
    for user in users:
        await storage.create_conversation({"id": f"c-{user}", "user_id": user})
    for user in users[:3]:
        await storage.add_messages([said(1), said(2)], user, f"c-{user}")

    calls = [storage.add_message(said(3), user, f"c-{user}") for user in users]
    found = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(each) for each in found] == [QuotaExceededError] * 3 + [Message] * 5
    assert [each.user_id for each in found if isinstance(each, QuotaExceededError)] == users[:3]


async def test_a_long_transaction_delays_only_its_own_user(make_storage: MakeStorage, connection: Connection) -> None:
    """While a transaction holds a user's lock, calls of others are stored; the user's own wait for it."""
    storage = make_storage(quotas=Quotas(messages=2))
    for user in ("ada", "bob"):
        for number in (1, 2):
            await storage.create_conversation({"id": f"{user}{number}", "user_id": user})

    async with storage.transaction() as together:
        await together.add_messages([said(1), said(2)], "ada", "ada1")
        waiting = asyncio.create_task(storage.add_message(said(3), "ada", "ada2"))
        await storage.add_message(said(1), "bob", "bob1")
        await wait_until_blocked(connection, together.connection)
        assert not waiting.done()
    await refused(waiting, "messages", 3, 2)


async def test_a_refusal_undoes_its_transaction_or_its_savepoint(make_storage: MakeStorage) -> None:
    """In a transaction a refusal undoes all of it; in a transaction within it, only that one."""
    storage = make_storage(quotas=Quotas(messages=1))
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    with pytest.raises(QuotaExceededError):
        async with storage.transaction() as together:
            await together.create_conversation({"id": "c2", "user_id": "ada"})
            await together.add_messages([said(1), said(2)], "ada", "c2")
    async with storage.transaction() as together:
        with pytest.raises(QuotaExceededError):
            async with together.transaction() as within:
                await within.add_messages([said(1), said(2)], "ada", "c1")
        await together.add_message(said(1), "ada", "c1")

    assert await storage.get_usage("ada") == Usage(conversations=1, messages=1, file_bytes=0)


# --- the option ---------------------------------------------------------------------------------------------------


async def test_without_quotas_no_statement_looks_at_them(make_storage: MakeStorage) -> None:
    """The statements of a storage without quotas, and of one whose quotas are all None, have nothing of quotas."""
    tables = make_storage()._options.tables
    plain = list(statements(tables))

    # check() names all functions, and the look before a file is stored is for storages with quotas.
    others = vars(QuotaStatements(tables)).values()
    assert not [text for text in plain if "require_room" in text and "prosrc" not in text and text not in others]
    assert plain == list(statements(replace(tables, quotas=Quotas())))
    looking = list(statements(replace(tables, quotas=Quotas(conversations=1, messages=1, file_bytes=1))))
    assert sum("require_room" in text for text in looking) > 10


@pytest.mark.parametrize("value", [-1, 1.5, True, "5", 2**63])
async def test_a_quota_is_a_whole_number(value: int) -> None:
    """Quotas are whole numbers from 0, or None; the option is a Quotas."""
    with pytest.raises(InvalidOptionError, match="messages"):
        Quotas(messages=value)
    with pytest.raises(InvalidOptionError, match="quotas must be"):
        PostgresStorage(quotas=value)  # type: ignore[arg-type]


async def test_an_upload_beyond_the_quota_is_a_problem(make_storage: MakeStorage) -> None:
    """The web answers 507 with the quota, and a declared size is refused before the body is read."""
    storage = make_storage(quotas=Quotas(conversations=1, messages=1, file_bytes=10))
    transport = httpx2.ASGITransport(application(storage))
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"x" * CHUNK_BYTES

    async with httpx2.AsyncClient(transport=transport, base_url="http://test/api", headers={"X-User": "ada"}) as ada:
        await ada.post("/conversations", json={"id": "c1"})
        answers = [
            await ada.post("/conversations", json={"id": "c2"}),
            await ada.post("/conversations/c1/messages", json={"messages": [said(1), said(2)]}),
            await ada.post("/files", content=b"x" * 11),
            await ada.post("/files", content=body(), headers={"Content-Length": str(2 * CHUNK_BYTES)}),
        ]
        assert [each.status_code for each in answers] == [507] * 4, [each.text for each in answers]
        assert {each.json()["type"] for each in answers} == {"urn:voltmem:quota-exceeded"}
    assert read == []

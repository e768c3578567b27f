"""A file stays while a message refers to it, and is deleted with the last one, whoever deletes that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest

from tests.calls import wait_until_blocked
from tests.conftest import Connection, MakeStorage
from voltmem import ANY_USER, NativeMessage, PostgresStorage, Storage, StoredFile
from voltmem._agents.native import NativeMemory
from voltmem._tables import Tables
from voltmem.models import MessageLike

NOW = timedelta(0)


@pytest.fixture
def tables(storage: PostgresStorage) -> Tables:
    return storage._options.tables


@pytest.fixture
async def file(storage: PostgresStorage) -> StoredFile:
    """A file of ada's, who has two conversations."""
    for id in ("c1", "c2"):
        await storage.create_conversation({"id": id, "user_id": "ada"})
    return await storage.put_file("ada", b"a picture")


def showing(*files: StoredFile, id: str = "m1") -> dict[str, object]:
    """Return a message that shows files."""
    return {"id": id, "role": "user", "content": [{"type": "file", "url": file.url} for file in files]}


async def is_there(storage: Storage, file: StoredFile, user_id: str = "ada") -> bool:
    """Whether the file is stored, also after a sweep of all files to which no message refers."""
    await storage.purge_unused_files(older_than=NOW)
    found = await storage.get_file(user_id, file.id)
    if found is not None:
        assert b"".join([piece async for piece in storage.read_file(user_id, file.id)])
    return found is not None


async def references(connection: Connection, tables: Tables) -> list[tuple[str, str, str, str]]:
    """Return user, conversation, message and file of each reference."""
    rows = await connection.fetch(
        f"SELECT user_id, conversation_id, message_id, file_id FROM {tables.file_references} ORDER BY 1, 2, 3, 4"
    )
    return [tuple(row) for row in rows]


# --- references ---------------------------------------------------------------------------------------------------

SHOWING: dict[str, Callable[[str], MessageLike]] = {
    "a part": lambda url: {"role": "user", "content": [{"type": "file", "url": url}]},
    "text": lambda url: {"role": "user", "content": f"See {url}, please"},
    "JSON": lambda url: {"role": "tool", "content": {"a": [{"b": url}]}, "type": "tool-result"},
    "metadata": lambda url: {"role": "user", "content": "See there", "metadata": {"attachments": [url]}},
    "a form": lambda url: {"role": "user", "parts": [{"type": "file", "mediaType": "image/png", "url": url}]},
    "a payload": lambda url: NativeMessage(role="user", content="", format="mine", payload={"x": [url]}),
}


@pytest.mark.parametrize("showing", SHOWING.values(), ids=SHOWING)
async def test_add_message_refers_to_the_files_in_it(
    storage: PostgresStorage,
    connection: Connection,
    tables: Tables,
    file: StoredFile,
    showing: Callable[[str], MessageLike],
) -> None:
    """A message refers to the files whose addresses are anywhere in it: no sweep deletes them."""
    message = await storage.add_message(showing(file.url), "ada", "c1")

    assert await references(connection, tables) == [("ada", "c1", message.id, file.id)]
    assert await is_there(storage, file)
    assert await storage.delete_messages([message.id], "ada", "c1") == 1
    assert await references(connection, tables) == []
    assert not await is_there(storage, file)


async def test_add_message_refers_only_to_files_of_the_conversations_owner(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """The address of another user's file, or of none, is stored, and refers to nothing."""
    await storage.create_conversation({"id": "b1", "user_id": "bob"})
    missing = StoredFile(id="0" * 64, size=1, created_at=file.created_at)

    await storage.add_message(showing(file, missing), "bob", "b1")
    await storage.add_message(showing(file, missing), ANY_USER, "b1")

    assert await references(connection, tables) == []
    assert (await storage.get_messages("bob", "b1"))[0].content == showing(file, missing)["content"]
    assert not await is_there(storage, file)


async def test_add_message_again_refers_to_a_file_that_was_stored_later(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """A message that was stored before its file refers to it once it is saved again, changed or not."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    late = StoredFile(id=sha256(b"late").hexdigest(), size=4, created_at=datetime.now(UTC))
    await storage.add_message(showing(late), "ada", "c1")
    await storage.put_file("ada", b"late")

    await storage.add_message(showing(late), "ada", "c1")

    assert await references(connection, tables) == [("ada", "c1", "m1", late.id)]
    assert await is_there(storage, late)


async def test_merge_message_metadata_lets_go_of_the_files_that_it_removes(storage: PostgresStorage) -> None:
    """A file that the message no longer refers to is deleted at once; one in its content or payload stays."""
    shown, own, removed, replaced = [await storage.put_file("ada", b"%d" % number) for number in range(4)]
    values: dict[str, object] = {
        **showing(shown),
        "metadata": {"a": [removed.url], "b": {"c": replaced.url, "d": shown.url}},
        "format": "another",
        "payload": {"url": own.url},
    }
    await storage.add_message(NativeMessage.of(values), "ada", "c1", resource_id="r")

    await storage.merge_message_metadata({"a": None, "b": {"c": "another", "d": None}}, "ada", "c1", "m1")

    assert [await is_there(storage, each) for each in (shown, own, removed, replaced)] == [True, True, False, False]


async def test_merge_message_metadata_refers_to_the_files_in_it(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """A file that comes with metadata stays, and the message's other files too."""
    other = await storage.put_file("ada", b"another picture")
    await storage.add_message(showing(other), "ada", "c1")

    await storage.merge_message_metadata({"seen": [file.url]}, "ada", "c1", "m1")
    await storage.merge_message_metadata({"rating": 1}, "ada", "c1", "m1")

    assert [row[3] for row in await references(connection, tables)] == sorted([file.id, other.id])
    assert await is_there(storage, file)


async def test_purge_unused_files_is_never_held_up_by_files_in_use(storage: PostgresStorage, file: StoredFile) -> None:
    """Files that were stored again while in use do not keep put_file() from sweeping the others."""
    tables = storage._options.tables
    contents = [b"%d" % number for number in range(20)]
    used = [await storage.put_file("ada", content) for content in contents]
    await storage.add_message(showing(*used), "ada", "c1")
    for content in contents:
        await storage.put_file("ada", content)
    await storage._executor.execute(
        f"UPDATE {tables.files} SET pending_since = pending_since - interval '2 days' WHERE user_id = 'ada'"
    )

    for number in range(4):
        await storage.put_file("ada", b"new %d" % number)

    assert await storage.get_file("ada", file.id) is None
    assert await is_there(storage, used[0])


async def test_add_messages_that_is_refused_refers_to_nothing(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """A message that is not stored keeps no file."""
    with pytest.raises(LookupError):
        await storage.add_messages([showing(file)], "ada", "missing")

    assert await references(connection, tables) == []


async def test_add_message_that_replaces_another_replaces_its_references(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """A file that the new form of a message does not show is deleted, one that it shows stays."""
    other = await storage.put_file("ada", b"another picture")
    await storage.add_message(showing(file), "ada", "c1")
    await storage.add_message(showing(file, other), "ada", "c1")
    assert [row[3] for row in await references(connection, tables)] == sorted([file.id, other.id])

    await storage.add_message(showing(other), "ada", "c1")
    assert await storage.get_file("ada", file.id) is None
    assert await storage.get_file("ada", other.id) == other

    await storage.add_message({"id": "m1", "role": "user", "content": "no picture"}, "ada", "c1")
    assert await storage.get_file("ada", other.id) is None


@pytest.mark.parametrize("verb", ["delete_messages", "clear_messages", "rewind_conversation"])
async def test_a_message_that_replaces_another_in_a_transaction_keeps_its_file(
    storage: PostgresStorage, file: StoredFile, verb: str
) -> None:
    """An edited question is deleted, and stored under another id, with the same picture: it is there afterwards."""
    await storage.add_messages([{"id": "m0", "role": "user", "content": "Hi"}, showing(file)], "ada", "c1")

    async with storage.transaction() as tx:
        if verb == "delete_messages":
            await tx.delete_messages(["m1"], "ada", "c1")
        elif verb == "clear_messages":
            await tx.clear_messages("ada", "c1")
        else:
            await tx.rewind_conversation("c1", "m0")
        await tx.add_message(showing(file, id="m2"), "ada", "c1")

    assert await is_there(storage, file)
    await storage.delete_messages(["m2"], "ada", "c1")
    assert await storage.get_file("ada", file.id) is None


async def test_fork_conversation_beside_a_deletion_has_its_files_or_no_messages(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """A fork waits for a deletion of messages that is under way, and copies none that are gone with their files."""
    await storage.add_message(showing(file), "ada", "c1")

    async with connection.transaction():
        await connection.execute(f"SELECT FROM {tables.conversations} WHERE id = 'c1' FOR NO KEY UPDATE")
        await connection.execute(f"DELETE FROM {tables.messages} WHERE conversation_id = 'c1'")
        forking = asyncio.create_task(storage.fork_conversation("c1", id="copy"))
        await wait_until_blocked(connection)
    await forking

    assert await storage.get_messages("ada", "copy") == []
    assert await storage.get_file("ada", file.id) is None


async def test_delete_file_leaves_one_that_a_message_refers_to(storage: PostgresStorage, file: StoredFile) -> None:
    """A file in use is not deleted, also if it was uploaded once more."""
    await storage.add_message(showing(file), "ada", "c1")
    await storage.put_file("ada", b"a picture")

    assert not await storage.delete_file("ada", file.id)

    assert await is_there(storage, file)


async def test_put_file_of_a_file_in_use_outlives_its_last_reference(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """A file that was uploaded again waits a day for its message, though the one before it is deleted meanwhile."""
    await storage.add_message(showing(file), "ada", "c1")
    await storage.put_file("ada", b"a picture")

    await storage.delete_conversation("c1")

    assert await storage.get_file("ada", file.id) == file
    await storage.add_message(showing(file), "ada", "c2")
    assert await is_there(storage, file)
    await storage.delete_conversation("c2")
    assert await storage.get_file("ada", file.id) is None


async def test_purge_unused_files_keeps_one_that_is_used_and_was_uploaded_again(
    storage: PostgresStorage, file: StoredFile
) -> None:
    """The sweep takes the mark of a second upload off a file in use, so that it goes with its last message."""
    await storage.add_message(showing(file), "ada", "c1")
    await storage.put_file("ada", b"a picture")

    assert await storage.purge_unused_files(older_than=NOW) == 0

    await storage.delete_conversation("c1")
    assert await storage.get_file("ada", file.id) is None


# --- who deletes the last reference ---------------------------------------------------------------------------------

DELETING: dict[str, Callable[[PostgresStorage], Awaitable[object]]] = {
    "delete_messages": lambda storage: storage.delete_messages(["m1"], "ada", "c1"),
    "clear_messages": lambda storage: storage.clear_messages("ada", "c1"),
    "clear_messages of all": lambda storage: storage.clear_messages("ada"),
    "rewind_conversation": lambda storage: storage.rewind_conversation("c1", "m0"),
    "delete_conversation": lambda storage: storage.delete_conversation("c1"),
    "delete_user": lambda storage: storage.delete_user("ada"),
    "the storage limit": lambda storage: storage.add_messages(
        [{"role": "user", "content": f"{n}"} for n in range(100)], "ada", "c1"
    ),
    "NativeMemory.pop": lambda storage: NativeMemory(storage, "ada", "c1").pop(),
}


@pytest.mark.parametrize("delete", DELETING.values(), ids=DELETING)
async def test_a_file_is_deleted_with_its_last_message(
    storage: PostgresStorage,
    connection: Connection,
    tables: Tables,
    file: StoredFile,
    delete: Callable[[PostgresStorage], Awaitable[object]],
) -> None:
    """Whatever deletes the last message that refers to a file deletes the file with it, and its bytes."""
    await storage.add_message({"id": "m0", "role": "user", "content": "Look:"}, "ada", "c1")
    await storage.add_message(showing(file), "ada", "c1")

    await delete(storage)

    for table in (tables.file_references, tables.files, tables.file_chunks):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_purge_deleted_conversations_deletes_their_files(storage: PostgresStorage, file: StoredFile) -> None:
    """A soft-deleted conversation keeps its files; they are deleted when it is purged."""
    await storage.add_message(showing(file), "ada", "c1")
    await storage.soft_delete_conversation("c1")
    assert await is_there(storage, file)

    await storage.purge_deleted_conversations("ada")

    assert await storage.get_file("ada", file.id) is None


async def test_a_file_is_deleted_with_its_last_message_by_another_program(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """VoltAgent deletes messages and conversations by its own SQL, and the files with them."""
    await storage.add_message(showing(file), "ada", "c1")
    await storage.add_message(showing(file), "ada", "c2")

    await connection.execute(f"DELETE FROM {tables.messages} WHERE conversation_id = 'c1'")
    assert await is_there(storage, file)
    await connection.execute(f"DELETE FROM {tables.conversations} WHERE id = 'c2'")

    assert await storage.get_file("ada", file.id) is None


async def test_a_file_is_used_by_messages_that_are_archived_or_aside(make_storage: MakeStorage) -> None:
    """A message beyond the limit that is archived, or in a branch that is not chosen, keeps its file."""
    storage = make_storage(storage_limit=1, on_limit="archive")
    file, other = [await storage.put_file("ada", content) for content in (b"first", b"second")]
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.create_conversation({"id": "c2", "user_id": "ada"})
    await storage.add_message(showing(file), "ada", "c1")
    await storage.add_message({"role": "assistant", "content": "Nice"}, "ada", "c1")
    await storage.add_message(showing(other), "ada", "c2")
    await storage.branch_conversation("c2", None)
    await storage.add_message({"role": "user", "content": "Nothing"}, "ada", "c2")

    assert await is_there(storage, file)
    assert await is_there(storage, other)


async def test_a_file_is_used_by_every_message_that_shows_it(storage: PostgresStorage, file: StoredFile) -> None:
    """A file of several messages, in one conversation and in two, is deleted with the last of them."""
    await storage.add_messages([showing(file), showing(file, id="m2")], "ada", "c1")
    await storage.add_message(showing(file), "ada", "c2")

    await storage.delete_messages(["m1"], "ada", "c1")
    await storage.delete_conversation("c2")
    assert await is_there(storage, file)
    await storage.delete_messages(["m2"], "ada", "c1")

    assert await storage.get_file("ada", file.id) is None


# --- concurrency ----------------------------------------------------------------------------------------------------


async def test_a_file_is_deleted_if_its_last_two_messages_are_deleted_at_once(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """Of two deletions at the same time, the second waits for the first, and deletes the file."""
    await storage.add_message(showing(file), "ada", "c1")
    await storage.add_message(showing(file), "ada", "c2")

    async with connection.transaction():
        await connection.execute(f"DELETE FROM {tables.conversations} WHERE id = 'c1'")
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as at the commit, of which no test sees the middle
        deleting = asyncio.create_task(storage.delete_conversation("c2"))
        await wait_until_blocked(connection)
    assert await deleting

    assert await storage.get_file("ada", file.id) is None


async def test_a_file_stays_if_a_message_refers_to_it_while_its_last_one_is_deleted(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """A deletion waits for a message that is just being stored, and then leaves its file."""
    await storage.add_message(showing(file), "ada", "c1")

    async with storage.transaction() as transaction:
        await transaction.add_message(showing(file), "ada", "c2")
        deleting = asyncio.create_task(storage.delete_conversation("c1"))
        await wait_until_blocked(connection, transaction.connection)
    assert await deleting

    assert await is_there(storage, file)


async def test_add_message_refers_to_a_file_that_is_deleted_and_stored_again_meanwhile(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """add_message() that waits for a transaction which replaces its file by the same content refers to the new one."""
    async with storage.transaction() as tx:
        await tx.delete_file("ada", file.id)
        await tx.put_file("ada", b"a picture")
        adding = asyncio.create_task(storage.add_message(showing(file), "ada", "c1"))
        await wait_until_blocked(connection, tx.connection)
    await adding

    assert await references(connection, tables) == [("ada", "c1", "m1", file.id)]
    assert not await storage.delete_file("ada", file.id)
    assert await storage.check() == []


async def test_add_message_waits_for_a_deletion_of_its_file(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """A message whose file is being deleted is stored when that is over, and refers to nothing."""
    async with connection.transaction():
        await connection.execute(f"DELETE FROM {tables.files}")
        adding = asyncio.create_task(storage.add_message(showing(file), "ada", "c1"))
        await wait_until_blocked(connection)
    await adding

    assert await references(connection, tables) == []
    assert [message.id for message in await storage.get_messages("ada", "c1")] == ["m1"]


async def test_files_survive_any_mix_of_writers(storage: PostgresStorage, file: StoredFile) -> None:
    """With messages that show a file added and deleted at once, it is there exactly while one of them is."""

    async def work(number: int) -> None:
        for step in range(10):
            id = f"{number}-{step}"
            await storage.add_message(showing(file, id=id), "ada", "c1" if number % 2 else "c2")
            await storage.delete_messages([id], "ada", "c1" if number % 2 else "c2")

    await storage.add_message(showing(file), "ada", "c1")
    await asyncio.gather(*map(work, range(8)))

    assert await is_there(storage, file)
    await storage.clear_messages("ada")
    assert await storage.get_file("ada", file.id) is None


# --- copies ---------------------------------------------------------------------------------------------------------


async def test_fork_conversation_uses_the_files_too(storage: PostgresStorage, file: StoredFile) -> None:
    """A fork refers to the files of its messages: they stay when the original is deleted."""
    await storage.add_message(showing(file), "ada", "c1")
    fork = await storage.fork_conversation("c1")

    await storage.delete_conversation("c1")
    assert await is_there(storage, file)
    await storage.delete_conversation(fork.id)

    assert await storage.get_file("ada", file.id) is None


async def test_update_conversation_copies_its_files_to_the_new_user(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """A conversation that is given away takes its files along; the giver keeps those that others of hers show."""
    only_there = await storage.put_file("ada", b"x" * 300_000)
    await storage.add_message(showing(file, only_there), "ada", "c1")
    await storage.add_message(showing(file), "ada", "c2")

    await storage.update_conversation("c1", user_id="bob")

    assert await is_there(storage, file, "bob")
    assert await is_there(storage, only_there, "bob")
    assert b"".join([piece async for piece in storage.read_file("bob", only_there.id)]) == b"x" * 300_000
    assert await is_there(storage, file)
    assert not await is_there(storage, only_there)
    assert {row[:2] for row in await references(connection, tables)} == {("bob", "c1"), ("ada", "c2")}
    await storage.delete_user("ada")
    assert await is_there(storage, file, "bob")

    await storage.update_conversation("c1", user_id="ada")
    assert await is_there(storage, file)
    assert not await is_there(storage, file, "bob")


async def test_update_conversation_uses_a_file_that_the_new_user_has(
    storage: PostgresStorage, file: StoredFile
) -> None:
    """If the new user has a file with the same content, waiting or in use, that one is used."""
    his = await storage.put_file("bob", b"a picture")
    await storage.add_message(showing(file), "ada", "c1")

    await storage.update_conversation("c1", user_id="bob")

    assert await storage.get_file("bob", file.id) == his
    assert await is_there(storage, his, "bob")
    assert not await is_there(storage, file)


async def test_purge_unused_files_deletes_no_file_if_there_are_no_triggers(
    storage: PostgresStorage, connection: Connection, tables: Tables, file: StoredFile
) -> None:
    """Where no trigger keeps the references, as on Citus, only uploads that were cut off are deleted."""
    for event in ("insert", "update", "delete"):
        await connection.execute(f"DROP TRIGGER {tables.prefix}_files_{event} ON {tables.messages}")
    await storage.add_message(showing(file), "ada", "c1")
    await connection.execute(f"INSERT INTO {tables.files} (user_id, upload, pending_since) VALUES ('ada', 'u', now())")

    assert await storage.purge_unused_files(older_than=NOW) == 1

    assert await storage.get_file("ada", file.id) == file

"""The working memory beside VoltAgent: its text is the truth, and both programs write it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import JsonValue

from tests.calls import with_settings
from tests.node import node_program
from tests.postgres.voltagent.rows import PREFIX
from tests.voltagent import load, upgrade
from voltmem import MemoryConflictError, WorkingMemoryHandle

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage


class VoltAgent:
    """What VoltAgent's setWorkingMemory and others do, in one scope, by the statements of its release 2.1.2."""

    def __init__(self, connection: Connection, schema: str, scope: str) -> None:
        self.connection = connection
        self.key = "c" if scope == "conversation" else "ada"
        self.table = f"{schema}.{PREFIX}_{'conversations' if scope == 'conversation' else 'users'}"

    async def metadata(self) -> dict[str, Any] | None:
        found = await self.connection.fetchval(f"SELECT metadata::text FROM {self.table} WHERE id = $1", self.key)
        return None if found is None else json.loads(found)

    async def get(self) -> str | None:
        return (await self.metadata() or {}).get("workingMemory") or None

    async def put(self, metadata: dict[str, Any]) -> None:
        """Write the whole metadata, as VoltAgent always does."""
        changed = "UPDATE {} SET metadata = $2, updated_at = now() WHERE id = $1"
        if await self.metadata() is None:
            changed = "INSERT INTO {} (id, metadata, created_at, updated_at) VALUES ($1, $2, now(), now())"
        await self.connection.execute(changed.format(self.table), self.key, json.dumps(metadata))

    async def set(self, content: str) -> None:
        await self.put({**(await self.metadata() or {}), "workingMemory": content})


@pytest.fixture(params=["user", "conversation"])
async def scope(request: pytest.FixtureRequest, connection: Connection, schema: str) -> str:
    """Tables of VoltAgent 2.1.2, with a conversation "c" of ada's."""
    await load(connection, "2.1.2", schema)
    return str(request.param)


@pytest.fixture
async def theirs(connection: Connection, schema: str, scope: str, memory: WorkingMemoryHandle) -> VoltAgent:
    return VoltAgent(connection, schema, scope)


@pytest.fixture
async def memory(make_storage: MakeStorage, scope: str) -> WorkingMemoryHandle:
    storage = make_storage()
    await storage.create_conversation({"id": "c", "user_id": "ada", "metadata": {"theme": "dark"}})
    return storage.working_memory("ada", "c" if scope == "conversation" else None, author="planner")


async def history(memory: WorkingMemoryHandle) -> list[tuple[int, str | None, str, str | None]]:
    return [(each.version, each.content, each.change, each.author) for each in await memory.history()]


async def test_voltagent_reads_what_we_write(memory: WorkingMemoryHandle, theirs: VoltAgent) -> None:
    """Each write of ours is in VoltAgent's place, and a deletion removes it there."""
    await memory.set("likes tea")
    assert await theirs.get() == "likes tea"
    await memory.append("likes coffee")
    assert await theirs.get() == "likes tea\n\nlikes coffee"
    await memory.restore(1)
    assert await theirs.get() == "likes tea"
    await memory.delete()
    assert await theirs.get() is None
    assert "workingMemory" not in (await theirs.metadata() or {})


async def test_other_keys_of_the_metadata_stay(
    memory: WorkingMemoryHandle, theirs: VoltAgent, connection: Connection, schema: str
) -> None:
    """Ours changes one key of VoltAgent's metadata, and not the place of the conversation in a sidebar."""
    at = f"SELECT updated_at FROM {schema}.{PREFIX}_conversations WHERE id = 'c'"
    await theirs.put({"agent": {"summary": "of VoltAgent"}, "n": [1, None]})
    before = await connection.fetchval(at)

    await memory.set("likes tea")
    await memory.delete(history=True)
    await memory.set("likes coffee")

    assert await theirs.metadata() == {
        "agent": {"summary": "of VoltAgent"},
        "n": [1, None],
        "workingMemory": "likes coffee",
    }
    assert await connection.fetchval(at) == before


async def test_what_voltagent_writes_is_the_memory(memory: WorkingMemoryHandle, theirs: VoltAgent) -> None:
    """VoltAgent's text is read at once, and becomes a version when it is looked at, once."""
    await memory.set("likes tea")
    await theirs.set("likes coffee")

    found = await memory.get()

    assert found is not None
    assert (found.content, found.version, found.author) == ("likes coffee", 2, "VoltAgent")
    assert await memory.get() == found
    assert await history(memory) == [
        (2, "likes coffee", "edit", "VoltAgent"),
        (1, "likes tea", "set", "planner"),
    ]


async def test_our_writes_go_on_from_voltagents_text(memory: WorkingMemoryHandle, theirs: VoltAgent) -> None:
    """A write of ours notes VoltAgent's text first, and is applied to it."""
    await theirs.set("likes tea")

    stored = await memory.append("likes coffee")

    assert (stored.content, stored.version) == ("likes tea\n\nlikes coffee", 2)
    await theirs.set('{"likes": ["tea"]}')
    assert (await memory.merge({"likes": ["coffee"]}, rules="voltagent")).value == {"likes": ["tea", "coffee"]}
    assert [each.change for each in await memory.history()] == ["unite", "edit", "append", "edit"]


async def test_if_version_notices_an_edit_of_voltagents(memory: WorkingMemoryHandle, theirs: VoltAgent) -> None:
    """A write with if_version is refused if VoltAgent has changed the text since, also if nobody has looked."""
    first = await memory.set("likes tea")
    await theirs.set("likes coffee")

    with pytest.raises(MemoryConflictError) as caught:
        await memory.set("x", if_version=first.version)

    assert caught.value.version == 2
    assert await theirs.get() == "likes coffee"
    await memory.restore(1, if_version=2)
    assert await theirs.get() == "likes tea"


async def test_a_deletion_of_voltagents_is_a_version(memory: WorkingMemoryHandle, theirs: VoltAgent) -> None:
    """What VoltAgent deletes, or sets to "", is gone here, too, and can be restored."""
    for emptied in ({}, {"workingMemory": ""}, {"workingMemory": None}):
        await memory.delete(history=True)
        stored = await memory.set("likes tea")
        await theirs.put(emptied)

        assert await memory.get() is None
        assert (await memory.history())[0].content is None
        assert (await memory.restore(stored.version)).content == await theirs.get() == "likes tea"


async def test_an_old_copy_that_voltagent_writes_back_loses_nothing(
    memory: WorkingMemoryHandle, theirs: VoltAgent
) -> None:
    """If VoltAgent undoes our write with metadata that it read before, ours is in the history."""
    await memory.set("likes tea")
    read = await theirs.metadata()
    await memory.append("likes coffee")
    assert read is not None

    await theirs.put({**read, "agent": {"summary": "newer"}})

    found = await memory.get()
    assert found is not None
    assert found.content == "likes tea"
    assert (await memory.restore(2)).content == "likes tea\n\nlikes coffee"
    assert (await theirs.metadata() or {})["agent"] == {"summary": "newer"}


async def test_a_read_only_session_notes_nothing(
    memory: WorkingMemoryHandle, theirs: VoltAgent, make_storage: MakeStorage, dsn: str
) -> None:
    """In a read-only session VoltAgent's text is read, with the number of the version before."""
    await memory.set("likes tea")
    await theirs.set("likes coffee")
    reading = make_storage(with_settings(dsn, default_transaction_read_only="on"), migrate="off")

    found = await reading.working_memory("ada", memory.conversation_id).get()

    assert found is not None
    assert (found.content, found.version) == ("likes coffee", 1)
    assert len(await reading.working_memory("ada", memory.conversation_id).history()) == 1
    with pytest.raises(MemoryConflictError):
        await memory.set("x", if_version=found.version)


async def test_a_write_waits_for_voltagents_and_follows_it(
    memory: WorkingMemoryHandle, theirs: VoltAgent, connection: Connection
) -> None:
    """A write of ours that meets one of VoltAgent's waits, notes its text, and is applied to it."""
    await memory.set("likes tea")
    async with connection.transaction():
        await theirs.set("likes coffee")
        waiting = asyncio.create_task(memory.append("lives in Oslo"))
        await asyncio.sleep(0.3)
        assert not waiting.done()

    assert (await waiting).content == "likes coffee\n\nlives in Oslo"
    assert await theirs.get() == "likes coffee\n\nlives in Oslo"


async def test_both_at_once_lose_no_version(memory: WorkingMemoryHandle, theirs: VoltAgent) -> None:
    """While both write, every text that VoltAgent has left there, and each of ours, is in the history."""
    written: list[str] = []
    await theirs.set("first")  # VoltAgent fails if somebody creates the row of its user between its two statements

    async def write_theirs() -> None:
        for number in range(15):
            await theirs.set(f"theirs {number}")
            written.append(f"theirs {number}")
            await memory.get()

    async def write_ours() -> None:
        written.extend([(await memory.append(f"ours {number}")).content for number in range(15)])

    await asyncio.gather(write_theirs(), write_ours())

    kept = [each.content for each in await memory.history(limit=None)]
    ours = [each for each in written if "ours" in each]
    assert [each for each in ours if each not in kept] == []
    found = await memory.get()
    assert found is not None
    assert found.content == await theirs.get() == kept[0]


async def test_what_was_stored_before_voltagent_came_is_shown_to_it(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Once a storage was opened beside VoltAgent, it reads the memories from before; its own text stays."""
    storage = make_storage()
    for id in ("c", "d"):
        await storage.create_conversation({"id": id, "user_id": "ada"})
        await storage.working_memory("ada", id).set(f"{id} before", author="planner")
    for user in ("ada", "bob"):
        await storage.working_memory(user).set(f"{user} before")
    await upgrade(connection, schema)
    await connection.execute(f"""
        CREATE TABLE {schema}.{PREFIX}_users (
            id text PRIMARY KEY, metadata jsonb, created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        );
        INSERT INTO {schema}.{PREFIX}_users (id, metadata) VALUES ('bob', '{{"workingMemory": "of VoltAgent"}}');
        UPDATE {schema}.{PREFIX}_conversations SET metadata = '{{"workingMemory": "of VoltAgent"}}' WHERE id = 'd'""")
    assert await storage.get_working_memory(scope="conversation", conversation_id="c") == "c before"

    await make_storage().open()

    assert await VoltAgent(connection, schema, "conversation").get() == "c before"
    assert await VoltAgent(connection, schema, "user").get() == "ada before"
    found = await storage.working_memory("ada", "c").get()
    assert found is not None
    assert (found.version, found.author) == (2, "planner")
    assert await storage.get_working_memory(scope="conversation", conversation_id="d") == "of VoltAgent"
    assert await storage.get_working_memory(scope="user", user_id="bob") == "of VoltAgent"
    assert (await storage.working_memory("bob").restore(1)).content == "bob before"


async def test_without_voltagents_table_of_users_the_text_is_ours(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """In tables of VoltAgent 1.0.0, which has no users, a user's memory is in our table, and none is created."""
    await load(connection, "1.0.0", schema)
    memory = make_storage().working_memory("ada")

    await memory.append("likes tea")

    assert (await memory.append("likes coffee")).content == "likes tea\n\nlikes coffee"
    assert await connection.fetchval(f"SELECT to_regclass('{schema}.{PREFIX}_users')") is None


async def test_the_memory_in_a_database_of_voltagents_is_read(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The working memory that the package itself has stored is read, and a fork of its conversation has it."""
    await load(connection, "2.1.2", schema)
    storage = make_storage()
    id, user = await connection.fetchrow(
        f"SELECT id, user_id FROM {schema}.{PREFIX}_conversations WHERE metadata ? 'workingMemory'"
    ) or ("", "")

    content = await storage.get_working_memory(scope="conversation", user_id=user, conversation_id=id)
    await storage.fork_conversation(id, id="copy")

    assert content
    assert await storage.get_working_memory(scope="conversation", conversation_id="copy") == content


async def test_the_package_and_voltmem_share_a_memory(make_storage: MakeStorage, dsn: str, schema: str) -> None:
    """The real VoltAgent reads what we write, in both scopes, and we read what it writes and deletes."""
    async with node_program("voltagent.cjs", dsn, schema) as voltagent:
        conversation: dict[str, JsonValue] = {
            "id": "c",
            "resourceId": "a",
            "userId": "ada",
            "title": "Of VoltAgent",
            "metadata": {"n": 1},
        }
        await voltagent.call("createConversation", conversation)
        storage = make_storage()
        for scope, memory in (
            ("conversation", storage.working_memory("ada", "c")),
            ("user", storage.working_memory("ada")),
        ):
            of: dict[str, JsonValue] = {"conversationId": "c", "userId": "ada", "scope": scope}
            await voltagent.call("setWorkingMemory", {**of, "content": "likes tea"})
            assert (await memory.append("likes coffee")).content == "likes tea\n\nlikes coffee"
            assert await voltagent.call("getWorkingMemory", of) == "likes tea\n\nlikes coffee"
            await voltagent.call("setWorkingMemory", {**of, "content": ""})
            assert await memory.get() is None
            await memory.restore(2)
            assert await voltagent.call("getWorkingMemory", of) == "likes tea\n\nlikes coffee"
            await voltagent.call("deleteWorkingMemory", of)
            assert await memory.get() is None
            assert [each.change for each in await memory.history()] == ["edit", "restore", "edit", "append", "edit"]
            await memory.set("likes water")
            await memory.delete()
            assert await voltagent.call("getWorkingMemory", of) is None
        found = await voltagent.call("getConversation", "c")
        assert found["metadata"] == {"n": 1}


async def test_an_export_has_what_voltagent_has_changed(
    memory: WorkingMemoryHandle, theirs: VoltAgent, make_storage: MakeStorage, scope: str
) -> None:
    """An export has VoltAgent's text as a version, though nothing is stored, and an import shows it to VoltAgent."""
    storage = make_storage()
    await memory.set("likes tea")
    await theirs.set("likes coffee")
    lines = [each async for each in storage.export_user("ada")]
    kind = "memory" if scope == "conversation" else "user_memory"
    versions = [each for each in map(json.loads, lines) if each["kind"] == kind]

    assert [(each["version"], each["content"]) for each in versions] == [(1, "likes tea"), (2, "likes coffee")]
    await storage.delete_user("ada")
    await storage.import_user("ada", lines)
    assert await theirs.get() == "likes coffee"
    found = await memory.get()
    assert found is not None
    assert found.content == "likes coffee"

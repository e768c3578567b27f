"""Fixtures: storages to export from and to import into."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import JsonValue

from tests.areas.transfer.exported import NOON, OTHER
from tests.conftest import MakeStorage
from tests.values import nested
from voltmem import NativeMessage, PostgresStorage
from voltmem._agents.native import NativeMemory
from voltmem._areas.area import access
from voltmem._areas.items import Put, change_items


@pytest.fixture
def other(make_storage: MakeStorage) -> PostgresStorage:
    """A second storage, with tables of its own, the search on, and a limit below the size of the import."""
    return make_storage(table_prefix=OTHER, search=True, storage_limit=2)


@pytest.fixture
async def filled(storage: PostgresStorage) -> PostgresStorage:
    """A storage with every kind of data of ada, and a little of bob."""
    await storage.put_file("ada", b"a file")
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "One", "metadata": {"n": [1.5]}})
    parts: JsonValue = ["parts", {"b": 1, "a": None}]
    said: list[JsonValue] = ["message", "\ud83d\ude00 \x00", parts, nested([True] * 200)]
    for number, content in enumerate(said):
        message = {"id": f"m{number}", "role": "user", "content": content, "created_at": NOON}
        await storage.add_message(message, "ada", "c1")
    native = NativeMessage(
        role="tool", content="[]", type="tool-result", format="f", payload={"z": "\x00"}, parent_id="m3"
    )
    await storage.add_message(native, "ada", "c1")
    await NativeMemory(storage, "ada", "c1").save_payload({"b": "\ud800", "a": 1}, "a framework", revision="r1")
    await storage.fork_conversation("c1", up_to="m1", id="c2")
    await storage.tag_conversation("c2", ["work", "trip"])
    await storage.pin_conversation("c2")
    await storage.archive_conversation("c2")
    await storage.mark_conversation_read("c2")
    await storage.rename_conversation("c2", "", automatic=True)
    await storage.create_conversation({"id": "c3", "user_id": "ada"})
    for memory in (storage.working_memory("ada", author="planner"), storage.working_memory("ada", "c1")):
        await memory.set({"likes": ["tea \N{HOT BEVERAGE}"]})
        await memory.delete()
        await memory.append("likes coffee", author="ada")
    value: dict[str, JsonValue] = {"likes": ["tea \N{HOT BEVERAGE}"], "n": 1.5, "none": None}
    await change_items(access(storage), "ada", [Put(("a", "b"), "k", value, "likes tea", seconds=10**9)])
    await change_items(access(storage), "bob", [Put(("a", "b"), "k", {"of": "bob"})])
    await storage.soft_delete_conversation("c3")
    tables = storage._options.tables
    async with storage.transaction() as tx:
        await tx.connection.execute(f"UPDATE {tables.conversations} SET summary_id = 's1' WHERE id = 'c1'")
        await tx.connection.execute(
            f"""INSERT INTO {tables.summaries} (conversation_id, id, content, first_at, last_at, hash, usage)
            VALUES ('c1', 's1', 'before noon', $1, $1, 'digest', '{{"tokens": 1}}')""",
            NOON - timedelta(hours=1),
        )
    async with storage.record_run("a1", input="", user_id="ada", conversation_id="c1", id="h1") as run:
        await run.add_step("text", content="a step\ud800")
        async with run.event("outer"), run.event("inner"):
            pass
    await storage.add_history_step("s2", {"type": "tool_call", "arguments": {"q": False}, "more": said[-1]}, "h1", "a2")
    await storage.add_history_entry("h2", {"status": "working", "conversationId": "c2", "output": [0]}, "a1")
    await storage.add_message({"role": "user", "content": "bob was here"}, "bob", "b1", resource_id="docs")
    return storage

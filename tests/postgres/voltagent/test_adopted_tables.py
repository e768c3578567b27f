"""VoltAgent's tables are opened without losing anything, and VoltAgent may continue to write to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.postgres.voltagent.rows import PREFIX, columns, content_of, rows
from tests.voltagent import RELEASES, add_message, create_conversation, load
from voltmem import ANY_USER

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

# Ahead of the clock, by less than a day.
AT = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=12)
WITH_USERS = [release for release in RELEASES if release != "0.1.0"]


@pytest.fixture
async def release(request: pytest.FixtureRequest, connection: Connection, schema: str) -> str:
    """The release whose database the test's schema holds."""
    await load(connection, request.param, schema)
    return str(request.param)


def by_conversation(messages: list[asyncpg.Record]) -> Iterator[tuple[str, list[asyncpg.Record]]]:
    """Return the messages of each conversation, in the order of their numbers: m0, m1, …, m10."""
    ordered = sorted(messages, key=lambda row: (row["conversation_id"], int(row["message_id"][1:])))
    for conversation, group in groupby(ordered, key=lambda row: row["conversation_id"]):
        yield conversation, list(group)


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", WITH_USERS, indirect=True)
async def test_all_that_voltagent_stored_is_read(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Every conversation and message is read with its order, role, content, metadata and times."""
    conversations = await rows(connection, schema, "conversations")
    messages = await rows(connection, schema, "messages")
    storage = make_storage()

    found = await storage.query_conversations(limit=None)

    assert {each.id: each for each in found}.keys() == {row["id"] for row in conversations}
    for row in conversations:
        each = await storage.get_user_conversation(row["id"], row["user_id"])
        assert each is not None
        assert (each.resource_id, each.title) == (row["resource_id"], row["title"])
        assert each.metadata == json.loads(row["metadata"])
        assert (each.created_at, each.updated_at) == (row["created_at"], row["updated_at"])
    owners = {row["id"]: row["user_id"] for row in conversations}
    for conversation, stored in by_conversation(messages):
        read = await storage.get_messages(owners[conversation], conversation, limit=None)
        assert [message.id for message in read] == [row["message_id"] for row in stored]
        for message, row in zip(read, stored, strict=True):
            assert (message.role, message.content) == (row["role"], content_of(row))
            assert message.type == (row.get("type") or "text")
            assert message.metadata == (json.loads(row["metadata"]) if row.get("metadata") else {})
            assert message.created_at == row["created_at"]
    assert sum(len(list(group)) for _, group in by_conversation(messages)) == len(messages)


@pytest.mark.parametrize("release", RELEASES, indirect=True)
async def test_opening_loses_no_row_of_any_table(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """After opening, each of VoltAgent's tables has the same rows, with all their columns."""
    tables = [
        row["name"]
        for row in await connection.fetch(
            "SELECT relname::text AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = $1::text::regnamespace",
            schema,
        )
    ]
    before = {
        table: [dict(row) for row in await connection.fetch(f"SELECT * FROM {schema}.{table}")] for table in tables
    }

    await make_storage().open()

    for table, old in before.items():
        new = [dict(row) for row in await connection.fetch(f"SELECT * FROM {schema}.{table}")]
        moved = {"user_id", "conversation_id"} if release == "0.1.0" else set[str]()
        kept = set(old[0]) - moved if old else set[str]()
        left = [{name: row[name] for name in kept} for row in new]
        assert all({name: row[name] for name in kept} in left for row in old), table
        assert len(new) >= len(old)


@pytest.mark.parametrize("release", RELEASES, indirect=True)
async def test_tables_that_were_adopted_take_new_rows(release: str, make_storage: MakeStorage) -> None:
    """Conversations and messages are added to VoltAgent's tables after the existing ones, as to new tables."""
    storage = make_storage()
    await storage.create_conversation({"id": "new", "user_id": "ada"})
    await storage.add_message({"id": "n1", "role": "user", "content": "hello"}, "user-1", "1_00001")
    await storage.add_message({"id": "m1", "role": "assistant", "content": {"changed": True}}, "user-1", "1_00001")

    read = await storage.get_messages("user-1", "1_00001", limit=None)
    created = await storage.get_conversation("new")

    assert (read[-1].id, read[-1].content) == ("n1", "hello")
    assert (read[1].id, read[1].content) == ("m1", {"changed": True})
    assert created is not None
    assert created.title is None


@pytest.mark.parametrize("release", RELEASES, indirect=True)
async def test_the_limit_holds_in_adopted_tables(release: str, make_storage: MakeStorage) -> None:
    """Of a conversation that VoltAgent wrote, the newest messages are kept, with equal times too."""
    storage = make_storage(storage_limit=4)

    for number in range(2):
        await storage.add_message({"id": f"n{number}", "role": "user", "content": "new"}, ANY_USER, "1_00038")

    ids = [message.id for message in await storage.get_messages(ANY_USER, "1_00038", limit=None)]
    assert len(ids) == 4
    assert ids[2:] == ["n0", "n1"]
    assert int(ids[1][1:]) == int(ids[0][1:]) + 1


# --- VoltAgent keeps writing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", WITH_USERS, indirect=True)
async def test_voltagent_goes_on_writing(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The statements of a VoltAgent application on adopted tables are stored, and read together with voltmem's rows."""
    storage = make_storage()
    await storage.open()
    parts: list[Any] = [{"type": "text", "text": "from VoltAgent"}]

    await create_conversation(connection, schema, "va", "ada", AT)
    await add_message(connection, release, schema, "va", "v1", "ada", parts, AT)
    await storage.add_message({"id": "o1", "role": "user", "content": "[ours]", "created_at": AT}, "ada", "va")
    await add_message(connection, release, schema, "va", "v2", "ada", parts, AT)
    await add_message(connection, release, schema, "va", "v3", "ada", parts, AT + timedelta(seconds=1))

    conversation = await storage.get_user_conversation("va", "ada")
    messages = await storage.get_messages("ada", "va", types=["text"])
    assert conversation is not None
    assert (conversation.title, conversation.metadata) == ("From VoltAgent", {"from": "VoltAgent"})
    assert [message.id for message in messages] == ["v1", "o1", "v2", "v3"]
    assert [message.content for message in messages] == [parts, "[ours]", parts, parts]


@pytest.mark.parametrize("release", ["1.0.0", "2.1.2"], indirect=True)
async def test_a_message_without_parts_is_empty(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """A UIMessage that VoltAgent stored without parts is read as one without parts."""
    storage = make_storage()
    await create_conversation(connection, schema, "va", "ada", AT)
    await add_message(connection, release, schema, "va", "v1", "ada", None, AT)
    await connection.execute(f"UPDATE {schema}.{PREFIX}_messages SET parts = NULL WHERE conversation_id = 'va'")

    (message,) = await storage.get_messages("ada", "va")

    assert (message.content, message.type) == ([], "text")


@pytest.mark.parametrize("release", ["2.1.2"], indirect=True)
async def test_the_last_writer_of_a_message_is_read(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The last writer of a message is read: VoltAgent's version of voltmem's message, and the reverse."""
    storage = make_storage()
    await storage.create_conversation({"id": "c", "user_id": "ada"})
    await storage.add_message({"id": "m", "role": "user", "content": "ours"}, "ada", "c")

    await add_message(connection, release, schema, "c", "m", "ada", ["theirs"], AT)
    (theirs,) = await storage.get_messages("ada", "c")
    await storage.add_message({"id": "m", "role": "user", "content": "ours again"}, "ada", "c")
    (ours,) = await storage.get_messages("ada", "c")

    assert (theirs.content, ours.content) == (["theirs"], "ours again")


@pytest.mark.parametrize("release", ["1.0.0", "2.1.2"], indirect=True)
async def test_voltagent_reads_our_messages_as_their_users(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """
    If VoltAgent stores a user in each message, voltmem's messages have their conversation's, also in one transaction.
    """
    storage = make_storage()
    async with storage.transaction() as transaction:
        for user in ("ada", "bob"):
            await transaction.create_conversation({"id": user, "user_id": user})
            await transaction.add_message({"role": "user", "content": "hello"}, user, user)

    read = f"SELECT content FROM {schema}.{PREFIX}_messages WHERE conversation_id = $1 AND user_id = $1"
    for user in ("ada", "bob"):
        assert await connection.fetchval(read, user) == "hello"


async def test_adopted_tables_are_not_taken_for_old_ones_by_voltagent(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Tables without a user_id in messages get none, since VoltAgent 0.1 would rebuild them."""
    await load(connection, "0.1.7", schema)

    await make_storage().open()

    names = {row["column_name"] for row in await columns(connection, schema) if row["table_name"].endswith("messages")}
    assert "user_id" not in names


@pytest.mark.parametrize("release", ["0.1.0", "0.1.7", "1.0.0"], indirect=True)
async def test_voltagent_goes_on_recording_runs(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The statements of addHistoryEntry, addHistoryStep and addTimelineEvent are stored, and read in their order."""
    storage = make_storage()
    await storage.open()
    history = f"{schema}.{PREFIX}_agent_history"

    await connection.execute(
        f"INSERT INTO {history} (id, agent_id, timestamp, status, input, output, usage, metadata) "
        "VALUES ('h', 'agent-9', $1, 'working', '\"asked\"', NULL, NULL, '{\"n\": 1}')",
        AT,
    )
    for number in (2, 1):  # VoltAgent's steps have no time, and a later key may sort first
        await connection.execute(
            f"INSERT INTO {history}_steps (key, value, history_id, agent_id) VALUES ($1, $2, 'h', 'agent-9') "
            "ON CONFLICT (key) DO UPDATE SET value = $2, history_id = 'h', agent_id = 'agent-9'",
            f"step-{number}",
            json.dumps({"id": f"step-{number}", "type": "tool_call", "name": "search", "arguments": {"n": number}}),
        )
    for number in (2, 1):
        await connection.execute(
            f"INSERT INTO {history}_timeline_events (id, history_id, agent_id, event_type, event_name, start_time, "
            "end_time, status, status_message, level, version, parent_event_id, tags, input, output, error, metadata) "
            "VALUES ($1, 'h', 'agent-9', 'tool', 'tool:start', $2, NULL, 'running', NULL, 'INFO', NULL, NULL, "
            "'[\"a\"]', '{\"q\": 1}', NULL, NULL, NULL)",
            f"event-{number}",
            AT,
        )

    entry = await storage.get_history_entry("h")
    assert entry is not None
    assert (entry.agent_id, entry.status, entry.input, entry.metadata) == ("agent-9", "working", "asked", {"n": 1})
    assert [(step.id, step.arguments) for step in entry.steps] == [("step-2", {"n": 2}), ("step-1", {"n": 1})]
    assert [(event.id, event.tags, event.input) for event in entry.events] == [
        ("event-2", ["a"], {"q": 1}),
        ("event-1", ["a"], {"q": 1}),
    ]


# VoltAgent 1's changes to tables of 0.1 (addUIMessageColumnsToMessagesTable, migrateDefaultUserIds).
UPGRADE_BY_VOLTAGENT_1 = """
    ALTER TABLE {messages} ADD COLUMN IF NOT EXISTS parts jsonb;
    ALTER TABLE {messages} ADD COLUMN IF NOT EXISTS metadata jsonb;
    ALTER TABLE {messages} ADD COLUMN IF NOT EXISTS format_version integer DEFAULT 2;
    ALTER TABLE {messages} ADD COLUMN user_id text NOT NULL DEFAULT 'default';
    ALTER TABLE {messages} ALTER COLUMN content DROP NOT NULL;
    ALTER TABLE {messages} ALTER COLUMN type DROP NOT NULL;
    UPDATE {messages} AS m SET user_id = c.user_id FROM {conversations} AS c
        WHERE m.conversation_id = c.id AND m.user_id = 'default'"""


@pytest.mark.parametrize("first", ["VoltAgent", "voltmem"])
async def test_tables_that_voltagent_1_upgraded_are_read_and_written(
    make_storage: MakeStorage, connection: Connection, schema: str, first: str
) -> None:
    """
    Tables of 0.1 that VoltAgent 1 has upgraded are read and written, whether it upgraded before or after the adoption.
    """
    await load(connection, "0.1.7", schema)
    upgrade = UPGRADE_BY_VOLTAGENT_1.format(
        messages=f"{schema}.{PREFIX}_messages", conversations=f"{schema}.{PREFIX}_conversations"
    )
    storage = make_storage()
    if first == "voltmem":
        await storage.open()
    before = await rows(connection, schema, "messages")
    await connection.execute(upgrade)

    await add_message(connection, "1.0.0", schema, "1_00001", "v1", "user-1", ["theirs"], AT)
    await storage.add_message({"id": "o1", "role": "user", "content": "ours", "created_at": AT}, "user-1", "1_00001")

    read = await storage.get_messages("user-1", "1_00001")
    stored = dict(by_conversation(before))["1_00001"]
    assert [message.content for message in read] == [*map(content_of, stored), ["theirs"], "ours"]

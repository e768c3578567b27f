"""People come with tables that VoltAgent made: they open, nothing is lost, and VoltAgent may go on writing to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from pydantic import JsonValue

from tests.voltagent import RELEASES, add_message, create_conversation, load, needs_fixtures
from voltmem import ANY_USER, InvalidInputError, MigrationError, PostgresStorage, SchemaError, SplitConversation
from voltmem._postgres.schema import script
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

pytestmark = needs_fixtures

AT = datetime(2030, 1, 1, tzinfo=UTC)
PREFIX = "voltagent_memory"
WITH_USERS = [release for release in RELEASES if release != "0.1.0"]


@pytest.fixture
async def release(request: pytest.FixtureRequest, connection: Connection, schema: str) -> str:
    """The test's schema holds the database of this release."""
    await load(connection, request.param, schema)
    return str(request.param)


async def rows(connection: Connection, schema: str, table: str) -> list[asyncpg.Record]:
    return await connection.fetch(f"SELECT * FROM {schema}.{PREFIX}_{table} ORDER BY 1, 2, 3")


async def columns(connection: Connection, schema: str) -> list[asyncpg.Record]:
    return await connection.fetch(
        "SELECT table_name::text, ordinal_position, column_name::text, data_type::text, is_nullable::text "
        "FROM information_schema.columns WHERE table_schema = $1 AND table_name IN ($2, $3) ORDER BY 1, 2",
        schema,
        f"{PREFIX}_conversations",
        f"{PREFIX}_messages",
    )


def content_of(row: asyncpg.Record) -> JsonValue:
    """What VoltAgent was given."""
    if row.get("parts") is not None:
        return json.loads(row["parts"])  # type: ignore[no-any-return]
    tool = row["type"] in ("tool-call", "tool-result")
    return json.loads(row["content"]) if tool else row["content"]  # type: ignore[no-any-return]


def by_conversation(messages: list[asyncpg.Record]) -> Iterator[tuple[str, list[asyncpg.Record]]]:
    """The messages of each conversation, in the order of their numbers: m0, m1, …, m10."""
    ordered = sorted(messages, key=lambda row: (row["conversation_id"], int(row["message_id"][1:])))
    for conversation, group in groupby(ordered, key=lambda row: row["conversation_id"]):
        yield conversation, list(group)


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", WITH_USERS, indirect=True)
async def test_all_that_voltagent_stored_is_read(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Every conversation and message comes back with its order, role, content, metadata and times."""
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
    """After opening each of VoltAgent's tables has the rows that it had, with all their columns."""
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
    """Conversations and messages are added to VoltAgent's tables as to our own, after what is there."""
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
    """Of a conversation that VoltAgent wrote the newest messages are kept, ties in time included."""
    storage = make_storage(storage_limit=4)

    for number in range(2):
        await storage.add_message({"id": f"n{number}", "role": "user", "content": "new"}, ANY_USER, "1_00038")

    ids = [message.id for message in await storage.get_messages(ANY_USER, "1_00038", limit=None)]
    assert len(ids) == 4
    assert ids[2:] == ["n0", "n1"]
    assert int(ids[1][1:]) == int(ids[0][1:]) + 1


# --- VoltAgent goes on --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", WITH_USERS, indirect=True)
async def test_voltagent_goes_on_writing(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """What a VoltAgent application sends to tables that were adopted is stored, and we read it, between our own."""
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
    """A UIMessage that VoltAgent stored without parts is read as it reads it: with none."""
    storage = make_storage()
    await create_conversation(connection, schema, "va", "ada", AT)
    await add_message(connection, release, schema, "va", "v1", "ada", None, AT)
    await connection.execute(f"UPDATE {schema}.{PREFIX}_messages SET parts = NULL WHERE conversation_id = 'va'")

    (message,) = await storage.get_messages("ada", "va")

    assert (message.content, message.type) == ([], "text")


@pytest.mark.parametrize("release", ["2.1.2"], indirect=True)
async def test_whoever_replaces_a_message_last_is_read(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """VoltAgent's version of a message of ours is read, and our version of one of VoltAgent's."""
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
    """Where VoltAgent keeps a user beside each message, ours have their conversation's, also in one transaction."""
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
    """VoltAgent 0.1 rebuilds tables in which messages have a user_id: tables that have none get none."""
    await load(connection, "0.1.7", schema)

    await make_storage().open()

    names = {row["column_name"] for row in await columns(connection, schema) if row["table_name"].endswith("messages")}
    assert "user_id" not in names


@pytest.mark.parametrize("release", ["0.1.0", "0.1.7", "1.0.0"], indirect=True)
async def test_voltagent_goes_on_recording_runs(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """What addHistoryEntry, addHistoryStep and addTimelineEvent send is stored, and read in its order."""
    storage = make_storage()
    await storage.open()
    history = f"{schema}.{PREFIX}_agent_history"

    await connection.execute(
        f"INSERT INTO {history} (id, agent_id, timestamp, status, input, output, usage, metadata) "
        "VALUES ('h', 'agent-9', $1, 'working', '\"asked\"', NULL, NULL, '{\"n\": 1}')",
        AT,
    )
    for number in (2, 1):  # a step of VoltAgent's has no time; a later key may be less
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


# What VoltAgent 1 does when it meets tables of 0.1 (addUIMessageColumnsToMessagesTable, migrateDefaultUserIds).
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
    """Between the releases lie tables of 0.1 that 1.x has added to, before we adopt them or after."""
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


# --- the old schema -----------------------------------------------------------------------------------------------


@pytest.fixture
async def old(connection: Connection, schema: str) -> str:
    """The test's schema holds the database of 0.1.0."""
    await load(connection, "0.1.0", schema)
    return schema


async def test_the_old_schema_becomes_user_centric(old: str, make_storage: MakeStorage, connection: Connection) -> None:
    """Every conversation gets the user who wrote first in it, those without messages "default"; no word is lost."""
    before = await rows(connection, old, "messages")
    storage = make_storage()

    result = await storage.migrate_conversation_schema()

    assert (result.success, result.error, result.backup_created) == (True, None, True)
    assert result.migrated_count == 43
    assert [(each.conversation_id, each.user_id, each.message_count) for each in result.split_conversations] == [
        ("1_00000", "user-other", 1),
        ("1_00005", "user-other", sum(row["user_id"] == "user-other" for row in before) - 1),
    ]
    empty = await storage.get_conversation("empty")
    assert empty is not None
    assert empty.user_id == "default"
    for row in before:
        split = [
            each.id
            for each in result.split_conversations
            if (each.conversation_id, each.user_id) == (row["conversation_id"], row["user_id"])
        ]
        conversation = split[0] if split else row["conversation_id"]
        found = await storage.get_messages(row["user_id"], conversation, limit=None)
        assert (row["message_id"], row["role"], content_of(row), row["type"], row["created_at"]) in [
            (message.id, message.role, message.content, message.type, message.created_at) for message in found
        ]
    assert await connection.fetchval(f"SELECT count(*) FROM {old}.{PREFIX}_messages") == len(before)


async def test_nobody_sees_anothers_words(old: str, make_storage: MakeStorage, connection: Connection) -> None:
    """After the migration each user reads exactly what they wrote or were answered, and nothing in another's name."""
    before = await rows(connection, old, "messages")
    storage = make_storage()

    for user in {row["user_id"] for row in before}:
        texts = []
        for conversation in await storage.query_conversations(user_id=user, limit=None):
            messages = await storage.get_messages(user, conversation.id, limit=None)
            texts += [(message.id, message.created_at) for message in messages]
        theirs = [(row["message_id"], row["created_at"]) for row in before if row["user_id"] == user]
        assert sorted(texts) == sorted(theirs)


async def test_a_split_conversation_shows_nothing_of_the_first_writers(old: str, make_storage: MakeStorage) -> None:
    """Title and metadata stay with the first writer; the others' part has the agent and the times of their messages."""
    storage = make_storage()
    result = await storage.migrate_conversation_schema()

    for split in result.split_conversations:
        conversation = await storage.get_user_conversation(split.id, split.user_id)
        original = await storage.get_conversation(split.conversation_id)
        messages = await storage.get_messages(split.user_id, split.id)
        assert conversation is not None
        assert original is not None
        assert (conversation.title, conversation.metadata) == (None, {})
        assert conversation.resource_id == original.resource_id
        assert (conversation.created_at, conversation.updated_at) == (messages[0].created_at, messages[-1].created_at)
        assert split.id.startswith(f"{split.conversation_id}:")


async def test_a_second_run_finds_nothing_to_do(old: str, make_storage: MakeStorage, connection: Connection) -> None:
    """The second time nothing is migrated, nothing is backed up, and no row changes."""
    storage = make_storage()
    await storage.migrate_conversation_schema(create_backup=False)
    before = await rows(connection, old, "messages")

    result = await storage.migrate_conversation_schema()

    assert (result.success, result.migrated_count, result.backup_created) == (True, 0, False)
    assert await rows(connection, old, "messages") == before


async def test_the_printed_script_does_the_same(old: str, make_storage: MakeStorage, connection: Connection) -> None:
    """What ``python -m voltmem sql`` prints brings old tables to the rows, and the backup, that opening does."""
    before = await rows(connection, old, "messages")
    await make_storage().open()
    tables = ("conversations", "messages", "conversations_backup", "messages_backup")
    opened = [await rows(connection, old, table) for table in tables]
    await connection.execute(f"DROP SCHEMA {old} CASCADE")
    await load(connection, "0.1.0", old)

    await connection.execute(script(Tables(old, PREFIX)))

    scripted = [await rows(connection, old, table) for table in tables]
    assert scripted[3] == before
    for ours, theirs in zip(scripted, opened, strict=True):
        # What was there counts as read, as of the upgrade: at another time each.
        assert [{**row, "read_at": None} for row in ours] == [{**row, "read_at": None} for row in theirs]
        assert [row.get("read_at") is None for row in ours] == [row.get("read_at") is None for row in theirs]
    await make_storage(migrate="check").open()


async def test_opening_migrates_once_and_keeps_a_backup(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """With migrate="auto" the first use does it, with a backup, and the ledger says so."""
    before = await rows(connection, old, "messages")

    await make_storage().open()

    assert await rows(connection, old, "messages_backup") == before
    names = [row["name"] for row in await rows(connection, old, "migrations")]
    assert "conversation_schema" in names
    assert await make_storage().upgrade_schema() == []


@pytest.mark.parametrize("opened", [False, True], ids=["at once", "after all migrations and new messages"])
async def test_restoring_brings_back_exactly_what_was_there(
    old: str, make_storage: MakeStorage, connection: Connection, opened: bool
) -> None:
    """Columns, their order, keys and rows are those of before, also after the migration was recorded as done."""
    tables = ("conversations", "messages")
    before = [*[await rows(connection, old, table) for table in tables], await columns(connection, old)]
    keys = f"""
        SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid IN ('{old}.{PREFIX}_messages'::regclass, '{old}.{PREFIX}_conversations'::regclass)
            AND contype <> 'n'
        ORDER BY 1"""
    indexes = f"SELECT indexdef FROM pg_indexes WHERE schemaname = '{old}' AND tablename LIKE $1 ORDER BY 1"
    constraints, conversations, messages = (
        await connection.fetch(keys),
        await connection.fetch(indexes, f"{PREFIX}_conversations"),
        await connection.fetch(indexes, f"{PREFIX}_messages"),
    )
    storage = make_storage()
    if opened:
        await storage.add_message({"role": "user", "content": "since"}, "user-1", "1_00001")
    else:
        await storage.migrate_conversation_schema()

    result = await storage.migrate_conversation_schema(restore_from_backup=True)

    assert (result.success, result.error) == (True, None)
    assert [*[await rows(connection, old, table) for table in tables], await columns(connection, old)] == before
    assert await connection.fetch(keys) == constraints
    assert await connection.fetch(indexes, f"{PREFIX}_conversations") == conversations
    assert await connection.fetch(indexes, f"{PREFIX}_messages") == messages
    again = make_storage()
    assert len(await again.query_conversations(limit=None)) == 43


async def test_restoring_keeps_the_rights_on_the_tables(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """Whoever may read the tables before may read them after migrating and restoring."""
    await connection.execute(f"GRANT SELECT ON {old}.{PREFIX}_messages TO PUBLIC")
    rights = f"SELECT relacl::text FROM pg_class WHERE oid = '{old}.{PREFIX}_messages'::regclass"
    before = await connection.fetchval(rights)
    storage = make_storage()
    await storage.migrate_conversation_schema()
    between = await connection.fetchval(rights)

    await storage.migrate_conversation_schema(restore_from_backup=True)

    assert before == between
    assert "=r/" in await connection.fetchval(rights)


async def test_a_backup_can_be_left_out_or_dropped(old: str, make_storage: MakeStorage, connection: Connection) -> None:
    """With delete_backup_after_success no backup remains, and there is nothing to restore."""
    storage = make_storage()

    result = await storage.migrateConversationSchema(createBackup=True, deleteBackupAfterSuccess=True)
    restored = await storage.migrateConversationSchema(restoreFromBackup=True)

    assert (result.success, result.backupCreated, result.migratedCount) == (True, True, 43)
    assert await connection.fetchval(f"SELECT to_regclass('{old}.{PREFIX}_messages_backup')") is None
    assert not restored.success
    assert isinstance(restored.error, MigrationError)


async def test_a_user_who_is_deleted_is_in_no_backup(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """Of a conversation of several, the others' messages stay in it, and a title that was the user's does not."""
    storage = make_storage()
    await storage.open()
    conversations, messages = (f"{old}.{PREFIX}_{table}_backup" for table in ("conversations", "messages"))
    user = await connection.fetchval(f"""
        SELECT (array_agg(user_id ORDER BY created_at, user_id))[1] FROM {messages}
        GROUP BY conversation_id HAVING count(DISTINCT user_id) > 1 LIMIT 1""")
    of_others = f"SELECT * FROM {messages} WHERE user_id <> $1 ORDER BY conversation_id, message_id"
    without = f"""
        SELECT * FROM {conversations} AS c
        WHERE NOT EXISTS (SELECT FROM {messages} AS m WHERE m.conversation_id = c.id AND m.user_id = $1)"""
    said, others = await connection.fetch(of_others, user), await connection.fetch(without, user)

    await storage.delete_user(user)

    assert await connection.fetch(of_others, user) == said
    assert await connection.fetchval(f"SELECT count(*) FROM {messages}") == len(said)
    shared = [row for row in await connection.fetch(without, user) if row not in others]
    assert {(row["title"], row["metadata"]) for row in shared} == {("", "{}")}
    assert await connection.fetchval(f"SELECT count(*) FROM {conversations}") == len(others) + len(shared)
    assert (await storage.migrate_conversation_schema(restore_from_backup=True)).success


async def test_a_backup_is_never_overwritten(old: str, make_storage: MakeStorage, connection: Connection) -> None:
    """A backup that is there is an error that names the ways out, and nothing is changed."""
    await connection.execute(f"CREATE TABLE {old}.{PREFIX}_conversations_backup (id text)")
    before = await rows(connection, old, "messages")
    storage = make_storage()

    result = await storage.migrate_conversation_schema()

    assert not result.success
    assert "restore_from_backup" in str(result.error)
    assert await rows(connection, old, "messages") == before
    assert (await storage.migrate_conversation_schema(create_backup=False)).success


async def test_conversations_that_only_their_messages_know_are_made(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """Messages whose conversation is missing get one, and the key that keeps the two together."""
    await connection.execute(f"""
        ALTER TABLE {old}.{PREFIX}_messages DROP CONSTRAINT {PREFIX}_messages_conversation_id_fkey;
        DELETE FROM {old}.{PREFIX}_conversations WHERE id = '1_00001'""")
    storage = make_storage()

    conversation = await storage.get_user_conversation("1_00001", "user-1")

    assert conversation is not None
    assert (conversation.resource_id, conversation.title) == ("default", None)
    assert len(await storage.get_messages("user-1", "1_00001")) == 14
    assert await storage.delete_conversation("1_00001")
    count = f"SELECT count(*) FROM {old}.{PREFIX}_messages WHERE conversation_id = '1_00001'"
    assert await connection.fetchval(count) == 0


async def test_old_tables_without_a_user_anywhere_become_the_defaults(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """Where neither table knows a user, all conversations are the user "default"'s."""
    await connection.execute(f"""
        DELETE FROM {old}.{PREFIX}_messages WHERE user_id = 'user-other';
        ALTER TABLE {old}.{PREFIX}_messages DROP COLUMN user_id,
            ADD PRIMARY KEY (conversation_id, message_id)""")
    storage = make_storage()

    assert len(await storage.query_conversations(user_id="default", limit=None)) == 41
    result = await storage.migrate_conversation_schema(restore_from_backup=True)

    assert result.success
    assert "user_id" not in {row["column_name"] for row in await columns(connection, old)}
    keys = f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '{old}.{PREFIX}_messages'::regclass"
    assert "PRIMARY KEY (conversation_id, message_id)" in [row[0] for row in await connection.fetch(keys)]


async def test_what_hangs_on_the_tables_stays(old: str, make_storage: MakeStorage, connection: Connection) -> None:
    """Foreign keys, views and rights of the application on the old tables work on the new ones."""
    await connection.execute(f"""
        CREATE TABLE {old}.invoices (conversation_id text REFERENCES {old}.{PREFIX}_conversations (id));
        INSERT INTO {old}.invoices VALUES ('1_00001');
        CREATE VIEW {old}.titles AS SELECT id, title FROM {old}.{PREFIX}_conversations""")

    await make_storage().open()

    await connection.execute(f"INSERT INTO {old}.invoices VALUES ('1_00002')")
    assert await connection.fetchval(f"SELECT count(*) FROM {old}.titles") == 43
    storage = make_storage()
    restored = await storage.migrate_conversation_schema(restore_from_backup=True)
    assert not restored.success
    assert "titles" in str(restored.error) or "depend" in str(restored.error)
    assert len(await storage.query_conversations(limit=None)) == 43


async def test_check_names_the_old_schema(old: str, make_storage: MakeStorage, connection: Connection) -> None:
    """With migrate="check" old tables are an error that says so, and stay as they are."""
    before = await columns(connection, old)

    with pytest.raises(SchemaError, match="conversation_schema"):
        await make_storage(migrate="check").open()

    assert await columns(connection, old) == before


@pytest.mark.parametrize("option", ["create_backup", "restore_from_backup", "delete_backup_after_success"])
async def test_options_that_are_no_flags_are_refused(make_storage: MakeStorage, option: str) -> None:
    """Anything but True and False is an error before anything is looked at."""
    storage: Any = make_storage()

    with pytest.raises(InvalidInputError, match=option):
        await storage.migrate_conversation_schema(**{option: "yes"})


async def test_without_tables_there_is_nothing_to_migrate(make_storage: MakeStorage) -> None:
    """On an empty database, and on one of ours, the migration finds nothing to do."""
    storage = make_storage()

    empty = await storage.migrate_conversation_schema()
    await storage.open()
    ours = await storage.migrate_conversation_schema()

    assert [(each.success, each.migrated_count) for each in (empty, ours)] == [(True, 0), (True, 0)]


async def test_a_derived_id_is_the_same_for_the_same_two(connection: Connection, dsn: str, schema: str) -> None:
    """Two databases with the same rows get the same ids, and no two pairs of conversation and user share one."""
    tables = f"""
        CREATE SCHEMA {schema};
        CREATE TABLE {schema}.{PREFIX}_conversations (
            id text PRIMARY KEY, resource_id text NOT NULL, title text, metadata jsonb,
            created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
        CREATE TABLE {schema}.{PREFIX}_messages (
            user_id text NOT NULL, conversation_id text NOT NULL, message_id text NOT NULL, role text NOT NULL,
            content text NOT NULL, type text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (user_id, conversation_id, message_id));
        INSERT INTO {schema}.{PREFIX}_messages
        SELECT u, c, 'm', 'user', c || u, 'text'
        FROM (VALUES ('a', 'first'), ('a', 'b:c'), ('a:b', 'first'), ('a:b', 'c')) AS v (c, u)"""
    found: list[tuple[SplitConversation, ...]] = []
    for _ in range(2):
        await connection.execute(tables)
        async with PostgresStorage(dsn, schema=schema, migrate="off") as storage:
            found.append((await storage.migrate_conversation_schema()).split_conversations)
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")

    assert found[0] == found[1]
    assert len({each.id for each in found[0]}) == len(found[0]) == 2

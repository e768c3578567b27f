"""VoltAgent 0.1.0's tables become user-centric, with a backup that can be restored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.postgres.voltagent.rows import PREFIX, columns, content_of, rows
from tests.voltagent import load
from voltmem import InvalidInputError, MigrationError, PostgresStorage, SchemaError, SplitConversation
from voltmem._postgres.schema import script
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage


@pytest.fixture
async def old(connection: Connection, schema: str) -> str:
    """The test's schema, with the database of 0.1.0."""
    await load(connection, "0.1.0", schema)
    return schema


async def test_migrate_conversation_schema_makes_old_tables_user_centric(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """
    migrate_conversation_schema() assigns each conversation to the first user who wrote in it, and loses no message.
    """
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


async def test_each_user_reads_only_their_own_messages(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """After the migration each user reads exactly their own messages and the answers to them."""
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
    """
    Title and metadata stay with the first writer.

    The others' parts have the agent and the times of their messages.
    """
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


async def test_migrate_conversation_schema_twice_changes_nothing_more(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """A second migrate_conversation_schema() migrates nothing, makes no backup, and changes no row."""
    storage = make_storage()
    await storage.migrate_conversation_schema(create_backup=False)
    before = await rows(connection, old, "messages")

    result = await storage.migrate_conversation_schema()

    assert (result.success, result.migrated_count, result.backup_created) == (True, 0, False)
    assert await rows(connection, old, "messages") == before


async def test_the_printed_script_does_the_same(old: str, make_storage: MakeStorage, connection: Connection) -> None:
    """The script of ``python -m voltmem sql`` converts old tables to the same rows and the same backup as opening."""
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
        # Existing conversations count as read at the time of the upgrade, which differs.
        assert [{**row, "read_at": None} for row in ours] == [{**row, "read_at": None} for row in theirs]
        assert [row.get("read_at") is None for row in ours] == [row.get("read_at") is None for row in theirs]
    await make_storage(migrate="check").open()


async def test_opening_migrates_once_and_keeps_a_backup(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """With migrate="auto" the first use migrates, with a backup, and records it in the ledger."""
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
    """Restoring brings back the original columns, their order, keys and rows, also after the migration was recorded."""
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
    """Migrating and restoring keep the privileges on the tables."""
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


async def test_a_deleted_user_is_removed_from_the_backup(
    old: str, make_storage: MakeStorage, connection: Connection
) -> None:
    """
    When a user is deleted, the backup keeps the other users' messages of a conversation, but not the user's title.
    """
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
    """An existing backup is an error that names the ways out, and nothing is changed."""
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
    """A conversation is created for messages without one, with the foreign key between the two tables."""
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
    """If neither table has a user, all conversations belong to the user "default"."""
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
    """The application's foreign keys, views and privileges on the old tables work on the new ones."""
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
async def test_migrate_conversation_schema_takes_flags_only(make_storage: MakeStorage, option: str) -> None:
    """migrate_conversation_schema() refuses any flag but True and False before it reads a table."""
    storage: Any = make_storage()

    with pytest.raises(InvalidInputError, match=option):
        await storage.migrate_conversation_schema(**{option: "yes"})


async def test_migrate_conversation_schema_without_tables_does_nothing(make_storage: MakeStorage) -> None:
    """migrate_conversation_schema() does nothing on an empty database, and nothing on voltmem's tables."""
    storage = make_storage()

    empty = await storage.migrate_conversation_schema()
    await storage.open()
    ours = await storage.migrate_conversation_schema()

    assert [(each.success, each.migrated_count) for each in (empty, ours)] == [(True, 0), (True, 0)]


async def test_a_derived_id_is_the_same_for_the_same_two(connection: Connection, dsn: str, schema: str) -> None:
    """Two databases with the same rows get the same ids, and each pair of conversation and user gets its own."""
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

"""
Converting VoltAgent's first tables, and back: the user_id moves from the messages to their conversation.

VoltAgent 0.1.0 and 0.1.1 store a user with each message, and none with the conversation. The tables are changed in
place, so that privileges, views and foreign keys on them stay, in one transaction; the rows never leave the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from textwrap import dedent
from typing import TYPE_CHECKING, Final

import asyncpg

from voltmem._postgres.connection import transaction_on
from voltmem._postgres.driver import DRIVER_ERRORS, is_lost, translation
from voltmem._postgres.migrations.ledger import PATIENCE, retry_while_in_use, schema_lock
from voltmem._postgres.translation import describe
from voltmem._tables import Tables, bare
from voltmem._values import spelled
from voltmem.errors import MigrationError, VoltMemError

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection

NAME: Final = "conversation_schema"
"""Its name in the ledger and in errors. It has no number, because most databases never need it."""

# How many times the exclusive lock is tried before everything is rolled back and retried, and the seconds in between.
_TRIES_FOR_LOCK: Final = 30
_PAUSE_FOR_OTHERS: Final = 0.5


@dataclass(frozen=True)
class SplitConversation:
    """A new conversation with the messages of another user than the first writer of a conversation."""

    id: str
    """Its id, derived from the two ids that follow: equal rows always give the same id."""
    conversation_id: str
    """The conversation that the messages were in."""
    user_id: str
    """Its owner."""
    message_count: int
    """The number of messages moved."""


@dataclass(frozen=True)
class MigrationResult:
    """Summary of migrate_conversation_schema()."""

    success: bool
    """Whether the tables are converted, or restored. If not, nothing was changed, and error is set."""
    migrated_count: int = 0
    """The number of conversations converted; 0: there was nothing to do."""
    backup_created: bool = False
    """Whether a backup was created, even if delete_backup_after_success dropped it again."""
    error: VoltMemError | None = None
    """The error, if it failed."""
    split_conversations: tuple[SplitConversation, ...] = ()
    """The new conversations of the other users, by conversation and user."""

    migratedCount = spelled[int]("migrated_count")
    backupCreated = spelled[bool]("backup_created")


# What restore() drops: both tables, and all that belongs to conversations, messages or users' data.
_REPLACED: Final = (
    *("file_references", "file_chunks", "files", "payloads", "changed_lines", "conversation_memory", "summaries"),
    *("answer_pieces", "answers", "leases", "user_memory", "user_items", "shares", "embeddings", "messages"),
    "conversations",
)


class ConversationSchemaStatements:
    """The statements for both converting and restoring."""

    def __init__(self, tables: Tables) -> None:
        conversations, messages = tables.conversations, tables.messages
        self.tables = tables
        self.is_old = f"""
            SELECT CASE
                WHEN pg_catalog.to_regclass('{conversations}') IS NULL THEN {_has_user(messages)}
                ELSE NOT {_has_user(conversations)}
            END"""
        self.has_user_with_messages = f"SELECT {_has_user(messages)}"
        self.add_foreign_key = f"""
            ALTER TABLE {messages} ADD CONSTRAINT {bare(messages)}_conversation_id_fkey
                FOREIGN KEY (conversation_id) REFERENCES {conversations} (id) ON DELETE CASCADE"""
        # No other session can use the tables after this. The messages are not rewritten: only the catalog changes.
        self.lock_out = f"LOCK TABLE {conversations}, {messages} IN ACCESS EXCLUSIVE MODE"


class MigrateStatements(ConversationSchemaStatements):
    """The statements that convert the tables, in order."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        conversations, messages = tables.conversations, tables.messages
        name, writers = bare(messages), tables.writers
        self.make_missing_tables = _old_tables(tables)
        # Writers wait from here on, so that no row is missed. Readers are not blocked until the end.
        self.lock = f"LOCK TABLE {conversations}, {messages} IN SHARE ROW EXCLUSIVE MODE"
        self.add_user_to_messages = f"ALTER TABLE {messages} ADD COLUMN user_id text NOT NULL DEFAULT 'default'"
        self.count_messages = f"SELECT pg_catalog.count(*) FROM {messages}"
        # The writers of each conversation. The first one keeps the id; the new ids of the others are hashes of both
        # ids, after the length of the first, so that different pairs never give the same text.
        derived = (
            "conversation_id || ':' || pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to("
            "pg_catalog.char_length(conversation_id) || ':' || conversation_id || user_id, 'UTF8')), 'hex'), 32)"
        )
        self.find_writers = f"""
            CREATE TEMPORARY TABLE {writers} ON COMMIT DROP AS
            SELECT conversation_id, user_id, message_count, first_at, last_at, place > 1 AS moves,
                CASE WHEN place = 1 THEN conversation_id ELSE {derived} END AS new_id
            FROM (
                SELECT conversation_id, user_id, pg_catalog.count(*) AS message_count,
                    pg_catalog.min(created_at) AS first_at, pg_catalog.max(created_at) AS last_at,
                    pg_catalog.row_number() OVER (
                        PARTITION BY conversation_id ORDER BY pg_catalog.min(created_at), user_id
                    ) AS place
                FROM {messages}
                GROUP BY conversation_id, user_id
            ) AS each"""
        self.move = [
            # Without title and metadata, which belong to the first writer and may have personal data.
            f"""
            INSERT INTO {conversations} (id, resource_id, metadata, created_at, updated_at)
            SELECT w.new_id, coalesce(c.resource_id, 'default'), '{{}}', w.first_at, w.last_at
            FROM {writers} AS w LEFT JOIN {conversations} AS c ON c.id = w.conversation_id
            WHERE w.moves OR c.id IS NULL""",
            f"""
            UPDATE {messages} AS m SET conversation_id = w.new_id
            FROM {writers} AS w
            WHERE w.moves AND m.conversation_id = w.conversation_id AND m.user_id = w.user_id""",
            f"CREATE UNIQUE INDEX {name}_by_id ON {messages} (conversation_id, message_id)",
        ]
        self.has_foreign_key = f"""
            SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint WHERE contype = 'f'
                AND conrelid = '{messages}'::regclass::oid AND confrelid = '{conversations}'::regclass::oid)"""
        self.primary_key = f"""
            SELECT conname FROM pg_catalog.pg_constraint
            WHERE contype = 'p' AND conrelid = '{messages}'::regclass::oid"""
        self.change = [
            f"ALTER TABLE {messages} ADD CONSTRAINT {name}_pkey PRIMARY KEY USING INDEX {name}_by_id",
            f"ALTER TABLE {messages} DROP COLUMN user_id",
            f"ALTER TABLE {conversations} ADD COLUMN user_id text NOT NULL DEFAULT 'default'",
            f"""
            UPDATE {conversations} AS c SET user_id = w.user_id
            FROM {writers} AS w
            WHERE c.id = w.new_id""",
            f"ALTER TABLE {conversations} ALTER COLUMN user_id DROP DEFAULT",
        ]
        self.count_conversations = f"SELECT pg_catalog.count(*) FROM {conversations}"
        self.split = f"""
            SELECT new_id AS id, conversation_id, user_id, message_count
            FROM {writers} WHERE moves ORDER BY conversation_id, user_id"""
        # Without a checksum: the statements depend on the tables that are found.
        self.record = (
            f"INSERT INTO {tables.migrations} (name, checksum) VALUES ('{NAME}', '') ON CONFLICT (name) DO NOTHING"
        )

    def script(self) -> list[str]:
        """Return the statements, with a backup, for the body of a PL/pgSQL block."""
        statements = [
            *self.make_missing_tables,
            self.lock,
            *BackupStatements(self.tables).make,
            f"IF NOT ({self.has_user_with_messages}) THEN {self.add_user_to_messages}; END IF",
            self.find_writers,
            *self.move,
            f"IF NOT ({self.has_foreign_key}) THEN {self.add_foreign_key}; END IF",
            self.lock_out,
            f"IF EXISTS ({self.primary_key}) THEN EXECUTE ("
            f"SELECT pg_catalog.format('{self.drop_primary_key('%s')}', name) "
            f"FROM ({self.primary_key}) AS key (name)); END IF",
            *self.change,
            self.record,
        ]
        return [dedent(each).strip() for each in statements]

    def drop_primary_key(self, name: str) -> str:
        """Return the statement that drops the primary key with this name."""
        return f'ALTER TABLE {self.tables.messages} DROP CONSTRAINT "{name}"'


def has_backup(tables: Tables) -> str:
    """Return the condition that there is a backup and its messages have a user_id."""
    return f"""pg_catalog.to_regclass('{tables.conversations_backup}') IS NOT NULL AND EXISTS (
                    SELECT 1 FROM pg_catalog.pg_attribute
                    WHERE attrelid = pg_catalog.to_regclass('{tables.messages_backup}')::oid AND attname = 'user_id'
                        AND NOT attisdropped)"""


def forget_in_backup(tables: Tables) -> str:
    """Return the statement that deletes user $1 from the backup: messages, empty conversations, titles and metadata."""
    conversations, messages = tables.conversations_backup, tables.messages_backup
    # All parts see the backup as it was before. Title and metadata belong to the first writer.
    return f"""
        WITH gone AS (DELETE FROM {messages} WHERE user_id = $1 RETURNING conversation_id)
        , emptied AS (
            DELETE FROM {conversations} AS c
            WHERE id IN (SELECT conversation_id FROM gone)
                AND NOT EXISTS (SELECT 1 FROM {messages} AS m WHERE m.conversation_id = c.id AND m.user_id <> $1)
        )
        UPDATE {conversations} AS c SET title = '', metadata = '{{}}'
        WHERE id IN (SELECT conversation_id FROM gone)
            AND EXISTS (SELECT 1 FROM {messages} AS m WHERE m.conversation_id = c.id AND m.user_id <> $1)
            AND $1 = (
                SELECT m.user_id FROM {messages} AS m WHERE m.conversation_id = c.id
                ORDER BY m.created_at, m.user_id LIMIT 1
            )"""


class BackupStatements(ConversationSchemaStatements):
    """The statements that back both tables up, and restore them."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        conversations, messages = tables.conversations, tables.messages
        backups = {conversations: tables.conversations_backup, messages: tables.messages_backup}
        name = bare(messages)
        self.exists = f"SELECT pg_catalog.to_regclass('{backups[conversations]}') IS NOT NULL"
        self.both_exist = f"{self.exists} AND pg_catalog.to_regclass('{backups[messages]}') IS NOT NULL"
        self.make = [
            statement
            for table, backup in backups.items()
            for statement in (
                f"CREATE TABLE {backup} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES EXCLUDING CONSTRAINTS)",
                f"INSERT INTO {backup} SELECT * FROM {table}",
            )
        ]
        self.is_whole = f"""
            SELECT (SELECT pg_catalog.count(*) FROM {conversations})
                    = (SELECT pg_catalog.count(*) FROM {backups[conversations]})
                AND (SELECT pg_catalog.count(*) FROM {messages})
                    = (SELECT pg_catalog.count(*) FROM {backups[messages]})"""
        self.drop = [f"DROP TABLE {backup}" for backup in backups.values()]
        self.both_tables_exist = (
            f"SELECT pg_catalog.to_regclass('{conversations}') IS NOT NULL "
            f"AND pg_catalog.to_regclass('{messages}') IS NOT NULL"
        )
        # Without CASCADE: objects that depend on the tables are the application's, and PostgreSQL's error names them.
        self.restore = [
            *(_copy_rights(table, backup) for table, backup in backups.items()),
            f"DROP TABLE IF EXISTS {', '.join(getattr(tables, each) for each in _REPLACED)}",
            f"ALTER TABLE {backups[conversations]} RENAME TO {bare(conversations)}",
            f"ALTER TABLE {backups[messages]} RENAME TO {name}",
            f"ALTER TABLE {conversations} ADD PRIMARY KEY (id)",
            f"CREATE INDEX idx_{bare(conversations)}_resource ON {conversations} (resource_id)",
        ]
        self.restore_keys_with_user = [
            f"ALTER TABLE {messages} ADD PRIMARY KEY (user_id, conversation_id, message_id)",
            f"CREATE INDEX idx_{name}_lookup ON {messages} (user_id, conversation_id, created_at)",
        ]
        self.restore_keys_without_user = [f"ALTER TABLE {messages} ADD PRIMARY KEY (conversation_id, message_id)"]
        self.has_orphans = f"""
            SELECT EXISTS (SELECT 1 FROM {messages} AS m
                WHERE NOT EXISTS (SELECT 1 FROM {conversations} AS c WHERE c.id = m.conversation_id))"""
        self.forget = f"DELETE FROM {tables.migrations}"


def _has_user(table: str) -> str:
    return (
        f"EXISTS (SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass('{table}')::oid "
        "AND attname = 'user_id' AND NOT attisdropped)"
    )


def _old_tables(tables: Tables) -> list[str]:
    """Return the statements that create the tables of VoltAgent 0.1.0 that are missing."""
    conversations, messages = tables.conversations, tables.messages
    return [
        f"""
        CREATE TABLE IF NOT EXISTS {conversations} (
            id text PRIMARY KEY,
            resource_id text NOT NULL,
            title text,
            metadata jsonb,
            created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
            updated_at timestamptz NOT NULL DEFAULT pg_catalog.now()
        )""",
        f"""
        CREATE TABLE IF NOT EXISTS {messages} (
            user_id text NOT NULL,
            conversation_id text NOT NULL REFERENCES {conversations} (id) ON DELETE CASCADE,
            message_id text NOT NULL,
            role text NOT NULL,
            content text NOT NULL,
            type text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
            PRIMARY KEY (user_id, conversation_id, message_id)
        )""",
    ]


def _copy_rights(table: str, other: str) -> str:
    return f"""
        DO $rights$
        DECLARE
            granted record;
        BEGIN
            FOR granted IN
                SELECT CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS role,
                    acl.privilege_type AS privilege
                FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl) AS acl
                WHERE oid = pg_catalog.to_regclass('{table}')::oid AND acl.grantee <> relowner
            LOOP
                EXECUTE pg_catalog.format('GRANT %s ON {other} TO %s', granted.privilege, granted.role);
            END LOOP;
        END
        $rights$"""


async def is_old(connection: Connection, tables: Tables) -> bool:
    """Return whether there are tables of VoltAgent in which conversations have no user."""
    return await connection.fetchval(ConversationSchemaStatements(tables).is_old) is True


async def migrate(
    connection: Connection, tables: Tables, *, create_backup: bool = True, delete_backup: bool = False
) -> MigrationResult:
    """Convert old tables. Converted tables are left unchanged; a failure is rolled back."""

    async def step() -> MigrationResult:
        async with schema_lock(connection, tables):
            return await _migrate(connection, tables, create_backup, delete_backup)

    return await _result(connection, step)


async def restore(connection: Connection, tables: Tables) -> MigrationResult:
    """Replace the tables by the backup: columns, keys, rows. Everything written since the backup is lost."""

    async def step() -> MigrationResult:
        async with schema_lock(connection, tables):
            return await _restore(connection, tables)

    return await _result(connection, step)


async def _result(connection: Connection, step: Callable[[], Awaitable[MigrationResult]]) -> MigrationResult:
    async def attempt() -> MigrationResult:
        try:
            return await step()
        except DRIVER_ERRORS as error:
            if is_lost(error, connection) and not isinstance(error, TimeoutError):
                raise translation(error, connection) from error
            raise MigrationError(NAME, f"{describe(error).rstrip('.')}. Nothing of it was kept") from error

    try:
        return await retry_while_in_use(attempt)
    except VoltMemError as error:
        return MigrationResult(success=False, error=error)


async def _migrate(connection: Connection, tables: Tables, create_backup: bool, delete_backup: bool) -> MigrationResult:
    sql, backup = MigrateStatements(tables), BackupStatements(tables)
    if not await connection.fetchval(sql.is_old):
        return MigrationResult(success=True)
    await _run(connection, [*sql.make_missing_tables, sql.lock])
    if create_backup:
        await _back_up(connection, backup)
    if not await connection.fetchval(sql.has_user_with_messages):
        await _run(connection, [sql.add_user_to_messages])
    messages = await connection.fetchval(sql.count_messages, timeout=PATIENCE)
    await _run(connection, [sql.find_writers, *sql.move])
    if not await connection.fetchval(sql.has_foreign_key):
        await _run(connection, [sql.add_foreign_key])
    # Rows are counted before the exclusive lock, which blocks readers.
    if await connection.fetchval(sql.count_messages, timeout=PATIENCE) != messages:
        raise MigrationError(
            NAME,
            "messages would be missing afterwards. Nothing of it was kept: run it again",
        )
    conversations = await connection.fetchval(sql.count_conversations, timeout=PATIENCE)
    await _lock_out(connection, sql)
    if primary_key := await connection.fetchval(sql.primary_key):
        await _run(connection, [sql.drop_primary_key(primary_key)])
    await _run(connection, sql.change)
    if create_backup and delete_backup:
        await _run(connection, backup.drop)
    await _run(connection, [sql.record])
    return MigrationResult(
        success=True,
        migrated_count=conversations,
        backup_created=create_backup,
        split_conversations=tuple(SplitConversation(**row) for row in await connection.fetch(sql.split)),
    )


async def _back_up(connection: Connection, sql: BackupStatements) -> None:
    if await connection.fetchval(sql.exists):
        raise MigrationError(
            NAME,
            "there is a backup of an earlier migration, and it is not overwritten. Restore it with "
            "migrate_conversation_schema(restore_from_backup=True), drop or rename its tables, or migrate with "
            "create_backup=False",
        )
    await _run(connection, sql.make)
    if not await connection.fetchval(sql.is_whole, timeout=PATIENCE):
        raise MigrationError(NAME, "the backup lacks rows. Nothing of it was kept: run it again")


async def _restore(connection: Connection, tables: Tables) -> MigrationResult:
    sql = BackupStatements(tables)
    if not await connection.fetchval(sql.both_exist):
        raise MigrationError(NAME, f"there is no backup to restore: the table {tables.messages_backup} does not exist")
    if await connection.fetchval(sql.both_tables_exist):
        await _lock_out(connection, sql)
    await _run(connection, sql.restore)
    has_user = await connection.fetchval(sql.has_user_with_messages)
    await _run(connection, sql.restore_keys_with_user if has_user else sql.restore_keys_without_user)
    if not await connection.fetchval(sql.has_orphans, timeout=PATIENCE):
        await _run(connection, [sql.add_foreign_key])
    # The restored tables have had no migration, so all are missing again.
    await _run(connection, [sql.forget])
    return MigrationResult(success=True)


async def _lock_out(connection: Connection, sql: ConversationSchemaStatements) -> None:
    """Lock the tables exclusively, in short tries, because later statements wait behind a waiting lock request."""
    for remaining in reversed(range(_TRIES_FOR_LOCK)):
        try:
            async with transaction_on(connection):  # a savepoint
                await connection.execute(sql.lock_out)
                return
        except asyncpg.LockNotAvailableError:
            if not remaining:
                raise
        await asyncio.sleep(_PAUSE_FOR_OTHERS)


async def _run(connection: Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        await connection.execute(statement, timeout=PATIENCE)

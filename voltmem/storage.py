"""PostgresStorage: its options, its life, its scopes; it puts the areas together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from voltmem._agents.memory import ConversationMemory
from voltmem._areas.appends import Appends, JoinedAppends
from voltmem._areas.changes import Changes
from voltmem._areas.forks import Forks
from voltmem._areas.history.runs import AgentRuns
from voltmem._areas.search import Search
from voltmem._areas.shares import Shares
from voltmem._areas.sidebar import Sidebar
from voltmem._areas.transfer.exports import Exports
from voltmem._areas.transfer.imports import Imports
from voltmem._areas.users import Users
from voltmem._postgres.connection import BoundConnection, Executor
from voltmem._postgres.database import Database
from voltmem._postgres.listening import Watching
from voltmem._postgres.migrations import conversation_schema
from voltmem._postgres.migrations.conversation_schema import MigrationResult
from voltmem._postgres.schema import MigrationStatus, check, status, upgrade
from voltmem._tables import Tables
from voltmem._user import UserStorage
from voltmem._values import check_flag
from voltmem._voltagent import CamelOptions, VoltAgentNames, in_both_spellings
from voltmem.errors import InvalidOptionError
from voltmem.options import (
    DEFAULT_COMMAND_TIMEOUT,
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_MAX_CONNECTIONS,
    DEFAULT_RESOURCE_ID,
    DEFAULT_RETRY_TIMEOUT,
    DEFAULT_STORAGE_LIMIT,
    DEFAULT_TABLE_PREFIX,
    ConnectionOptions,
    Migrate,
    OnLimit,
    StorageOptions,
    connection_target,
)

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection, Pool


class Storage(VoltAgentNames, AgentRuns, Sidebar, Forks, Search, Shares, Changes, Users, Exports, Imports):
    """What a PostgresStorage and a BoundStorage share: every verb, and narrower scopes of it."""

    def __init__(
        self, options: StorageOptions, executor: Executor, appends: Appends, watching: Watching | None = None
    ) -> None:
        super().__init__(options, executor)
        self._appends = appends
        self._watching = watching

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[BoundStorage]:
        """
        A storage whose calls are one transaction: committed at the end of the block, undone if it raises.

        ::

            async with storage.transaction() as tx:
                await tx.create_conversation({"id": "c1", "user_id": "ada"})
                await tx.add_messages([...], "ada", "c1")
                await tx.connection.execute("INSERT INTO invoices …")  # the application's own, in the same one

        Takes one connection of the pool for the whole block. Within another transaction it is a savepoint.

        Raises:
            OutcomeUnknownError: The connection broke while committing.
        """
        async with self._executor.transaction() as bound:
            yield BoundStorage(self._options, bound)

    def conversation(
        self, user_id: str, conversation_id: str | None = None, *, resource_id: str = DEFAULT_RESOURCE_ID
    ) -> ConversationMemory:
        """
        Return a handle on one conversation, for an agent to keep as its memory.

        Args:
            user_id: Whose it is, or will be.
            conversation_id: Which one; None: a new one, with a UUIDv7.
            resource_id: The agent or project that it is made with, when something is written and there is none.
        """
        return ConversationMemory(self, user_id, conversation_id, resource_id=resource_id)

    def for_user(self, user_id: str) -> UserStorage:
        """
        Return a view with the same verbs and no user_id: it reads and writes what is this user's, and no more.

        Hand it to code that works for a signed-in user; another's conversation looks absent from there.
        """
        return UserStorage(self, user_id)


class BoundStorage(Storage):
    """A storage on one connection, in whatever transaction that is in. Its owner commits and closes."""

    def __init__(self, options: StorageOptions, bound: BoundConnection) -> None:
        super().__init__(options, bound, Appends(options, bound))
        self.connection = bound.connection
        """The asyncpg connection, for statements of the application's own in the same transaction."""


class PostgresStorage(Storage):
    """
    Keeps conversations and their messages in PostgreSQL, in tables of its own.

    ::

        async with PostgresStorage("postgresql://user:password@host/db") as storage:
            await storage.create_conversation({"id": "c1", "user_id": "ada"})
            await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")

    Making one does no I/O. The first call opens the pool and prepares the tables, once, however many tasks arrive
    together. It is safe to share between tasks; its connections belong to the event loop of the first call.

    Args:
        connection: A connection string, or an object with host, port, database, user, password, ssl. None:
            VOLTMEM_DATABASE_URL, then DATABASE_URL, then the embedded PostgreSQL.
        pool: The caller's pool instead: used, never closed, never reconfigured.
        max_connections: How many connections the pool opens at most; none is kept open without need.
        table_prefix: The first part of every table's name: lower-case letters, digits, underscores.
        storage_limit: How many of the newest messages each conversation keeps; None keeps all, 0 none.
        on_limit: "delete", or "archive": what lies beyond the limit stays stored, uncounted and unread.
        schema: The PostgreSQL schema of all tables, made if it is missing; never taken from search_path.
        migrate: "auto" makes and upgrades the tables on first use, "check" never runs DDL and says what is
            missing, "off" does not look.
        search: Keeps an index of the words of messages, for search(). Give it to every process that writes; what was
            there before is indexed by index_messages().
        debug: Logs each statement and its milliseconds to the logger "voltmem", at DEBUG; never its arguments.
        connect_timeout: Seconds for each host of the connection string.
        command_timeout: Seconds for a statement, and for a connection to become free.
        retry_timeout: Seconds in which a call gets over a lost connection or a failover, where that is safe.

    Raises:
        InvalidOptionError: An option that cannot be. No password is shown.

    VoltAgent: ``PostgresStorage``; its option names work too.
    """

    @in_both_spellings
    def __init__(
        self,
        connection: str | ConnectionOptions | Mapping[str, object] | None = None,
        *,
        pool: Pool | None = None,
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        table_prefix: str = DEFAULT_TABLE_PREFIX,
        storage_limit: int | None = DEFAULT_STORAGE_LIMIT,
        on_limit: OnLimit = "delete",
        schema: str = "public",
        migrate: Migrate = "auto",
        search: bool = False,
        debug: bool = False,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        command_timeout: float = DEFAULT_COMMAND_TIMEOUT,
        retry_timeout: float = DEFAULT_RETRY_TIMEOUT,
        **camel: Unpack[CamelOptions],  # for type checkers: the decorator has renamed them
    ) -> None:
        if pool is not None and connection is not None:
            raise InvalidOptionError("connection and pool are two ways to the same database; give one of them")
        options = StorageOptions(
            target=None if connection is None else connection_target(connection),
            tables=Tables(schema, table_prefix),
            max_connections=max_connections,
            storage_limit=storage_limit,
            on_limit=on_limit,
            migrate=migrate,
            search=search,
            debug=debug,
            connect_timeout=connect_timeout,
            command_timeout=command_timeout,
            retry_timeout=retry_timeout,
        )
        self._database = Database(options, pool, None if migrate == "off" else self._prepare)
        self._joined = JoinedAppends(options, self._database)
        self._watchers = Watching(options, self._database)
        super().__init__(options, self._database, self._joined, self._watchers)

    def __repr__(self) -> str:
        target = self._options.target
        where = "" if target is None else f"{target.name} "
        return f"<{type(self).__name__} {where}{self._options.tables}>"

    # --- life -------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """
        Open the pool and prepare the tables now, rather than on the first call; also opens again after close().

        Raises:
            ConnectionFailedError: No server there, or the login was refused. A server that is starting is awaited.
            SchemaNotReadyError: Tables are missing, with migrate="check".
            MigrationError: A migration failed; nothing of it was kept.

        One round trip more than connecting when the schema is current.
        """
        await self._database.open()

    async def close(self) -> None:
        """
        Close the pool after the calls under way have ended, and all messages that wait are stored; may be repeated.

        Iterators of watch() end. A pool that was given stays open. The embedded server stops if nobody else uses it.
        """
        self._database.refuse()
        await self._watchers.close()
        await self._joined.flush()
        await self._database.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """
        Open when an application starts, and close when it ends: ``FastAPI(lifespan=storage.lifespan)``.

        Also Starlette's. Within a lifespan of the application's own: ``async with storage.lifespan(app): …``.

        Args:
            app: The application, which is not used.
        """
        async with self:
            yield

    # --- schema -----------------------------------------------------------------------------------------------

    async def upgrade_schema(self) -> list[str]:
        """
        Apply the migrations that the database lacks, whatever *migrate* says, and return their names.

        Empty when there is nothing to do. Any number of processes may call it at once. Agno: ``upgrade_schema``.

        Raises:
            MigrationError: A migration failed, and nothing of it was kept, or its file was edited after release.
            DatabaseError: The role may not create tables (SQLSTATE 42501).
        """
        async with self._database.connection() as connection:
            return await upgrade(connection, self._options.tables)

    async def schema_status(self) -> list[MigrationStatus]:
        """
        Return every migration in its order: when it was applied, or None where it is missing.

        Changes nothing, whatever *migrate* says. ``python -m voltmem status`` prints it.
        """
        async with self._database.connection() as connection:
            return await status(connection, self._options.tables)

    async def migrate_conversation_schema(
        self,
        *,
        create_backup: bool = True,
        restore_from_backup: bool = False,
        delete_backup_after_success: bool = False,
    ) -> MigrationResult:
        """
        Make tables of VoltAgent 0.1.0 user-centric, or undo that; return what was done.

        The user moves from the messages to their conversation. One that several users wrote in keeps its id for
        the one who wrote first; each other user's messages move to a conversation of their own, with an id derived
        from both and without title and metadata. Conversations without messages become the user ``"default"``'s;
        conversations that only their messages know are made. With migrate="auto" the first use of the storage does
        it, with a backup; tables that are user-centric already are left alone.

        Args:
            create_backup: Copies both tables first, to ``{prefix}_conversations_backup`` and
                ``{prefix}_messages_backup``. A backup that is there already is an error, never overwritten.
            restore_from_backup: Puts the backup in the tables' place instead, exactly as it was; what was written
                since is gone, the rights on the tables stay. Opening with migrate="auto" migrates again.
            delete_backup_after_success: Drops the new backup when all messages are proven to be there.

        One transaction in the server, a million messages in under a minute; only the split conversations are sent
        to the client. Writers wait, readers only at its end, while each conversation gets its user. What fails is
        told in ``.error``, and nothing of it is kept; other errors are those of connecting.

        VoltAgent: ``migrateConversationSchema`` (which works row by row, and gives a conversation of several users
        to the first that it happens to read).
        """
        check_flag("create_backup", create_backup)
        check_flag("restore_from_backup", restore_from_backup)
        check_flag("delete_backup_after_success", delete_backup_after_success)
        async with self._database.connection() as connection:
            if restore_from_backup:
                return await conversation_schema.restore(connection, self._options.tables)
            return await conversation_schema.migrate(
                connection,
                self._options.tables,
                create_backup=create_backup,
                delete_backup=delete_backup_after_success,
            )

    async def migrateConversationSchema(
        self, *, createBackup: bool = True, restoreFromBackup: bool = False, deleteBackupAfterSuccess: bool = False
    ) -> MigrationResult:
        """VoltAgent's name for migrate_conversation_schema."""
        return await self.migrate_conversation_schema(
            create_backup=createBackup,
            restore_from_backup=restoreFromBackup,
            delete_backup_after_success=deleteBackupAfterSuccess,
        )

    async def _prepare(self, connection: Connection) -> None:
        prepare = check if self._options.migrate == "check" else upgrade
        await prepare(connection, self._options.tables)

    # --- the caller's own connection --------------------------------------------------------------------------

    def bind(self, connection: Connection) -> BoundStorage:
        """
        Return a storage that does everything on this connection, in whatever transaction it is in.

        Args:
            connection: An asyncpg connection, of a pool or not. It stays the caller's: to be used by one task at
                a time, committed and closed by its owner.
        """
        return BoundStorage(self._options, BoundConnection(connection, self._database.ready))

"""PostgresStorage: its options, opening and closing, transactions and views. It inherits from all areas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Self, Unpack

from voltmem._agents.compact_when import CompactWhen
from voltmem._agents.memory import ConversationMemory
from voltmem._agents.working_memory import WorkingMemoryHandle
from voltmem._areas.appends import Appends, BatchedAppends, Noticed
from voltmem._areas.area import Access, OnlyAsync, async_context
from voltmem._areas.background import Background
from voltmem._areas.branches import Branches
from voltmem._areas.changes import Changes
from voltmem._areas.checks.check import Finding, find_all
from voltmem._areas.embedding import Embedding
from voltmem._areas.embedding_task import EmbeddingTask
from voltmem._areas.files import Files
from voltmem._areas.forgetting import Forgetting
from voltmem._areas.forks import Forks
from voltmem._areas.history.runs import AgentRuns
from voltmem._areas.leases import Leases
from voltmem._areas.meaning import Meaning
from voltmem._areas.recall import Recalling
from voltmem._areas.search import Search
from voltmem._areas.shares import Shares
from voltmem._areas.sidebar import Sidebar
from voltmem._areas.transfer.exports import Exports
from voltmem._areas.transfer.imports import Imports
from voltmem._areas.users import Users
from voltmem._areas.voltagent_tables import show_all
from voltmem._areas.working_memory import MAX_MEMORY_BYTES, MemorySchema
from voltmem._postgres.connection import BoundConnection
from voltmem._postgres.database import Database
from voltmem._postgres.driver import NO_QUOTAS
from voltmem._postgres.health import Health, look
from voltmem._postgres.listening import Watching
from voltmem._postgres.migrations import conversation_schema, vectors, voltagent
from voltmem._postgres.migrations.citus import require_cluster, require_one_server
from voltmem._postgres.migrations.conversation_schema import MigrationResult
from voltmem._postgres.schema import SchemaStatus, check, distribute, status, upgrade
from voltmem._repr import safe_repr
from voltmem._tables import Tables
from voltmem._user import UserStorage
from voltmem._values import UNSET, Unset, check_flag, check_seconds
from voltmem._voltagent import CamelOptions, VoltAgentNames, in_both_spellings
from voltmem.errors import SchemaError
from voltmem.options import (
    DEFAULT_COMMAND_TIMEOUT,
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_MAX_CONNECTIONS,
    DEFAULT_RESOURCE_ID,
    DEFAULT_RETRY_TIMEOUT,
    DEFAULT_STORAGE_LIMIT,
    DEFAULT_TABLE_PREFIX,
    ConnectionOptions,
    KeepFiles,
    Migrate,
    OnLimit,
    Quotas,
    Recall,
    StorageOptions,
    check_quotas,
    target_of,
)

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection, Pool


__all__ = ["BoundStorage", "PostgresStorage", "Storage"]


class Storage(
    VoltAgentNames,
    AgentRuns,
    Sidebar,
    Branches,
    Forks,
    Search,
    Recalling,
    Embedding,
    Shares,
    Leases,
    Changes,
    Files,
    Users,
    Forgetting,
    Exports,
    Imports,
):
    """The base of PostgresStorage and BoundStorage: all verbs, transactions and views."""

    def __init__(self, access: Access, appends: Appends, watching: Watching | None = None) -> None:
        super().__init__(*access)
        self._appends, self._watching = appends, watching

    @async_context
    async def transaction(self) -> AsyncIterator[BoundStorage]:
        """
        Run all calls of the block in one transaction: committed at its end, rolled back if it raises.

        ::

            async with storage.transaction() as tx:
                await tx.create_conversation({"id": "c1", "user_id": "ada"})
                await tx.add_messages([...], "ada", "c1")
                await tx.connection.execute("INSERT INTO invoices …")  # the application's own, in the same transaction

        Uses one connection of the pool for the whole block. Within another transaction, it is a savepoint.

        Raises:
            OutcomeUnknownError: The connection broke during the commit.
        """
        async with self._executor.transaction() as bound:
            yield BoundStorage(self._options, bound, self._appends.noticed, self._meaning)

    def conversation(
        self,
        user_id: str,
        conversation_id: str | None = None,
        *,
        resource_id: str = DEFAULT_RESOURCE_ID,
        compact_when: CompactWhen | None = None,
    ) -> ConversationMemory:
        """
        Return a handle on one conversation, for an agent to keep as its memory.

        Args:
            user_id: Its owner.
            conversation_id: The conversation; None: a new one, with a UUIDv7.
            resource_id: The agent or project, if the first write creates the conversation.
            compact_when: When to summarise what is old, beside the conversation; None: only compact() does.
        """
        return ConversationMemory(self, user_id, conversation_id, resource_id=resource_id, compact_when=compact_when)

    def working_memory(
        self,
        user_id: str,
        conversation_id: str | None = None,
        *,
        template: str | None = None,
        schema: MemorySchema | None = None,
        max_bytes: int = MAX_MEMORY_BYTES,
        author: str | None = None,
    ) -> WorkingMemoryHandle:
        """
        Return a handle on the working memory of a user, or of one of the user's conversations.

        Args:
            user_id: The user.
            conversation_id: The conversation, if the memory is that of a conversation.
            template: What the text looks like before anything is filled in, in Markdown. It is never stored in place of
                what was filled in.
            schema: A pydantic model, if the memory is JSON: what does not fit it is refused.
            max_bytes: How large the text may become, in UTF-8.
            author: Who writes through this handle, such as the name of the agent; each call can say otherwise.
        """
        return WorkingMemoryHandle(
            self, user_id, conversation_id, template=template, schema=schema, max_bytes=max_bytes, author=author
        )

    def for_user(self, user_id: str) -> UserStorage:
        """
        Return a view of the storage for one user: the same verbs without user_id, for this user's data only.

        Pass it to code that works for a signed-in user. To the view, another user's conversation does not exist.
        """
        return UserStorage(self, user_id)


class BoundStorage(Storage):
    """A storage on one connection, within its current transaction. The connection's owner commits and closes it."""

    def __init__(
        self,
        options: StorageOptions,
        bound: BoundConnection,
        noticed: Noticed | None = None,
        meaning: Meaning | None = None,
    ) -> None:
        super().__init__(Access(options, bound, meaning), Appends(options, bound, noticed))
        self.connection = bound.connection
        """The asyncpg connection, for the application's own statements in the same transaction."""


class PostgresStorage(Storage, OnlyAsync):
    """
    Stores conversations and their messages in PostgreSQL, in tables of its own.

    ::

        async with PostgresStorage("postgresql://user:password@host/db") as storage:
            await storage.create_conversation({"id": "c1", "user_id": "ada"})
            await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")

    Creating a storage does no I/O, so you can create it at module level. The first call opens the pool and creates or
    upgrades the tables, once, even if many tasks call at once. Tasks may share a storage; its connections belong to
    the event loop of the first call until close(); in any other loop a call raises EventLoopError.

    Args:
        connection: A connection string, or a dict with host, port, database, user, password, ssl. None:
            VOLTMEM_DATABASE_URL, then DATABASE_URL, then the embedded PostgreSQL.
        pool: The caller's own pool, instead of a connection. It is never closed or reconfigured.
        max_connections: The maximum number of connections of the pool. The minimum is 0.
        table_prefix: The prefix of the names of all tables: lower-case letters, digits, underscores.
        storage_limit: How many of its newest messages a conversation keeps; None: all, 0: none. Not given: 100, or all
            in tables that VoltAgent 1 or 2 uses.
        on_limit: What happens to messages beyond the limit: "delete", or "archive", which keeps them stored; reads and
            the limit ignore archived messages.
        schema: The PostgreSQL schema of all tables, created if it is missing. search_path is ignored.
        migrate: "auto" creates and upgrades the tables on first use; "check" never runs DDL, and raises an error that
            names the missing migrations; "off" does not check.
        search: Whether to index the words of messages, for search() and recall(). Set it in every process that
            writes. index_messages() indexes the messages that were stored without it.
        count_tokens: Whether to store how many tokens each message has, which windows of tokens then need not count.
        files: "extract" stores base64 in the payloads of frameworks' messages as files, and fills it in again when the
            message is read; "inline" leaves it there. Every process reads both.
        recall: A function that makes vectors, by which recall() finds what means the same. Needs pgvector.
        quotas: How much each user may store; None: no quotas. Set them in every process that writes. Not on Citus.
        debug: Whether to log each statement and its duration, no arguments, to the logger "voltmem", at level DEBUG.
        connect_timeout: Seconds for each host of the connection string.
        command_timeout: Seconds for a statement.
        retry_timeout: Seconds for which a call waits for a connection, and is retried after a time-out, a lost
            connection or a failover, where that is safe.

    Raises:
        InvalidOptionError: The value of an option is invalid. The message never contains a password.

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
        storage_limit: int | Unset | None = UNSET,
        on_limit: OnLimit = "delete",
        schema: str = "public",
        migrate: Migrate = "auto",
        search: bool = False,
        count_tokens: bool = False,
        files: KeepFiles = "inline",
        recall: Recall | None = None,
        quotas: Quotas | None = None,
        debug: bool = False,
        connect_timeout: float = DEFAULT_CONNECT_TIMEOUT,
        command_timeout: float = DEFAULT_COMMAND_TIMEOUT,
        retry_timeout: float = DEFAULT_RETRY_TIMEOUT,
        **camel: Unpack[CamelOptions],  # for type checkers: the decorator has renamed them
    ) -> None:
        options = StorageOptions(
            target=target_of(connection, pool),
            tables=Tables(schema, table_prefix, check_quotas(quotas)),
            max_connections=max_connections,
            storage_limit=DEFAULT_STORAGE_LIMIT if storage_limit is UNSET else storage_limit,
            limit_is_given=storage_limit is not UNSET,
            on_limit=on_limit,
            migrate=migrate,
            search=search,
            count_tokens=count_tokens,
            files=files,
            recall=recall,
            debug=debug,
            connect_timeout=connect_timeout,
            command_timeout=command_timeout,
            retry_timeout=retry_timeout,
        )
        self._database = Database(options, pool, None if migrate == "off" else self._prepare)
        self._batches = BatchedAppends(options, self._database, self.upgrade_schema)
        self._watchers, self._tasks = Watching(options, self._database), Background()
        reach = Access(options, self._database, Meaning.of(recall, options.tables))
        super().__init__(reach, self._batches, self._watchers)
        self._background, self._embedding = self._tasks, EmbeddingTask(reach)

    @safe_repr
    def __repr__(self) -> str:
        where = f"{target.name} " if (target := self._options.target) else ""
        return f"<{type(self).__name__} {where}{self._options.tables}>"

    # --- opening and closing ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """
        Open the pool and prepare the tables now, not on the first call. Reopens the storage after close().

        Raises:
            ConnectionFailedError: No server could be reached within retry_timeout, or the login was refused.
            DatabaseError: The database has another encoding than UTF8.
            SchemaError: Citus distributes the tables, and the storage has *quotas*.
            SchemaNotReadyError: Migrations are missing, with migrate="check".
            MigrationError: A migration failed and was rolled back.

        Costs one round trip, besides connecting, if the schema is current.
        """
        await self._database.open()
        self._embedding.start()

    async def close(self) -> None:
        """
        Close the pool, after the running calls have ended and all waiting messages are stored. Can be called again.

        Answers of voltmem.chat are given five seconds. Iterators of watch() and compactions in the background end. The
        caller's own pool stays open. The embedded server stops if no other process uses it.
        """
        await self._tasks.finish()
        await self._embedding.close()
        self._database.refuse()
        await self._tasks.close()
        await self._watchers.close()
        await self._batches.flush()
        await self._database.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @async_context
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

    async def upgrade_schema(self, *, citus: bool = False) -> list[str]:
        """
        Apply the missing migrations, whatever the option *migrate* is. Returns their names.

        Args:
            citus: Whether to distribute the tables afterwards, on the coordinator of a cluster of Citus. Returns the
                names of the tables that were distributed, too. Writers wait for it.

        The list is empty if the schema is current. Any number of processes may call it at the same time. Agno:
        ``upgrade_schema``.

        Raises:
            MigrationError: A migration failed and was rolled back, or its file was edited after it was released.
            DatabaseError: The role may not create tables (SQLSTATE 42501).
            SchemaError: *citus* was given, and there is no Citus, or not its coordinator, or the storage has *quotas*.
                Nothing was changed.
        """
        check_flag("citus", citus)
        tables = self._options.tables
        if citus and tables.quotas is not None:
            raise SchemaError(f"the tables {tables} were not distributed: {NO_QUOTAS}")

        async def upgrade_and_distribute(connection: Connection) -> list[str]:
            if not citus:
                return await self._upgrade(connection)
            await require_cluster(connection, tables)
            return [*await self._upgrade(connection), *await distribute(connection, tables)]

        return await self._database.run(upgrade_and_distribute)

    async def schema_status(self) -> SchemaStatus:
        """
        Return every migration, in order, with the time when it was applied, or None if it is missing.

        Its attribute ``citus`` says whether the tables are distributed: "absent", "local" or "distributed".

        Changes nothing, whatever the option *migrate* is. ``python -m voltmem status`` prints it.
        """
        return await self._database.run(lambda connection: status(connection, self._options.tables))

    async def health(self, *, timeout: float = 2.0) -> Health:
        """
        Return what works now: reading, writing, migrations, privileges, the pool. For readiness probes and support.

        Errors of the database are problems of the result, and are not raised. Nothing is retried, opened or changed,
        whatever the options *migrate* and *retry_timeout* are. One round trip, if the storage is open and the tables
        exist.

        Args:
            timeout: Seconds for all of it, with the wait for a connection.
        """
        check_seconds("timeout", timeout)
        return await look(self._database, self._options.tables, timeout)

    async def check(self, *, read_files: bool = False) -> list[Finding]:
        """
        Look for what is wrong in all stored data. Returns a finding for each broken rule; an empty list is good.

        The rules: every reference leads to a row, the order of messages is total, branches are whole, texts and words
        are those of the contents, files are complete and used, and no key, index, trigger or function is missing. If a
        storage_limit was given, no conversation has more messages; if it is None, the parent of each message is there.
        Nothing is changed, whatever the option *migrate* is.

        Args:
            read_files: Whether to read the bytes of all files as well, and compare them with their ids.

        Raises:
            SchemaNotReadyError: Migrations are missing.
            SchemaError: Citus distributes the tables.

        Reads all rows, page by page, each page in a read-only transaction of its own. Others may write meanwhile. A
        standby can be checked, too. A statement may take an hour, whatever *command_timeout* is. ``python -m voltmem
        check`` prints it.
        """
        check_flag("read_files", read_files)
        tables, limit = self._options.tables, self._options.storage_limit if self._options.limit_is_given else UNSET
        async with self._database.connection() as connection:
            await check(connection, tables, looks_for_pooler=False)
            await require_one_server(connection, tables, "check() works on one server only")
            return await find_all(connection, tables, limit, read_files=read_files)

    async def migrate_conversation_schema(
        self,
        *,
        create_backup: bool = True,
        restore_from_backup: bool = False,
        delete_backup_after_success: bool = False,
    ) -> MigrationResult:
        """
        Convert tables of VoltAgent 0.1.0 to conversations with a user, or restore their backup. Returns a summary.

        The user_id moves from the messages to their conversation. If several users wrote in a conversation, the first
        writer keeps it with its id; the messages of each other user move to a new conversation of that user, with an id
        derived from the conversation and the user, without title and metadata. Conversations without messages get the
        user ``"default"``. Conversations that exist only in their messages are created. With migrate="auto", the first
        use of the storage does this, with a backup. Tables that are already converted are left unchanged.

        Args:
            create_backup: Whether to copy both tables first, to ``{prefix}_conversations_backup`` and
                ``{prefix}_messages_backup``. An existing backup is an error; it is never overwritten.
            restore_from_backup: Replace the tables by the backup instead. Everything written since is lost; privileges
                on the tables are kept. Opening with migrate="auto" converts the tables again.
            delete_backup_after_success: Whether to drop the new backup after checking that no message was lost.

        One transaction in the server, a million messages in under a minute; only the list of split conversations is
        sent to the client. Writers wait for all of it, readers only for its end, while each conversation gets its user.
        If it fails, it is rolled back and the result's ``error`` says why; only errors of connecting are raised.

        VoltAgent: ``migrateConversationSchema`` (which works row by row, and gives a conversation of several users
        to the first one that it reads).
        """
        check_flag("create_backup", create_backup)
        check_flag("restore_from_backup", restore_from_backup)
        check_flag("delete_backup_after_success", delete_backup_after_success)
        async with self._database.connection() as connection:
            if restore_from_backup:
                return await conversation_schema.restore(connection, self._options.tables)
            return await conversation_schema.migrate(
                connection, self._options.tables, create_backup=create_backup, delete_backup=delete_backup_after_success
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

    async def _prepare(self, connection: Connection, looks_for_pooler: bool) -> None:
        if self._options.migrate == "check":
            await check(connection, self._options.tables, looks_for_pooler=looks_for_pooler)
        else:
            await self._upgrade(connection, looks_for_pooler=looks_for_pooler)
        if self._options.tables.quotas is not None:
            await require_one_server(connection, self._options.tables, NO_QUOTAS)
        self._embedding.start()

    async def _upgrade(self, connection: Connection, *, looks_for_pooler: bool = False) -> list[str]:
        tables = self._options.tables
        done = await upgrade(connection, tables, looks_for_pooler=looks_for_pooler)
        if voltagent.MESSAGES in done:
            await show_all(BoundConnection(connection), tables)
            await voltagent.record_messages(connection, tables)
        return done if self._meaning is None else [*done, *await vectors.create(connection, tables)]

    # --- the caller's own connection --------------------------------------------------------------------------

    def bind(self, connection: Connection) -> BoundStorage:
        """
        Return a storage that sends all statements on this connection, within its current transaction.

        Args:
            connection: An asyncpg connection, from a pool or not. Use it in one task at a time. The caller commits and
                closes it.
        """
        given = BoundConnection(connection, self._database.ready)
        return BoundStorage(self._options, given, self._appends.noticed, self._meaning)

"""Every verb with valid arguments, and rows that it works on, for tests of all verbs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from types import FunctionType
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

import asyncpg
import pytest

from tests import citus
from tests.pgbouncer import THROUGH_POOLER
from tests.tables import create_tables
from voltmem import ImportedConversation, Message, PostgresStorage, Storage, UserStorage
from voltmem._areas.area import Area
from voltmem._areas.cursors import HistoryCursor, SearchCursor, SharedCursor, SidebarCursor
from voltmem.testing import drop_schema, temporary_schema_name

if TYPE_CHECKING:
    from voltmem._postgres.driver import Connection as AnyConnection

    Connection = asyncpg.Connection[asyncpg.Record]

LONG_AGO: Final = datetime(2001, 1, 1, tzinfo=UTC)
LATER: Final = datetime(2002, 1, 1, tzinfo=UTC)
PATIENCE: Final = 50
"""Seconds; far more than anything here takes, so that its end means failure."""

UNUSED_FILE: Final = sha256(b"words").hexdigest()
"""The id of the file of Rows.seed(), to which no message refers."""
SHOWN_FILE: Final = sha256(b"shown").hexdigest()
"""The id of the file that the shared conversation of Rows.seed() shows."""

# --- the verbs and their arguments --------------------------------------------------------------------------------

# The values of parameters by name: valid ones that have an effect on the rows of Rows.seed(). A parameter with a number
# or a boolean as its default needs none.
VALUES: Final[Mapping[str, object]] = {
    "after": LONG_AGO,
    "active_before": LATER,
    "agent_id": "a1",
    "at": LATER,
    "before": LATER,
    "by": "done",
    "content": b"new words",
    "conversation": {"id": "new", "user_id": "ada", "resource_id": "docs", "title": "New", "metadata": {"n": 1}},
    "conversation_id": "c1",
    "conversation_ids": ["c1"],
    "conversations": [
        ImportedConversation(id="new", created_at=LONG_AGO, messages=[Message(id="m1", role="user", content="words")])
    ],
    "end": 3,
    "file_id": UNUSED_FILE,
    "history_id": "h1",
    "id": "fork",
    "ids": ["m1", "m2"],
    "known": ["m1"],
    "limit": 5,
    "lines": [
        '{"voltmem": 1, "kind": "header"}',
        '{"kind": "conversation", "id": "new", "title": "New"}',
        '{"kind": "message", "id": "m1", "role": "user", "content": "words"}',
        '{"kind": "end"}',
    ],
    "message": {"id": "m4", "role": "user", "content": "four", "type": "text", "metadata": {"n": 1}},
    "message_id": "m1",
    "message_ids": ["m1", "m2"],
    "messages": [{"id": f"m{n}", "role": "user", "content": [n]} for n in (3, 4, 5)],
    "metadata": {"n": 2},
    "older_than": timedelta(days=1),
    "order_by": "title",
    "order_direction": "ASC",
    "owner": "ada",
    "page_size": 5,
    "purpose": "answer",
    "resource_id": "docs",
    "roles": ["user"],
    "scope": "conversation",
    "size": 9,
    "tag": "work",
    "tags": ["work", "trip"],
    "text": "one",
    "title": "Changed",
    "token": "t1",
    "types": ["text"],
    "up_to": "m1",
    "user_id": "ada",
}
# The values of parameters with another meaning in one verb.
OTHERWISE: Final[Mapping[str, Mapping[str, object]]] = {
    # It would find no archived or pinned conversation, and it goes in one direction.
    "list_conversations": {
        "after": str(SidebarCursor(False, LATER, "c9")),
        "before": None,
        "pinned": False,
    },
    "search": {"after": str(SearchCursor(9.0, LATER, "c9"))},
    "get_shared_conversation": {"after": str(SharedCursor(LONG_AGO, ()))},
    "list_history_entries": {"after": str(HistoryCursor(LATER, "h1"))},
    "set_working_memory": {"content": "likes tea"},
    # What is deleted already; a tag that is added.
    "purge_deleted_conversations": {"conversation_id": "gone"},
    "replace_tag": {"tag": None},
    # A new one; for other verbs it is a filter.
    "update_conversation": {"resource_id": "code"},
    "get_shared_file": {"file_id": SHOWN_FILE},
    "read_shared_file": {"file_id": SHOWN_FILE},
    # A soft-deleted one.
    "restore_conversation": {"conversation_id": "gone"},
    # Keys of entries, steps and events, and their values.
    "add_history_entry": {
        "key": "h2",
        "value": {"status": "working", "input": {"text": "Hi"}, "userId": "ada", "conversationId": "c1"},
    },
    "update_history_entry": {"key": "h1", "value": {"status": "completed", "output": [1]}},
    "get_history_entry": {"key": "h1"},
    "delete_history_entry": {"key": "h1"},
    "add_history_step": {
        "key": "s2",
        "value": {"type": "tool_call", "name": "search", "arguments": {"q": 1}, "role": "assistant"},
    },
    "update_history_step": {"key": "s1", "value": {"content": [1]}},
    "get_history_step": {"key": "s1"},
    "add_timeline_event": {
        "key": "e2",
        "value": {"type": "tool", "name": "tool:search", "parentEventId": "e1", "tags": ["t"], "output": False},
    },
}
# Methods of the areas that are not one call with one result. Each has its own tests.
NO_VERBS: Final[Mapping[str, str]] = {
    "index_messages": "works in batches, as many as there are",
    "forget_words": "works in batches, as many as there are",
    "embed_messages": "works in batches, as many as there are",
    "forget_embeddings": "works in batches, as many as there are",
    "count_embeddings": "needs the table that only recall=Recall(…) creates",
    "prune": "works in batches, as many as there are",
    "watch": "does not end",
    "confirm_lease": "changes nothing, and holds a lock until its transaction ends",
    "lease": "a context manager: a round trip at its start and its end, and one at each renewal",
    "record_run": "a context manager: as many round trips as its body has steps and events, and two",
}
# The first words of read-only verbs. A read-only session verifies them (test_errors.py).
READING: Final = ("get_", "list_", "query_", "count_", "export_", "read_", "recall", "search")
NAMES_OF_READING_VERBS: Final = f"verbs that only read, and no others, have names that begin with one of {READING}"
# The second call has another result, so these are never repeated. All other writes are.
NOT_REPEATED: Final = frozenset(
    {
        "create_conversation",
        "delete_conversation",
        "delete_history_entry",
        "delete_messages",
        "forget",
        "clear_messages",
        "rewind_conversation",
        "purge_deleted_conversations",
        "replace_tag",
        "fork_conversation",
        "revoke_share",
        "delete_file",
        "purge_unused_files",
        "delete_user",
        "import_user",
        "import_conversations",
    }
)
# Anyone with the token may call it, so it has no user.
PUBLIC: Final = frozenset({"get_shared_conversation"})


def public_methods(kind: type) -> set[str]:
    """Return the names of a class's public methods in snake_case. VoltAgent's names are aliases of them."""
    return {
        name for name, member in inspect.getmembers(kind, callable) if not name.startswith("_") and name == name.lower()
    }


def verbs() -> list[str]:
    """Return the public methods of the areas, which the storage inherits; new ones are included."""
    return sorted(name for name in public_methods(PostgresStorage) if is_of_an_area(name) and name not in NO_VERBS)


def is_of_an_area(name: str) -> bool:
    defining = next(each for each in PostgresStorage.__mro__ if name in vars(each))
    return issubclass(defining, Area) and not issubclass(defining, Storage)


def verb_of(name: str) -> str:
    """Return the storage's verb that a method of UserStorage calls."""
    method: FunctionType = inspect.unwrap(getattr(UserStorage, name))
    return method.__name__


def user_verbs() -> list[str]:
    """Return the methods of UserStorage that call one verb."""
    return sorted(name for name in public_methods(UserStorage) if verb_of(name) in verbs())


def parameters(kind: type, name: str) -> set[str]:
    """Return the names of a method's parameters."""
    return set(inspect.signature(getattr(kind, name)).parameters) - {"self"}


def arguments(name: str) -> dict[str, object]:
    """Return valid values for all arguments of a verb."""
    signature = inspect.signature(getattr(PostgresStorage, name))
    defaults = {each.name: each.default for each in signature.parameters.values() if isinstance(each.default, int)}
    values = {**defaults, **VALUES, **OTHERWISE.get(name, {})}
    names = parameters(PostgresStorage, name)
    if unknown := names - values.keys():
        raise LookupError(f"{name}() has parameters that no verb had so far: add {unknown} to VALUES in {__file__}")
    return {each: values[each] for each in sorted(names)}


VERBS: Final = verbs()
WRITES: Final = frozenset(name for name in VERBS if not name.startswith(READING))
# Entries are read with their steps and their timeline events. An export is a transaction: its time, a cursor for the
# files (opened, closed), the user's memory and what VoltAgent may have changed in it, a cursor for the conversations,
# their payloads, their memory and what may have changed in it, a cursor each for the messages and the runs, their steps
# and events. A link is looked at before its file is read. That a user is deleted is recorded before it is done, and
# it is done until nothing is left.
# Every other verb is one statement.
ROUND_TRIPS: Final[Mapping[str, int]] = {
    **dict.fromkeys(VERBS, 1),
    "get_history_entry": 3,
    "get_all_history_entries_by_agent": 3,
    "list_history_entries": 3,
    "export_user": 21,
    "read_shared_file": 2,
    "delete_user": 3,
}


async def call(storage: Storage, name: str, **changes: object) -> object:
    """Call a verb with its valid arguments, some of them replaced. Executes a builder, and reads an iterator."""
    return await _answer(getattr(storage, name)(**{**arguments(name), **changes}))


async def call_as(user: UserStorage, name: str, **changes: object) -> object:
    """
    Call a verb of a user's view with its valid arguments, some replaced.

    Executes a builder, and reads an iterator.
    """
    good = arguments(verb_of(name))
    given = {each: good[each] for each in parameters(UserStorage, name)}
    return await _answer(getattr(user, name)(**{**given, **changes}))


async def _answer(called: Awaitable[object] | AsyncIterator[object]) -> object:
    return await called if isinstance(called, Awaitable) else [each async for each in called]


async def walk(storage: Storage) -> object:
    """Iterate over a user's conversations."""
    return [conversation async for conversation in storage.get_user_conversations("ada")]


Case = Callable[[Storage], Awaitable[object]]
CASES: Final[Mapping[str, Case]] = {
    **{name: partial(call, name=name) for name in VERBS},
    "clear_messages of all conversations": partial(call, name="clear_messages", conversation_id=None),
    "add_messages beyond the limit": partial(
        call,
        name="add_messages",
        messages=[{"id": f"x{n}", "role": "user", "content": f"{n}"} for n in range(12)],
    ),
    "async for": walk,
}


Table = list[tuple[object, ...]]


class Rows:
    """The rows of one schema, created and read without the storage."""

    def __init__(self, connection: Connection, schema: str, prefix: str = "voltagent_memory") -> None:
        self._connection = connection
        self._schema = schema
        self.conversations = f'"{schema}".{prefix}_conversations'
        self.messages = f'"{schema}".{prefix}_messages'
        self.shares = f'"{schema}".{prefix}_shares'
        self.entries = f'"{schema}".{prefix}_agent_history'
        self.steps = f'"{schema}".{prefix}_agent_history_steps'
        self.events = f'"{schema}".{prefix}_agent_history_timeline_events'
        self.files = f'"{schema}".{prefix}_files'
        self.chunks = f'"{schema}".{prefix}_file_chunks'
        self.user_memory = f'"{schema}".{prefix}_user_memory'
        self.memory = f'"{schema}".{prefix}_conversation_memory'
        self.leases = f'"{schema}".{prefix}_leases'
        history = (self.entries, self.steps, self.events)
        memory = (self.user_memory, self.memory)
        self.tables = (self.conversations, self.messages, self.shares, *history, self.files, *memory, self.leases)

    async def seed(self) -> None:
        """
        Replace all rows, with times in 2001.

        They are ada's two conversations, a soft-deleted one, and bob's, with messages; a link to one of ada's; and a
        run of hers; two files of hers, one shown in the shared conversation, and one to which no message refers; and
        the working memory of hers and of two conversations.
        """
        file = f'{{"type": "file", "url": "voltmem:file/{SHOWN_FILE}"}}'
        await self._connection.execute(f"""
            DELETE FROM {self.conversations};
            DELETE FROM {self.files};
            INSERT INTO {self.files} (user_id, upload, id, size, created_at, pending_since)
            VALUES ('ada', 'u1', '{UNUSED_FILE}', 5, '{LONG_AGO}', '{LONG_AGO}'),
                ('ada', 'u2', '{SHOWN_FILE}', 5, '{LONG_AGO}', NULL);
            INSERT INTO {self.chunks} (user_id, upload, number, bytes)
            VALUES ('ada', 'u1', 0, 'words'), ('ada', 'u2', 0, 'shown');
            INSERT INTO {self.conversations} (id, user_id, resource_id, title, created_at, updated_at)
            SELECT id, user_id, 'docs', title, '{LONG_AGO}', '{LONG_AGO}'
            FROM (VALUES ('c1', 'ada', 'One'), ('c2', 'ada', 'Two'), ('b1', 'bob', 'Bob''s')) AS v (id, user_id, title);
            INSERT INTO {self.conversations} (id, user_id, resource_id, title, created_at, updated_at, deleted_at)
            SELECT 'gone', 'ada', 'docs', 'Gone', '{LONG_AGO}', '{LONG_AGO}', '{LONG_AGO}';
            INSERT INTO {self.messages} (conversation_id, message_id, role, content, type, created_at)
            SELECT c, m, 'user', 'words', 'text', timestamptz '{LONG_AGO}' + interval '1 day'
            FROM (VALUES ('c1', 'm1'), ('c1', 'm2'), ('c1', 'm3'), ('c2', 'm1'), ('b1', 'm1')) AS v (c, m);
            UPDATE {self.messages} SET content_json = '["words", {file}]', file_ids = '{{{SHOWN_FILE}}}'
            WHERE conversation_id = 'c1' AND message_id = 'm3';
            INSERT INTO {self.shares} (token, conversation_id, up_to, up_to_time, up_to_seq, newest_seq)
            SELECT 't1', conversation_id, message_id, created_at, seq, seq
            FROM {self.messages} WHERE conversation_id = 'c1' AND message_id = 'm3';
            INSERT INTO {self.leases} (conversation_id, purpose, holder, token, until, lasts)
            SELECT id, 'answer', 'somebody', 7, now() + interval '1 hour', '1 hour' FROM {self.conversations};
            DELETE FROM {self.entries};
            INSERT INTO {self.entries} (id, agent_id, "timestamp", status, input, userid, conversationid)
            VALUES ('h1', 'a1', '{LONG_AGO}', 'working', '"Hello"', 'ada', 'c1');
            INSERT INTO {self.steps} (key, value, history_id, agent_id)
            VALUES ('s1', '{{"type": "text", "content": "words"}}', 'h1', 'a1');
            INSERT INTO {self.events} (id, history_id, agent_id, event_type, event_name, start_time)
            VALUES ('e1', 'h1', 'a1', 'agent', 'agent:start', '{LONG_AGO}');
            DELETE FROM {self.user_memory};
            INSERT INTO {self.user_memory} (user_id, version, content, change)
            VALUES ('ada', 1, 'lives in Oslo', 'set');
            INSERT INTO {self.memory} (conversation_id, version, content, change)
            VALUES ('c1', 1, 'plans', 'set'), ('b1', 1, 'bob''s plans', 'set')""")

    async def all(self) -> dict[str, Table]:
        """Return all rows. Of the times only whether a conversation was changed since seed()."""
        conversations = await self._connection.fetch(f"""
            SELECT id, user_id, resource_id, title, metadata::text, updated_at > created_at AS touched
            FROM {self.conversations} ORDER BY id""")
        messages = await self._connection.fetch(f"""
            SELECT conversation_id, message_id, role, content, content_json::text, type, metadata::text, archived
            FROM {self.messages} ORDER BY conversation_id, created_at, seq""")
        shares = await self._connection.fetch(f"""
            SELECT conversation_id, up_to FROM {self.shares} ORDER BY conversation_id, up_to""")
        entries = await self._connection.fetch(f"""
            SELECT id, agent_id, userid, conversationid, status, input::text, output::text, exact::text
            FROM {self.entries} ORDER BY id""")
        steps = await self._connection.fetch(f"""
            SELECT key, history_id, agent_id, value::text, exact::text FROM {self.steps} ORDER BY key""")
        events = await self._connection.fetch(f"""
            SELECT id, history_id, agent_id, event_type, event_name, parent_event_id, tags::text, output::text
            FROM {self.events} ORDER BY id""")
        files = await self._connection.fetch(f"SELECT user_id, id, size FROM {self.files} ORDER BY user_id, id")
        found = {"conversations": conversations, "messages": messages, "shares": shares, "files": files}
        found |= {"entries": entries, "steps": steps, "events": events}
        found["leases"] = await self._connection.fetch(
            f"SELECT conversation_id, purpose, token, stop_requested FROM {self.leases} ORDER BY 1, 2"
        )
        for name, table, key in (
            ("user_memory", self.user_memory, "user_id"),
            ("memory", self.memory, "conversation_id"),
        ):
            found[name] = await self._connection.fetch(f"""
                SELECT {key}, version, content, change FROM {table} ORDER BY {key}, version""")
        return {table: [tuple(row) for row in rows] for table, rows in found.items()}

    async def fail(self, sqlstate: str, times: int = 1_000_000, text: str = "made to fail") -> None:
        """Make the next *times* writes fail, with an error that PostgreSQL could raise."""
        await self._connection.execute(f"""
            CREATE SEQUENCE {self._schema}.failures;
            CREATE FUNCTION {self._schema}.fails() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('{self._schema}.failures') <= {times} THEN
                    RAISE EXCEPTION '{text}' USING ERRCODE = '{sqlstate}';
                END IF;
                RETURN NULL;
            END $$""")
        for table in self.tables:
            await self._connection.execute(f"""
                CREATE TRIGGER fails AFTER INSERT OR UPDATE OR DELETE ON {table}
                EXECUTE FUNCTION {self._schema}.fails()""")


@contextmanager
def migrated_schema() -> Iterator[str]:
    """Create a schema with all tables, for a module whose tests each begin with Rows.seed(). Yields its name."""
    schema = temporary_schema_name()
    asyncio.run(create_tables(schema))
    try:
        yield schema
    finally:
        asyncio.run(drop_schema(schema))


async def use_all_connections(storage: PostgresStorage, count: int) -> None:
    """Open as many concurrent transactions as the pool has connections, and check that each works."""
    together = asyncio.Barrier(count)

    async def use() -> None:
        async with storage.transaction() as tx:
            assert await tx.connection.fetchval("SELECT 1") == 1
            await together.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(use())


async def no_connection_of(application: str, connection: Connection) -> None:
    """Wait until the server has closed the connections of an application. A pooler keeps its own, which is no leak."""
    if THROUGH_POOLER:
        return
    alive = "SELECT count(*) FROM pg_sleep(0.005), pg_stat_activity WHERE application_name = $1"
    async with asyncio.timeout(PATIENCE):
        while await connection.fetchval(alive, application):
            pass


async def drop_database(name: str, connection: Connection) -> None:
    """Drop a database, also if a pooler has kept its connections to it."""
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    await connection.execute(f"DROP DATABASE {name}")


async def waiting_for(connection: Connection, holder: int) -> int:
    """Return the number of sessions that wait for a lock of this server process."""
    query = """
        SELECT count(DISTINCT pid) FROM pg_sleep(0.002), pg_locks
        WHERE NOT granted AND $1 = ANY(pg_blocking_pids(pid))"""
    if citus.DSN is not None:  # they wait on a worker
        query = """
            SELECT count(DISTINCT waiting_gpid) FROM pg_sleep(0.002), citus_lock_waits
            WHERE citus_pid_for_gpid(blocking_gpid) = $1"""
    return cast(int, await connection.fetchval(query, holder))


async def wait_until_blocked(connection: Connection, holder: AnyConnection | None = None) -> None:
    """Wait until a session waits for a lock of another connection; by default of the connection's own."""
    async with asyncio.timeout(PATIENCE):
        process = await process_of(holder or connection)
        while not await waiting_for(connection, process):
            pass


async def process_of(connection: AnyConnection) -> int:
    """Return the server process of a connection that is in a transaction. A pooler names another one in the login."""
    return cast(int, await connection.fetchval("SELECT pg_backend_pid()"))


def with_parameters(dsn: str, **parameters: str) -> str:
    """Return the connection string with additional parameters."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, urlencode(parameters)]))))


def with_settings(dsn: str, **settings: str) -> str:
    """Return the connection string with settings of the session. Skips the test behind a pooler, which refuses them."""
    if THROUGH_POOLER:
        pytest.skip("needs a real backend: a pooler refuses settings of a session")
    return with_parameters(dsn, **settings)

"""Errors: each class is raised, no driver's error escapes, and none leaves a partial write."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import asyncpg
import pytest
from pydantic import ValidationError

import voltmem.errors
import voltmem.testing
from tests.calls import NAMES_OF_READING_VERBS, VERBS, WRITES, Rows, call, parameters, with_settings
from tests.conftest import Connection, MakeStorage
from tests.proxy import Proxy
from voltmem import (
    ConnectionFailedError,
    ConversationExistsError,
    ConversationNotFoundError,
    DatabaseError,
    DatabaseTimeoutError,
    EmbeddedPostgresError,
    EmbeddingError,
    EventLoopError,
    HistoryEntryNotFoundError,
    InvalidInputError,
    InvalidLineError,
    InvalidOptionError,
    InvalidQueryError,
    LeaseHeldError,
    LeaseLostError,
    MemoryConflictError,
    MemoryRefusedError,
    Message,
    MessageNotFoundError,
    MigrationError,
    MissingExtraError,
    OperationConflictError,
    OutcomeUnknownError,
    PostgresStorage,
    QuotaExceededError,
    Quotas,
    Recall,
    RevisionConflictError,
    SchemaError,
    SchemaNotReadyError,
    StorageClosedError,
    StoredFileNotFoundError,
    UnreadableError,
    VoltMemError,
)
from voltmem._agents.native import NativeMemory
from voltmem._areas.meaning import Meaning
from voltmem._tables import Tables
from voltmem._values import JsonObject
from voltmem.adapters.agno import VoltMemDb

# --- each class is raised ----------------------------------------------------------------------------------------


class World:
    """The resources of a case."""

    def __init__(self, make_storage: MakeStorage, proxy: Proxy, connection: Connection, tmp_path: Path) -> None:
        self.make_storage = make_storage
        self.proxy = proxy
        self.connection = connection
        self.tmp_path = tmp_path


async def bad_message(world: World) -> None:
    await world.make_storage().add_message({"role": "user"}, "ada", "c1")


async def bad_option(world: World) -> None:
    world.make_storage(storage_limit=-1)


async def bad_query(world: World) -> None:
    await world.make_storage().query_conversations(limit=-1)


async def bad_line(world: World) -> None:
    await world.make_storage().import_user("ada", ["no JSON"])


async def no_conversation(world: World) -> None:
    await world.make_storage().add_message({"role": "user", "content": "hello"}, "ada", "nowhere")


async def no_history_entry(world: World) -> None:
    await world.make_storage().add_history_step("s1", {"type": "text"}, "nowhere", "a1")


async def two_conversations(world: World) -> None:
    for _ in range(2):
        await world.make_storage().create_conversation({"id": "c1", "user_id": "ada"})


async def no_message(world: World) -> None:
    storage = world.make_storage()
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.rewind_conversation("c1", "nowhere")


async def two_revisions(world: World) -> None:
    memory = NativeMemory(world.make_storage(), "ada", "c1")
    for _ in range(2):
        await memory.save_payload({}, "a framework", revision="r1", expected_revision=None)


async def two_versions(world: World) -> None:
    memory = world.make_storage().working_memory("ada")
    await memory.append("words")
    await memory.set("others", if_version=2)


async def no_json(world: World) -> None:
    memory = world.make_storage().working_memory("ada")
    await memory.append("words")
    await memory.merge({"n": 1})


async def two_changes(world: World) -> None:
    memory = world.make_storage().working_memory("ada")
    for text in ("words", "others"):
        await memory.append(text, operation_id="call-1")


async def another_agno(world: World) -> None:
    storage = world.make_storage()
    document: JsonObject = {"session_type": "agent", "summary": {"a field of another release": 1}}
    await NativeMemory(storage, "ada", "c1").save_payload(document, "agno/session")
    await VoltMemDb(storage, user_id="ada").get_session("c1")


async def no_room(world: World) -> None:
    await world.make_storage(quotas=Quotas(conversations=0)).create_conversation({"user_id": "ada"})


async def closed(world: World) -> None:
    storage = world.make_storage()
    await storage.close()
    await storage.count_conversations()


async def another_loop(world: World) -> None:
    storage = world.make_storage()
    await storage.open()
    await asyncio.to_thread(lambda: asyncio.run(storage.count_conversations()))


async def no_extra(world: World) -> None:
    raise MissingExtraError("testcontainers", "docker")  # raised for real in test_testing.py, with Docker


async def no_file(world: World) -> None:
    await anext(world.make_storage().read_file("ada", "0" * 64))


async def no_vectors(world: World) -> None:
    async def embed(_: Sequence[str]) -> list[list[float]]:
        return []

    await Meaning(Recall(embed=embed, dimensions=3, model="m"), Tables("public", "chat")).vectors(["words"])


async def two_holders(world: World) -> None:
    storage = world.make_storage()
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    async with storage.lease("ada", "c1", "answer"), storage.lease("ada", "c1", "answer"):
        pass


async def no_lease(world: World) -> None:
    async with world.make_storage().transaction() as tx:
        await tx.confirm_lease("ada", "c1", "answer", 1)


async def no_embedded_server(world: World) -> None:
    from voltmem._postgres.embedded import start_temporary

    start_temporary({"no_such_setting": "1"})


async def old_schema(world: World) -> None:
    storage = world.make_storage()
    await storage.open()
    await world.connection.execute(f"ALTER TABLE {storage._options.tables.messages} DROP COLUMN type")
    await storage.get_conversation_messages("c1")


async def no_schema(world: World) -> None:
    await world.make_storage(migrate="check").open()


async def edited_migration(world: World) -> None:
    await world.make_storage().open()
    tables = world.make_storage()._options.tables
    await world.connection.execute(f"UPDATE {tables.migrations} SET checksum = 'another'")
    await world.make_storage().open()


async def refused_statement(world: World) -> None:
    storage = world.make_storage()
    async with storage.transaction() as tx:
        await tx.connection.execute("SET LOCAL default_transaction_read_only = on")
        await tx.connection.execute("SET TRANSACTION READ ONLY")
        await tx.create_conversation({"user_id": "ada"})


async def no_server(world: World) -> None:
    await world.make_storage("postgresql://127.0.0.1:1/postgres", retry_timeout=0.1).open()


async def no_answer(world: World) -> None:
    storage = world.make_storage(world.proxy.dsn, command_timeout=1, connect_timeout=1, retry_timeout=0.1)
    await storage.open()
    world.proxy.hang()
    await storage.count_conversations()


async def no_news(world: World) -> None:
    storage = world.make_storage(world.proxy.dsn)
    await storage.open()
    world.proxy.cut_when = lambda answer: b"the-one" in answer
    await storage.create_conversation({"id": "the-one", "user_id": "ada"})


RAISED: dict[type[VoltMemError], Callable[[World], Awaitable[None]]] = {
    InvalidInputError: bad_message,
    InvalidOptionError: bad_option,
    InvalidQueryError: bad_query,
    InvalidLineError: bad_line,
    ConversationNotFoundError: no_conversation,
    ConversationExistsError: two_conversations,
    MessageNotFoundError: no_message,
    StoredFileNotFoundError: no_file,
    QuotaExceededError: no_room,
    RevisionConflictError: two_revisions,
    LeaseHeldError: two_holders,
    LeaseLostError: no_lease,
    MemoryConflictError: two_versions,
    MemoryRefusedError: no_json,
    OperationConflictError: two_changes,
    UnreadableError: another_agno,
    HistoryEntryNotFoundError: no_history_entry,
    StorageClosedError: closed,
    EventLoopError: another_loop,
    MissingExtraError: no_extra,
    EmbeddedPostgresError: no_embedded_server,
    EmbeddingError: no_vectors,
    SchemaError: old_schema,
    SchemaNotReadyError: no_schema,
    MigrationError: edited_migration,
    DatabaseError: refused_statement,
    ConnectionFailedError: no_server,
    DatabaseTimeoutError: no_answer,
    OutcomeUnknownError: no_news,
}


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: kind.__name__)
async def test_every_error_is_raised_by_something(
    kind: type[VoltMemError], make_storage: MakeStorage, proxy: Proxy, connection: Connection, tmp_path: Path
) -> None:
    """Each class of errors.py is raised in the case that it describes, exactly that class, with a text."""
    with pytest.raises(kind) as raised:
        await RAISED[kind](World(make_storage, proxy, connection, tmp_path))

    assert raised.type is kind
    assert len(str(raised.value)) > 20
    assert not isinstance(raised.value.__cause__, VoltMemError)


def test_no_error_is_forgotten() -> None:
    """Each class in errors.py has a case here, has VoltMemError as a base, and is in the documented tree."""
    classes = [
        member
        for _, member in inspect.getmembers(voltmem.errors, inspect.isclass)
        if member.__module__ == "voltmem.errors"
    ]

    assert set(classes) == {*RAISED, VoltMemError}
    assert all(issubclass(each, VoltMemError) for each in classes)
    assert [each for each in classes if each.__name__ not in str(voltmem.errors.__doc__)] == []


def test_an_error_is_also_what_python_calls_it() -> None:
    """Code without knowledge of voltmem can catch ValueError, LookupError, ConnectionError and TimeoutError."""
    assert issubclass(InvalidInputError, ValueError)
    assert issubclass(ConversationNotFoundError, LookupError)
    assert issubclass(ConnectionFailedError, ConnectionError)
    assert issubclass(DatabaseTimeoutError, TimeoutError)


def test_no_advice_is_for_asynchronous_code_only() -> None:
    """The texts of errors fit the blocking storage, too: they contain no await and no async."""
    source = Path(voltmem.errors.__file__).read_text(encoding="utf-8")
    texts = [each.value for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Constant)]

    assert not [text for text in texts if isinstance(text, str) and re.search(r"\b(await|async)\b", text)]


def test_a_constructor_of_a_model_raises_pydantics_error() -> None:
    """A model's constructor raises pydantic's ValidationError; of(), which storages call, raises InvalidInputError."""
    fields: dict[str, Any] = {"id": "", "role": "user", "content": "Hello"}

    with pytest.raises(ValidationError):
        Message(**fields)
    with pytest.raises(InvalidInputError, match="id is an empty string: pass an id"):
        Message.of(fields)


# --- no driver's error escapes -----------------------------------------------------------------------------------


# Faults of the server, and how to undo them; m and c are the tables, append is the function.
FAULTS: dict[str, tuple[list[str], list[str]]] = {
    "messages gone": (["ALTER TABLE {m} RENAME TO away"], ["ALTER TABLE {schema}.away RENAME TO {m_name}"]),
    "conversations gone": (["ALTER TABLE {c} RENAME TO away"], ["ALTER TABLE {schema}.away RENAME TO {c_name}"]),
    "column gone": (["ALTER TABLE {m} RENAME COLUMN type TO away"], ["ALTER TABLE {m} RENAME COLUMN away TO type"]),
    "function gone": (
        ["ALTER FUNCTION {add} RENAME TO away"],
        ["ALTER FUNCTION {schema}.away RENAME TO {a_name}"],
    ),
    # PostgreSQL raises 53100 at the end of a write, when all its rows were stored.
    "disk full": (
        [
            """CREATE FUNCTION {schema}.away() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device'; END $$""",
            *(
                f"""CREATE CONSTRAINT TRIGGER no_room AFTER INSERT OR UPDATE OR DELETE ON {table}
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {{schema}}.away()"""
                for table in (
                    "{c}",
                    "{m}",
                    "{shares}",
                    "{entries}",
                    "{steps}",
                    "{events}",
                    "{files}",
                    "{memory}",
                    "{leases}",
                )
            ),
        ],
        ["DROP FUNCTION {schema}.away CASCADE"],
    ),
}


async def run_all(connection: Connection, statements: list[str], rows: Rows) -> None:
    schema, _, m_name = rows.messages.partition(".")
    c_name, a_name = (m_name.replace("messages", other) for other in ("conversations", "add_messages"))
    names = {"schema": schema, "m": rows.messages, "c": rows.conversations, "add": f"{schema}.{a_name}"}
    names |= {"shares": rows.shares, "entries": rows.entries, "steps": rows.steps, "events": rows.events}
    names |= {"files": rows.files, "memory": rows.memory, "leases": rows.leases}
    for statement in statements:
        await connection.execute(statement.format(**names, m_name=m_name, c_name=c_name, a_name=a_name))


@pytest.fixture
async def storage(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    storage = make_storage(retry_timeout=0.5, search=True)
    await storage.open()
    return storage


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_the_server_is_an_error_of_ours(
    fault: str, storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """An error of PostgreSQL is raised as one of voltmem's with the driver's as its cause, and nothing is stored."""
    rows = Rows(connection, schema)
    breaking, undoing = FAULTS[fault]
    failed = set()

    for name in VERBS:
        await rows.seed()
        before = await rows.all()
        await run_all(connection, breaking, rows)
        error = await error_of(call(storage, name))
        await run_all(connection, undoing, rows)

        if error is not None:
            failed.add(name)
            assert isinstance(error, DatabaseError | SchemaError), name
            assert isinstance(error.__cause__, asyncpg.PostgresError), name
            assert await rows.all() == before, name

    # The branch that choose_branch() is called for is the chosen one already, so nothing is written.
    expected = WRITES - {"choose_branch"} if fault == "disk full" else {"add_message", "add_messages"}
    assert failed >= expected, f"{expected - failed} did not fail; {NAMES_OF_READING_VERBS}"


# Restrictions of a session, by SQLSTATE: no privileges, read-only, short timeouts.
SESSIONS: dict[str, dict[str, str]] = {
    "42501": {"role": "pg_monitor"},
    "25006": {"default_transaction_read_only": "on"},
    "57014": {"statement_timeout": "20"},
    "55P03": {"lock_timeout": "20"},
}


@pytest.mark.parametrize("sqlstate", SESSIONS)
async def test_a_session_that_may_not_go_on_is_an_error_of_ours(
    sqlstate: str, make_storage: MakeStorage, dsn: str, connection: Connection, migrated: str
) -> None:
    """A verb without a privilege or with a lock timeout raises a DatabaseError that says so, and is rolled back."""
    dsn = with_settings(dsn, **SESSIONS[sqlstate])
    storage = make_storage(dsn, migrate="off", retry_timeout=0.1, search=True)
    rows = Rows(connection, migrated)
    await rows.seed()
    before = await rows.all()
    failed = set()

    for name in VERBS:
        async with connection.transaction():
            if sqlstate in ("57014", "55P03"):
                await connection.execute(f"LOCK TABLE {', '.join(rows.tables)}")
            error = await error_of(call(storage, name))
        if error is not None:
            failed.add(name)
            assert type(error) is (DatabaseTimeoutError if sqlstate == "57014" else DatabaseError), name
            assert error.sqlstate == sqlstate, name
            assert isinstance(error.__cause__, asyncpg.PostgresError), name

    expected = WRITES if sqlstate == "25006" else set(VERBS)
    assert failed == expected, f"{failed ^ expected} failed, or did not; {NAMES_OF_READING_VERBS}"
    assert await rows.all() == before


@pytest.mark.parametrize(
    "place",
    [
        "127.0.0.1:99999/db",
        "h..x/db",
        "127.0.0.1:1/db?sslmode=verify-full&sslrootcert=/no/such/file",
        "127.0.0.1:1/db?port=seven",
        "/db?host=127.0.0.1&port=99999",
    ],
)
async def test_an_invalid_host_is_an_error_of_voltmem(place: str, make_storage: MakeStorage) -> None:
    """An invalid port, host name or file is refused by voltmem itself."""
    with pytest.raises(VoltMemError):
        await make_storage(f"postgresql://{place}", retry_timeout=0.1).open()


async def error_of(calling: Awaitable[object]) -> VoltMemError | None:
    """Return voltmem's error that a call raises. Any other error fails the test."""
    try:
        await calling
    except VoltMemError as error:
        return error
    return None


# --- bad input ---------------------------------------------------------------------------------------------------

WRONG: list[Any] = [None, 1, 1.5, b"bytes", [], {}, object(), "", "\x00", "\ud800", "x" * 1001, True]

# The invalid-looking values that a parameter accepts, besides its valid value, and None if its type has it.
MEANT: dict[str, tuple[Any, ...]] = {
    "content": (b"bytes", [], "x" * 1001),
    "size": (1,),
    "shortest_id": (1,),
    "start": (1,),
    "end": (1,),
    "title": ("", "x" * 1001),
    "metadata": ({},),
    "touch": (True,),
    "around": (1,),
    "limit": (1,),
    "offset": (1,),
    "page": (1,),
    "page_size": (1,),
    "ids": ([], {}),
    "message_ids": ([], {}),
    "messages": ([],),
    "known": ([], {}),
    "create": (True,),
    "roles": ([], {}),
    "types": ([], {}),
    "include_archived": (True,),
    "automatic": (True,),
    "pinned": (True,),
    "archived": (True,),
    "preview": (True,),
    "tag": ("",),
    "by": ("",),
    "conversation_ids": ([], {}),
    "token": ("", "x" * 1001),
    "tags": ([], {}),
    "text": ("", "x" * 1001),
    "value": ({},),
    "conversations": ([],),
}


def is_meant(verb: str, parameter: str, value: Any) -> bool:
    if value is None:  # None means "not filtered", "no check" or "all": the type says so
        return NoneType in get_args(get_type_hints(getattr(PostgresStorage, verb))[parameter])
    return any(value == each and type(value) is type(each) for each in MEANT.get(parameter, ()))


@pytest.mark.parametrize("name", VERBS)
async def test_a_wrong_value_is_refused_before_any_sql(
    name: str, proxy: Proxy, make_storage: MakeStorage, migrated: str
) -> None:
    """Each invalid value of each parameter of each verb raises InvalidInputError, and nothing is sent."""
    storage = make_storage(proxy.dsn, search=True)
    await storage.open()
    sent = proxy.round_trips
    accepted = []

    for parameter in sorted(parameters(PostgresStorage, name)):
        for value in WRONG:
            if is_meant(name, parameter, value):
                continue
            error = await error_of(call(storage, name, **{parameter: value}))
            if not isinstance(error, InvalidInputError) or len(str(error)) > 500:
                accepted.append((parameter, value, error))

    assert accepted == []
    assert proxy.round_trips == sent

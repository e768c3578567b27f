"""Every statement is valid, frequent ones use an index, and every call is one round trip."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import asyncpg
import pytest

from tests.calls import ROUND_TRIPS, VERBS, Rows, call, migrated_schema
from tests.conftest import Connection, MakeStorage
from tests.pgbouncer import THROUGH_POOLER
from tests.plans import assert_walks, pages_read, plan
from tests.proxy import Proxy
from voltmem import ANY_USER, Conversation, PostgresStorage, Quotas, Recall
from voltmem._agents.memory import MemoryStatements
from voltmem._agents.native import NativeStatements
from voltmem._areas.append_statement import AppendStatements
from voltmem._areas.changes import ChangeStatements, MemoryLookStatements
from voltmem._areas.checks.derived import DerivedStatements
from voltmem._areas.checks.schema import SchemaStatements
from voltmem._areas.checks.tables import row_checks
from voltmem._areas.conversations import ConversationStatements
from voltmem._areas.cursors import HistoryCursor, SidebarCursor
from voltmem._areas.deleted_users import DeletedUserStatements
from voltmem._areas.embedding import EmbeddingStatements
from voltmem._areas.file_sweeps import SweepStatements
from voltmem._areas.files import FileStatements
from voltmem._areas.forks import ForkStatements
from voltmem._areas.history.entries import HistoryQuery, HistoryStatements
from voltmem._areas.items import ItemStatements
from voltmem._areas.messages import MessageStatements
from voltmem._areas.queries import ConversationQuery, MessageQuery
from voltmem._areas.quotas import QuotaStatements
from voltmem._areas.recall_statement import RecallStatements
from voltmem._areas.search import SearchStatements
from voltmem._areas.sessions import SessionStatements
from voltmem._areas.shares import ShareStatements
from voltmem._areas.sidebar import SidebarQuery, SidebarStatements
from voltmem._areas.summaries import SummaryStatements
from voltmem._areas.transfer.exports import ExportStatements
from voltmem._areas.transfer.growth import GrowthStatements
from voltmem._areas.transfer.import_statements import ImportStatements
from voltmem._areas.users import UserStatements
from voltmem._areas.window_query import WindowQuery
from voltmem._areas.working_memory import WorkingMemoryStatements
from voltmem._postgres.listening import ListenerStatements
from voltmem._postgres.migrations.vectors import VectorStatements
from voltmem._tables import Tables, bare
from voltmem.adapters.pydantic_ai._branches import BranchStatements
from voltmem.models import OrderBy, OrderDirection, Owner
from voltmem.options import DEFAULT_TABLE_PREFIX

NOW = datetime.now(UTC)
ROWS = 50_000
MIDDLE = Conversation(
    id=f"c{ROWS // 2 + 7}", user_id="u7", updated_at=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=ROWS // 2 + 7)
)
"""A conversation of the user in the middle of the large schema."""
OWNERS: tuple[Owner, ...] = (ANY_USER, "u")
ORDERS: tuple[OrderBy, ...] = ("created_at", "updated_at", "title")
LAST_OF_A_PAGE = (None, Conversation(user_id="u"), Conversation(user_id="u", title="t"))
DIRECTIONS: tuple[OrderDirection, ...] = ("ASC", "DESC")


GROUPS: tuple[Callable[[Tables], object], ...] = (
    *(ConversationStatements, MessageStatements, AppendStatements, HistoryStatements, MemoryStatements),
    *(NativeStatements, BranchStatements, SidebarStatements, SearchStatements, ShareStatements, ExportStatements),
    *(FileStatements, SweepStatements, ForkStatements, UserStatements, DeletedUserStatements, ImportStatements),
    *(GrowthStatements, QuotaStatements, SessionStatements, ChangeStatements, ListenerStatements, DerivedStatements),
    *(WorkingMemoryStatements, SummaryStatements, RecallStatements, VectorStatements, ItemStatements),
    MemoryLookStatements,
)
"""The statements whose text does not depend on the arguments."""


def statements(tables: Tables) -> Iterator[str]:
    """
    Every text that is ever sent: the fixed statements, and all shapes of the four queries.

    With tables.vectors, those are among them that are sent only where the table of vectors is.
    """
    for group in GROUPS if tables.vectors is None else (*GROUPS, EmbeddingStatements):
        yield from vars(group(tables)).values()
    yield from SchemaStatements(tables).all()
    for limit, first in product((None, 5), (True, False)):
        yield from (checks.sql(first=first) for checks in row_checks(tables, limit))
    for user, limit in product(OWNERS, (None, 5)):
        for turns, exchanges in ((None, None), (3, None), (None, 3)):
            yield WindowQuery("c", user, limit, turns, exchanges).sql(tables)[0]
            for format in (None, "f"):
                yield WindowQuery("c", "u", limit, turns, summarised=True, format=format).sql(tables)[0]
    for user, resource, limit, offset in product(OWNERS, (None, "r"), (None, 5), (0, 5)):
        for order, direction, last in product(ORDERS, DIRECTIONS, LAST_OF_A_PAGE):
            yield ConversationQuery(user, resource, limit, offset, order, direction, last).sql(tables)[0]
        yield ConversationQuery(user, resource).count_sql(tables)[0]
    for user, limit, offset, before, after in product(OWNERS, (None, 5), (0, 5), (None, NOW), (None, NOW)):
        for names, archived, newest in product((None, ["a"]), (False, True), (False, True)):
            query = MessageQuery("c", user, limit, offset, before, after, names, names, archived, newest)
            yield query.sql(tables)[0]
    for agent, user, conversation, limit in product((None, "a"), OWNERS, (None, "c"), (None, 5)):
        for offset, cursor in product((0, 5), (None, HistoryCursor(NOW, "h"))):
            yield HistoryQuery(agent, user, conversation, limit, offset, cursor).sql(tables)[0]


@pytest.fixture(scope="module")
def large_schema() -> Iterator[str]:
    """A schema with 50,000 conversations and as many messages; each user has 500, one conversation 25,000."""
    with migrated_schema() as schema:
        yield schema


@pytest.fixture
def tables(large_schema: str) -> Tables:
    return Tables(large_schema, DEFAULT_TABLE_PREFIX)


@pytest.fixture
async def large(connection: Connection, tables: Tables) -> Connection:
    """A connection to the large schema, which the first test fills."""
    if await connection.fetchval(f"SELECT count(*) FROM {tables.conversations}") == 0:
        await connection.execute(f"""
            INSERT INTO {tables.conversations} (id, user_id, resource_id, title, created_at, updated_at)
            SELECT 'c' || n, 'u' || n % 100, 'r' || n % 10, 'title ' || n, moment, moment
            FROM (SELECT n, timestamptz '2024-01-01' + n * interval '1 minute' FROM generate_series(1, {ROWS}) AS n)
                AS rows (n, moment)""")
        await connection.execute(f"""
            INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type, created_at)
            SELECT CASE WHEN n % 2 = 0 THEN 'c1' ELSE 'c' || n END, 'm' || n, 'user', 'words', 'text',
                timestamptz '2024-01-01' + n * interval '1 second'
            FROM generate_series(1, {ROWS}) AS n""")
        await connection.execute(f"ANALYZE {tables.conversations}")
        await connection.execute(f"ANALYZE {tables.messages}")
    return connection


async def test_postgresql_knows_every_statement(storage: PostgresStorage, connection: Connection) -> None:
    """All SQL can be prepared against the migrated schema, on a connection with an empty search_path."""
    await connection.execute("SET search_path = ''")
    texts = set(statements(storage._options.tables))
    all_quotas = Quotas(conversations=1, messages=1, file_bytes=1)

    for text in texts | set(statements(replace(storage._options.tables, quotas=all_quotas))):
        await connection.prepare(text)

    assert len(texts) > 200


def test_asyncpg_keeps_every_statement_prepared() -> None:
    """No statement is longer than what asyncpg keeps, or each call would be planned, and prepared in a round trip."""
    tables = Tables("public", DEFAULT_TABLE_PREFIX, vectors="public")
    assert max(map(len, statements(tables))) <= 15 * 1024


async def test_postgresql_knows_the_statements_about_vectors(make_storage: MakeStorage, connection: Connection) -> None:
    """So can the SQL that is sent only where the table of vectors is."""
    if not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector')"):
        pytest.skip("this server has no pgvector")

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    storage = make_storage(recall=Recall(embed=embed, dimensions=1, model="m"))
    await storage.open()
    tables = storage._options.tables
    place = await connection.fetchval(
        "SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    )
    await connection.execute("SET search_path = ''")
    texts = set(statements(replace(tables, vectors=place))) - set(statements(tables))

    for text in texts:
        await connection.prepare(text)

    assert len(texts) > 10


async def test_check_looks_rows_up_by_an_index(large: Connection, tables: Tables) -> None:
    """A page of check() reads no whole table, whatever the statistics say."""
    derived = DerivedStatements(tables)
    key: list[object] = ["c1", f"m{ROWS // 2}"]
    of_rows = [(checks.sql(first=False), key[: len(checks.key)]) for checks in list(row_checks(tables, 5))[:2]]
    words: list[object] = [["c1"], [f"m{ROWS // 2}"], [""]]
    statements = [*of_rows, (derived.more_messages, key), (derived.stale_words, words)]

    plans = [await plan(large, sql, arguments) for sql, arguments in statements]

    for shown in plans:
        assert not re.search(rf"Seq Scan on (?!{bare(tables.changed_lines)}\b){DEFAULT_TABLE_PREFIX}", shown), (
            shown
        )  # that one is empty


@pytest.mark.parametrize("limit", [1, 50])
@pytest.mark.parametrize("page", ["first", "following"])
async def test_a_sidebar_walks_its_index(limit: int, page: str, large: Connection, tables: Tables) -> None:
    """A user's conversations by last activity are read from an index: no sort, and no row that is not returned."""
    query = ConversationQuery("u7", limit=limit, after=MIDDLE if page == "following" else None)

    shown = await plan(large, *query.sql(tables))

    assert_walks("conversations_by_user", shown)
    assert f"rows={limit}" in shown.partition("Index Scan")[2].partition("\n")[0].replace(".00", ""), shown


@pytest.mark.parametrize("page", ["first", "after", "before"])
async def test_the_list_reads_no_more_than_it_shows(page: str, large: Connection, tables: Tables) -> None:
    """
    The list reads 21 of 500 conversations by their index, and the last message of each.

    Only these are sorted.
    """
    cursor = str(SidebarCursor(False, MIDDLE.updated_at, MIDDLE.id))
    after, before = (cursor if page == way else None for way in ("after", "before"))
    query = SidebarQuery("u7", after=after, before=before)

    shown = await plan(large, *query.sql(tables))

    assert f"{DEFAULT_TABLE_PREFIX}_conversations_in_sidebar" in shown, shown
    assert f"{DEFAULT_TABLE_PREFIX}_messages_in_line" in shown, shown
    assert "Seq Scan" not in shown, shown
    for line in shown.splitlines():
        if "Scan" in line and "actual" in line:
            assert float(line.partition("actual")[2].partition("rows=")[2].split()[0]) <= 21, shown


@pytest.mark.parametrize("page", ["first", "following"])
async def test_a_link_reads_no_more_than_it_shows(page: str, large: Connection, tables: Tables) -> None:
    """A link reads 101 of 25,000 messages from the start of its page; only these are sorted."""
    sql = ShareStatements(tables)
    await large.execute(f"DELETE FROM {tables.shares}")
    await large.fetch(sql.share, "c1", None, f"m{ROWS * 9 // 10}", "token")
    before = await large.fetchrow(
        f"SELECT created_at, ARRAY[message_id] FROM {tables.messages} WHERE conversation_id = 'c1' "
        "ORDER BY created_at, seq OFFSET $1 LIMIT 1",
        ROWS // 5,
    )
    assert before is not None
    place = (None, None) if page == "first" else tuple(before)

    shown = await plan(large, sql.shared, ["token", 101, *place])

    assert f"{DEFAULT_TABLE_PREFIX}_messages_in_line" in shown, shown
    assert "Seq Scan" not in shown.replace("Seq Scan on voltagent_memory_shares", ""), shown  # of one row
    for line in shown.splitlines():
        if "Scan" in line and "actual" in line:
            assert float(line.partition("actual")[2].partition("rows=")[2].split()[0]) <= 101, shown


async def test_a_look_at_what_changed_walks_indexes(large: Connection, tables: Tables) -> None:
    """A query for changes reads the two changed conversations of 500 by index, and their last messages only."""
    sql = ChangeStatements(tables)
    known = await large.fetch(sql.begin, "u7")
    versions = ["0" if number < 2 else row["version"] for number, row in enumerate(known)]

    shown = await plan(large, sql.look, ["u7", [row["id"] for row in known], versions])
    begun = await plan(large, sql.begin, ["u7"])

    assert "Seq Scan" not in shown, shown
    assert f"{DEFAULT_TABLE_PREFIX}_conversations_pkey" in shown, shown
    for line in (shown + begun).splitlines():
        if "Scan" in line and "actual" in line:
            rows = float(line.partition("actual")[2].partition("rows=")[2].split()[0])
            assert rows <= (ROWS / 100 if "messages" not in line else 1), line


async def test_a_conversation_is_found_by_its_key(large: Connection, tables: Tables) -> None:
    """Getting, updating and deleting by id read one row by the primary key, with an owner or without."""
    sql = ConversationStatements(tables)

    for owner in ("u7", None):
        for text, arguments in ((sql.get, ["c7", owner]), (sql.delete, ["no such", owner])):
            assert_walks("conversations_pkey", await plan(large, text, list(arguments)))


async def test_ensure_conversation_finds_it_by_its_key(large: Connection, tables: Tables) -> None:
    """To return a conversation that is there, or to give it a title, touches few pages of thousands."""
    calls: tuple[tuple[str, tuple[object, ...]], ...] = (
        (ConversationStatements(tables).ensure, ("c7", "r", "u7", None, "{}", None, None)),
        (MemoryStatements(tables).title, ("c7", "u7", "Named", True, "r", "hash", 1.0)),
    )

    for text, arguments in calls:
        await large.fetch(text, *arguments)  # looks the function and its tables up
        assert await pages_read(large, text, *arguments) < 30


async def test_the_conversations_of_a_resource_walk_their_index(large: Connection, tables: Tables) -> None:
    """The newest conversations of a resource are read from their index."""
    query = ConversationQuery(ANY_USER, "r3", limit=50, order_by="created_at")

    assert_walks("conversations_by_resource", await plan(large, *query.sql(tables)))


def test_the_text_of_a_query_is_made_once() -> None:
    """Queries in which the same fields are given have the same text, which is not made again."""
    tables = Tables("app", "chat")
    texts = [MessageQuery(f"c{number}", "u1", limit=number).sql(tables)[0] for number in range(2)]

    assert texts[0] is texts[1]
    assert MessageQuery("c1", ANY_USER, limit=3).sql(tables)[1] == ["c1", "c1", 3]
    assert WindowQuery("c1", "u1", turns=3).sql(tables)[0] != WindowQuery("c1", "u1", exchanges=3).sql(tables)[0]


@pytest.mark.parametrize("user", ["u1", ANY_USER])
@pytest.mark.parametrize("newest_first", [True, False])
async def test_messages_walk_their_index(user: Owner, newest_first: bool, large: Connection, tables: Tables) -> None:
    """The newest or oldest 100 of 25,000 messages are 100 entries of the index, without a sort."""
    query = MessageQuery("c1", user, limit=100, newest_first=newest_first)

    shown = await plan(large, *query.sql(tables))

    assert_walks("messages_in_line", shown)
    assert "rows=100" in shown.partition("messages_in_line")[2].partition("\n")[0].replace(".00", ""), shown


async def test_messages_before_a_moment_walk_their_index(large: Connection, tables: Tables) -> None:
    """A page of older messages among 25,000 starts in the middle of the index."""
    middle = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=ROWS // 5)
    query = MessageQuery("c1", "u1", limit=20, before=middle, newest_first=True)

    shown = await plan(large, *query.sql(tables))

    assert_walks("messages_in_line", shown)
    assert "Filter: (created_at" not in shown, shown


@pytest.fixture
async def plans(dsn: str, large_schema: str) -> AsyncIterator[tuple[Connection, list[str]]]:
    """A connection that logs the plan of every statement, those inside functions too."""
    connection: Connection = await asyncpg.connect(dsn)
    logged: list[str] = []
    try:
        await connection.execute("LOAD 'auto_explain'")
        await connection.execute("SET auto_explain.log_min_duration = 0")
        await connection.execute("SET auto_explain.log_nested_statements = on")
        await connection.execute("SET auto_explain.log_level = log")
        await connection.execute("SET client_min_messages = log")
    except asyncpg.PostgresError as error:
        await connection.close()
        pytest.skip(f"this server has no auto_explain for us: {error}")
    connection.add_log_listener(lambda _, message: logged.append(str(message)))
    yield connection, logged
    await connection.close()


async def append(connection: Connection, tables: Tables, id: str) -> None:
    """Add one message in each of the three ways: alone, with others, and one that has to be looked at."""
    statements = AppendStatements(tables)
    message: list[object] = [f"{id} alone", "user", "words", None, "text", None, None, None, None]
    await connection.fetch(statements.add_message, "c1", "u1", None, *message, 100, True, False, True, *[None] * 4)
    for are_plain in (True, False):
        calls = [["c1"], ["u1"], [None], ["1"]]
        messages = [[f"{id} {are_plain}"], ["user"], ["words"], None, ["text"], *[None] * 6]
        more = [100, True, False, None, None, None, None, True, *[None] * 6, are_plain, None]
        await connection.fetch(statements.add_messages, *calls, *messages, *more)


async def test_adding_a_message_walks_indexes_only(
    plans: tuple[Connection, list[str]], large: Connection, tables: Tables
) -> None:
    """Inside the append function nothing is scanned: the limit is found from the newest end of the index."""
    connection, logged = plans

    transaction = connection.transaction()
    await transaction.start()
    # To move all of its 25,000 messages into the archive takes ten seconds.
    await connection.execute(f"DELETE FROM {tables.messages} WHERE conversation_id = 'c1' AND seq % 25 > 0")
    await append(connection, tables, "m-new")
    logged.clear()  # the first call moved 900 messages into the archive
    await append(connection, tables, "m-newer")
    await transaction.rollback()

    shown = "\n".join(logged)
    assert shown.count("Query Text") >= 4, shown
    assert f"{DEFAULT_TABLE_PREFIX}_messages_in_line" in shown
    assert "Seq Scan" not in shown, shown
    assert "Sort" not in shown, shown


async def test_the_plan_made_on_empty_tables_is_by_index(
    plans: tuple[Connection, list[str]], storage: PostgresStorage
) -> None:
    """The plans that a connection makes on empty tables without statistics use indexes, and are kept."""
    connection, logged = plans
    tables = storage._options.tables
    await storage.create_conversation({"id": "c1", "user_id": "u1"})

    await append(connection, tables, "m1")

    shown = "\n".join(logged)
    assert "typeinfo_tree" not in shown, "asyncpg looks up no type for a new connection"
    assert shown.count("Query Text") >= 4, shown
    assert "Seq Scan" not in shown, shown
    assert "Sort" not in shown, shown


async def test_every_verb_takes_the_round_trips_it_may(
    proxy: Proxy, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """On an open storage with prepared statements, a call is one round trip; entries with details are three."""
    storage = make_storage(proxy.dsn, max_connections=1, search=True)
    await storage.open()
    rows = Rows(connection, schema)
    counted: dict[str, int] = {}

    for name in VERBS:
        for _ in range(2):  # the first call prepares the statements
            await rows.seed()
            before = proxy.round_trips
            await call(storage, name)
            counted[name] = proxy.round_trips - before

    # Without prepared statements, each cursor of an export prepares its own.
    assert counted == {**ROUND_TRIPS, **({"export_user": 19} if THROUGH_POOLER else {})}

"""A statement reads the same rows, whatever PostgreSQL knows of the tables: after an import, a restore, an upgrade."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final, TypeAlias

import asyncpg
import pytest

from tests.calls import migrated_schema
from tests.conftest import Connection
from tests.plans import cost, pages_read, rows_read
from voltmem._areas.changes import ChangeStatements
from voltmem._areas.cursors import SidebarCursor
from voltmem._areas.inflected import asked_words
from voltmem._areas.queries import MessageQuery
from voltmem._areas.recall import recall_arguments
from voltmem._areas.recall_statement import RecallStatements
from voltmem._areas.search import SearchStatements
from voltmem._areas.sidebar import SidebarQuery, SidebarStatements
from voltmem._areas.window_query import WindowQuery
from voltmem._areas.words import USER, terms, title_expressions, vector
from voltmem._tables import Tables
from voltmem._values import user_key
from voltmem.options import DEFAULT_TABLE_PREFIX
from voltmem.testing import server

STATES: Final = ("never analysed", "analysed when empty", "analysed")
USERS: Final = 20
CONVERSATIONS: Final = 300
"""Of each user, with four messages each."""
TEXT: Final = "How do I find my parcel in Oslo?"
IDS: Final = [f"c{n}" for n in range(7, USERS * CONVERSATIONS, USERS)]
"""The conversations of the user u7."""
CURSOR: Final = str(SidebarCursor(False, datetime(2024, 1, 4, tzinfo=UTC), "c50"))

Sent: TypeAlias = tuple[str, list[object]]


def searched(tables: Tables, text: str, *place: object) -> Sent:
    """The statement of a search, and its arguments."""
    wanted = terms(text)
    query = " & ".join(each.tsquery() for each in wanted).replace(USER, user_key("u7"))
    titles: list[object] = [[t.title_pattern() for t in wanted if t.without is excluded] for excluded in (False, True)]
    after = place or (None, None, None)
    return SearchStatements(tables).search, ["u7", query, *titles, 21, *after, *title_expressions(), None, None]


def recalled(tables: Tables, text: str, conversation_id: str | None = None, after: datetime | None = None) -> Sent:
    """The statement of recall(), and its arguments."""
    arguments = recall_arguments(
        asked_words(text),
        user_id="u7",
        limit=5,
        around=1,
        after=after,
        before=None,
        conversation_id=conversation_id,
        resource_id=None,
    )
    return RecallStatements(tables).recall, arguments


def of_the_sidebar(tables: Tables) -> dict[str, Sent]:
    """The statements of the sidebar's verbs on one conversation."""
    more: dict[str, list[object]] = {
        "pin": [True],
        "archive": [True],
        "tag": [["work"]],
        "read": [None],
        "rename": ["New", False],
    }
    sent = vars(SidebarStatements(tables)).copy()
    del sent["purge"]  # of all users, by a cleanup task
    deleted = sent.pop("deleted")
    return {
        "list_deleted": (deleted, ["u7", 20]),
        **{name: (sql, ["c7", "u7", *more.get(name, [])]) for name, sql in sent.items()},
    }


def hot(tables: Tables) -> dict[str, Sent]:
    """The statements of search, recall and sidebar, and what a page of a chat sends with them."""
    changes = ChangeStatements(tables)
    return {
        "search for what no message has": searched(tables, "nowhere "),
        "search for what few messages have": searched(tables, "rare "),
        "search for what all messages have": searched(tables, "parcel "),
        "search for what all titles have": searched(tables, "title "),
        "search without a word": searched(tables, "parcel -rare "),
        "search after a place": searched(tables, "parcel ", 0.5, datetime(2024, 1, 2, tzinfo=UTC), "c100"),
        "recall of what no message has": recalled(tables, "nowhere"),
        "recall of what few messages have": recalled(tables, "rare"),
        "recall of what all messages have": recalled(tables, "rare parcel"),
        "recall in a conversation": recalled(tables, "parcel", conversation_id="c7"),
        "recall of a time": recalled(tables, "parcel", after=datetime(2024, 1, 4, tzinfo=UTC)),
        "list": SidebarQuery("u7").sql(tables),
        "list after": SidebarQuery("u7", after=CURSOR).sql(tables),
        "list before": SidebarQuery("u7", before=CURSOR).sql(tables),
        "list of pinned": SidebarQuery("u7", pinned=True).sql(tables),
        "list of others": SidebarQuery("u7", pinned=False).sql(tables),
        "list of archived": SidebarQuery("u7", archived=True).sql(tables),
        "list with a tag": SidebarQuery("u7", tag="work").sql(tables),
        "list of a resource": SidebarQuery("u7", resource_id="r7").sql(tables),
        "list without preview": SidebarQuery("u7", preview=False).sql(tables),
        **of_the_sidebar(tables),
        "messages": MessageQuery("c7", "u7", limit=3, newest_first=True).sql(tables),
        "messages before": MessageQuery("c7", "u7", limit=3, before="m3", newest_first=True).sql(tables),
        "window": WindowQuery("c7", "u7", limit=3).sql(tables),
        "window of turns": WindowQuery("c7", "u7", turns=1).sql(tables),
        "window of exchanges": WindowQuery("c7", "u7", exchanges=1).sql(tables),
        "begin to watch": (changes.begin, ["u7"]),
        "look at changes": (changes.look, ["u7", IDS, ["0"] * len(IDS)]),
    }


NAMES: Final = tuple(hot(Tables("app", DEFAULT_TABLE_PREFIX)))


async def fill(tables: Tables, state: str) -> None:
    """Store the conversations and their messages; PostgreSQL has the statistics of this state."""
    analyse = f"ANALYZE {tables.conversations}; ANALYZE {tables.messages}"
    keys = ", ".join(f"'{user_key(f'u{n}')}'" for n in range(USERS))
    words = [vector(text).replace("'", "''").replace(USER, "\x01") for text in (TEXT, f"{TEXT} rare")]
    connection: Connection = await asyncpg.connect(server().dsn)
    try:
        for table in (tables.conversations, tables.messages):
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        if state == "analysed when empty":
            await connection.execute(analyse)
        await connection.execute(f"""
            INSERT INTO {tables.conversations} (id, user_id, resource_id, title, created_at, updated_at, tags, pinned)
            SELECT 'c' || n, 'u' || n % {USERS}, 'r' || n % 10, 'title ' || n, moment, moment,
                CASE WHEN n % 7 = 0 THEN '{{work}}'::text[] ELSE '{{}}' END, n % {20 * USERS} < {USERS}
            FROM generate_series(1, {USERS * CONVERSATIONS}) AS n,
                LATERAL (SELECT timestamptz '2024-01-01' + n * interval '1 minute' AS moment) AS at""")
        await connection.execute(f"""
            INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type, created_at, words)
            SELECT 'c' || n, 'm' || k, CASE WHEN k % 2 = 1 THEN 'user' ELSE 'assistant' END, '{TEXT}', 'text',
                timestamptz '2024-01-01' + n * interval '1 minute' + k * interval '1 second',
                replace(CASE WHEN n % 100 < {USERS} THEN '{words[1]}' ELSE '{words[0]}' END, E'\\x01',
                    (ARRAY[{keys}])[n % {USERS} + 1])::tsvector
            FROM generate_series(1, {USERS * CONVERSATIONS}) AS n, generate_series(1, 4) AS k""")
        if state == "analysed":
            await connection.execute(analyse)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def schemas() -> Iterator[dict[str, Tables]]:
    """The same rows in three schemas, one for each state of the statistics."""
    with ExitStack() as stack:
        made = {state: Tables(stack.enter_context(migrated_schema()), DEFAULT_TABLE_PREFIX) for state in STATES}
        for state, tables in made.items():
            asyncio.run(fill(tables, state))
        yield made


@pytest.mark.parametrize("generic", [False, True], ids=["plan for the arguments", "generic plan"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_hot_statement_reads_the_same_rows_with_any_statistics(
    name: str, generic: bool, schemas: dict[str, Tables], connection: Connection
) -> None:
    """Search, recall and sidebar read the same rows on tables never analysed, analysed when empty, and analysed."""
    read = {
        state: await rows_read(connection, *hot(tables)[name], generic=generic) for state, tables in schemas.items()
    }

    assert max(read.values()) - min(read.values()) <= 2, read


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("search", "recall", "list"))])
async def test_search_recall_and_list_touch_as_many_pages_with_any_statistics(
    name: str, schemas: dict[str, Tables], connection: Connection
) -> None:
    """Nor do they read more of an index for the same rows."""
    touched = {}
    for state, tables in schemas.items():
        sql, arguments = hot(tables)[name]
        await pages_read(connection, sql, *arguments)  # the first time reads the catalog, too
        touched[state] = await pages_read(connection, sql, *arguments)

    assert max(touched.values()) <= 1.2 * min(touched.values()) + 20, touched


@pytest.mark.parametrize("name", NAMES)
async def test_no_hot_statement_costs_so_much_that_it_is_compiled(
    name: str, schemas: dict[str, Tables], connection: Connection
) -> None:
    """A pool of the caller's has PostgreSQL's default, by which a plan of a high cost is compiled."""
    at = float(await connection.fetchval("SELECT current_setting('jit_above_cost')"))
    costs = {state: await cost(connection, *hot(tables)[name]) for state, tables in schemas.items()}

    assert max(costs.values()) < at, costs

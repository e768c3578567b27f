"""A hostile search_path: no statement and no function uses a function, an operator or a table that it did not mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest
from asyncpg.pool import PoolConnectionProxy

from tests.calls import VERBS, Rows, call
from tests.postgres.test_statements import statements
from tests.roles import new_names
from voltmem import DatabaseError, PostgresStorage, Recall
from voltmem._postgres import roles
from voltmem._postgres.migrations import citus
from voltmem._postgres.migrations.files import migrations
from voltmem._postgres.migrations.ledger import record_sql
from voltmem._postgres.roles import RoleNames
from voltmem._postgres.schema import script as schema_script
from voltmem._tables import Tables, bare
from voltmem.options import DEFAULT_TABLE_PREFIX, Migrate, Quotas

if TYPE_CHECKING:
    from tests.conftest import Connection

TABLES: Final = Tables("app", DEFAULT_TABLE_PREFIX)
QUOTAS: Final = Quotas(conversations=1000, messages=1000, file_bytes=1000)

SAFE: Final = {"search_path": "pg_catalog"}
HOSTILE: Final = "hostile, public, pg_catalog"

PAGES: Final = sorted((Path(__file__).parents[2] / "docs").rglob("*.md"))
# A block of SQL, or what psql is to run.
SQL_OF_PAGE: Final = re.compile(r"```sql\n(.*?)```|--command (?:'([^']*)'|\"([^\"]*)\")", re.DOTALL)

# These look like functions, and are part of the grammar: nothing can stand before them.
GRAMMAR: Final = frozenset({"coalesce", "greatest", "least", "nullif", "normalize"})
# A name before a parenthesis, with its schema; not the alias of a FROM item with its columns.
CALLED: Final = re.compile(r"(?<!AS )(?<![\w\"$.])((?:pg_catalog\.)?)([a-z_][a-z_0-9]*)\(")
NO_CODE: Final = re.compile(r"'(?:[^']|'')*'|--[^\n]*")
OPERATOR: Final = re.compile(r"(?<![-+*/<>=~!@#%^&|`?])[-+*/<>=~!@#%^&|`?]{1,3}(?![-+*/<>=~!@#%^&|`?])")

# Types of our columns and parameters, and those that PostgreSQL may choose for what has none.
TYPES: Final = (
    "text",
    "varchar",
    "name",
    "text[]",
    "varchar[]",
    "json",
    "jsonb",
    "smallint",
    "integer",
    "bigint",
    "real",
    "float8",
    "numeric",
    "boolean",
    "timestamptz",
    "timestamp",
)


def code(sql: str) -> str:
    """Return the SQL without its literals and comments."""
    return NO_CODE.sub("''", sql)


def called(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the schema ("" or "pg_catalog.") and the name of each function that is called and is not voltmem's."""
    for text in texts:
        sql = code(text)
        for found in CALLED.finditer(sql):
            schema, name = found.groups()
            if name not in GRAMMAR and not (name == "unnest" and takes_several(sql[found.end() :])):
                yield schema, name


def takes_several(arguments: str) -> bool:
    """Return whether a call has several arguments. Only unnest() without a schema may; it is always pg_catalog's."""
    depth = 1
    for each in arguments:
        depth += (each in "([") - (each in ")]")
        if not depth or (each == "," and depth == 1):
            return bool(depth)
    raise AssertionError(arguments)


@pytest.fixture
async def sent(database: str) -> set[str]:
    """Every text that is sent when a storage is opened in an empty database and each verb is called."""
    texts: set[str] = set()

    async def log(connection: Connection) -> None:
        connection.add_query_logger(lambda query: texts.add(query.query))

    async with (
        asyncpg.create_pool(database, init=log, min_size=1, max_size=2) as pool,
        PostgresStorage(pool=pool, search=True) as storage,
    ):
        await use_all_verbs(storage, database)
    return texts


async def use_all_verbs(storage: PostgresStorage, database: str, *, upgrades: bool = True) -> None:
    """Upgrade the schema, and call every verb on rows of its own."""
    if upgrades:
        await storage.upgrade_schema()
    await storage.health()
    await storage.schema_status()
    own: Connection = await asyncpg.connect(database, server_settings=SAFE)
    try:
        rows = Rows(own, "public")
        for name in VERBS:
            await rows.seed()
            await call(storage, name)
        await storage.index_messages()
        await storage.forget_words()
    finally:
        await own.close()


def both(tables: Tables, vectors: str | None = "public") -> set[str]:
    """Return the statements of a storage, and those of one with quotas, and with vectors unless it is None."""
    return {*statements(tables), *statements(replace(tables, quotas=QUOTAS, vectors=vectors))}


async def embed(texts: Sequence[str]) -> list[list[float]]:
    return [[1.0] for _ in texts]


def test_every_function_of_a_statement_is_qualified() -> None:
    """A statement calls the functions of pg_catalog by their whole names."""
    unqualified = {name for schema, name in called(both(TABLES)) if not schema}

    assert unqualified == set()


async def test_every_function_that_is_sent_is_qualified(sent: set[str]) -> None:
    """So do the statements of opening, of upgrading and of health(). A migration's text runs with its own path."""
    tables = Tables("public", DEFAULT_TABLE_PREFIX)
    of_files = {
        text
        for each in migrations()
        for text in (*each.statements(tables), f"{tables.render(each.text)}\n{record_sql(tables, each)}")
    }
    of_voltmem = {text for text in sent - of_files if "voltagent_memory" in text or "pg_catalog" in text}

    assert len(of_voltmem) > 50
    assert {name for schema, name in called(of_voltmem) if not schema} == set()


HOSTILE_FUNCTIONS: Final = """
    DO $hostile$
    DECLARE
        each record;
        concrete text;
        arguments text;
    BEGIN
        -- Every function of the name, with its arguments; one of any type with each of these types. And with text for
        -- every argument: an untyped literal prefers text to another type.
        FOR each IN
            SELECT DISTINCT proname, proargtypes, provariadic <> 0 AS variadic
            FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ('{names}')
        LOOP
            FOREACH concrete IN ARRAY ARRAY['text', 'jsonb', 'bigint', 'timestamptz', 'boolean', 'bytea', NULL] LOOP
                arguments := (
                    SELECT coalesce(string_agg(
                        CASE WHEN each.variadic AND place = cardinality(each.proargtypes) THEN 'VARIADIC ' ELSE '' END
                        || CASE
                            WHEN concrete IS NULL THEN
                                CASE WHEN typname ~ 'array$|^_'
                                    OR each.variadic AND place = cardinality(each.proargtypes)
                                    THEN 'text[]' ELSE 'text' END
                            WHEN typname ~ '^any.*array$' THEN concrete || '[]'
                            WHEN typname = 'any' AND each.variadic THEN concrete || '[]'
                            WHEN typname ~ '^any' THEN concrete
                            ELSE format_type(argument, NULL)
                        END, ', ' ORDER BY place), '')
                    FROM unnest(each.proargtypes) WITH ORDINALITY AS a (argument, place) JOIN pg_type ON oid = argument
                );
                CONTINUE WHEN arguments ~ 'internal|cstring';
                EXECUTE format(
                    'CREATE OR REPLACE FUNCTION {schema}.%I(%s) RETURNS text LANGUAGE plpgsql AS %L',
                    each.proname, arguments, format('BEGIN RAISE EXCEPTION %L; END', 'hostile ' || each.proname)
                );
            END LOOP;
        END LOOP;
    END
    $hostile$"""
"""Functions with the names of PostgreSQL's, which fail when they are called."""

HOSTILE_OPERATORS: Final = """
    DO $hostile$
    DECLARE
        a text;
        b text;
        name text;
    BEGIN
        FOREACH a IN ARRAY '{types}'::text[] LOOP
            FOREACH b IN ARRAY '{types}'::text[] LOOP
                EXECUTE format(
                    'CREATE FUNCTION {schema}.operate(%s, %s) RETURNS boolean LANGUAGE plpgsql AS %L',
                    a, b, format('BEGIN RAISE EXCEPTION %L; END', 'hostile operator of ' || a || ' and ' || b)
                );
                FOREACH name IN ARRAY '{names}'::text[] LOOP
                    EXECUTE format(
                        'CREATE OPERATOR {schema}.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = {schema}.operate)',
                        name, a, b
                    );
                END LOOP;
            END LOOP;
        END LOOP;
    END
    $hostile$"""
"""Operators with the names of PostgreSQL's, between all types, which fail when they are used."""


def array(values: Iterable[str]) -> str:
    """Return an array as a literal for SQL."""
    return "{" + ",".join('"' + each.replace('"', '\\"') + '"' for each in sorted(values)) + "}"


def printed(tables: Tables, names: RoleNames) -> tuple[str, str]:
    """Return the scripts that "python -m voltmem sql" prints, which a superuser may run."""
    return schema_script(tables), roles.script(tables, names)


async def make_hostile(database: str, schema: str, *, operators_too: bool = True) -> None:
    """Create functions and operators with all names of PostgreSQL's that our SQL has, in a new schema."""
    codes = [
        code(text) for text in (*both(TABLES), *(each.text for each in migrations()), *printed(TABLES, RoleNames()))
    ]
    functions = {name for text in codes for _, name in CALLED.findall(text)} - GRAMMAR
    operators = {name for text in codes for name in OPERATOR.findall(text)} - {"=>", "*", "%", "?"} | {"~~", "!~~", "*"}
    assert {"now", "cardinality", "convert_to", "unnest", "sha256", "count", "lag"} <= functions
    assert {"=", "<>", "<", "||", "@@", "->>", "#>>"} <= operators
    connection: Connection = await asyncpg.connect(database, server_settings=SAFE)
    try:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        await connection.execute(HOSTILE_FUNCTIONS.format(schema=schema, names=array(functions)))
        if operators_too:
            types = array(TYPES)
            await connection.execute(HOSTILE_OPERATORS.format(schema=schema, types=types, names=array(operators)))
    finally:
        await connection.close()


async def test_no_hostile_function_or_operator_is_reached(database: str) -> None:
    """Functions and operators that fit better than PostgreSQL's, in each schema of the path, change nothing."""
    for schema in ("hostile", "public"):
        await make_hostile(database, schema)
    settings = {"search_path": "hostile, public"}

    async with asyncpg.create_pool(database, server_settings=settings, min_size=1, max_size=2) as pool:
        for sql in ("SELECT cardinality('{a}'::text[])", "SELECT '{a}'::text[] = '{a}'::text[]"):
            with pytest.raises(asyncpg.RaiseError, match="hostile"):  # they are in the way
                await pool.fetchval(sql)
        async with PostgresStorage(pool=pool, search=True) as storage:
            await use_all_verbs(storage, database)


async def test_no_function_before_those_of_postgresql_is_reached(database: str) -> None:
    """Functions change nothing, even if a path that is set later names their schema before pg_catalog."""
    await make_hostile(database, "hostile", operators_too=False)
    path = "public"

    async def set_path(connection: Connection | PoolConnectionProxy[asyncpg.Record]) -> None:
        await connection.execute(f"SET search_path = {path}")

    async with (
        asyncpg.create_pool(database, setup=set_path, min_size=1, max_size=2) as pool,
        PostgresStorage(pool=pool, search=True) as storage,
    ):
        await storage.open()
        path = HOSTILE
        with pytest.raises(asyncpg.RaiseError, match="hostile"):
            await pool.fetchval("SELECT clock_timestamp()")
        await use_all_verbs(storage, database, upgrades=False)


@pytest.mark.parametrize("migrate", ["auto", "check"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new database", "current database"])
async def test_a_path_with_another_schema_before_pg_catalog_is_refused(
    migrate: Migrate, is_new: bool, database: str
) -> None:
    """Opening fails with the path in its error, before a statement is resolved with it, and changes nothing."""
    if not is_new:
        async with PostgresStorage(database) as storage:
            await storage.open()
    await make_hostile(database, "hostile")
    settings = {"search_path": HOSTILE}

    async with asyncpg.create_pool(database, server_settings=settings, min_size=1, max_size=1) as pool:
        with pytest.raises(asyncpg.RaiseError, match="hostile"):
            await pool.fetchval("SELECT 'a'::text = 'a'::text")
        storage = PostgresStorage(pool=pool, migrate=migrate)
        for _ in range(2):
            with pytest.raises(DatabaseError, match=re.escape(f"search_path '{HOSTILE}'")):
                await storage.get_conversation("c1")
    safe: Connection = await asyncpg.connect(database, server_settings=SAFE)
    tables = await safe.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE 'voltagent%' AND relkind = 'r'")
    await safe.close()
    assert (tables == 0) is is_new


@pytest.mark.parametrize(
    ("path", "is_refused"),
    [
        ("", False),
        ("public", False),
        ("pg_catalog, hostile", False),
        ("pg_temp, pg_catalog, hostile", False),
        ("absent, pg_catalog", False),
        ("hostile, pg_catalog", True),
        ("pg_temp, hostile, pg_catalog", True),
        ('"$user", public, pg_catalog', True),
    ],
)
async def test_only_a_schema_before_pg_catalog_is_refused(path: str, is_refused: bool, database: str) -> None:
    """Any other path opens; health() names one that was refused, or set later."""
    setup: Connection = await asyncpg.connect(database, server_settings=SAFE)
    await setup.execute("CREATE SCHEMA hostile")
    await setup.close()

    async def set_path(connection: Connection | PoolConnectionProxy[asyncpg.Record]) -> None:
        await connection.execute("CREATE TEMP TABLE IF NOT EXISTS of_the_session (id int)")
        await connection.execute("SELECT pg_catalog.set_config('search_path', $1, false)", path)

    async with asyncpg.create_pool(database, setup=set_path, min_size=1, max_size=1) as pool:
        storage = PostgresStorage(pool=pool)
        if is_refused:
            with pytest.raises(DatabaseError, match="would be used in place of PostgreSQL's"):
                await storage.open()
        else:
            await storage.open()
        problems = (await storage.health()).problems

    assert any(each.startswith(f"search_path {path!r}") for each in problems) is is_refused
    assert len(problems) == (2 if is_refused else 0)


@pytest.mark.parametrize("path", ["hostile, public", "hostile, public, pg_catalog"])
async def test_no_printed_script_reaches_what_is_hostile(database: str, path: str) -> None:
    """What a superuser runs by hand, twice, calls no function and no operator that others created."""
    for name in ("hostile", "public"):
        await make_hostile(database, name, operators_too="pg_catalog" not in path)
    names = new_names()
    exposed: Connection = await asyncpg.connect(database, server_settings={"search_path": path})
    try:
        with pytest.raises(asyncpg.RaiseError, match="hostile pg_has_role"):
            await exposed.fetchval("SELECT pg_has_role('pg_monitor', 'USAGE')")
        for text in printed(TABLES, names) * 2:
            await exposed.execute(f"SET search_path = {path}")
            await exposed.execute(text)
    finally:
        await exposed.close()
        await drop_roles(database, names)


async def drop_roles(database: str, names: RoleNames) -> None:
    connection: Connection = await asyncpg.connect(database, server_settings=SAFE)
    try:
        for name in astuple(names):
            await connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")
    finally:
        await connection.close()


def test_every_function_of_a_printed_script_is_qualified() -> None:
    """The scripts of the roles and of Citus also name PostgreSQL's functions by their whole names."""
    unqualified = {
        name for schema, name in called([roles.script(TABLES, RoleNames()), citus.script(TABLES)]) if not schema
    }

    assert unqualified == set()


def test_every_function_in_documented_sql_is_qualified() -> None:
    """So does the SQL of the documentation, which people run as a superuser."""
    texts = ["".join(found) for page in PAGES for found in SQL_OF_PAGE.findall(page.read_text(encoding="utf-8"))]

    assert len(texts) > 5
    assert {name for schema, name in called(texts) if not schema} == set()


async def test_every_function_pins_its_search_path(storage: PostgresStorage, connection: Connection) -> None:
    """Functions have a search_path of their own, and nobody else can make a trigger of those that are for triggers."""
    names = [bare(each) for each in storage._options.tables.all_functions()]

    rows = await connection.fetch(
        """
        SELECT proname, coalesce(proconfig, '{}') AS settings, prorettype = 'trigger'::regtype AS is_trigger,
            has_function_privilege('public', oid, 'EXECUTE') AS is_public
        FROM pg_proc WHERE proname = ANY ($1) AND pronamespace = $2::regnamespace""",
        names,
        storage._options.tables.schema,
    )

    assert {row["proname"] for row in rows} == set(names)
    assert [row["proname"] for row in rows if "search_path=pg_catalog, pg_temp" not in row["settings"]] == []
    assert [row["proname"] for row in rows if row["is_trigger"] and row["is_public"]] == []


REACHED: Final = """
    SELECT DISTINCT pg_describe_object(d.refclassid, d.refobjid, 0)
    FROM pg_depend AS d
    LEFT JOIN pg_proc AS f ON d.refclassid = 'pg_proc'::regclass AND f.oid = d.refobjid
    LEFT JOIN pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
    LEFT JOIN pg_class AS c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid
    WHERE d.classid = 'pg_proc'::regclass AND d.objid = 'public.probe'::regproc
        AND coalesce(f.pronamespace, o.oprnamespace, c.relnamespace) = 'hostile'::regnamespace"""


async def test_no_statement_refers_to_what_is_hostile(database: str) -> None:
    """PostgreSQL resolves no name in any statement to a hostile function, operator or table."""
    async with PostgresStorage(database, recall=Recall(embed=embed, dimensions=1, model="m")) as storage:
        await storage.open()
    await make_hostile(database, "hostile")
    safe: Connection = await asyncpg.connect(database, server_settings=SAFE)
    exposed: Connection = await asyncpg.connect(database, server_settings={"search_path": "hostile, public"})
    tables = Tables("public", DEFAULT_TABLE_PREFIX)
    has_vectors = await safe.fetchval("SELECT to_regclass($1) IS NOT NULL", tables.embeddings)
    reached: dict[str, list[str]] = {}
    try:
        if safe.get_server_version().major < 14:
            pytest.skip("this server keeps no dependencies of a function's body")
        for text in both(tables, "public" if has_vectors else None):
            types = [f"{each.schema}.{each.name}" for each in (await safe.prepare(text)).get_parameters()]
            await exposed.execute(
                f"CREATE OR REPLACE FUNCTION public.probe({', '.join(types)}) RETURNS void BEGIN ATOMIC {text}; END"
            )
            if found := [row[0] for row in await safe.fetch(REACHED)]:
                reached[text] = found
            await safe.execute("DROP FUNCTION public.probe")
    finally:
        await safe.close()
        await exposed.close()

    assert reached == {}

"""The script of "python -m voltmem sql --roles": each role may do what it is for, and nothing else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import astuple
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from tests.calls import Rows
from tests.command_line.application import MORE
from tests.command_line.commands import Command
from tests.pgbouncer import THROUGH_POOLER
from tests.postgres.test_statements import statements as every_statement
from tests.roles import PREFIX, Logins, logins, new_names
from voltmem import DatabaseError, Quotas
from voltmem._areas.sessions import SessionStatements
from voltmem._postgres.roles import RIGHTS, RoleNames, script, statements
from voltmem._tables import Tables
from voltmem.embedders import local_recall

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

DENIED: Final = "42501"
EVERY: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@pytest.fixture
async def given(connection: Connection, dsn: str, schema: str) -> AsyncIterator[Logins]:
    if THROUGH_POOLER:
        pytest.skip("needs a real backend: the tests' pooler logs in as the same role for everybody")
    async with logins(connection, dsn, schema) as made:
        yield made


@pytest.fixture
def tables(schema: str) -> Tables:
    return Tables(schema, PREFIX)


# --- the application --------------------------------------------------------------------------------------------------


async def test_the_application_role_can_call_every_verb(
    given: Logins, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """A login with the application role alone can call every verb, and finds the schema current."""
    storage = make_storage(given.application, migrate="check", search=True)
    rows = Rows(connection, schema)
    problems = {}

    for name, case in MORE.items():
        await rows.seed()
        try:
            await case(storage)
        except DatabaseError as error:
            problems[name] = str(error)

    assert problems == {}
    assert (await storage.health()).problems == ()


# For each privilege of RIGHTS, in its order, something that needs it.
NEEDED: Final[Mapping[str, str]] = {
    "conversations": "add_message create_conversation add_message delete_conversation",
    "messages": "add_message add_message add_message delete_messages",
    "payloads": "export_user save_payload save_payload",
    "shares": "list_shares share_conversation share_conversation revoke_share",
    "agent_history": "add_history_entry add_history_entry add_history_entry delete_history_entry",
    "agent_history_steps": "add_history_step add_history_step add_history_step delete_user",
    "agent_history_timeline_events": "add_timeline_event add_timeline_event add_timeline_event delete_user",
    "files": "get_file put_file put_file delete_file",
    "file_chunks": "read_file put_file",
    "file_references": "get_shared_file give_away",
    "changed_lines": "add_message add_after_changes add_after_changes",
    "user_memory": "remember remember delete_user",
    "user_items": "keep_items keep_items keep_items keep_items",
    "conversation_memory": "set_working_memory set_working_memory set_working_memory",
    "summaries": "compact compact compact add_with_a_time",
    "leases": "get_lease hold_lease hold_lease",
    "answers": "write_answer write_answer write_answer",
    "answer_pieces": "write_answer write_answer write_answer",
    "watchers": "delete_user watch watch delete_user",
    "deleted_users": "delete_user delete_user delete_user delete_user",
    "quota_counts": "within_quotas within_quotas within_quotas delete_user",
    "migrations": "open",
}
NEEDED_FUNCTIONS: Final[Mapping[str, str]] = {
    "add_message": "add_while_watched",
    "add_messages": "add_messages",
    "add_plain_messages": "add_beyond_the_limit",
    "change_items": "keep_items",
    "change_memory": "set_working_memory",
    "choose_branch": "choose_branch",
    "copies_in_forks": "recall",
    "copy_files": "give_away",
    "count_line": "add_message",
    "deleted_since": "first_turn",
    "drop_messages": "delete_messages",
    "drop_messages_of_user": "clear_messages of all conversations",
    "ensure_conversation": "ensure_conversation",
    "fill_in_files": "get_message",
    "forget_derived": "forget",
    "forget_in_voltagent": "delete_user",
    "forget_messages": "forget",
    "fork_conversation": "fork_conversation",
    "give_conversation": "give_away",
    "hand_over": "give_away",
    "index_words": "index_and_forget",
    "json_object_of": "remember",
    "keep_file": "import_conversations",
    "keep_lease": "hold_lease",
    "leave_summaries": "add_with_a_time",
    "line_to": "load_line",
    "look_at_memory": "get_working_memory",
    "memory_versions": "remember",
    "merge_patch": "merge_message_metadata",
    "message_before": "branch_conversation",
    "message_hash": "compact",
    "move_head": "branch_conversation",
    "notify_watchers": "add_while_watched",
    "path_to_line": "get_shared_conversation",
    "plain": "search",
    "prune_conversation": "prune",
    "put_file": "put_file",
    "release_files": "delete_file",
    "remove_oldest": "add_beyond_the_limit",
    "require_room": "within_quotas",
    "restore_archived": "rewind_conversation",
    "save_payload": "save_payload",
    "store_summary": "compact",
    "take_lease": "hold_lease",
    "unite": "remember",
    "unlink_messages": "delete_in_branches",
    "usage": "get_usage",
}
CALLED_BESIDE_VOLTAGENT: Final = {"answer_calls", "lock_memory", "show_memory"}
NEEDED_SEQUENCES: Final[Mapping[str, str]] = {
    "messages_seq": "add_message",
    "history_steps_seq": "add_history_step",
    "history_events_seq": "add_timeline_event",
}


def needed(tables: Tables) -> Iterator[tuple[str, str]]:
    """Yield each privilege of the application role, and something that needs it."""
    for table, rights in RIGHTS.items():
        names = NEEDED[table].split()
        for privilege, name in zip(rights.application.split(", "), names, strict=True):
            yield f"{privilege} ON {getattr(tables, table)}", name
    functions = {getattr(tables, each) for each in NEEDED_FUNCTIONS.keys() | CALLED_BESIDE_VOLTAGENT}
    assert functions == set(tables.all_functions(without_triggers=True))
    for function, name in NEEDED_FUNCTIONS.items():
        yield f"EXECUTE ON FUNCTION {getattr(tables, function)}", name
    assert {getattr(tables, each) for each in NEEDED_SEQUENCES} == set(tables.all_sequences())
    for sequence, name in NEEDED_SEQUENCES.items():
        yield f"USAGE ON SEQUENCE {getattr(tables, sequence)}", name


async def test_the_application_role_has_no_privilege_that_it_does_not_need(
    given: Logins, make_storage: MakeStorage, connection: Connection, schema: str, tables: Tables
) -> None:
    """Without any one of its privileges, something of the application fails."""
    storage = make_storage(given.application, migrate="off", search=True)
    storages = {
        "open": make_storage(given.application, migrate="check"),
        "within_quotas": make_storage(given.application, migrate="off", quotas=Quotas(messages=1000)),
    }
    unneeded, problems = [], set()
    rows = Rows(connection, schema)

    for privilege, name in needed(tables):
        await rows.seed()
        await connection.execute(f"REVOKE {privilege} FROM {given.names.application}")
        try:
            await MORE[name](storages.get(name, storage))
        except (DatabaseError, asyncpg.InsufficientPrivilegeError) as error:
            problems.add(error.sqlstate)
        else:
            unneeded.append(privilege)
        await connection.execute(f"GRANT {privilege} TO {given.names.application}")

    assert unneeded == []
    assert problems == {DENIED}


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE {messages}",
        "DROP TABLE {payloads}",
        "ALTER TABLE {messages} DISABLE ROW LEVEL SECURITY",
        "DROP POLICY voltmem_session ON {messages}",
        "CREATE TABLE {schema}.other (id text)",
        "CREATE FUNCTION {schema}.other() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION {add_messages}",
        "UPDATE {migrations} SET version = 1",
        "CREATE TEMP TABLE t (file_ids text[]); "
        "CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION {refer_to_files}()",
    ],
)
async def test_the_application_role_runs_no_ddl(given: Logins, tables: Tables, statement: str) -> None:
    """The application role creates, changes, empties and drops nothing, and uses no trigger's function."""
    names = {each: getattr(tables, each) for each in ("messages", "payloads", "add_messages", "migrations")}
    own: Connection = await asyncpg.connect(given.application)

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await own.execute(statement.format(schema=tables.schema, refer_to_files=tables.refer_to_files, **names))

    await own.close()


async def test_the_policies_change_no_plan(given: Logins, connection: Connection, tables: Tables) -> None:
    """The application role has the same plan for each statement as a superuser, to whom no policy applies."""
    if connection.get_server_version() < (16,):
        pytest.skip("EXPLAIN (GENERIC_PLAN), which needs no values of parameters, came with PostgreSQL 16")
    own: Connection = await asyncpg.connect(given.application)
    texts = set(every_statement(tables))

    for text in texts:
        values = [None] * len(set(re.findall(r"\$\d+", text)))
        plans = [
            [row[0] for row in await each.fetch(f"EXPLAIN (COSTS OFF, GENERIC_PLAN) {text}", *values)]
            for each in (own, connection)
        ]
        assert plans[0] == plans[1]

    assert len(texts) > 200
    await own.close()


# --- the others -------------------------------------------------------------------------------------------------------


async def test_the_read_only_role_reads_for_reports(
    given: Logins, connection: Connection, schema: str, tables: Tables
) -> None:
    """The read-only role reads all users' rows, but not tokens of links, bytes of files, or who watches."""
    await Rows(connection, schema).seed()
    own: Connection = await asyncpg.connect(given.read_only)
    hidden = {tables.file_chunks, tables.watchers, tables.deleted_users, tables.quota_counts}
    hidden |= {tables.changed_lines}
    columns = await connection.fetchval(
        "SELECT string_agg(attname, ', ') FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 "
        "AND attname <> 'token'",
        tables.shares,
    )

    for table in tables.all_tables():
        if table in hidden:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await own.fetch(f"SELECT 1 FROM {table}")
        else:
            read = f"SELECT {columns if table == tables.shares else '*'} FROM {table}"
            assert len(await own.fetch(read)) == await connection.fetchval(f"SELECT count(*) FROM {table}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await own.fetch(f"SELECT token FROM {tables.shares}")
    await own.close()


async def test_the_read_only_role_writes_nothing(
    given: Logins, make_storage: MakeStorage, connection: Connection, schema: str, tables: Tables
) -> None:
    """The read-only role changes no row, by its own SQL or by a verb, and calls no function."""
    await Rows(connection, schema).seed()
    own: Connection = await asyncpg.connect(given.read_only)

    for table in tables.all_tables():
        for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"INSERT INTO {table} DEFAULT VALUES"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await own.execute(statement)
    for sequence in tables.all_sequences():
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await own.fetch(f"SELECT nextval('{sequence}')")
    await own.close()
    storage = make_storage(given.read_only, migrate="check")
    assert len(await storage.query_conversations(user_id="ada")) == 2
    with pytest.raises(DatabaseError) as caught:
        await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")
    assert caught.value.sqlstate == DENIED
    assert not (await storage.health()).can_write


async def test_the_owner_role_runs_migrations(
    given: Logins, make_storage: MakeStorage, connection: Connection, tables: Tables
) -> None:
    """A login whose role is the owner applies migrations, and the application uses what they create."""
    await connection.execute(f"DELETE FROM {tables.migrations} WHERE name LIKE 'functions/%' OR name LIKE '0011%'")
    await connection.execute(f"DROP FUNCTION {tables.plain}")

    done = await make_storage(given.owner).upgrade_schema()

    assert "functions/plain" in done
    assert await make_storage(given.application, migrate="check", search=True).search("ada", "words") is not None


async def test_other_roles_are_not_touched(
    given: Logins, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """A role that had privileges before sees all rows as before: the policies are about the session role."""
    await Rows(connection, schema).seed()
    storage = make_storage(given.nobody, migrate="check")

    await storage.add_message({"role": "user", "content": "Hello"}, "ada", "c1")

    assert len(await storage.get_messages("ada", "c1")) == 4


# --- the script -------------------------------------------------------------------------------------------------------


async def test_sql_roles_prints_what_can_be_run_again(
    command: Command, connection: Connection, schema: str, migrated: str
) -> None:
    """A second run of the script changes nothing, and takes the names of the roles as arguments."""
    names = new_names()
    options = ("--owner", names.owner, "--application", names.application, "--read-only", names.read_only)
    code, printed, _ = await command("sql", "--roles", "--schema", schema, *options, "--session", names.session)
    try:
        await connection.execute(printed)
        first = await rights_of(connection, schema, names)
        await connection.execute(printed)

        assert code == 0
        assert printed == script(Tables(schema, PREFIX), names)
        assert await rights_of(connection, schema, names) == first
    finally:
        for name in astuple(names):
            await connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def test_sql_roles_moves_all_tables_to_the_owner(
    command: Command, make_storage: MakeStorage, connection: Connection, schema: str, migrated: str
) -> None:
    """Every table and function belongs to the owner after the script, that of the vectors as well."""
    if await connection.fetchval("SELECT count(*) > 0 FROM pg_available_extensions WHERE name = 'vector'"):
        await make_storage(recall=local_recall()).upgrade_schema()
    names = new_names()
    options = ("--owner", names.owner, "--application", names.application, "--read-only", names.read_only)
    _, printed, _ = await command("sql", "--roles", "--schema", schema, *options, "--session", names.session)
    try:
        await connection.execute(printed)
        others = await connection.fetch(
            """
            SELECT relname::text FROM pg_class
            WHERE relnamespace = $1::text::regnamespace AND relowner <> $2::text::regrole
            UNION ALL SELECT proname::text FROM pg_proc
            WHERE pronamespace = $1::text::regnamespace AND proowner <> $2::text::regrole""",
            schema,
            names.owner,
        )
        assert others == []
    finally:
        for name in astuple(names):
            await connection.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def rights_of(connection: Connection, schema: str, names: RoleNames) -> list[tuple[object, ...]]:
    """Return owners, privileges and policies in a schema, and the memberships of the roles."""
    found = await connection.fetch(
        """
        SELECT relname::text, relowner::regrole::text, relacl::text, relrowsecurity FROM pg_class
        WHERE relnamespace = $1::text::regnamespace
        UNION ALL SELECT proname, proowner::regrole::text, proacl::text, prosecdef FROM pg_proc
        WHERE pronamespace = $1::text::regnamespace
        UNION ALL SELECT tablename, policyname, concat(roles, qual, with_check, cmd, permissive), true FROM pg_policies
        WHERE schemaname = $1
        UNION ALL SELECT defaclrole::regrole::text, defaclobjtype::text, defaclacl::text, true FROM pg_default_acl
        WHERE defaclrole = ANY ($2::text[]::regrole[])
        UNION ALL SELECT member::regrole::text, roleid::regrole::text, '', true FROM pg_auth_members
        WHERE roleid = ANY ($2::text[]::regrole[])
        ORDER BY 1, 2, 3""",
        schema,
        list(astuple(names)),
    )
    return [tuple(row) for row in found]


def test_sql_roles_knows_every_table(tables: Tables) -> None:
    """Each table has its privileges, and a condition for its policy if a session may use it."""
    assert {getattr(tables, name) for name in RIGHTS} == set(tables.all_tables())
    assert [name for name, rights in RIGHTS.items() if rights.session and rights.rows is None] == []


async def test_sql_roles_has_defaults(command: Command) -> None:
    """Without names, the roles have names that begin with voltmem."""
    printed = (await command("sql", "--roles")).printed

    assert printed == script(Tables("public", PREFIX), RoleNames())
    assert set(re.findall(r'CREATE ROLE "(\w+)"', printed)) == {
        "voltmem_owner",
        "voltmem_app",
        "voltmem_read",
        "voltmem_session",
    }


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--roles", "--owner", "My-App"), "lower-case"),
        (("--roles", "--owner", 'x"; DROP TABLE y; --'), "lower-case"),
        (("--roles", "--owner", "x" * 64), "at most 63"),
        (("--roles", "--session", "public"), "reserves"),
        (("--roles", "--session", "pg_read_all_data"), "reserves"),
        (("--roles", "--session", "voltmem_app"), "different name"),
        (("--owner", "chat"), "need --roles"),
    ],
)
async def test_sql_roles_refuses_names(command: Command, words: tuple[str, ...], why: str) -> None:
    """A name that is no lower-case identifier, is reserved, or is used twice is an error, and nothing is printed."""
    code, printed, problems = await command("sql", *words)

    assert (code, printed) == (1, "")
    assert why in problems


# --- each statement of it ---------------------------------------------------------------------------------------------


class Trial:
    """
    The script without one statement, in a transaction that is rolled back, run by a role that is no superuser.

    The role has CREATEROLE, and owns the schema and the tables.
    """

    def __init__(self, connection: Connection, tables: Tables, names: RoleNames, admin: str) -> None:
        self.connection = connection
        self.tables = tables
        self.names = names
        self.admin = admin

    async def unmet(self, script: list[str]) -> str | None:
        """Run the statements. Returns the first promise that is not kept, or None."""
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            await self.connection.execute(f"SET LOCAL SESSION AUTHORIZATION {self.admin}")
            for statement in script:
                await self.connection.execute(statement)
            settings = await self.connection.fetchval(
                "SELECT concat_ws(' ', current_setting('search_path'), current_setting('lock_timeout'), "
                "current_setting('client_min_messages'))"
            )
            assert settings == "pg_catalog, pg_temp 400ms warning", settings
            await self.connection.execute("SET LOCAL SESSION AUTHORIZATION DEFAULT")
            await self.check()
        except (AssertionError, asyncpg.PostgresError) as error:
            return str(error) or type(error).__name__
        finally:
            await transaction.rollback()
        return None

    async def check(self) -> None:
        await self.check_privileges()
        await self.check_owner()
        await self.check_application()
        await self.check_session()

    async def check_privileges(self) -> None:
        """Each role has the privileges of RIGHTS on tables, and no other."""
        for kind in ("application", "read_only", "session"):
            role = getattr(self.names, kind)
            for table, rights in RIGHTS.items():
                given = await self.connection.fetchval(
                    "SELECT string_agg(each, ', ' ORDER BY n) FROM unnest($3::text[]) WITH ORDINALITY AS t (each, n) "
                    "WHERE has_table_privilege($1, $2, each)",
                    *(role, getattr(self.tables, table), EVERY),
                )
                expected = getattr(rights, kind)
                assert (given or "") == ("" if "(" in expected else expected), f"{kind} on {table}: {given}"
        await self.become(self.names.read_only)
        await self.connection.fetch(f"SELECT up_to FROM {self.tables.shares}")

    async def check_owner(self) -> None:
        """The owner changes everything, and creates more."""
        await self.become(self.names.owner)
        for table in self.tables.all_tables():
            await self.connection.execute(f"ALTER TABLE {table} SET (fillfactor = 90)")
        for function in self.tables.all_functions():
            await self.connection.execute(f"ALTER FUNCTION {function} COST 101")
        await self.connection.execute(f"""
            CREATE TABLE {self.tables.schema}.later (id bigserial);
            CREATE FUNCTION {self.tables.schema}.later() RETURNS int LANGUAGE sql AS 'SELECT 1'""")

    async def check_application(self) -> None:
        """The application sees all rows, and uses what the owner has just created; others do not."""
        counted = {}
        for role in ("none", self.names.application):
            await self.become(role)
            counted[role] = [
                await self.connection.fetchval(f"SELECT count(*) FROM {table}") for table in self.tables.all_tables()
            ]
        assert counted["none"] == counted[self.names.application], "the application does not see all rows"
        schema = self.tables.schema
        await self.connection.execute(f"INSERT INTO {schema}.later DEFAULT VALUES; SELECT {schema}.later()")
        await self.connection.execute(f"DELETE FROM {schema}.{PREFIX}_users; SELECT 1 FROM {schema}.{PREFIX}_steps")
        for sequence in self.tables.all_sequences():
            await self.connection.fetch(f"SELECT nextval('{sequence}')")
        functions = await self.connection.fetch(
            "SELECT p.oid::regprocedure::text AS name, has_function_privilege($2, p.oid, 'EXECUTE') AS application, "
            "has_function_privilege($3, p.oid, 'EXECUTE') AS read_only, prorettype = 'trigger'::regtype AS is_trigger "
            "FROM pg_proc AS p WHERE pronamespace = $1::text::regnamespace",
            *(schema, self.names.application, self.names.read_only),
        )
        for each in functions:
            assert each["application"] is not each["is_trigger"], each["name"]
            assert not each["read_only"], each["name"]

    async def check_session(self) -> None:
        """A member of the application role takes the session role, and sees ada's rows in every table."""
        await self.become("none")
        member = "SELECT pg_has_role($1, $2, 'MEMBER'), pg_has_role($1, $2, 'USAGE')"
        found = await self.connection.fetchrow(member, self.names.application, self.names.session)
        assert found is not None
        assert tuple(found) == (True, False), "the application inherits from the session role, or may not take it"
        row = await self.connection.fetchrow(SessionStatements(self.tables).begin, "ada")
        assert row is not None, "no policies"
        assert row["open_tables"] == []
        assert row["taken"] == self.names.session
        rows = await self.connection.fetch(f"SELECT conversation_id FROM {self.tables.messages}")
        assert {each[0] for each in rows} == {"c1", "c2"}
        await self.connection.execute(
            f"INSERT INTO {self.tables.messages} (conversation_id, message_id, role, content, type) "
            "VALUES ('c1', 'own', 'user', 'words', 'text')"
        )

    async def become(self, role: str) -> None:
        await self.connection.execute(f"SET LOCAL ROLE {role}")


@pytest.fixture
async def trial(connection: Connection, schema: str, migrated: str, tables: Tables) -> AsyncIterator[Trial]:
    """Tables with rows that belong to a role without superuser, where other roles had too many privileges."""
    names = new_names()
    admin = f"{names.owner}_admin"
    await Rows(connection, schema).seed()
    await connection.execute(
        f"CREATE TABLE {schema}.{PREFIX}_users (id text); CREATE TABLE {schema}.{PREFIX}_steps (id text)"
    )
    await connection.execute(
        f"INSERT INTO {tables.payloads} (conversation_id, format, payload) VALUES ('c1', 'test', '1');"
        f"INSERT INTO {tables.summaries} VALUES ('c1', 's1', 'words', now(), now(), '');"
        f"INSERT INTO {tables.user_items} (user_id, namespace, key, value, version, created_at, updated_at) "
        "VALUES ('ada', '{a}', 'k', '{}', 'v1', now(), now());"
        f"INSERT INTO {tables.leases} VALUES ('c1', 'n', 'h', 1, now(), '1 s');"
        f"INSERT INTO {tables.answers} VALUES ('c1', 'q', 'a', 1, 'failed', now());"
        f"INSERT INTO {tables.answer_pieces} VALUES ('c1', 'a', 1, '[]')"
    )
    await connection.execute(f"CREATE ROLE {admin} CREATEROLE; ALTER SCHEMA {schema} OWNER TO {admin}")
    everything = await connection.fetch(
        "SELECT format('ALTER TABLE %s OWNER TO %I', oid::regclass, $2::text) FROM pg_class "
        "WHERE relnamespace = $1::text::regnamespace AND relkind = 'r' "
        "UNION ALL SELECT format('ALTER FUNCTION %s OWNER TO %I', oid::regprocedure, $2::text) FROM pg_proc "
        "WHERE pronamespace = $1::text::regnamespace",
        *(schema, admin),
    )
    await connection.execute("; ".join(row[0] for row in everything))
    yield Trial(connection, tables, names, admin)
    await connection.execute(f"DROP OWNED BY {admin} CASCADE; DROP ROLE {admin}")


async def test_sql_roles_needs_each_of_its_statements(trial: Trial) -> None:
    """Run by a role without superuser, the script does what it promises, and without any statement it does not."""
    whole = statements(trial.tables, trial.names)
    # What an earlier run, or the default privileges, have given.
    before = [
        *(each for each in whole if "CREATE ROLE" in each),
        f'GRANT TRUNCATE ON {trial.tables.messages} TO "{trial.names.application}";',
        f'GRANT EXECUTE ON FUNCTION {trial.tables.tell_watchers} TO "{trial.names.application}";',
    ]

    assert await trial.unmet(whole) is None
    assert await trial.unmet([*before, *whole]) is None
    assert await trial.unmet([*whole, *whole]) is None
    # The table of vectors is not there: see test_sql_roles_moves_all_tables_to_the_owner.
    parts = [part for each in whole for part in parts_of(each) if trial.tables.embeddings not in part]
    unneeded = []
    for index, part in enumerate(parts):
        first = [] if "CREATE ROLE" in part else whole if "DROP POLICY" in part else before
        if await trial.unmet([*first, *parts[:index], *parts[index + 1 :]]) is None:
            unneeded.append(part)

    assert unneeded == []


def parts_of(statement: str) -> list[str]:
    """Return the statements of a text, one by one."""
    if "$voltmem$" in statement:
        return [statement]
    return [f"{each};" for each in statement.removesuffix(";").split(";\n")]

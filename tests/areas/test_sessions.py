"""for_user().session(): the application's own SQL sees one user's rows only, by row-level security."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from tests.calls import PATIENCE, Rows
from tests.proxy import Proxy
from tests.roles import PREFIX, Logins, logins
from voltmem import DatabaseError, InvalidInputError, PostgresStorage, SchemaError, sync
from voltmem._postgres.roles import RIGHTS, SETTING
from voltmem._tables import Tables

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

READABLE: Final = [table for table, rights in RIGHTS.items() if rights.session]
STATE: Final = f"SELECT current_user::text, session_user::text, current_setting('{SETTING}', true)"


@pytest.fixture
async def given(connection: Connection, dsn: str, schema: str) -> AsyncIterator[Logins]:
    async with logins(connection, dsn, schema) as made:
        yield made


@pytest.fixture
def tables(schema: str) -> Tables:
    return Tables(schema, PREFIX)


@pytest.fixture
async def storage(
    given: Logins, make_storage: MakeStorage, connection: Connection, schema: str, tables: Tables
) -> PostgresStorage:
    """A storage of the application role, with one connection, and rows of ada's and bob's in every table."""
    await Rows(connection, schema).seed()
    await connection.execute(f"""
        INSERT INTO {tables.payloads} (conversation_id, format, payload) VALUES ('c1', 'f', '1'), ('b1', 'f', '1');
        INSERT INTO {tables.user_memory} (user_id, version, content, change) VALUES ('bob', 1, 'tea', 'set');
        INSERT INTO {tables.user_items} (user_id, namespace, key, value, version, created_at, updated_at)
            SELECT user_id, '{{a}}', 'k', '{{}}', 'v1', now(), now() FROM unnest('{{ada, bob}}'::text[]) AS user_id;
        INSERT INTO {tables.shares} (token, conversation_id) VALUES ('t2', 'b1');
        INSERT INTO {tables.summaries} SELECT id, 's1', 'words', now(), now(), '' FROM {tables.conversations};
        INSERT INTO {tables.answers} SELECT id, 'q', 'a', 1, 'failed', now() FROM {tables.conversations};
        INSERT INTO {tables.answer_pieces} SELECT id, 'a', 1, '[]' FROM {tables.conversations};
        INSERT INTO {tables.agent_history} (id, agent_id, userid) VALUES ('h2', 'a1', 'bob'), ('h3', 'a1', NULL);
        INSERT INTO {tables.agent_history_steps} (key, value, history_id, agent_id) VALUES ('s2', '1', 'h2', 'a1');
        INSERT INTO {tables.agent_history_timeline_events}
            (id, history_id, agent_id, event_type, event_name, start_time)
            VALUES ('e2', 'h2', 'a1', 'agent', 'agent:start', now());
        INSERT INTO {tables.files} (user_id, upload, id, size) VALUES ('bob', 'u3', 'f3', 1);
        INSERT INTO {tables.file_chunks} (user_id, upload, number, bytes) VALUES ('bob', 'u3', 0, 'x');
        UPDATE {tables.messages} SET file_ids = ARRAY['f3'] WHERE conversation_id = 'b1'""")
    return make_storage(given.application, migrate="check", max_connections=1)


async def state(storage: PostgresStorage) -> tuple[object, ...]:
    """Return the role and the setting of the storage's only connection."""
    async with storage.transaction() as tx:
        row = await tx.connection.fetchrow(STATE)
        assert row is not None
        role, login, user = row
        return role == login, user or None


UNTOUCHED: Final = (True, None)


# --- what it sees -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", READABLE)
async def test_session_sees_the_users_rows_of_each_table(
    table: str, storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """Without a WHERE, session() sees all rows of its user, and no others; a stranger sees nothing."""
    name = getattr(tables, table)
    all_rows = await connection.fetchval(f"SELECT count(*) FROM {name}")
    seen = {}

    for user in ("ada", "bob", "eve"):
        async with storage.for_user(user).session() as own:
            seen[user] = await own.fetchval(f"SELECT count(*) FROM {name}")

    assert seen["ada"] > 0
    assert seen["bob"] == 1
    assert seen["eve"] == 0
    assert seen["ada"] + seen["bob"] == all_rows - (table == "agent_history")  # a run without a user is nobody's


async def test_session_sees_nothing_of_other_tables(storage: PostgresStorage, tables: Tables) -> None:
    """session() reads no table that has no user: migrations and watchers."""
    for table in set(RIGHTS) - set(READABLE):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with storage.for_user("ada").session() as own:
                await own.fetch(f"SELECT 1 FROM {getattr(tables, table)}")


@pytest.mark.parametrize("user", ["a'da", 'a"da', "%", "ada ", "Ada", "юзер 🙂", "none", "x" * 1000])
async def test_session_takes_the_user_as_it_is(user: str, storage: PostgresStorage, tables: Tables) -> None:
    """session() compares the user's id exactly, whatever characters it has."""
    async with storage.for_user(user).session() as own:
        assert await own.fetchval(f"SELECT current_setting('{SETTING}')") == user
        assert await own.fetchval(f"SELECT count(*) FROM {tables.conversations}") == 0
        await own.execute(
            f"INSERT INTO {tables.conversations} (id, user_id, resource_id) VALUES ('own', $1, 'r')", user
        )
        assert await own.fetchval(f"SELECT count(*) FROM {tables.conversations}") == 1


async def test_session_without_the_setting_sees_nothing(
    given: Logins, storage: PostgresStorage, tables: Tables
) -> None:
    """Under the role of session() alone, or with an empty user, no row is seen."""
    async with storage.transaction() as tx:
        await tx.connection.execute(f"SET LOCAL ROLE {given.names.session}")
        for _ in range(2):
            for table in READABLE:
                assert await tx.connection.fetchval(f"SELECT count(*) FROM {getattr(tables, table)}") == 0
            await tx.connection.execute(f"SET LOCAL {SETTING} = ''")


async def test_session_writes_the_users_rows_only(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """A forgotten WHERE changes or deletes the user's rows only; a row for another user is refused."""
    insert = f"INSERT INTO {tables.conversations} (id, user_id, resource_id) VALUES ($1, $2, 'r')"
    add = (
        f"INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type) "
        "VALUES ($1, 'new', 'user', 'words', 'text')"
    )

    async with storage.for_user("ada").session() as own:
        assert await own.execute(f"UPDATE {tables.conversations} SET title = 'Mine'") == "UPDATE 3"
        await own.execute(insert, "own", "ada")
        await own.execute(add, "own")
        assert await own.execute(f"DELETE FROM {tables.messages}") == "DELETE 5"
    for statement, arguments in (
        (insert, ("his", "bob")),
        (add, ("b1",)),
        (f"UPDATE {tables.conversations} SET user_id = $1", ("bob",)),
        (f"UPDATE {tables.agent_history} SET userid = NULL", ()),
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with storage.for_user("ada").session() as own:
                await own.execute(statement, *arguments)

    titles = await connection.fetch(f"SELECT id, title FROM {tables.conversations} ORDER BY id")
    assert [tuple(row) for row in titles] == [
        ("b1", "Bob's"),
        *((each, "Mine") for each in ("c1", "c2", "gone")),
        ("own", None),
    ]
    assert await connection.fetchval(f"SELECT string_agg(conversation_id, ',') FROM {tables.messages}") == "b1"


async def test_session_and_the_verbs_share_prepared_statements(storage: PostgresStorage, tables: Tables) -> None:
    """A statement that the connection has prepared outside sees the user's rows in a session, and all rows again."""
    counted = []
    text = f"SELECT count(*) FROM {tables.conversations}"

    for _ in range(10):  # also with a generic plan
        async with storage.transaction() as tx:
            counted.append(await tx.connection.fetchval(text))
        async with storage.for_user("bob").session() as own:
            counted.append(await own.fetchval(text))

    assert counted == [4, 1] * 10


async def test_session_reads_the_users_messages_by_index(
    storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """A forgotten WHERE on the messages reads the user's by index, and not the whole table."""
    await connection.execute(f"""
        INSERT INTO {tables.conversations} (id, user_id, resource_id)
            SELECT 'x' || n, 'u' || n, 'r' FROM generate_series(1, 2000) AS n;
        INSERT INTO {tables.messages} (conversation_id, message_id, role, content, type)
            SELECT 'x' || n, 'm' || m, 'user', 'words', 'text'
            FROM generate_series(1, 2000) AS n, generate_series(1, 5) AS m;
        ANALYZE {tables.conversations}; ANALYZE {tables.messages}""")

    async with storage.for_user("ada").session() as own:
        plan = "\n".join(row[0] for row in await own.fetch(f"EXPLAIN SELECT * FROM {tables.messages}"))

    assert "Seq Scan" not in plan, plan


# --- its end ----------------------------------------------------------------------------------------------------------


async def test_session_commits_at_its_end(storage: PostgresStorage, connection: Connection, tables: Tables) -> None:
    """What session() wrote is committed at the end of the block, and the connection is as before."""
    async with storage.for_user("ada").session() as own:
        await own.execute(f"UPDATE {tables.conversations} SET title = 'Mine' WHERE id = 'c1'")

    assert await connection.fetchval(f"SELECT title FROM {tables.conversations} WHERE id = 'c1'") == "Mine"
    assert await state(storage) == UNTOUCHED


@pytest.mark.parametrize("how", ["raise", "SQL error", "lost savepoint"])
async def test_session_rolls_back_when_its_block_raises(
    how: str, storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """After an error nothing of session() is stored, and neither role nor setting stays on the connection."""
    with pytest.raises((RuntimeError, asyncpg.PostgresError)):
        async with storage.for_user("ada").session() as own:
            await own.execute(f"UPDATE {tables.conversations} SET title = 'Mine'")
            if how == "raise":
                raise RuntimeError
            if how == "lost savepoint":
                await own.execute("SAVEPOINT one; RELEASE SAVEPOINT one")
            await own.execute("SELECT 1 / 0")

    assert await connection.fetchval(f"SELECT count(*) FROM {tables.conversations} WHERE title = 'Mine'") == 0
    assert await state(storage) == UNTOUCHED


@pytest.mark.parametrize("steps", range(12))
async def test_session_leaves_nothing_when_it_is_cancelled(
    steps: int, storage: PostgresStorage, tables: Tables
) -> None:
    """Wherever a task is cancelled, in the block or at its begin or end, the connection is as before."""
    await storage.open()

    async def use() -> None:
        async with storage.for_user("ada").session() as own:
            await own.fetch(f"SELECT count(*) FROM {tables.messages}, pg_sleep(0.001)")

    task = asyncio.create_task(use())
    for _ in range(steps):
        await asyncio.sleep(0)
    if steps > 8:
        await asyncio.sleep(0.002 * (steps - 8))
    task.cancel()
    await asyncio.wait([task])

    async with asyncio.timeout(PATIENCE):
        assert await state(storage) == UNTOUCHED
        assert await storage.count_conversations() == 3  # the verbs see all, without the deleted one


async def test_sessions_of_two_users_do_not_mix(
    given: Logins, storage: PostgresStorage, make_storage: MakeStorage, tables: Tables
) -> None:
    """Sessions of two users at the same time, among verbs, each see their own rows."""
    pool = make_storage(given.application, migrate="check", max_connections=3)

    async def look(user: str, count: int) -> None:
        for _ in range(10):
            async with pool.for_user(user).session() as own:
                assert await own.fetchval(f"SELECT count(*) FROM {tables.conversations}") == count
            assert await pool.count_conversations() == 3

    async with asyncio.TaskGroup() as group:
        for user, count in (("ada", 3), ("bob", 1), ("ada", 3), ("eve", 0)):
            group.create_task(look(user, count))


async def test_session_works_behind_a_pooler(
    given: Logins, storage: PostgresStorage, make_storage: MakeStorage, proxy: Proxy, tables: Tables, dsn: str
) -> None:
    """Behind a pooler in transaction mode session() sees its user's rows, and others' sessions theirs."""
    proxy.pooling = True
    address = given.application.partition("@")[0] + "@" + proxy.dsn.partition("@")[2]
    pooled = make_storage(
        f"{address}{'&' if '?' in address else '?'}pgbouncer=true", migrate="check", max_connections=2
    )

    async with pooled.for_user("ada").session() as ada, pooled.for_user("bob").session() as bob:
        for own, count in ((ada, 3), (bob, 1)):
            assert await own.fetchval(f"SELECT count(*) FROM {tables.conversations}") == count

    assert await pooled.count_conversations() == 3


async def test_session_takes_four_round_trips(
    given: Logins, storage: PostgresStorage, make_storage: MakeStorage, proxy: Proxy
) -> None:
    """On an open storage, session() takes four round trips besides those of its block."""
    address = given.application.partition("@")[0] + "@" + proxy.dsn.partition("@")[2]
    counting = make_storage(address, migrate="check", max_connections=1)
    taken = []

    for _ in range(2):  # the first prepares the statement
        before = proxy.round_trips
        async with counting.for_user("ada").session():
            pass
        taken.append(proxy.round_trips - before)

    assert taken[-1] == 4


# --- without protection -----------------------------------------------------------------------------------------------


async def test_session_needs_the_policies(make_storage: MakeStorage, migrated: str) -> None:
    """Without the roles, session() is an error that names the command, and runs nothing of the block."""
    storage = make_storage()

    with pytest.raises(SchemaError, match=f"sql --roles --schema {migrated} --prefix {PREFIX}'"):
        async with storage.for_user("ada").session():
            pytest.fail("a session without protection")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE {messages} DISABLE ROW LEVEL SECURITY",
        "DROP POLICY voltmem_session ON {messages}",
        "DROP POLICY voltmem_session ON {messages};"
        "CREATE POLICY voltmem_session ON {messages} TO {session} USING (true)",
        "DROP POLICY voltmem_session ON {messages};"
        "CREATE POLICY voltmem_session ON {messages} AS RESTRICTIVE FOR SELECT TO {session} USING (true)",
        "ALTER TABLE {messages} OWNER TO {session}",
        "GRANT DELETE ON {watchers} TO {session}",
        "GRANT SELECT (user_id) ON {watchers} TO {session}",
        "ALTER ROLE {session} BYPASSRLS",
        "ALTER ROLE {session} SUPERUSER",
        "GRANT {owner} TO {session}",
        "ALTER POLICY voltmem_session ON {conversations} TO {session}, {read_only}",
        "DROP POLICY voltmem_session ON {conversations}",
    ],
)
async def test_session_is_refused_where_a_table_is_open(
    change: str, given: Logins, storage: PostgresStorage, connection: Connection, tables: Tables
) -> None:
    """If the role of session() could read or write any table around the policies, session() is an error."""
    names = {each: getattr(tables, each) for each in ("conversations", "messages", "watchers")}
    await connection.execute(change.format(**names, **vars(given.names)))

    with pytest.raises(SchemaError, match="sql --roles"):
        async with storage.for_user("ada").session():
            pytest.fail("a session without protection")

    assert await state(storage) == UNTOUCHED


async def test_session_works_where_a_newer_table_has_no_policy(
    storage: PostgresStorage, connection: Connection, given: Logins, tables: Tables
) -> None:
    """A table without a policy that the role may not use is no reason to refuse, as after an upgrade."""
    await connection.execute(f"""
        DROP POLICY voltmem_session ON {tables.payloads};
        REVOKE ALL ON {tables.payloads} FROM {given.names.session}""")

    async with storage.for_user("bob").session() as own:
        assert await own.fetchval(f"SELECT count(*) FROM {tables.messages}") == 1


@pytest.mark.backend("the tests' pooler logs in as the same role for everybody")
async def test_session_needs_the_application_role(
    given: Logins, storage: PostgresStorage, make_storage: MakeStorage
) -> None:
    """A login without the application role gets an error that says what to grant."""
    nobody = make_storage(given.nobody, migrate="check")

    with pytest.raises(DatabaseError, match=r"GRANT the login the application role of .*sql --roles") as caught:
        async with nobody.for_user("ada").session():
            pytest.fail("a session without protection")

    assert caught.value.sqlstate == "42501"
    assert isinstance(caught.value.__cause__, asyncpg.InsufficientPrivilegeError)


async def test_session_is_refused_within_a_transaction(storage: PostgresStorage) -> None:
    """Within transaction(), session() is an error: its role would stay until the transaction ends."""
    async with storage.for_user("ada").transaction() as tx:
        with pytest.raises(DatabaseError, match="outside of transaction"):
            async with tx.session():
                pytest.fail("a role that stays")
        assert len(await tx.get_messages("c1")) == 3


async def test_session_needs_a_text_that_can_be_a_setting(storage: PostgresStorage) -> None:
    """A user's id with NUL, which no setting can hold, is an error of voltmem's."""
    with pytest.raises(InvalidInputError):
        async with storage.for_user("a\0da").session():
            pytest.fail("a session of nobody")

    assert await state(storage) == UNTOUCHED


async def test_a_superuser_and_the_owner_are_limited_in_a_session(
    make_storage: MakeStorage, storage: PostgresStorage, connection: Connection, given: Logins, tables: Tables
) -> None:
    """A login that bypasses policies outside is under them in session()."""
    await connection.execute(f"GRANT {given.names.application} TO {given.names.owner}_login")

    for login in (None, given.owner):
        strong = make_storage() if login is None else make_storage(login)
        async with strong.for_user("bob").session() as own:
            assert await own.fetchval(f"SELECT count(*) FROM {tables.conversations}") == 1
        assert await strong.count_conversations() == 3


# --- the blocking twin ------------------------------------------------------------------------------------------------


async def test_the_blocking_session_sees_the_users_rows(
    given: Logins, storage: PostgresStorage, tables: Tables
) -> None:
    """The blocking session() yields a connection that blocks, and ends as the other one."""

    def use() -> None:
        blocking = sync.PostgresStorage(given.application, schema=tables.schema, migrate="check", max_connections=1)
        try:
            with blocking.for_user("bob").session() as own:
                assert isinstance(own, sync.Connection)
                assert own.fetchval(f"SELECT count(*) FROM {tables.conversations}") == 1
                own.execute(f"UPDATE {tables.conversations} SET title = 'Mine'")
            with pytest.raises(RuntimeError), blocking.for_user("ada").session() as own:
                own.execute(f"UPDATE {tables.conversations} SET title = 'Mine'")
                raise RuntimeError
            found = blocking.query_conversations()
            assert sorted((each.user_id, each.title) for each in found) == [
                ("ada", "One"),
                ("ada", "Two"),
                ("bob", "Mine"),
            ]
        finally:
            blocking.close()

    await asyncio.to_thread(use)


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK", "END"])
async def test_a_session_that_was_ended_within_its_block_is_an_error(ending: str, storage: PostgresStorage) -> None:
    """After COMMIT or ROLLBACK there is no protection any more, and the end of the block says so."""
    with pytest.raises(DatabaseError, match="ended within its block"):
        async with storage.for_user("ada").session() as connection:
            await connection.execute(ending)
            assert (
                await connection.fetchval(f"SELECT count(DISTINCT user_id) FROM {storage._options.tables.files}") == 2
            )

    assert await state(storage) == UNTOUCHED


async def test_a_temporary_table_of_a_session_does_not_stay(storage: PostgresStorage) -> None:
    """What a session puts into a temporary table is gone when the next one uses the connection."""
    async with storage.for_user("ada").session() as connection:
        await connection.execute("CREATE TEMP TABLE seen AS SELECT 'of ada' AS text")

    async with storage.for_user("bob").session() as connection:
        assert await connection.fetchval("SELECT to_regclass('pg_temp.seen') IS NULL")

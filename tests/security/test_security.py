"""Data is protected from other users, crafted strings and readers of logs."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import PUBLIC, VERBS, Rows, arguments, call, call_as, parameters, user_verbs
from tests.conftest import Connection, MakeStorage
from tests.properties import explores
from voltmem import (
    ConversationExistsError,
    ConversationNotFoundError,
    ImportedConversation,
    InvalidInputError,
    InvalidOptionError,
    LeaseLostError,
    Message,
    PostgresStorage,
    StoredFileNotFoundError,
    UserStorage,
    VoltMemError,
)
from voltmem._targets import connection_target

# --- other roles -------------------------------------------------------------------------------------------------


async def test_functions_with_their_owners_rights_are_not_everybodys(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """A role without privileges cannot make a trigger of a function that runs with its owner's rights."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})

    found = await connection.fetch(
        "SELECT proname, has_function_privilege('public', oid, 'EXECUTE') AS is_everybodys FROM pg_proc "
        "WHERE prosecdef AND pronamespace = $1::text::regnamespace",
        f'"{schema}"',
    )

    assert len(found) >= 2
    assert [row["proname"] for row in found if row["is_everybodys"]] == []


# --- another user's id -------------------------------------------------------------------------------------------

# The parameters that name a user. In a filter they select rows; elsewhere they must be the owner.
OWNER_PARAMETERS = ("owner", "user_id")
# Verbs whose values become the user's, as in create_conversation().
IMPORTS = {"import_user", "import_conversations"}
# Its tests are in tests/areas/test_files.py.
STORING = {"put_file"}


def nothing(result: object) -> bool:
    """Return whether a result discloses nothing: no row, no count, no success, and only the first and last line."""
    if isinstance(result, list) and all(isinstance(line, str) for line in result):
        result = [line for line in result if json.loads(line)["kind"] not in ("header", "end")]
    return not result or not all(getattr(result, each, True) for each in ("conversations", "entries", "items", "hits"))


def selects_by_user(name: str) -> bool:
    """Return whether user_id selects rows here, and is not an access check."""
    return {"user_id", "conversation_id"} & parameters(PostgresStorage, name) == {"user_id"}


def owner_parameter(name: str) -> str | None:
    return next((each for each in OWNER_PARAMETERS if each in parameters(PostgresStorage, name)), None)


@pytest.mark.parametrize("name", [name for name in VERBS if owner_parameter(name) and name not in IMPORTS | STORING])
async def test_another_users_id_reads_and_writes_nothing(name: str, storage: PostgresStorage, rows: Rows) -> None:
    """With another user's id every verb behaves as if ada's conversation did not exist."""
    for user in ("mallory", "ADA", "ada\t", "%", "*", "bob"):
        before = await rows.all()
        result: object = None

        with suppress(ConversationNotFoundError, LeaseLostError, StoredFileNotFoundError):
            result = await call(storage, name, **{str(owner_parameter(name)): user})

        if user != "bob" or not selects_by_user(name):
            assert nothing(result), user
        else:  # bob asks for his own rows
            assert not re.search(r"\bada\b", repr(result))
        if (user, name) == ("bob", "delete_user"):
            before = {table: [row for row in found if row[0] != "b1"] for table, found in before.items()}
        assert await rows.all() == before, user


@pytest.mark.parametrize("name", user_verbs())
async def test_a_users_view_knows_no_other(name: str, storage: PostgresStorage, rows: Rows) -> None:
    """Every verb of for_user(), new ones included, leaves other users' rows alone and returns none of them."""
    own = {"conversation": {"id": "c1", "title": "Mine now"}} if "conversation" in parameters(UserStorage, name) else {}
    for user in ("bob", "mallory"):
        await rows.seed()
        before = await rows.all()
        result: object = None

        with suppress(ConversationNotFoundError, ConversationExistsError, LeaseLostError, StoredFileNotFoundError):
            result = await call_as(storage.for_user(user), name, **own)

        assert "'ada'" not in repr(result), user
        after = await rows.all()
        own_ids = {row[0] for row in after["conversations"] if row[1] == user} | {"b1"}
        theirs = [[row for row in each["messages"] if row[0] not in own_ids] for each in (after, before)]
        assert theirs[0] == theirs[1], user
        assert [row for row in after["conversations"] if row[1] == "ada"] == [
            row for row in before["conversations"] if row[1] == "ada"
        ], user


async def test_what_anybody_may_read_has_no_user(storage: PostgresStorage, rows: Rows) -> None:
    """A public link shows no user or conversation id, and the view of a user has no verb to read links."""
    for name in PUBLIC:
        shown = repr(await call(storage, name))

        assert "words" in shown
        assert not [secret for secret in ("'ada'", "'c1'", "'docs'") if secret in shown]
        assert not hasattr(UserStorage, name)
        assert owner_parameter(name) is None


@pytest.mark.parametrize("user", ["bob", "mallory", "ADA"])
@pytest.mark.parametrize("name", sorted(IMPORTS))
async def test_an_import_adds_and_changes_nothing(name: str, user: str, storage: PostgresStorage, rows: Rows) -> None:
    """Imported with ids that are all ada's, everything gets new ids, and each row of ada stays."""
    before = await rows.all()
    lines = [
        '{"voltmem": 1, "kind": "header", "user_id": "ada"}',
        '{"kind": "conversation", "id": "c1", "user_id": "ada", "title": "Mine now"}',
        '{"kind": "message", "id": "m1", "role": "user", "content": "mine now"}',
        '{"kind": "run", "id": "h1", "agent_id": "a1", "conversation_id": "c2", "input": "mine now"}',
        '{"kind": "step", "id": "s1", "agent_id": "a1", "value": {"content": "mine now"}}',
        '{"kind": "event", "id": "e1", "agent_id": "a1", "type": "t", "name": "mine now"}',
        '{"kind": "end"}',
    ]
    message = Message(id="m1", role="user", content="mine now")
    conversations = [ImportedConversation(id="c1", title="Mine now", messages=[message])]

    given = {"lines": lines} if name == "import_user" else {"conversations": conversations}
    await call(storage, name, user_id=user, **given)

    after = await rows.all()
    for table, found in before.items():
        assert [row for row in after[table] if row in found] == found
    (new,) = [row for row in after["conversations"] if row not in before["conversations"]]
    assert (new[1], new[0] == "c1") == (user, False)
    assert [row[0] for row in after["messages"] if row not in before["messages"]] == [new[0]]
    assert all(row[2:4] == (user, None) for row in after["entries"] if row not in before["entries"])


@pytest.mark.parametrize("spelling", ["user_id", "userId"])
async def test_a_users_view_makes_no_conversation_for_another(
    spelling: str, storage: PostgresStorage, rows: Rows
) -> None:
    """A conversation that names another user is an error."""
    before = await rows.all()

    with pytest.raises(InvalidInputError, match="names user 'ada', but this is for_user\\('bob'\\)"):
        await storage.for_user("bob").create_conversation({"id": "new", spelling: "ada"})

    assert await rows.all() == before


# --- crafted strings ---------------------------------------------------------------------------------------------

CRAFTED = [
    "'",
    "''",
    '"',
    "'; DROP TABLE voltagent_memory_messages; --",
    "x' OR '1'='1",
    "ada' OR user_id <> 'ada",
    "\\'; DELETE FROM voltagent_memory_conversations; --",
    "$1",
    "$$; DROP SCHEMA public CASCADE; $$",
    "%s %(user_id)s {} {0} {user_id}",
    "/* */ -- ",
    "c1\n; SELECT pg_sleep(9)",
    "\N{FULLWIDTH APOSTROPHE} OR 1=1",
    "\N{MODIFIER LETTER APOSTROPHE}; --",
    "{prefix}_messages",
    "NULL",
    "{}",
    "[]",
    "\x00",
    "c1\x00",
    "\ud800",
    "é" * 10_000,
]

# The string parameters of each verb, tested one at a time; verbs that are not listed take no string.
STRINGS: Mapping[str, tuple[str, ...]] = {
    name: tuple(
        parameter
        for parameter, value in arguments(name).items()
        if isinstance(value, str) or (isinstance(value, list) and isinstance(value[0], str))
    )
    for name in VERBS
}
ALLOWED_ORDERS = {"created_at", "updated_at", "title", "ASC", "DESC", "asc", "desc"}


@pytest.mark.hypothesis
@pytest.mark.parametrize("crafted", CRAFTED, ids=lambda crafted: ascii(crafted)[:30])
async def test_a_crafted_string_is_a_value_and_no_more(crafted: str, storage: PostgresStorage, rows: Rows) -> None:
    """
    In every string parameter of every verb a crafted string is refused, finds nothing, or is used as a value.

    `make test` gives each parameter every fourth of the strings, and each string to every fourth parameter.
    """
    before = await rows.all()
    all_places = [(name, place) for name, places in STRINGS.items() for place in places]
    for name, place in all_places if explores() else all_places[CRAFTED.index(crafted) % 4 :: 4]:
        await rows.seed()
        good = arguments(name)[place]
        is_refused = False
        try:
            await call(storage, name, **{place: [crafted] if isinstance(good, list) else crafted})
        except (InvalidInputError, LookupError):
            is_refused = True
        after = await rows.all()
        assert not is_refused or after == before, (name, place)
        if (name, place) == ("update_conversation", "user_id"):
            assert [row[0] for row in after["conversations"] if row[1] == crafted] in (["c1"], [])
        assert others(after) == others(before), (name, place)
        assert not name.startswith(("get", "query", "count", "list")) or after == before, (name, place)


def others(rows: Mapping[str, list[tuple[object, ...]]]) -> list[tuple[object, ...]]:
    """Return the rows that the tested call must not change."""
    return [row for row in rows["conversations"] + rows["messages"] if row[0] in ("c2", "b1")]


@pytest.mark.parametrize("crafted", CRAFTED, ids=lambda crafted: ascii(crafted)[:30])
async def test_a_crafted_string_is_stored_as_it_is(crafted: str, storage: PostgresStorage, rows: Rows) -> None:
    """As an id, user, resource, title, role, type, content or key of metadata, it is stored unchanged or refused."""
    conversation = {
        "id": crafted,
        "user_id": crafted,
        "resource_id": crafted,
        "title": crafted,
        "metadata": {crafted: crafted},
    }
    message = {"id": crafted, "role": crafted, "type": crafted, "content": crafted, "metadata": {crafted: crafted}}
    before = await rows.all()
    if len(crafted) > 1000 or any(character in crafted for character in "\x00\ud800"):
        with pytest.raises(InvalidInputError):
            await storage.create_conversation(conversation)
        with pytest.raises(InvalidInputError):
            await storage.add_message(message, "ada", "c1")
        assert await rows.all() == before
        return

    made = await storage.create_conversation(conversation)
    stored = await storage.add_message(message, crafted, crafted)

    assert (made.id, made.user_id, made.resource_id, made.title, made.metadata) == tuple(conversation.values())
    assert await storage.get_user_conversation(crafted, crafted) == await storage.get_conversation(crafted)
    assert await storage.get_messages(crafted, crafted, roles=[crafted], types=[crafted]) == [stored]
    assert [stored.id, stored.role, stored.type, stored.content] == [crafted] * 4
    assert others(await rows.all()) == others(before)


@pytest.mark.parametrize("crafted", CRAFTED, ids=lambda crafted: ascii(crafted)[:30])
def test_a_crafted_name_is_refused(crafted: str) -> None:
    """A crafted prefix, schema, order field or direction is refused."""
    for options in ({"table_prefix": crafted}, {"schema": crafted}, {"on_limit": crafted}, {"migrate": crafted}):
        arguments: Any = options
        with pytest.raises(InvalidOptionError):
            PostgresStorage(**arguments)
    name: Any = crafted
    builder = PostgresStorage("postgresql://h/d").get_user_conversations("ada")
    with pytest.raises(InvalidInputError):
        builder.order_by(name)
    with pytest.raises(InvalidInputError):
        builder.order_by("title", name)


# --- passwords ---------------------------------------------------------------------------------------------------

SECRET = "s3cr3t-Pa55word"


def full_text(error: BaseException | None) -> str:
    """Return the text of an error with its causes, as a traceback prints it."""
    return "".join(traceback.format_exception(error)) if error else ""


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.mark.parametrize(
    "place",
    [
        "127.0.0.1:1/postgres",
        "host.invalid/postgres",
        "127.0.0.1:1,127.0.0.1:2/postgres?target_session_attrs=primary",
        "127.0.0.1:1/postgres?sslmode=nonsense",
    ],
)
async def test_a_password_is_in_no_error_and_no_log(
    place: str, make_storage: MakeStorage, log: pytest.LogCaptureFixture
) -> None:
    """The password is in no error and no log, whatever fails on the way to the server."""
    shown: list[object] = []
    with pytest.raises(VoltMemError) as failed:
        storage = make_storage(f"postgresql://ada:{SECRET}@{place}", debug=True, connect_timeout=2, retry_timeout=0.1)
        shown += [storage, storage._options]
        await storage.open()

    assert SECRET not in full_text(failed.value) + log.text + repr(shown)


async def test_a_wrong_password_is_not_repeated(
    connection: Connection, make_storage: MakeStorage, log: pytest.LogCaptureFixture
) -> None:
    """A login that the server refuses is reported as such, without the password."""
    host, port = connection._addr  # type: ignore[attr-defined]  # where the tests' server is, whatever its string
    storage = make_storage(f"postgresql://no_such_role:{SECRET}@{host}:{port}/postgres?sslmode=disable", debug=True)

    with pytest.raises(ConnectionError) as failed:
        await storage.open()

    assert SECRET not in full_text(failed.value) + log.text


async def test_debug_logs_statements_and_no_data(
    dsn: str, schema: str, rows: Rows, log: pytest.LogCaptureFixture
) -> None:
    """debug=True logs statements and durations, never users' data or the password."""
    async with PostgresStorage(dsn, schema=schema, debug=True) as storage:
        await storage.add_message({"role": "user", "content": "my deepest secret"}, "ada", "c1")
        shown = repr(storage) + repr(storage.for_user("ada")) + repr(storage._options)
        async with storage.transaction() as tx:
            shown += repr(tx)

    assert "ms: SELECT item, stored_at FROM" in log.text
    assert "my deepest secret" not in log.text
    password = dsn.partition("://")[2].rpartition("@")[0].partition(":")[2]
    assert not password or password not in log.text + shown


@given(password=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=4, max_size=20))
def test_no_part_of_a_password_is_in_the_error_of_a_bad_string(password: str) -> None:
    """A password with unencoded characters makes the string invalid, and is not shown in the error."""
    secret = f"S3{password}3S"
    try:
        target = connection_target(f"postgresql://ada:{secret}@localhost:1/db")
    except InvalidOptionError as error:
        shown = str(error)
    else:
        shown = repr(target)

    assert "S3" not in shown
    assert "3S" not in shown


@pytest.mark.parametrize(
    "password", ["a@Secret?b", "a@Secret/b?c", "a@Se,cret?b", "a/Secret?b", "a?Secret@b", "#Secret@"]
)
async def test_a_password_that_was_not_encoded_is_not_taken_for_a_host(password: str) -> None:
    """If an unencoded password cuts the string short, the rest is not used as a host or a parameter, or shown."""
    with pytest.raises(InvalidOptionError) as refused:
        PostgresStorage(f"postgresql://ada:{password}@localhost:1/db")

    assert "Se" not in full_text(refused.value)

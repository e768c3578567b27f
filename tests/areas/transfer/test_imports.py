"""An import stores a conversation completely or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.areas.transfer.exported import END, NOON, conversation, exported, header, line
from tests.calls import wait_until_blocked
from tests.conftest import Connection, MakeStorage
from voltmem import DatabaseError, ImportedConversation, InvalidInputError, Message, PostgresStorage, Skipped
from voltmem._areas.transfer import columns

SECOND = timedelta(seconds=1)
STEP = timedelta(microseconds=1)


# --- conversion from other formats -----------------------------------------------------------------------------------


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements that are full with three messages."""
    monkeypatch.setattr(columns, "_FULL_AT_MESSAGES", 3)


@pytest.mark.usefixtures("small_batches")
async def test_a_conversation_of_many_statements_is_imported_whole(storage: PostgresStorage) -> None:
    """A conversation of many statements is imported in order, with equal times too; a second import skips it."""
    lines = [header(), *conversation("c1", *map(str, range(10))), END]

    first, second = [await storage.import_user("ada", lines) for _ in range(2)]

    assert (first.messages, len(second.skipped)) == (10, 1)
    assert [message.content for message in await storage.get_messages("ada", "c1")] == [*map(str, range(10))]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("how", ["error", "cancelled"])
async def test_nothing_half_written_remains(how: str, storage: PostgresStorage, connection: Connection) -> None:
    """
    If the last statement of a conversation fails or is cancelled, none of it is stored.

    The one before is complete.
    """
    schema, messages = storage._options.tables.schema, storage._options.tables.messages
    action = (
        "RAISE EXCEPTION 'made to fail'" if how == "error" else "PERFORM pg_advisory_xact_lock(hashtext(new.content))"
    )
    await connection.execute(f"""
        CREATE FUNCTION {schema}.stops() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF new.message_id = 'm9' THEN {action}; END IF; RETURN new; END $$;
        CREATE TRIGGER stops BEFORE INSERT ON {messages} FOR EACH ROW EXECUTE FUNCTION {schema}.stops()""")
    lines = [header(), *conversation("c0", "whole"), *conversation("c1", *map(str, range(9)), schema), END]

    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", schema)
        importing = asyncio.create_task(storage.import_user("ada", lines))
        if how == "cancelled":
            await wait_until_blocked(connection)
            importing.cancel()
        with pytest.raises((DatabaseError, asyncio.CancelledError)):
            await importing

    assert [json.loads(each).get("id") for each in await exported(storage)] == ["c0", "m0", None]


async def test_import_user_twice_at_once_stores_it_once(storage: PostgresStorage) -> None:
    """Two concurrent import_user() calls store a conversation once; the other call skips it."""
    lines = [header(), *(each for number in range(10) for each in conversation(f"c{number}", "words")), END]

    results = await asyncio.gather(*(storage.import_user("ada", lines) for _ in range(4)))

    assert sum(result.conversations for result in results) == 10
    assert all(result.conversations + len(result.skipped) == 10 for result in results)
    assert [result.renamed for result in results] == [[]] * 4


@pytest.mark.parametrize(("user_id", "skipped", "renamed"), [("ada", 1, 0), ("bob", 0, 1)])
async def test_a_run_that_is_just_being_imported_is_waited_for(
    user_id: str, skipped: int, renamed: int, storage: PostgresStorage, connection: Connection
) -> None:
    """
    An import waits for an open transaction that is importing the same run, and then skips it.

    For another user the run gets a new id.
    """
    step = line("step", id="s", agent_id="a", value={"content": "x"})
    lines = [header(), line("run", id="h", agent_id="a"), step, END]

    async with storage.transaction() as tx:
        await tx.import_user("ada", lines)
        importing = asyncio.create_task(storage.import_user(user_id, lines))
        await wait_until_blocked(connection, tx.connection)

    result = await importing
    assert (len(result.skipped), result.runs, len(result.renamed)) == (skipped, renamed, renamed)
    entries = (await storage.list_history_entries()).entries
    assert [len(entry.steps) for entry in entries] == [1] * (1 + renamed)


async def test_an_import_asks_for_nothing_while_it_waits_for_lines(make_storage: MakeStorage) -> None:
    """An import that waits for slow lines holds no connection."""
    storage = make_storage(max_connections=1, command_timeout=20)

    async def lines() -> AsyncIterator[str]:
        for each in [header(), *conversation("c1", "one", "two"), END]:
            assert await storage.count_conversations(user_id="bob") == 0
            yield each

    assert (await storage.import_user("ada", lines())).messages == 2


async def test_what_voltagent_wrote_stays_where_it_reads_it(
    storage: PostgresStorage, other: PostgresStorage, connection: Connection
) -> None:
    """Messages of VoltAgent are imported into the column of its parts."""
    parts = '[{"type": "text", "text": "from VoltAgent"}]'
    await storage.add_message({"id": "m1", "role": "user", "content": "Hello"}, "ada", "c1", resource_id="docs")
    await connection.execute(f"UPDATE {storage._options.tables.messages} SET parts = $1", parts)

    await other.import_user("ada", storage.export_user("ada"))

    row = await connection.fetchrow(f"SELECT content_json, parts::text FROM {other._options.tables.messages}")
    assert row is not None
    assert (row[0], json.loads(row[1])) == (None, json.loads(parts))
    assert await exported(other) == await exported(storage)
    assert [hit.message_id for hit in (await other.search("ada", "voltagent")).hits] == ["m1"]


# --- conversations of other sources ----------------------------------------------------------------------------------


async def test_import_conversations_gives_a_time_to_what_has_none(storage: PostgresStorage) -> None:
    """
    import_conversations() gives messages without times one each, a microsecond apart: before the next message that has
    one, from the conversation's on, or up to the time of the import.
    """
    timed = [
        Message(role="user", content="1"),
        Message(role="user", content="2", created_at=NOON),
        Message(role="user", content="3"),
        Message(role="user", content="4", created_at=NOON + SECOND),
    ]
    untimed = [Message(role="user", content=str(number)) for number in range(20)]
    conversations = [
        ImportedConversation(id="some", messages=timed),
        ImportedConversation(id="none", messages=untimed, created_at=NOON),
        ImportedConversation(id="nothing", messages=untimed),
    ]
    before = datetime.now(UTC) - timedelta(minutes=5)

    await storage.import_conversations("ada", conversations)

    stored = {id: await storage.get_messages("ada", id) for id in ("some", "none", "nothing")}
    assert [message.content for message in stored["some"]] == ["1", "2", "3", "4"]
    assert [message.created_at for message in stored["some"]] == [NOON - STEP, NOON, NOON + STEP, NOON + SECOND]
    some = await storage.get_conversation("some")
    assert some is not None
    assert (some.created_at, some.updated_at) == (NOON - STEP, NOON + SECOND)
    for id in ("none", "nothing"):
        assert [message.content for message in stored[id]] == [str(number) for number in range(20)]
        begin = stored[id][0].created_at
        assert [message.created_at for message in stored[id]] == [begin + number * STEP for number in range(20)]
    assert stored["none"][0].created_at == NOON
    assert stored["nothing"][0].created_at > before
    nothing = await storage.get_conversation("nothing")
    assert nothing is not None
    assert nothing.created_at < stored["nothing"][0].created_at
    assert nothing.updated_at >= stored["nothing"][-1].created_at


async def test_import_conversations_keeps_the_order_beside_times_that_are_given(storage: PostgresStorage) -> None:
    """import_conversations() gives no message a time after that of the next one, or before that of the one before."""
    times = [None, None, NOON, None, None, NOON + STEP, None]
    messages = [
        Message(role="user", content=str(number))
        if time is None
        else Message(role="user", content=str(number), created_at=time)
        for number, time in enumerate(times)
    ]

    await storage.import_conversations("ada", [ImportedConversation(id="c", messages=messages, created_at=NOON)])

    stored = await storage.get_messages("ada", "c")
    assert [message.content for message in stored] == [str(number) for number in range(7)]
    assert [(message.created_at - NOON) // STEP for message in stored] == [-2, -1, 0, 1, 1, 1, 2]


async def test_import_conversations_continues_times_over_statements(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation of many statements has times a microsecond apart throughout."""
    monkeypatch.setattr(columns, "_FULL_AT_MESSAGES", 3)
    messages = [Message(role="user", content=str(number)) for number in range(10)]

    await storage.import_conversations("ada", [ImportedConversation(id="c", messages=messages)])

    stored = await storage.get_messages("ada", "c")
    assert [message.content for message in stored] == [str(number) for number in range(10)]
    assert [(each.created_at - stored[0].created_at) // STEP for each in stored] == list(range(10))


@pytest.mark.parametrize("ahead", [None, timedelta(days=-9), timedelta(days=9)])
async def test_import_conversations_counts_as_read(storage: PostgresStorage, ahead: timedelta | None) -> None:
    """import_conversations() marks messages as read, unless the conversation says otherwise."""
    time: dict[str, Any] = {} if ahead is None else {"created_at": datetime.now(UTC) + ahead}
    said = [Message(role="user", content="1"), Message(role="assistant", content="2", **time)]
    answer = line("message", id="m", role="assistant", content="2")
    soon = datetime.now(UTC) + timedelta(days=3)
    given: dict[str, dict[str, Any]] = {
        **{"nothing": {}, "its begin": {"created_at": NOON}, "its begin ahead": {"created_at": soon}},
        **{"never": {"read_at": None}, "long ago": {"read_at": NOON}},
    }

    await storage.import_conversations(
        "ada", [ImportedConversation(id=id, messages=said, **times) for id, times in given.items()]
    )
    await storage.import_user("ada", [header(), *conversation("line"), answer, END])

    found = {item.id: item.unread for item in (await storage.list_conversations("ada")).items}
    assert {id for id, unread in found.items() if unread} == {"never", "long ago", "line"}
    assert len(found) == len(given) + 1


async def test_import_conversations_knows_by_its_content_what_has_no_id(storage: PostgresStorage) -> None:
    """import_conversations() derives a missing id from user and content, so that a repetition is skipped."""
    hello = ImportedConversation(messages=[Message(role="user", content="Hello \ud800")])
    ho = ImportedConversation(messages=[Message(role="user", content="Ho")])

    first = await storage.import_conversations("ada", [hello, ho, hello])
    again = await storage.import_conversations("ada", in_conversations([hello, hello, ho]))
    bobs = await storage.for_user("bob").import_conversations([hello])

    assert (first.conversations, again.conversations, bobs.conversations) == (3, 0, 1)
    assert first.renamed == bobs.renamed == []


async def in_conversations(conversations: list[ImportedConversation]) -> AsyncIterator[ImportedConversation]:
    for each in conversations:
        yield each


async def test_import_conversations_leaves_out_what_has_no_messages(storage: PostgresStorage) -> None:
    """import_conversations() skips a conversation without messages, and the summary says why."""
    result = await storage.import_conversations("ada", [ImportedConversation(id="c1")])

    assert (result.conversations, result.skipped) == (
        0,
        [Skipped(kind="conversation", id="c1", reason="it has no messages")],
    )


async def test_an_invalid_conversation_is_refused(storage: PostgresStorage) -> None:
    """An invalid conversation raises an error; those before it are stored."""
    wrong: Any = [ImportedConversation(id="c1", messages=[Message(role="user", content="Hello")]), {"id": "c2"}]

    with pytest.raises(InvalidInputError, match="an ImportedConversation is needed"):
        await storage.import_conversations("ada", wrong)

    assert await storage.get_conversation("c1") is not None


async def test_import_conversations_refuses_a_message_id_twice(storage: PostgresStorage) -> None:
    """import_conversations() refuses a duplicate message id before anything of the conversation is stored."""
    message = Message(id="m1", role="user", content="Hello")

    with pytest.raises(InvalidInputError, match="'m1' twice"):
        await storage.import_conversations("ada", [ImportedConversation(id="c1", messages=[message, message])])

    assert await storage.get_conversation("c1") is None

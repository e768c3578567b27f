"""VoltAgent 1 or 2 on the same tables: what one writes the other reads, whoever came first."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import JsonValue

from tests.calls import PATIENCE, wait_until_blocked, with_settings
from tests.postgres.voltagent.rows import PREFIX
from tests.voltagent import UI_WRITERS, WRITERS, add_message, create_conversation, load, upgrade
from voltmem import ConversationNotFoundError, InvalidInputError, NativeMessage, PostgresStorage, SchemaNotReadyError
from voltmem._agents.native import NativeMemory

if TYPE_CHECKING:
    from tests.conftest import Connection, MakeStorage

# Ahead of the clock, by less than a day.
AT = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=12)
CALL: JsonValue = [{"type": "tool-call", "toolCallId": "t1", "toolName": "weather", "args": {"city": "Oslo"}}]
RESULT: JsonValue = [{"type": "tool-result", "toolCallId": "t1", "toolName": "weather", "result": {"sky": "grey"}}]


def text(said: str) -> list[JsonValue]:
    return [{"type": "text", "text": said}]


@pytest.fixture
async def release(request: pytest.FixtureRequest, connection: Connection, schema: str) -> str:
    """A release that writes, with its tables in the test's schema and an empty conversation "c" of ada's."""
    release = str(getattr(request, "param", "2.1.2"))
    await load(connection, WRITERS[release], schema)
    await create_conversation(connection, schema, "c", "ada", AT)
    return release


async def seen_by_voltagent(
    connection: Connection, schema: str, user: str = "ada", conversation: str = "c"
) -> list[tuple[str, Any]]:
    """Return the role and the parts of the messages that VoltAgent's getMessages returns, in its order."""
    rows = await connection.fetch(
        f"SELECT role, parts FROM {schema}.{PREFIX}_messages WHERE conversation_id = $1 AND user_id = $2 "
        "ORDER BY created_at",
        conversation,
        user,
    )
    return [(row["role"], row["parts"] and json.loads(row["parts"])) for row in rows]


# --- what VoltAgent reads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", UI_WRITERS, indirect=True)
async def test_add_message_is_read_by_voltagent(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Text that looks like JSON, content that is no text, and roles that VoltAgent does not know are readable to it."""
    storage = make_storage()
    given: list[dict[str, JsonValue]] = [
        {"role": "user", "content": "42"},
        {"role": "developer", "content": "Be kind."},
        {"role": "assistant", "content": {"answer": 7}},
        {
            "role": "user",
            "content": [*text("see"), {"type": "image_url", "image_url": {"url": "https://a.test/b.png"}}],
        },
        {"role": "user", "content": "a NUL \0 and a \ud800"},
    ]

    for message in given:
        await storage.add_message(message, "ada", "c")

    assert await seen_by_voltagent(connection, schema) == [
        ("user", text("42")),
        ("system", text("Be kind.")),
        ("assistant", text("7")),
        (
            "user",
            [*text("see"), {"type": "file", "mediaType": "image", "url": "https://a.test/b.png"}],
        ),
        ("user", text("a NUL \N{REPLACEMENT CHARACTER} and a \N{REPLACEMENT CHARACTER}")),
    ]
    read = await storage.get_messages("ada", "c")
    assert [(message.role, message.content) for message in read] == [
        (message["role"], message["content"]) for message in given
    ]


@pytest.mark.parametrize("together", [True, False])
async def test_a_result_joins_the_call_for_voltagent(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str, together: bool
) -> None:
    """A tool's result in a message of its own is in the part of its call, in one batch or later, and nowhere else."""
    storage = make_storage()
    call, result = {"role": "assistant", "content": CALL}, {"role": "tool", "content": RESULT}

    for batch in [[call, result]] if together else [[call], [result]]:
        await storage.add_messages(batch, "ada", "c")

    assert [parts for _, parts in await seen_by_voltagent(connection, schema)] == [
        [
            {
                "type": "tool-weather",
                "toolCallId": "t1",
                "state": "output-available",
                "input": {"city": "Oslo"},
                "output": {"sky": "grey"},
            }
        ],
        [],
    ]
    assert [(each.role, each.content) for each in await storage.get_messages("ada", "c")] == [
        ("assistant", CALL),
        ("tool", RESULT),
    ]
    assert [each.role for each in await storage.get_messages("ada", "c", roles=["tool"])] == ["tool"]


async def test_add_messages_gives_each_a_time_for_voltagent(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """VoltAgent sorts by time alone: a batch, and batches at once, have their order for it."""
    storage = make_storage()
    for batch in range(3):
        messages = [{"role": "user", "content": f"{batch}.{number}"} for number in range(20)]
        await storage.add_messages(messages, "ada", "c")

    ours = [each.text for each in await storage.get_messages("ada", "c")]

    assert [parts for _, parts in await seen_by_voltagent(connection, schema)] == [text(each) for each in ours]


async def test_imports_and_forks_are_read_by_voltagent(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """What an import and a fork store is readable to VoltAgent, for its user."""
    storage = make_storage()
    await storage.add_messages([{"role": "user", "content": "1"}, {"role": "tool", "content": RESULT}], "ada", "c")
    lines = [line async for line in storage.export_user("ada")]

    fork = await storage.fork_conversation("c")
    imported = await storage.import_user("bob", lines)

    assert await seen_by_voltagent(connection, schema, "ada", fork.id) == [("user", text("1")), ("user", [])]
    new = next(each.new_id for each in imported.renamed if each.id == "c")
    assert await seen_by_voltagent(connection, schema, "bob", new) == [("user", text("1")), ("user", [])]


async def test_a_conversation_given_away_is_the_new_owners_for_voltagent(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """update_conversation() with another user takes the messages along, for VoltAgent and for voltmem."""
    storage = make_storage()
    await storage.add_message({"role": "user", "content": "hello"}, "ada", "c")

    await storage.update_conversation("c", user_id="bob")

    assert await seen_by_voltagent(connection, schema, "bob") == [("user", text("hello"))]
    assert [each.text for each in await storage.get_messages("bob", "c")] == ["hello"]
    assert await storage.get_messages("ada", "c") == []


# --- who came first --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("migrate", ["auto", "check", "off"])
async def test_voltagent_comes_while_a_storage_is_open(
    make_storage: MakeStorage, connection: Connection, schema: str, migrate: Any
) -> None:
    """Tables of voltmem that VoltAgent begins to use: an open storage notices, and its next message is readable."""
    await make_storage().create_conversation({"id": "c", "user_id": "ada"})
    storage = make_storage(migrate=migrate)
    await storage.add_message({"role": "user", "content": "before"}, "ada", "c")

    await upgrade(connection, schema)
    await storage.add_message({"role": "user", "content": "42"}, "ada", "c")
    async with storage.transaction() as transaction:
        await transaction.add_message({"role": "developer", "content": "43"}, "ada", "c")

    seen = await seen_by_voltagent(connection, schema)
    assert seen[1:] == [("user", text("42")), ("system", text("43"))]
    await storage.close()
    if migrate == "auto":  # it has upgraded the tables in the background
        assert (await seen_by_voltagent(connection, schema))[0] == ("user", text("before"))


async def test_open_shows_voltagent_what_was_stored_before_it_came(
    make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Messages from before VoltAgent came are readable to it after the next opening, and ours stay as they were."""
    storage = make_storage()
    await storage.create_conversation({"id": "c", "user_id": "ada"})
    await storage.add_messages(
        [
            {"role": "user", "content": "42"},
            {"role": "assistant", "content": CALL},
            {"role": "tool", "content": RESULT},
        ],
        "ada",
        "c",
    )
    before = await storage.get_messages("ada", "c")
    await upgrade(connection, schema)

    await make_storage().open()

    seen = await seen_by_voltagent(connection, schema)
    assert seen[0] == ("user", text("42"))
    assert [(role, [part["state"] for part in parts]) for role, parts in seen[1:]] == [
        ("assistant", ["output-available"]),
        ("user", []),
    ]
    assert await storage.get_messages("ada", "c") == before
    assert await make_storage().upgrade_schema() == []


async def test_open_gives_what_voltagents_columns_demand(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Columns that VoltAgent makes NOT NULL after the tables were adopted are no obstacle, known or not."""
    await make_storage().open()
    await connection.execute(f"""
        UPDATE {schema}.{PREFIX}_conversations SET title = '' WHERE title IS NULL;
        ALTER TABLE {schema}.{PREFIX}_conversations ALTER COLUMN title SET NOT NULL;
        ALTER TABLE {schema}.{PREFIX}_conversations ADD COLUMN tenant text NOT NULL DEFAULT '';
        ALTER TABLE {schema}.{PREFIX}_conversations ALTER COLUMN tenant DROP DEFAULT;
        ALTER TABLE {schema}.{PREFIX}_messages ALTER COLUMN user_id SET DEFAULT 'default'""")
    with pytest.raises(SchemaNotReadyError, match="voltagent_columns"):
        await make_storage(migrate="check").open()
    storage = make_storage()

    await storage.conversation("ada", "new").add({"role": "user", "content": "hello"})
    await storage.create_conversation({"id": "untitled", "user_id": "ada"})
    await NativeMemory(storage, "ada", "native").save_payload({"a": 1}, "framework")
    await storage.conversation("ada", "titled").title("A title")

    assert await make_storage(migrate="check").upgrade_schema() == []
    rows = await connection.fetch(f"SELECT metadata FROM {schema}.{PREFIX}_conversations WHERE user_id = 'ada'")
    assert None not in [row["metadata"] for row in rows]


# --- replaced messages -----------------------------------------------------------------------------------------------


async def test_a_replacement_by_voltagent_is_what_everybody_reads(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """VoltAgent's version of our message is read, previewed, in windows and exports; payload and old role are gone."""
    storage = make_storage(search=True)
    memory = NativeMemory(storage, "ada", "c")
    await memory.add(
        NativeMessage(id="n", role="tool", type="tool-result", content="old", format="langchain", payload={"old": 1})
    )

    await add_message(connection, release, schema, "c", "n", "ada", text("new words"), AT, "assistant")

    (read,) = await storage.get_messages("ada", "c")
    (native,) = await memory.native_messages()
    (item,) = (await storage.list_conversations("ada")).items
    assert (read.role, read.type, read.content) == ("assistant", "text", text("new words"))
    assert (native.format, native.payload) == (None, None)
    assert item.preview == "new words"
    assert [each.text for each in await storage.conversation("ada", "c").messages()] == ["new words"]
    assert await storage.get_messages("ada", "c", roles=["assistant"], types=["text"]) == [read]
    exported = "".join([line async for line in storage.export_user("ada")])
    assert "new words" in exported
    assert "old" not in exported


async def test_search_finds_what_voltagent_wrote_last(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """Old words of a replaced message are not found, at once; its new words, after index_messages()."""
    storage = make_storage(search=True)
    await storage.add_message({"id": "ours", "role": "user", "content": "giraffe"}, "ada", "c")
    await add_message(connection, release, schema, "c", "theirs", "ada", text("growing"), AT)
    assert await storage.index_messages() > 0

    await add_message(connection, release, schema, "c", "ours", "ada", text("lion"), AT)
    await add_message(connection, release, schema, "c", "theirs", "ada", text("growing omega"), AT)

    async def found(word: str) -> list[str | None]:
        return [hit.message_id for hit in (await storage.search("ada", word)).hits]

    assert await found("giraffe") == []
    assert await storage.index_messages() == 2
    assert (await found("giraffe"), await found("lion"), await found("omega")) == ([], ["ours"], ["theirs"])
    assert [each.text for each in await storage.get_messages("ada", "c")] == ["lion", "growing omega"]
    assert await storage.index_messages() == 0


async def test_saving_the_same_parts_again_keeps_our_message(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """A message that VoltAgent stores again as it read it stays ours, with its payload."""
    storage = make_storage()
    payload: JsonValue = {"role": "assistant", "content": [{"type": "text", "text": "hello", "citations": []}]}
    message = NativeMessage(id="n", role="assistant", content="hello", format="anthropic", payload=payload)
    stored = await storage.add_message(message, "ada", "c")

    await add_message(connection, release, schema, "c", "n", "ada", text("hello"), AT, "assistant")

    (read,) = await storage.get_messages("ada", "c")
    assert isinstance(read, NativeMessage)
    assert (read.payload, read.created_at) == (payload, stored.created_at)


# --- several users ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def shared(release: str, make_storage: MakeStorage, connection: Connection, schema: str) -> PostgresStorage:
    """A storage with ada's conversation "c", in which ada and bob have written with VoltAgent."""
    for id, user, said in (("a1", "ada", "ada asks"), ("b1", "bob", "bob asks"), ("b2", "bob", "for bob")):
        await add_message(connection, release, schema, "c", id, user, text(said), AT, "user")
    return make_storage(search=True)


@pytest.mark.parametrize("release", UI_WRITERS, indirect=True)
async def test_get_messages_returns_each_user_their_own(shared: PostgresStorage) -> None:
    """In a conversation of several users, each reads their own messages, in every way; trusted code reads all."""
    await shared.index_messages()

    async def ids(user: str) -> list[str]:
        return [each.id for each in await shared.get_messages(user, "c")]

    assert (await ids("ada"), await ids("bob"), await ids("eve")) == (["a1"], ["b1", "b2"], [])
    assert len(await shared.get_conversation_messages("c")) == 3
    assert [each.id for each in await shared.conversation("ada", "c").messages()] == ["a1"]
    assert await shared.get_message("ada", "c", "b1") is None
    assert (await shared.list_conversations("ada")).items[0].preview == "ada asks"
    assert [hit.message_id for hit in (await shared.search("ada", "asks")).hits] == ["a1"]
    assert (await shared.search("bob", "asks")).hits == []
    fork = await shared.fork_conversation("c")
    assert [each.id for each in await shared.get_conversation_messages(fork.id)] == ["a1"]
    share = await shared.share_conversation("c")
    shown = await shared.get_shared_conversation(share.token)
    assert shown is not None
    assert [each.text for each in shown.messages] == ["ada asks"]


async def test_add_message_never_replaces_another_users_message(shared: PostgresStorage) -> None:
    """The id of a message that another user wrote there is taken: nothing of the call is stored."""
    new = {"id": "new", "role": "user", "content": "mine"}
    with pytest.raises(InvalidInputError, match="'b1' is taken"):
        await shared.add_messages([new, {"id": "b1", "role": "user", "content": "mine"}], "ada", "c")

    assert [each.id for each in await shared.get_messages("ada", "c")] == ["a1"]
    assert [each.text for each in await shared.get_messages("bob", "c")] == ["bob asks", "for bob"]


async def test_clear_messages_leaves_other_users_messages(shared: PostgresStorage) -> None:
    """Deleting one's own messages leaves those of others in the conversation; trusted code deletes all."""
    assert await shared.delete_messages(["a1", "b1"], "ada", "c") == 1
    assert await shared.clear_messages("ada", "c") == 0
    assert [each.id for each in await shared.get_messages("bob", "c")] == ["b1", "b2"]


async def test_export_user_has_what_a_user_wrote_in_anothers_conversation(shared: PostgresStorage) -> None:
    """Each user's export has their own messages in the shared conversation, and no others."""
    exports = {user: "".join([line async for line in shared.export_user(user)]) for user in ("ada", "bob")}

    assert ("ada asks" in exports["ada"], "bob asks" in exports["ada"]) == (True, False)
    assert ("ada asks" in exports["bob"], "bob asks" in exports["bob"]) == (False, True)
    assert "From VoltAgent" not in exports["bob"], "the title is the owner's"


async def test_delete_user_deletes_what_a_user_wrote_in_anothers_conversation(shared: PostgresStorage) -> None:
    """delete_user() of a guest leaves the conversation and the messages of its owner."""
    await shared.delete_user("bob")

    assert [each.id for each in await shared.get_conversation_messages("c")] == ["a1"]


async def test_delete_user_ends_a_first_run_beside_voltagent(shared: PostgresStorage) -> None:
    """A handle made before delete_user() does not create the user's conversation in VoltAgent's tables either."""
    memory = NativeMemory(shared, "bob", "new").since(time.monotonic() - 60)
    await shared.delete_user("bob")

    with pytest.raises(ConversationNotFoundError, match="was deleted while this run was under way"):
        await memory.add({"role": "user", "content": "Hello"})
    assert await shared.get_conversation("new") is None

    await shared.conversation("bob", "new").add({"role": "user", "content": "Hello"})
    assert await shared.count_messages("bob", "new") == 1


# --- the limit -------------------------------------------------------------------------------------------------------


async def test_a_limit_that_was_not_given_deletes_nothing_of_voltagents(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """VoltAgent 1 and 2 have no limit, so the default does not apply to tables that they use; a given one does."""
    for number in range(110):
        await add_message(connection, release, schema, "c", f"m{number}", "ada", text(str(number)), AT)

    await make_storage().add_message({"role": "user", "content": "one more", "created_at": AT}, "ada", "c")
    assert len(await make_storage(storage_limit=None).get_messages("ada", "c")) == 111

    await make_storage(storage_limit=100).add_message(
        {"role": "user", "content": "another", "created_at": AT}, "ada", "c"
    )
    assert len(await make_storage(storage_limit=None).get_messages("ada", "c")) == 100


async def test_the_first_deletion_by_a_limit_is_logged(
    storage: PostgresStorage, make_storage: MakeStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """The first time that a limit deletes messages, the log says so once: a warning, if the limit is the default."""
    caplog.set_level(logging.INFO, "voltmem")
    await storage.create_conversation({"id": "c", "user_id": "ada"})
    await storage.add_messages([{"role": "user", "content": "said"}] * 100, "ada", "c")
    assert "storage_limit" not in caplog.text

    for _ in range(2):
        await storage.add_message({"role": "user", "content": "said"}, "ada", "c")
        await make_storage(storage_limit=50).add_message({"role": "user", "content": "said"}, "ada", "c")

    levels = [record.levelname for record in caplog.records if "storage_limit" in record.message]
    assert levels == ["WARNING", "INFO", "INFO"]  # the storage with a limit of its own was made twice
    assert "said" not in caplog.text


# --- VoltAgent's own tables ------------------------------------------------------------------------------------------


async def fill_own_tables(connection: Connection, schema: str) -> None:
    p = f"{schema}.{PREFIX}"
    for user in ("ada", "eve"):
        await connection.execute(f"""INSERT INTO {p}_users VALUES ('{user}', '{{"workingMemory": "of {user}"}}')""")
        await connection.execute(
            f"INSERT INTO {p}_steps (id, conversation_id, user_id, agent_id, step_index, type, role, content) "
            f"VALUES ('s-{user}', '1_00001', '{user}', 'a', 0, 'text', 'assistant', 'step of {user}')"
        )
        await connection.execute(
            f"INSERT INTO {p}_workflow_states "
            "(id, workflow_id, workflow_name, status, input, user_id, created_at, updated_at) "
            f"VALUES ('w-{user}', 'w', 'w', 'completed', '\"for {user}\"', '{user}', now(), now())"
        )
    await connection.execute(
        f"INSERT INTO {p}_workflow_states "
        "(id, workflow_id, workflow_name, status, input, conversation_id, created_at, updated_at) "
        "VALUES ('w-c', 'w', 'w', 'completed', '\"in c of ada\"', 'c', now(), now())"
    )


OWN = ("of ada", "step of ada", "for ada", "in c of ada")


async def test_export_user_has_voltagents_own_tables(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """The export has working memory, steps and workflows; an import names what it does not take."""
    await fill_own_tables(connection, schema)
    storage = make_storage()

    lines = [line async for line in storage.export_user("ada")]
    result = await storage.import_user("bob", lines)

    tables = {row["table"] for line in lines if (row := json.loads(line))["kind"] == "voltagent"}
    assert tables == {"users", "steps", "workflow_states"}
    assert all(each in "".join(lines) for each in OWN)
    assert "of eve" not in "".join(lines)
    assert [each.id for each in result.skipped if each.kind == "voltagent"] == [
        "users",
        "steps",
        "workflow_states",
        "workflow_states",
    ]


async def test_delete_user_deletes_in_voltagents_own_tables(
    release: str, make_storage: MakeStorage, connection: Connection, schema: str
) -> None:
    """delete_user() leaves nothing of the user in VoltAgent's tables, and all of the others."""
    await fill_own_tables(connection, schema)

    await make_storage().delete_user("ada")

    for table, left in (("users", "eve"), ("steps", "s-eve"), ("workflow_states", "w-eve")):
        rows = await connection.fetch(f"SELECT id FROM {schema}.{PREFIX}_{table}")
        ids = {row["id"] for row in rows}
        assert left in ids
        assert not ids & {"ada", "s-ada", "w-ada", "w-c"}


# --- deadlocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["add_messages", "clear_messages", "update_conversation", "index_messages"])
async def test_a_deadlock_with_voltagent_ends_on_our_side(
    release: str, make_storage: MakeStorage, connection: Connection, dsn: str, schema: str, verb: str
) -> None:
    """A transaction of VoltAgent's that waits for ours, which waits for it, goes on; our call is sent again."""
    # PostgreSQL would end either of the two, but much later.
    storage = make_storage(with_settings(dsn, deadlock_timeout="60000"), search=verb == "index_messages")
    both = [{"id": f"m{number}", "role": "user", "content": "ours"} for number in (1, 2)]
    await make_storage().add_messages(both, "ada", "c")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "add_messages": lambda: storage.add_messages(both, "ada", "c"),
        "clear_messages": lambda: storage.clear_messages("ada", "c"),
        "update_conversation": lambda: storage.update_conversation("c", user_id="bob"),
        "index_messages": storage.index_messages,
    }
    await storage.open()

    async with connection.transaction():
        await connection.execute("SET LOCAL deadlock_timeout = '60s'")
        await add_message(connection, release, schema, "c", "m2", "ada", text("theirs"), AT)
        ours = asyncio.ensure_future(calls[verb]())
        await wait_until_blocked(connection)
        await add_message(connection, release, schema, "c", "m1", "ada", text("theirs"), AT)
        await add_message(connection, release, schema, "c", "new", "ada", text("theirs"), AT)

    async with asyncio.timeout(PATIENCE):
        await ours

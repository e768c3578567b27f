"""forget(): messages go with what was derived from them, and what was written down of them is named."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from pydantic import JsonValue

from tests import citus
from tests.conftest import Connection, MakeStorage
from voltmem import ConversationNotFoundError, Forgotten, InvalidInputError, PostgresStorage, RememberedVersion
from voltmem._values import to_json

SECRET = "my number is 4711"


async def ids(storage: PostgresStorage, conversation_id: str) -> list[str]:
    found = await storage.get_messages("ada", conversation_id, include_archived=True)
    return [each.id for each in found]


@pytest.fixture
async def searching(make_storage: MakeStorage, migrated: str) -> PostgresStorage:
    storage = make_storage(search=True, storage_limit=3, on_limit="archive")
    await storage.open()
    return storage


async def test_forget_deletes_messages_wherever_the_user_has_them(
    searching: PostgresStorage, connection: Connection
) -> None:
    """In forks, the archive, the trash and branches, and with their words and files; others' messages stay."""
    picture = await searching.put_file("ada", b"a picture")
    shown = [{"type": "text", "text": SECRET}, {"type": "file", "url": picture.url}]
    secret = {"id": "secret", "role": "user", "content": shown}
    more = [{"id": f"m{number}", "role": "user", "content": "words"} for number in range(4)]
    for conversation_id in ("c1", "trash"):  # in c1, the limit archives it
        await searching.add_messages([secret, *more[:2]], "ada", conversation_id, resource_id="docs")
    await searching.fork_conversation("c1", id="fork")
    await searching.add_messages(more[2:], "ada", "c1")
    await searching.rename_conversation("c1", SECRET, automatic=True)
    await searching.soft_delete_conversation("trash")
    await searching.rename_conversation("fork", "A person's title")
    await searching.add_message({**secret, "content": SECRET}, "bob", "bobs", resource_id="docs")

    done = await searching.forget("ada", ["secret", "m0", "unknown"])

    assert done == Forgotten(messages=6, conversations=3)
    assert await ids(searching, "c1") == ["m1", "m2", "m3"]
    assert await ids(searching, "fork") == ["m1"]
    titles = [(await searching.get_conversation(each)).title for each in ("c1", "fork")]  # type: ignore[union-attr]
    assert titles == [None, "A person's title"]
    await searching.restore_conversation("trash")
    assert await ids(searching, "trash") == ["m1"]
    assert not (await searching.search("ada", "4711")).hits
    assert not await searching.recall("ada", "what is my number?")
    if citus.DSN is None:  # without triggers, files stay until they are deleted
        assert await searching.get_file("ada", picture.id) is None
    assert (await searching.search("bob", "4711")).hits
    if citus.DSN is None:  # check() is for one server
        assert await searching.check() == []
    assert await searching.forget("ada", ["secret"]) == Forgotten()


async def test_forget_in_a_conversation_leaves_other_conversations(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """With conversation_id= messages go there and in forks of it, not where another message has the same id."""
    for conversation_id in ("c1", "c2", "c3"):
        await storage.add_message(
            {"id": "1", "role": "user", "content": SECRET}, "ada", conversation_id, resource_id="docs"
        )
        await storage.working_memory("ada", conversation_id).set("words", from_messages=["1"])
    await storage.fork_conversation("c1", id="fork")
    await storage.fork_conversation("fork", id="fork of the fork")
    await connection.execute(VECTORS.format(schema=schema).replace("'m1'", "'1'").replace("'c1_m1'", "'c2'"))

    done = await storage.forget("ada", ["1"], "c1")

    assert (done.messages, done.conversations, done.voltagent_vectors) == (3, 3, 1)
    assert {each.conversation_id for each in done.memory} == {"c1", "fork", "fork of the fork"}
    assert [len(await ids(storage, each)) for each in ("c1", "fork", "fork of the fork", "c2", "c3")] == [0, 0, 0, 1, 1]
    for user, conversation_id in (("bob", "c2"), ("ada", "absent")):
        assert await storage.forget(user, ["1"], conversation_id) == Forgotten()
    assert (await storage.forget("ada", ["1"])).messages == 2


@pytest.mark.parametrize("conversation_id", [None, "c1"])
async def test_forget_finds_the_copy_of_a_fork_that_it_waits_for(
    storage: PostgresStorage, conversation_id: str | None
) -> None:
    """Forks, and forks of them, that another transaction has not committed yet do not keep the messages."""
    secret = {"id": "secret", "role": "user", "content": SECRET}
    await storage.add_messages([secret, {**secret, "id": "other"}], "ada", "c1", resource_id="docs")
    await storage.fork_conversation("c1", id="committed")
    async with storage.transaction() as first, storage.transaction() as second:
        await first.fork_conversation("c1", id="a copy")
        await first.fork_conversation("a copy", id="z copy of the copy")
        await second.fork_conversation("committed", id="another")
        forgetting = asyncio.create_task(storage.forget("ada", ["secret"], conversation_id))
        await asyncio.sleep(0.3)
        assert not forgetting.done()

    assert await forgetting == Forgotten(messages=5, conversations=5)
    for each in ("c1", "committed", "a copy", "z copy of the copy", "another"):
        assert await ids(storage, each) == ["other"]


async def test_forget_beside_fork_conversation_leaves_no_copy(storage: PostgresStorage) -> None:
    """Whichever of the two is first, no copy has the message afterwards."""
    for number in range(20):
        source, fork = f"c{number}", f"fork{number}"
        await storage.add_message(
            {"id": "secret", "role": "user", "content": SECRET}, "ada", source, resource_id="docs"
        )
        await asyncio.gather(storage.fork_conversation(source, id=fork), storage.forget("ada", ["secret"]))
        assert (await ids(storage, source), await ids(storage, fork)) == ([], [])


async def test_forget_leaves_what_followed_in_its_place(storage: PostgresStorage) -> None:
    """What followed a message in a branch, chosen or not, follows the message before it."""
    memory = storage.conversation("ada", "c1")
    await memory.add_turn([{"id": name, "role": "user", "content": name} for name in ("q", "a1", "b1")])
    await storage.rewind_conversation("c1", "b1")

    await storage.forget("ada", ["a1"])

    assert await ids(storage, "c1") == ["q", "b1"]


async def test_forget_names_the_versions_that_were_written_from_messages(storage: PostgresStorage) -> None:
    """Those of the user and of conversations, with what went on from them; not what replaced them, nor others'."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_message({"id": "m1", "role": "user", "content": SECRET}, "ada", "c1")
    of_user, of_conversation = storage.working_memory("ada"), storage.working_memory("ada", "c1")
    await of_user.set("likes tea", from_messages=["m0"])
    await of_user.append(SECRET, from_messages=["m1", "m1"])
    await of_user.append("lives in Oslo")
    await of_user.set("a person", from_messages=["m2"])
    await of_conversation.merge({"number": 4711}, from_messages=["m1"])
    await of_conversation.call_tool("update_working_memory", {"content": "x"}, from_messages=["m9"])  # refused: JSON
    await storage.working_memory("bob").set("nothing", from_messages=["m1"])

    done = await storage.forget("ada", ["m1"])

    versions = [each.from_messages for each in await of_user.history()]
    assert versions == [["m2"], ["m0", "m1"], ["m0", "m1"], ["m0"]]
    assert done == Forgotten(
        messages=1,
        conversations=1,
        memory=[
            RememberedVersion(conversation_id=None, version=2, is_newest=False),
            RememberedVersion(conversation_id=None, version=3, is_newest=False),
            RememberedVersion(conversation_id="c1", version=1, is_newest=True),
        ],
    )
    assert (await storage.forget("ada", ["m1"])).memory == done.memory  # again, so it may be repeated
    await of_user.delete(history=True)
    await of_conversation.delete(history=True)
    assert (await storage.forget("ada", ["m1"])).memory == []


async def test_sources_of_a_memory_stay_with_what_they_are_of(storage: PostgresStorage) -> None:
    """A set() without them and restore() keep them, a deletion ends them, forks and exports have them."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    memory = storage.working_memory("ada", "c1")
    tricky = ['a"b\\c', "{x,y}", "NULL"]
    await memory.set("likes tea", from_messages=tricky)
    await memory.set("likes tea a lot")
    await memory.delete()
    await memory.append("lives in Oslo")
    await memory.restore(1)
    assert [each.from_messages for each in await memory.history()] == [tricky, [], [], tricky, tricky]

    await storage.fork_conversation("c1", id="fork")
    [forked] = await storage.working_memory("ada", "fork").history()
    assert forked.from_messages == tricky
    lines = [line async for line in storage.export_user("ada")]
    await storage.delete_user("ada")
    await storage.import_user("ada", lines)
    again = await storage.working_memory("ada", "c1").history()
    assert [each.from_messages for each in again] == [tricky, [], [], tricky, tricky]


async def test_sources_of_a_memory_are_the_newest_thousand(storage: PostgresStorage) -> None:
    """Of more than a thousand ids, the newest are kept; more in one call are refused."""
    memory = storage.working_memory("ada")
    await memory.append("words", from_messages=[f"m{number}" for number in range(1000)])
    await memory.append("words", from_messages=["m5", "new", "newer"])

    newest = (await memory.history())[0].from_messages
    assert (len(newest), newest[0], newest[-3:]) == (1000, "m2", ["m999", "new", "newer"])
    with pytest.raises(InvalidInputError, match="1,001 ids"):
        await memory.append("words", from_messages=[f"m{number}" for number in range(1001)])


@pytest.mark.parametrize("in_trash", [False, True])
async def test_forget_deletes_summaries_of_the_messages(in_trash: bool, storage: PostgresStorage) -> None:
    """A summary that stands for one of the messages is deleted with it, also in the trash."""
    memory = storage.conversation("ada", "c1")
    for number in range(4):
        await memory.add_turn(
            [
                {"id": f"q{number}", "role": "user", "content": SECRET},
                {"id": f"a{number}", "role": "assistant", "content": "Noted."},
            ]
        )
    await memory.compact(lambda _messages, _before: SECRET, keep_turns=1)
    await storage.forget("ada", ["q3"])  # none of those
    assert any(each.type == "summary" for each in await memory.messages())

    if in_trash:
        await storage.soft_delete_conversation("c1")
    await storage.forget("ada", ["q0"])
    if in_trash:
        await storage.restore_conversation("c1")

    assert all(each.type != "summary" for each in await memory.messages())


async def test_forget_is_part_of_a_transaction(storage: PostgresStorage) -> None:
    """What a transaction forgets is there again after a rollback."""
    await storage.add_message({"id": "m1", "role": "user", "content": SECRET}, "ada", "c1", resource_id="docs")

    with pytest.raises(ConversationNotFoundError):
        async with storage.transaction() as tx:
            assert (await tx.forget("ada", ["m1"])).messages == 1
            await tx.add_message({"role": "user", "content": "Hello"}, "ada", "absent")

    assert await ids(storage, "c1") == ["m1"]
    assert await storage.forget("ada", []) == Forgotten()


# --- VoltAgent's own tables -----------------------------------------------------------------------------------------

VECTORS = """
    CREATE TABLE "{schema}".voltagent_vector_vectors (
        id text PRIMARY KEY, vector bytea NOT NULL, dimensions integer NOT NULL, metadata jsonb, content text
    );
    INSERT INTO "{schema}".voltagent_vector_vectors
    SELECT pg_catalog.concat('msg_', conversation, '_', message), '', 0,
        pg_catalog.jsonb_build_object('conversationId', conversation, 'messageId', message, 'userId', of_user)
    FROM (
        VALUES ('c1', 'm1', 'ada'), ('c1', 'm2', 'ada'), ('c1', 'gone', 'ada'), ('c1_m1', 'x', 'ada'),
            ('bobs', 'm1', 'bob')
    ) AS each (conversation, message, of_user)"""
STEPS = """
    CREATE TABLE "{schema}".voltagent_memory_steps (
        id text PRIMARY KEY, conversation_id text, operation_id text, user_id text, type text, role text, content text
    );
    INSERT INTO "{schema}".voltagent_memory_steps VALUES
        ('s1', 'c1', 'o1', 'ada', 'text', 'assistant', 'Noted.'),
        ('k1', 'c1', 'o2', 'ada', 'tool_call', 'assistant', NULL),
        ('s3', 'c1', 'o3', 'ada', 'text', 'assistant', 'my number is 4711'),
        ('s4', 'c1', 'o4', 'ada', 'text', 'assistant', 'Hello'),
        ('s5', 'c2', 'o1', 'ada', 'text', 'assistant', 'Noted.')"""


@pytest.mark.skipif(citus.DSN is not None, reason="VoltAgent's own tables are not beside distributed ones")
async def test_forget_and_prune_reach_voltagents_vectors_and_steps(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """Vectors of the messages, also of those deleted before, and steps that quote them: not those of others."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    called: list[JsonValue] = [{"type": "tool-weather", "toolCallId": "k1", "state": "input-available", "input": {}}]
    await storage.add_messages(
        [
            {"id": "m1", "role": "user", "content": SECRET},
            {"id": "m2", "role": "assistant", "content": "Noted.", "metadata": {"operationId": "o1"}},
            {"id": "m3", "role": "assistant", "content": "Hm."},
        ],
        "ada",
        "c1",
    )
    parts = f'UPDATE "{schema}".voltagent_memory_messages SET parts = $2::text::jsonb WHERE message_id = $1'
    await connection.execute(parts, "m1", to_json([{"type": "text", "text": f"{SECRET}\n"}]))
    await connection.execute(parts, "m3", to_json(called))
    for statement in (VECTORS, STEPS):
        await connection.execute(statement.format(schema=schema))

    async def left() -> tuple[list[str], list[str]]:
        vectors = await connection.fetch(f'SELECT id FROM "{schema}".voltagent_vector_vectors ORDER BY 1')
        steps = await connection.fetch(f'SELECT id FROM "{schema}".voltagent_memory_steps ORDER BY 1')
        return [row["id"] for row in vectors], [row["id"] for row in steps]

    done = await storage.forget("ada", ["m1", "m3", "gone"])
    assert done == Forgotten(messages=2, conversations=1, voltagent_vectors=2, voltagent_steps=2)
    assert await left() == (["msg_bobs_m1", "msg_c1_m1_x", "msg_c1_m2"], ["s1", "s4", "s5"])

    await storage.add_message({"id": "m5", "role": "user", "content": "words"}, "ada", "c1")
    assert (await storage.prune("ada", older_than=timedelta(0), keep_last=1)).messages == 1
    assert await left() == (["msg_bobs_m1", "msg_c1_m1_x"], ["s4", "s5"])
    await connection.execute(f"""
        UPDATE "{schema}".voltagent_vector_vectors
        SET id = 'msg_c1_m5', metadata = '{{"conversationId": "c1", "messageId": "m5", "userId": "ada"}}'
        WHERE id = 'msg_bobs_m1'""")
    assert (await storage.prune("ada", older_than=timedelta(0))).conversations == 1
    assert (await left())[0] == ["msg_c1_m1_x"]
    await storage.delete_user("ada")
    assert (await left())[0] == []

"""An export has all data of a user, and its import is equal, for any user."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import islice

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.areas.transfer.exported import END, NOON, OTHER, conversation, exported, header, line
from tests.calls import with_parameters
from tests.conftest import Connection, MakeStorage, set_json_codecs
from tests.dialogues import Dialogues, with_dialogues
from tests.properties import examples
from tests.values import any_json, contents, metadatas, storable_ids, storable_texts
from voltmem import ImportedConversation, ImportedMessage, ImportedPayload, Message, PostgresStorage, Skipped
from voltmem._areas.transfer import exports


async def test_export_user_yields_all_that_a_user_has(filled: PostgresStorage) -> None:
    """export_user() yields one object a line, in the documented order, with no other user's data."""
    lines = [line async for line in filled.export_user("ada")]

    kinds = [json.loads(line)["kind"] for line in lines]
    first = ["file", "chunk", *["user_memory"] * 3, "item"]
    first += ["conversation", "payload", *["memory"] * 3, "summary", *["message"] * 5]
    assert kinds[: 1 + len(first)] == ["header", *first]
    assert kinds[1 + len(first) :] == [
        *["conversation", "message", "message", "conversation"],
        *["run", "step", "step", *["event"] * kinds.count("event"), "run", "end"],
    ]
    assert kinds.count("event") >= 2
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert list(json.loads(lines[0])) == ["voltmem", "kind", "user_id", "exported_at"]
    assert "bob" not in "".join(lines)


async def test_import_user_stores_what_was_exported(
    filled: PostgresStorage, other: PostgresStorage, connection: Connection, schema: str
) -> None:
    """import_user() into other tables stores the same lines, JSON, list and words; no limit is applied."""
    lines = [line async for line in filled.export_user("ada")]

    result = await other.import_user("ada", lines)

    assert await exported(other) == lines[1:]
    assert (result.conversations, result.messages, result.runs) == (3, 7, 2)
    assert (result.skipped, result.renamed) == ([], [])
    for sql in (
        "SELECT message_id, content, content_json::text, payload::text FROM {}_messages "
        "WHERE conversation_id <> 'b1' ORDER BY conversation_id, created_at, seq",
        "SELECT format, payload::text, revision, updated_at FROM {}_payloads",
    ):
        before, after = (sql.format(f"{schema}.{prefix}") for prefix in ("voltagent_memory", OTHER))
        assert await connection.fetch(after) == await connection.fetch(before)
    for archived in (True, False):
        listed = await other.list_conversations("ada", archived=archived)
        assert listed == await filled.list_conversations("ada", archived=archived)
    assert [hit.message_id for hit in (await other.search("ada", "mess")).hits] == ["m0", "m0"]
    for storage in (filled, other):
        summary, *_ = await storage.conversation("ada", "c1").messages()
        assert (summary.type, "before noon" in summary.text) == ("summary", True)


async def test_import_user_skips_what_is_there(filled: PostgresStorage, other: PostgresStorage) -> None:
    """A second import_user() changes nothing, counts what it skipped, and completes a partial import."""
    lines = [line async for line in filled.export_user("ada")]
    await other.import_user("ada", lines)
    await other.delete_conversation("c1")
    before = await exported(other)

    again = await other.import_user("ada", lines)

    assert (again.conversations, again.messages, again.runs, again.renamed) == (1, 5, 0, [])
    assert again.skipped == [
        Skipped(kind="memory", id="ada", reason="it is there already"),
        Skipped(kind="item", id="k", reason="it is there already"),
        Skipped(kind="conversation", id="c2", reason="it is there already"),
        Skipped(kind="conversation", id="c3", reason="it is there already, deleted"),
        Skipped(kind="run", id="h1", reason="it is there already"),
        Skipped(kind="run", id="h2", reason="it is there already"),
    ]
    assert await exported(other) == lines[1:] != before


async def test_another_users_ids_are_replaced_with_new_ones(filled: PostgresStorage) -> None:
    """
    Imported for another user in the same storage, it gets new ids, the same each time.

    The first user's rows stay.
    """
    before, others = await exported(filled), await exported(filled, "bob")
    lines = [line async for line in filled.export_user("ada")]

    result = await filled.for_user("eve").import_user(lines)
    again = await filled.for_user("eve").import_user(lines)

    names = {(each.kind, each.id): each.new_id for each in result.renamed}
    assert list(names) == [
        *(("conversation", id) for id in ("c1", "c2", "c3")),
        *(("run", id) for id in ("h1", "h2")),
    ]
    assert await exported(filled) == before
    assert await exported(filled, "bob") == others
    assert (again.conversations, again.runs, len(again.skipped), again.renamed) == (0, 0, 7, [])
    fork = (await filled.list_conversations("eve", archived=True)).items[0]
    assert (fork.id, fork.forked_from) == (names["conversation", "c2"], names["conversation", "c1"])
    copy = await filled.get_history_entry(names["run", "h1"])
    original = await filled.get_history_entry("h1")
    assert copy is not None
    assert original is not None
    assert (copy.user_id, copy.conversation_id) == ("eve", names["conversation", "c1"])
    assert [(depth, event.name) for depth, event in copy.event_tree()] == [
        (depth, event.name) for depth, event in original.event_tree()
    ]
    assert [step.content for step in copy.steps] == [step.content for step in original.steps]


async def test_what_was_missing_of_an_import_gets_the_names_of_before(
    filled: PostgresStorage, connection: Connection
) -> None:
    """A run that is imported later refers to the conversation by the new id."""
    lines = [line async for line in filled.export_user("ada")]
    names = {each.id: each.new_id for each in (await filled.import_user("eve", lines)).renamed}
    await connection.execute(f"DELETE FROM {filled._options.tables.agent_history} WHERE userid = 'eve'")

    again = await filled.import_user("eve", lines)

    assert (again.conversations, again.runs) == (0, 2)
    (run,) = (await filled.list_history_entries(conversation_id=names["c1"])).entries
    assert run.id == names["h1"]


async def test_a_conversation_without_messages_keeps_its_place(storage: PostgresStorage) -> None:
    """A conversation without messages keeps its place before, between and after others."""
    begun = (line("conversation", id=f"c{number}", created_at=f"2024-01-0{number}T00:00:00Z") for number in range(1, 7))
    said = line("message", id="m1", role="user", content="words")
    lines = [each for number, first in enumerate(begun) for each in ([first, said] if number in (2, 4) else [first])]

    await storage.import_user("ada", [header(), *lines, END])

    found = [json.loads(each) for each in await exported(storage)]
    assert [each["id"] for each in found[:-1]] == ["c1", "c2", "c3", "m1", "c4", "c5", "m1", "c6"]


@pytest.mark.parametrize("squatted", [1, 3])
async def test_a_new_id_that_is_taken_too_gets_another(storage: PostgresStorage, squatted: int) -> None:
    """If a new id is taken, too, another is used: a user who predicts ids cannot block an import."""
    lines = [header(), *conversation("c1", "hello"), END]
    for number in range(squatted):
        (new_id,) = [each.new_id for each in (await storage.import_user("ada", lines)).renamed] or ["c1"]
        await storage.update_conversation(new_id, user_id=f"squatter {number}")

    result = await storage.import_user("ada", lines)

    assert (result.conversations, len(result.renamed)) == (1, 1)
    assert (await storage.import_user("ada", lines)).skipped[0].reason == "it is there already"


async def test_an_imported_run_does_not_name_another_users_conversation(storage: PostgresStorage) -> None:
    """An imported run does not refer to another user's conversation; a reference to one that is not stored stays."""
    await storage.create_conversation({"id": "b1", "user_id": "bob"})
    runs = [line("run", id=id, agent_id="a", conversation_id=id) for id in ("b1", "elsewhere")]

    await storage.import_user("ada", [header(), *runs, END])

    assert (await storage.list_history_entries(conversation_id="b1")).entries == []
    (found,) = (await storage.list_history_entries(conversation_id="elsewhere")).entries
    assert found.id == "elsewhere"


async def test_an_imported_fork_does_not_name_another_users_conversation(storage: PostgresStorage) -> None:
    """
    An imported fork does not refer to another user's conversation.

    A source that is imported later, or never, stays.
    """
    await storage.create_conversation({"id": "b1", "user_id": "bob"})
    copies = [
        line("conversation", id=f"of {source}", forked_from=source, forked_up_to="m0")
        for source in ("b1", "later", "elsewhere")
    ]

    await storage.import_user("ada", [header(), *copies, *conversation("later"), *conversation("b1"), END])

    found = {item.id: item for item in (await storage.list_conversations("ada")).items}
    assert (found["of b1"].forked_from, found["of b1"].forked_up_to) == (None, None)
    for source in ("later", "elsewhere"):
        assert (found[f"of {source}"].forked_from, found[f"of {source}"].forked_up_to) == (source, "m0")


times = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
imported_ids = storable_ids.map(lambda text: text[:50])
imported_messages = st.builds(
    ImportedMessage,
    id=imported_ids,
    role=storable_texts,
    content=contents,
    type=storable_texts,
    metadata=metadatas,
    created_at=times,
    archived=st.booleans(),
    format=st.none() | storable_texts,
    payload=any_json,
    parent_id=st.none() | imported_ids,
)
imported_conversations = st.builds(
    ImportedConversation,
    resource_id=st.sampled_from(["code", "docs"]),
    title=st.none() | storable_texts,
    metadata=metadatas,
    created_at=times,
    updated_at=times,
    pinned=st.booleans(),
    archived=st.booleans(),
    tags=st.lists(storable_texts, max_size=3),
    read_at=st.none() | times,
    deleted_at=st.none() | times,
    title_is_automatic=st.booleans(),
    messages=st.lists(imported_messages, min_size=1, max_size=4, unique_by=lambda message: message.id),
    payloads=st.lists(
        st.builds(ImportedPayload, format=st.sampled_from("fg"), payload=any_json, updated_at=times),
        max_size=2,
        unique_by=lambda payload: payload.format,
    ),
)


@examples(60)
@given(conversations=st.lists(imported_conversations, max_size=3))
async def test_whatever_is_imported_is_exported_and_imported_equal(
    storage: PostgresStorage, other: PostgresStorage, conversations: list[ImportedConversation]
) -> None:
    """Any texts, values, marks and times survive export, import and another export with equal lines."""
    result = await storage.import_conversations("ada", conversations)
    assert (result.conversations, result.skipped) == (len(conversations), [])
    lines = [line async for line in storage.export_user("ada")]

    assert (await other.import_user("ada", lines)).messages == result.messages

    assert await exported(other) == lines[1:]
    await storage.delete_user("ada")
    await other.delete_user("ada")


async def test_a_callers_pool_with_codecs_exports_and_imports(
    filled: PostgresStorage, dsn: str, schema: str, other: PostgresStorage
) -> None:
    """
    With a caller's pool that has JSON codecs, export and import work, and an export can be the input of an import.
    """
    await other.open()
    async with asyncpg.create_pool(dsn, init=set_json_codecs, min_size=0, max_size=2) as pool:
        first = PostgresStorage(pool=pool, schema=schema)
        second = PostgresStorage(pool=pool, schema=schema, table_prefix=OTHER)

        await second.import_user("ada", first.export_user("ada"))

        assert await exported(second) == await exported(filled)


async def test_without_prepared_statements_both_work(
    filled: PostgresStorage, dsn: str, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Export and import work without prepared statements, as behind a pooler in transaction mode."""
    monkeypatch.setattr(exports, "_AT_ONCE", 2)
    pooled = make_storage(with_parameters(dsn, pgbouncer="true"), table_prefix=OTHER)
    lines = [line async for line in make_storage(with_parameters(dsn, pgbouncer="true")).export_user("ada")]

    await pooled.import_user("ada", lines)

    assert await exported(pooled) == lines[1:] == await exported(filled)


@with_dialogues
async def test_dialogues_come_back_equal(
    dialogues: Dialogues, storage: PostgresStorage, other: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many conversations with equal times, in more than one batch, are exported and imported equal."""
    monkeypatch.setattr(exports, "_AT_ONCE", 40)
    chosen = list(islice(dialogues, 120))
    given_ones = [
        ImportedConversation(
            id=each["id"], created_at=NOON, messages=[Message(**message) for message in each["messages"]]
        )
        for each in chosen
    ]

    result = await storage.import_conversations("ada", given_ones)
    await other.import_user("ada", storage.export_user("ada"))

    assert (result.conversations, result.messages) == (len(chosen), sum(len(each["messages"]) for each in chosen))
    assert await exported(other) == await exported(storage)
    for each in chosen[::20]:
        stored = await other.get_messages("ada", each["id"], limit=None)
        found = [{"role": message.role, "type": message.type, "content": message.content} for message in stored]
        assert found == each["messages"]

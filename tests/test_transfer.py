"""Out and in: what is exported is all that a user has, and imported it is the same again, for whomever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.calls import somebody_waits, with_parameters
from tests.conftest import Connection, MakeStorage
from tests.dialogues import Dialogues, with_dialogues
from tests.properties import examples
from tests.proxy import Proxy
from tests.test_round_trip import any_json, contents, metadatas, nested, set_json_codecs, storable_texts
from voltmem import (
    DatabaseError,
    ImportedConversation,
    ImportedMessage,
    ImportedPayload,
    InvalidInputError,
    InvalidLineError,
    Message,
    NativeMessage,
    PostgresStorage,
    Skipped,
    Storage,
)
from voltmem._agents.native import NativeMemory
from voltmem._areas.transfer import exports, imports

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OTHER = "voltmem_other"


@pytest.fixture
def other(make_storage: MakeStorage) -> PostgresStorage:
    """A second storage, with tables of its own, a search, and a limit below what is imported."""
    return make_storage(table_prefix=OTHER, search=True, storage_limit=2)


@pytest.fixture
async def filled(storage: PostgresStorage) -> PostgresStorage:
    """A storage in which ada has something of all that a user can have, and bob a little."""
    await storage.create_conversation({"id": "c1", "user_id": "ada", "title": "One", "metadata": {"n": [1.5]}})
    parts: JsonValue = ["parts", {"b": 1, "a": None}]
    said: list[JsonValue] = ["message", "\ud83d\ude00 \x00", parts, nested([True] * 200)]
    for number, content in enumerate(said):
        message = {"id": f"m{number}", "role": "user", "content": content, "created_at": NOON}
        await storage.add_message(message, "ada", "c1")
    native = NativeMessage(
        role="tool", content="[]", type="tool-result", format="f", payload={"z": "\x00"}, parent_id=""
    )
    await storage.add_message(native, "ada", "c1")
    await NativeMemory(storage, "ada", "c1").save_payload({"b": "\ud800", "a": 1}, "a framework", revision="r1")
    await storage.fork_conversation("c1", up_to="m1", id="c2")
    await storage.tag_conversation("c2", ["work", "trip"])
    await storage.pin_conversation("c2")
    await storage.archive_conversation("c2")
    await storage.mark_conversation_read("c2")
    await storage.rename_conversation("c2", "", automatic=True)
    await storage.create_conversation({"id": "c3", "user_id": "ada"})
    await storage.soft_delete_conversation("c3")
    async with storage.record_run("a1", input="", user_id="ada", conversation_id="c1", id="h1") as run:
        await run.add_step("text", content="a step\ud800")
        async with run.event("outer"), run.event("inner"):
            pass
    await storage.add_history_step("s2", {"type": "tool_call", "arguments": {"q": False}, "more": said[-1]}, "h1", "a2")
    await storage.add_history_entry("h2", {"status": "working", "conversationId": "c2", "output": [0]}, "a1")
    await storage.add_message({"role": "user", "content": "bob was here"}, "bob", "b1", resource_id="docs")
    return storage


async def exported(storage: Storage, user_id: str = "ada") -> list[str]:
    """Return the lines of an export without its header, which tells the time."""
    header, *lines = [line async for line in storage.export_user(user_id)]
    assert json.loads(header)["user_id"] == user_id
    return lines


def header(**changes: object) -> str:
    return json.dumps({"voltmem": 1, "kind": "header", **changes})


def line(kind: str, **values: object) -> str:
    return json.dumps({"kind": kind, **values})


def conversation(id: str, *texts: str) -> list[str]:
    """The lines of a conversation with these messages."""
    messages = (line("message", id=f"m{n}", role="user", content=text) for n, text in enumerate(texts))
    return [line("conversation", id=id), *messages]


END = line("end")


# --- round trips --------------------------------------------------------------------------------------------------


async def test_an_export_has_all_that_a_user_has(filled: PostgresStorage) -> None:
    """In the order that transfer_lines tells, an object a line, with nothing of anybody else's."""
    lines = [line async for line in filled.export_user("ada")]

    kinds = [json.loads(line)["kind"] for line in lines]
    first = ["conversation", "payload", *["message"] * 5]
    assert kinds[: 1 + len(first)] == ["header", *first]
    assert kinds[1 + len(first) :] == [
        *["conversation", "message", "message", "conversation"],
        *["run", "step", "step", *["event"] * kinds.count("event"), "run", "end"],
    ]
    assert kinds.count("event") >= 2
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert list(json.loads(lines[0])) == ["voltmem", "kind", "user_id", "exported_at"]
    assert "bob" not in "".join(lines)


async def test_what_is_imported_is_exported_equal(
    filled: PostgresStorage, other: PostgresStorage, connection: Connection, schema: str
) -> None:
    """Into other tables: the same lines, the same JSON to the byte, the same list, and words; no limit is applied."""
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


async def test_what_is_there_is_passed_over(filled: PostgresStorage, other: PostgresStorage) -> None:
    """Importing again changes nothing, counts it, and completes what was begun."""
    lines = [line async for line in filled.export_user("ada")]
    await other.import_user("ada", lines)
    await other.delete_conversation("c1")
    before = await exported(other)

    again = await other.import_user("ada", lines)

    assert (again.conversations, again.messages, again.runs, again.renamed) == (1, 5, 0, [])
    assert again.skipped == [
        Skipped(kind="conversation", id="c2", reason="it is there already"),
        Skipped(kind="conversation", id="c3", reason="it is there already, deleted"),
        Skipped(kind="run", id="h1", reason="it is there already"),
        Skipped(kind="run", id="h2", reason="it is there already"),
    ]
    assert await exported(other) == lines[1:] != before


async def test_another_users_ids_are_taken_by_nobody(filled: PostgresStorage) -> None:
    """Imported for somebody else beside the first: under new ids, the same each time, and the first's rows are left."""
    before, others = await exported(filled), await exported(filled, "bob")
    lines = [line async for line in filled.export_user("ada")]

    result = await filled.for_user("eve").import_user(lines)
    again = await filled.for_user("eve").importUser(lines)

    names = {(each.kind, each.id): each.new_id for each in result.renamed}
    assert list(names) == [
        *(("conversation", id) for id in ("c1", "c2", "c3")),
        *(("run", id) for id in ("h1", "h2")),
    ]
    assert await exported(filled) == before
    assert await exported(filled, "bob") == others
    assert (again.conversations, again.runs, len(again.skipped), again.renamed) == (0, 0, 5, [])
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
    """A run that is imported later names the conversation by the id that it got then."""
    lines = [line async for line in filled.export_user("ada")]
    names = {each.id: each.new_id for each in (await filled.import_user("eve", lines)).renamed}
    await connection.execute(f"DELETE FROM {filled._options.tables.agent_history} WHERE userid = 'eve'")

    again = await filled.import_user("eve", lines)

    assert (again.conversations, again.runs) == (0, 2)
    (run,) = (await filled.list_history_entries(conversation_id=names["c1"])).entries
    assert run.id == names["h1"]


async def test_an_empty_conversation_stands_in_its_place(storage: PostgresStorage) -> None:
    """Before, between and after those with messages."""
    begun = (line("conversation", id=f"c{number}", created_at=f"2024-01-0{number}T00:00:00Z") for number in range(1, 7))
    said = line("message", id="m1", role="user", content="words")
    lines = [each for number, first in enumerate(begun) for each in ([first, said] if number in (2, 4) else [first])]

    await storage.import_user("ada", [header(), *lines, END])

    found = [json.loads(each) for each in await exported(storage)]
    assert [each["id"] for each in found[:-1]] == ["c1", "c2", "c3", "m1", "c4", "c5", "m1", "c6"]


@pytest.mark.parametrize("squatted", [1, 3])
async def test_a_new_id_that_is_taken_too_gets_another(storage: PostgresStorage, squatted: int) -> None:
    """Somebody who knows how ids are made keeps nobody's import from its end."""
    lines = [header(), *conversation("c1", "hello"), END]
    for number in range(squatted):
        (new_id,) = [each.new_id for each in (await storage.import_user("ada", lines)).renamed] or ["c1"]
        await storage.update_conversation(new_id, user_id=f"squatter {number}")

    result = await storage.import_user("ada", lines)

    assert (result.conversations, len(result.renamed)) == (1, 1)
    assert (await storage.import_user("ada", lines)).skipped[0].reason == "it is there already"


async def test_a_run_gets_into_nobody_elses_conversation(storage: PostgresStorage) -> None:
    """One that names a conversation of somebody else's names none; one that is stored nowhere it goes on naming."""
    await storage.create_conversation({"id": "b1", "user_id": "bob"})
    runs = [line("run", id=id, agent_id="a", conversation_id=id) for id in ("b1", "elsewhere")]

    await storage.import_user("ada", [header(), *runs, END])

    assert (await storage.list_history_entries(conversation_id="b1")).entries == []
    (found,) = (await storage.list_history_entries(conversation_id="elsewhere")).entries
    assert found.id == "elsewhere"


async def test_a_copy_names_nobody_elses_conversation_as_its_source(storage: PostgresStorage) -> None:
    """Whatever the line says; one that comes later under its own id, or never, is named as it was."""
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
imported_messages = st.builds(
    ImportedMessage,
    id=storable_texts.map(lambda text: text[:50]),
    role=storable_texts,
    content=contents,
    type=storable_texts,
    metadata=metadatas,
    created_at=times,
    archived=st.booleans(),
    format=st.none() | storable_texts,
    payload=any_json,
    parent_id=st.none() | storable_texts,
)
imported_conversations = st.builds(
    ImportedConversation,
    resource_id=st.sampled_from(["", "docs"]),
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
    """Any texts, values, marks and times: out, in and out again, the lines stay."""
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
    """JSON crosses as text, whatever the connections make of it; an export may be what an import reads."""
    await other.open()
    async with asyncpg.create_pool(dsn, init=set_json_codecs, min_size=0, max_size=2) as pool:
        first = PostgresStorage(pool=pool, schema=schema)
        second = PostgresStorage(pool=pool, schema=schema, table_prefix=OTHER)

        await second.import_user("ada", first.export_user("ada"))

        assert await exported(second) == await exported(filled)


async def test_without_prepared_statements_both_work(
    filled: PostgresStorage, dsn: str, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler that hands out connections by the transaction."""
    monkeypatch.setattr(exports, "_AT_ONCE", 2)
    pooled = make_storage(with_parameters(dsn, pgbouncer="true"), table_prefix=OTHER)
    lines = [line async for line in make_storage(with_parameters(dsn, pgbouncer="true")).export_user("ada")]

    await pooled.import_user("ada", lines)

    assert await exported(pooled) == lines[1:] == await exported(filled)


@with_dialogues
async def test_dialogues_come_back_equal(
    dialogues: Dialogues, storage: PostgresStorage, other: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many of them, with ties in time, through more than one batch of conversations."""
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


# --- out ----------------------------------------------------------------------------------------------------------


async def test_an_export_is_of_one_moment(filled: PostgresStorage) -> None:
    """What is written, moved and deleted while it is read is in it as it was before."""
    expected = await exported(filled)
    lines: list[str] = []

    async for each in filled.export_user("ada"):
        if not lines:
            await filled.add_message({"role": "user", "content": "later"}, "ada", "c2")
            await filled.delete_conversation("c1")
            await filled.delete_user("ada")
        lines.append(each)

    assert lines[1:] == expected
    assert [json.loads(each)["kind"] for each in await exported(filled)] == ["end"]


async def test_an_export_that_is_left_gives_its_connection_back(
    filled: PostgresStorage, make_storage: MakeStorage
) -> None:
    """By a break, by closing it, by an error, by cancelling whoever reads it."""
    storage = make_storage(max_connections=1, command_timeout=20)

    async def read(stop: Callable[[], object]) -> None:
        async for each in storage.export_user("ada"):
            if "message" in each:
                stop()

    async for _ in storage.export_user("ada"):
        break
    assert await storage.count_conversations(user_id="ada") == 2
    async with aclosing(storage.export_user("ada")) as lines:  # type: ignore[type-var]
        assert "header" in await anext(lines)
    assert await storage.count_conversations(user_id="ada") == 2
    with pytest.raises(ZeroDivisionError):
        await read(lambda: 1 / 0)
    assert await storage.count_conversations(user_id="ada") == 2
    reading = asyncio.create_task(read(lambda: reading.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await storage.count_conversations(user_id="ada") == 2


async def test_an_export_reads_some_rows_at_a_time(proxy: Proxy, make_storage: MakeStorage) -> None:
    """Of a long conversation it has read a part when it has told a part."""
    storage = make_storage(proxy.dsn, storage_limit=None)
    messages = [{"id": f"m{number}", "role": "user", "content": "words"} for number in range(3000)]
    await storage.add_messages(messages, "ada", "c1", resource_id="docs")
    before = proxy.round_trips

    lines = storage.export_user("ada")
    for _ in range(150):
        await anext(lines)
    part = proxy.round_trips - before
    rest = [each async for each in lines]

    assert len(rest) == 3000 + 3 - 150
    assert 2 * part < proxy.round_trips - before


async def test_in_a_transaction_an_export_sees_what_that_sees(filled: PostgresStorage) -> None:
    """What it has written itself, too; and it goes on afterwards."""
    async with filled.transaction() as tx:
        await tx.delete_conversation("c1")
        lines = await exported(tx)
        result = await tx.import_user("ada", [header(), *conversation("c1", "new"), END])

    assert '"id":"c1"' not in "".join(lines)
    assert result.messages == 1
    assert [message.text for message in await filled.get_messages("ada", "c1")] == ["new"]


# --- lines --------------------------------------------------------------------------------------------------------


async def in_lines(lines: Iterable[str | bytes]) -> AsyncIterator[str | bytes]:
    for each in lines:
        await asyncio.sleep(0)
        yield each


async def test_lines_come_as_text_or_bytes_from_any_iterable(storage: PostgresStorage, tmp_path: Path) -> None:
    """Lists, files, generators; with newlines or without, blank ones between them, encoded by other programs."""
    lines = [header(user_id="bob", more="later"), "", *conversation("c1", "h\N{GRINNING FACE}"), "  ", END]
    file = tmp_path / "lines.jsonl"

    for given_as in (lines, iter(lines), [each.encode() for each in lines], in_lines(lines)):
        assert (await storage.import_user("ada", given_as)).messages == 1
        assert (await storage.get_messages("ada", "c1"))[0].content == "h\N{GRINNING FACE}"
        await storage.delete_conversation("c1")
    for encoding in ("utf-8", "utf-8-sig"):  # with a byte-order mark, as some editors save it
        file.write_text("\n".join(lines), encoding=encoding)
        for mode in ("r", "rb"):
            with file.open(mode, encoding="utf-8" if mode == "r" else None) as opened:
                assert (await storage.import_user("ada", opened)).conversations == 1
            await storage.delete_conversation("c1")


MESSAGE = line("message", id="m1", role="user", content="words")
BEGIN = line("conversation", id="bad")

WRONG: dict[str, list[Any]] = {
    "no JSON": ["{"],
    "truncated": [BEGIN, MESSAGE[:-5]],
    "no object": ["[]"],
    "no kind": ["{}"],
    "unknown kind": [line("secret")],
    "kind of another type": ['{"kind": ["end"]}'],
    "no text": [7],
    "no UTF-8": [b"\xff"],
    "lone surrogates": ["\ud800"],
    "not a number": ['{"kind": "message", "id": "m", "role": "r", "content": NaN}'],
    "too deep": [BEGIN, f'{{"kind":"message","id":"m","role":"r","content":{"[" * 500}{"]" * 500}}}'],
    "second header": [header()],
    "payload of a run": [line("run", id="h", agent_id="a"), line("payload", format="f", payload=1)],
    "step of a conversation": [BEGIN, line("step", id="s", agent_id="a", value={})],
    "message of a run": [line("run", id="h", agent_id="a"), MESSAGE],
    "unknown field": [line("conversation", id="bad", colour="red")],
    "conversation without an id": [line("conversation")],
    "messages within": [line("conversation", id="bad", messages=[{"role": "user", "content": "x"}])],
    "steps within": [line("run", id="h", agent_id="a", steps=[{"content": "x"}])],
    "id too long": [line("conversation", id="x" * 1001)],
    "id of another type": [line("conversation", id=7)],
    "NUL in a title": [line("conversation", id="bad", title="\x00")],
    "NUL in metadata": [line("conversation", id="bad", metadata={"a": "\x00"})],
    "NUL in parts": [BEGIN, line("message", id="m", role="user", content=["\x00"], in_parts=True)],
    "no time zone": [line("conversation", id="bad", created_at="2024-01-01T00:00:00")],
    "a mark that is none": [line("conversation", id="bad", pinned="perhaps")],
    "no role": [BEGIN, line("message", id="m", content="x")],
    "no content": [BEGIN, line("message", id="m", role="user")],
    "a message twice": [BEGIN, MESSAGE, MESSAGE],
    "a payload twice": [BEGIN, *[line("payload", format="f", payload=1)] * 2],
    "no value": [line("run", id="h", agent_id="a"), line("step", id="s", agent_id="a", value=7)],
    "an event without a name": [line("run", id="h", agent_id="a"), line("event", id="e", agent_id="a", type="t")],
    "exact that is none": [line("conversation", id="bad", exact=[1])],
    "exact text that is none": [line("conversation", id="bad", exact={"title": "{"})],
    "exact of a text": [line("conversation", id="bad", exact={"title": '"\\ud800"'})],
    "after the end": [END, BEGIN],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_a_line_that_is_none_is_told_by_its_number(wrong: list[Any], storage: PostgresStorage) -> None:
    """What stood before it is stored, what it belongs to is not; mended, all of it is imported."""
    lines = [header(), *conversation("c1", "first"), *wrong]

    with pytest.raises(InvalidLineError, match=f"^line {len(lines)}: ") as refused:
        await storage.import_user("ada", [*lines, *([] if END in wrong else [END])])

    assert refused.value.line == len(lines)
    stored = [json.loads(each)["id"] for each in (await exported(storage))[:-1]]
    assert stored in (["c1", "m0"], []), "what is not finished is not stored"
    assert "bad" not in stored
    result = await storage.import_user("ada", [*lines[:3], *conversation("bad", "mended"), END])
    assert result.conversations + len(result.skipped) == 2


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ([], "line 1: the end line is missing"),
        ([""], "line 2: the end line is missing"),
        ([END], "line 1: the header"),
        ([*conversation("c1"), END], "line 1: the header"),
        ([header(voltmem=2), END], "line 1: the export has version 2"),
        ([header(voltmem=True), END], "line 1: the export has version True"),
        ([line("header"), END], "line 1: the export has version None"),
        ([header(), *conversation("c1", "words")], "line 4: the end line is missing"),
        ([header(), MESSAGE, END], "line 2: a message must follow"),
        ([header(), line("step", id="s", agent_id="a", value={}), END], "line 2: a step must follow"),
    ],
)
async def test_lines_that_are_no_export_import_nothing(lines: list[str], what: str, storage: PostgresStorage) -> None:
    """Another version, no header, or no end: then nobody knows what else is missing."""
    with pytest.raises(InvalidLineError, match=what):
        await storage.import_user("ada", lines)

    assert await storage.count_conversations() == 0


@given(st.lists(st.text(max_size=20) | any_json.map(json.dumps), max_size=3))
async def test_no_line_is_an_error_of_anothers(lines: list[str]) -> None:
    """Whatever stands in it; nothing is sent for it."""
    with pytest.raises(InvalidLineError):
        await PostgresStorage("postgresql://127.0.0.1:1/nowhere").import_user("ada", [header(), *lines, "{"])


async def test_whose_a_line_says_it_is_means_nothing(storage: PostgresStorage) -> None:
    """It becomes the argument's."""
    lines = [
        header(user_id="bob"),
        line("conversation", id="c1", user_id="bob"),
        line("run", id="h1", agent_id="a", userId="bob"),
        END,
    ]

    await storage.import_user("ada", lines)

    assert await storage.count_conversations(user_id="ada") == 1
    assert [entry.user_id for entry in (await storage.list_history_entries()).entries] == ["ada"]


# --- in -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements that are full with three messages."""
    monkeypatch.setattr(imports, "_FULL_AT_MESSAGES", 3)


@pytest.mark.usefixtures("small_batches")
async def test_a_conversation_of_many_statements_is_imported_whole(storage: PostgresStorage) -> None:
    """In its order, ties included; a second time it is there."""
    lines = [header(), *conversation("c1", *map(str, range(10))), END]

    first, second = [await storage.import_user("ada", lines) for _ in range(2)]

    assert (first.messages, len(second.skipped)) == (10, 1)
    assert [message.content for message in await storage.get_messages("ada", "c1")] == [*map(str, range(10))]


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("how", ["error", "cancelled"])
async def test_nothing_half_written_remains(how: str, storage: PostgresStorage, connection: Connection) -> None:
    """Of a conversation whose last statement fails, or is cancelled, no message is stored; that before it is whole."""
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
            await somebody_waits(connection)
            importing.cancel()
        with pytest.raises((DatabaseError, asyncio.CancelledError)):
            await importing

    assert [json.loads(each).get("id") for each in await exported(storage)] == ["c0", "m0", None]


async def test_two_imports_at_once_store_it_once(storage: PostgresStorage) -> None:
    """Of two at the same time, one stores a conversation and the other finds it."""
    lines = [header(), *(each for number in range(10) for each in conversation(f"c{number}", "words")), END]

    results = await asyncio.gather(*(storage.import_user("ada", lines) for _ in range(4)))

    assert sum(result.conversations for result in results) == 10
    assert all(result.conversations + len(result.skipped) == 10 for result in results)
    assert [result.renamed for result in results] == [[]] * 4


@pytest.mark.parametrize(("user_id", "skipped", "renamed"), [("ada", 1, 0), ("bob", 0, 1)])
async def test_a_run_that_is_just_being_imported_is_waited_for(
    user_id: str, skipped: int, renamed: int, storage: PostgresStorage, connection: Connection
) -> None:
    """In a transaction that is still open; then it is there for the same user, and not free for another."""
    step = line("step", id="s", agent_id="a", value={"content": "x"})
    lines = [header(), line("run", id="h", agent_id="a"), step, END]

    async with storage.transaction() as tx:
        await tx.import_user("ada", lines)
        importing = asyncio.create_task(storage.import_user(user_id, lines))
        await somebody_waits(connection, tx.connection.get_server_pid())

    result = await importing
    assert (len(result.skipped), result.runs, len(result.renamed)) == (skipped, renamed, renamed)
    entries = (await storage.list_history_entries()).entries
    assert [len(entry.steps) for entry in entries] == [1] * (1 + renamed)


async def test_an_import_asks_for_nothing_while_it_waits_for_lines(make_storage: MakeStorage) -> None:
    """Whoever sends lines slowly keeps no connection from others."""
    storage = make_storage(max_connections=1, command_timeout=20)

    async def lines() -> AsyncIterator[str]:
        for each in [header(), *conversation("c1", "one", "two"), END]:
            assert await storage.count_conversations(user_id="bob") == 0
            yield each

    assert (await storage.import_user("ada", lines())).messages == 2


async def test_what_voltagent_wrote_stays_where_it_reads_it(
    storage: PostgresStorage, other: PostgresStorage, connection: Connection
) -> None:
    """In the column of its parts."""
    parts = '[{"type": "text", "text": "from VoltAgent"}]'
    await storage.add_message({"id": "m1", "role": "user", "content": "Hello"}, "ada", "c1", resource_id="docs")
    await connection.execute(f"UPDATE {storage._options.tables.messages} SET parts = $1", parts)

    await other.import_user("ada", storage.export_user("ada"))

    row = await connection.fetchrow(f"SELECT content_json, parts::text FROM {other._options.tables.messages}")
    assert row is not None
    assert (row[0], json.loads(row[1])) == (None, json.loads(parts))
    assert await exported(other) == await exported(storage)
    assert [hit.message_id for hit in (await other.search("ada", "voltagent")).hits] == ["m1"]


# --- conversations from elsewhere ---------------------------------------------------------------------------------


async def test_what_has_no_time_gets_one(storage: PostgresStorage) -> None:
    """That of the message before it, of the first one after, of the conversation, or of the import; the order stays."""
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
    assert [message.created_at for message in stored["some"]] == [NOON, NOON, NOON, NOON + SECOND]
    some = await storage.get_conversation("some")
    assert some is not None
    assert (some.created_at, some.updated_at) == (NOON, NOON + SECOND)
    for id in ("none", "nothing"):
        assert [message.content for message in stored[id]] == [str(number) for number in range(20)]
        assert len({message.created_at for message in stored[id]}) == 1
    assert stored["none"][0].created_at == NOON
    assert stored["nothing"][0].created_at > before


@pytest.mark.parametrize("ahead", [None, timedelta(days=-9), timedelta(days=9)])
async def test_what_somebody_brings_along_counts_as_read(storage: PostgresStorage, ahead: timedelta | None) -> None:
    """Whatever its times are; but not where it says when it was read, or that it never was, nor what was exported."""
    time: dict[str, Any] = {} if ahead is None else {"created_at": datetime.now(UTC) + ahead}
    said = [Message(role="user", content="1"), Message(role="assistant", content="2", **time)]
    answer = line("message", id="m", role="assistant", content="2")
    soon = datetime.now(UTC) + timedelta(days=3)
    told: dict[str, dict[str, Any]] = {
        **{"nothing": {}, "its begin": {"created_at": NOON}, "its begin ahead": {"created_at": soon}},
        **{"never": {"read_at": None}, "long ago": {"read_at": NOON}},
    }

    await storage.import_conversations(
        "ada", [ImportedConversation(id=id, messages=said, **times) for id, times in told.items()]
    )
    await storage.import_user("ada", [header(), *conversation("line"), answer, END])

    found = {item.id: item.unread for item in (await storage.list_conversations("ada")).items}
    assert {id for id, unread in found.items() if unread} == {"never", "long ago", "line"}
    assert len(found) == len(told) + 1


async def test_what_has_no_id_is_known_by_what_it_says(storage: PostgresStorage) -> None:
    """The same again is passed over, two equal ones are two, and for another user it is another."""
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


async def test_a_conversation_without_messages_is_left_out(storage: PostgresStorage) -> None:
    """And the result says why."""
    result = await storage.import_conversations("ada", [ImportedConversation(id="c1")])

    assert (result.conversations, result.skipped) == (
        0,
        [Skipped(kind="conversation", id="c1", reason="it has no messages")],
    )


async def test_what_is_no_conversation_is_refused(storage: PostgresStorage) -> None:
    """What came before it is stored."""
    wrong: Any = [ImportedConversation(id="c1", messages=[Message(role="user", content="Hello")]), {"id": "c2"}]

    with pytest.raises(InvalidInputError, match="an ImportedConversation is needed"):
        await storage.import_conversations("ada", wrong)

    assert await storage.get_conversation("c1") is not None


async def test_a_message_id_twice_is_refused(storage: PostgresStorage) -> None:
    """Before anything of the conversation is stored."""
    message = Message(id="m1", role="user", content="Hello")

    with pytest.raises(InvalidInputError, match="'m1' twice"):
        await storage.import_conversations("ada", [ImportedConversation(id="c1", messages=[message, message])])

    assert await storage.get_conversation("c1") is None

"""The agent history returns what was stored, in order, in pages, and together with VoltAgent's own rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.calls import Rows, migrated_schema
from tests.conftest import Connection, MakeStorage
from tests.properties import examples
from tests.proxy import Proxy
from tests.values import DEPTH, any_json, nested, storable_texts
from tests.voltagent import script_of
from voltmem import (
    AgentHistoryEntry,
    AgentHistoryPage,
    AgentHistoryStep,
    HistoryEntryNotFoundError,
    InvalidInputError,
    InvalidQueryError,
    PostgresStorage,
    TimelineEvent,
)
from voltmem._areas.cursors import HistoryCursor
from voltmem._areas.history.entries import HistoryQuery
from voltmem._tables import Tables
from voltmem.options import DEFAULT_TABLE_PREFIX

MORNING = datetime(2026, 1, 1, 8, tzinfo=UTC)
FALSY: list[JsonValue] = [0, "", False, [], {}, 0.0]
UNSTORABLE: list[JsonValue] = ["\x00", "\ud83d\ude00", {"\x00": "\x00", "\ud800": 1}, 1e23, -0.0, [1e16]]
DEEP: JsonValue = [nested([True] * (DEPTH - 1)), 1e23]
JSON_OF_ENTRIES = ("input", "output", "usage", "metadata")
JSON_OF_EVENTS = ("status_message", "input", "output", "error", "metadata")


def exactly(value: JsonValue) -> str:
    """Return the value with its types, independent of the order of its keys: 1 is not 1.0, nor True."""
    return json.dumps(value, sort_keys=True)


def ids(entries: list[AgentHistoryEntry]) -> list[str]:
    return [entry.id for entry in entries]


# --- round trips --------------------------------------------------------------------------------------------------


async def test_get_history_entry_returns_the_entry_with_steps_and_events(storage: PostgresStorage) -> None:
    """get_history_entry() returns the entry with its steps and events, equal to what the writing verbs returned."""
    value = {"status": "working", "input": {"text": "Hi"}, "userId": "ada", "conversation_id": "c1"}
    entry = await storage.add_history_entry("h1", value, "a1")
    step = await storage.add_history_step("s1", {"type": "text", "content": "Hi", "role": "user"}, "h1", "a1")
    event = await storage.add_timeline_event("e1", {"type": "agent", "name": "agent:start"}, "h1", "a1")

    found = await storage.get_history_entry("h1")

    assert found == entry.model_copy(update={"steps": [step], "events": [event]})
    assert (entry.user_id, entry.conversation_id, entry.agent_id) == ("ada", "c1", "a1")
    assert await storage.get_history_step("s1") == step
    assert (step.more, event.trace_id, event.level) == ({"role": "user"}, "h1", "INFO")


async def test_get_history_step_returns_the_step_or_none(storage: PostgresStorage) -> None:
    """get_history_step() returns a step as it was last added, or None."""
    await storage.add_history_entry("h1", {}, "a1")
    await storage.add_history_step("s1", {"type": "text", "content": "Hi"}, "h1", "a1")
    changed = await storage.update_history_step("s1", {"content": "Ho"}, "h1", "a1")

    assert await storage.get_history_step("s1") == changed
    assert await storage.get_history_step("s2") is None


async def test_what_is_absent_is_none(storage: PostgresStorage) -> None:
    """For a missing entry, step, agent or page, the result is None or empty."""
    assert await storage.get_history_entry("nothing") is None
    assert await storage.get_history_step("nothing") is None
    assert await storage.get_all_history_entries_by_agent("nobody") == []
    page = await storage.list_history_entries(user_id="nobody")
    assert page == AgentHistoryPage(entries=[], next_cursor=None, has_more=False)


@given(values=st.lists(any_json, min_size=4, max_size=4))
@example(values=FALSY[:4])
@example(values=UNSTORABLE[:4])
@example(values=UNSTORABLE[2:])
@example(values=[DEEP] * 4)
@examples(60)
async def test_add_history_entry_keeps_any_json(storage: PostgresStorage, values: list[JsonValue]) -> None:
    """add_history_entry() keeps input, output, usage and metadata equal, type included."""
    fields: dict[str, Any] = dict(zip(JSON_OF_ENTRIES, values, strict=True))

    stored = await storage.add_history_entry("h1", AgentHistoryEntry(agent_id="a1", **fields), "a1")

    found = await storage.get_history_entry("h1")
    assert found == stored
    assert [exactly(getattr(stored, name)) for name in JSON_OF_ENTRIES] == [exactly(value) for value in values]


@given(content=any_json, arguments=any_json, more=st.dictionaries(storable_texts, any_json, max_size=3))
@example(content=0, arguments="", more={"cls": False, "_fields_set": [], "model_config": None, "more": 1})
@example(content=DEEP, arguments=DEEP, more={"result": DEEP})
@example(content="\x00", arguments=None, more={"result": "\ud800"})
@examples(60)
async def test_add_history_step_keeps_any_json(
    storage: PostgresStorage, content: JsonValue, arguments: JsonValue, more: dict[str, JsonValue]
) -> None:
    """add_history_step() keeps content, arguments and every unknown field equal."""
    more = {name: value for name, value in more.items() if name not in ("id", "type", "name", "content", "arguments")}
    await storage.add_history_entry("h1", {}, "a1")

    stored = await storage.add_history_step("s1", {"content": content, "arguments": arguments, **more}, "h1", "a1")

    assert await storage.get_history_step("s1") == stored
    assert exactly([stored.content, stored.arguments, stored.more]) == exactly([content, arguments, more])


@given(values=st.lists(any_json, min_size=5, max_size=5))
@example(values=FALSY[:5])
@example(values=UNSTORABLE[:5])
@example(values=[DEEP] * 5)
@examples(60)
async def test_add_timeline_event_keeps_any_json(storage: PostgresStorage, values: list[JsonValue]) -> None:
    """add_timeline_event() keeps status message, input, output, error and metadata equal."""
    fields: dict[str, Any] = dict(zip(JSON_OF_EVENTS, values, strict=True))
    await storage.add_history_entry("h1", {}, "a1")

    stored = await storage.add_timeline_event("e1", TimelineEvent(type="t", name="n", **fields), "h1", "a1")

    found = await storage.get_history_entry("h1")
    assert found is not None
    assert found.events == [stored]
    assert [exactly(getattr(stored, name)) for name in JSON_OF_EVENTS] == [exactly(value) for value in values]


@pytest.mark.parametrize("value", [*FALSY, None], ids=repr)
async def test_only_none_is_null(storage: PostgresStorage, connection: Connection, value: JsonValue) -> None:
    """0, "", False and [] are stored as values, not as NULL, in the columns that VoltAgent reads."""
    await storage.add_history_entry("h1", dict.fromkeys(JSON_OF_ENTRIES, value), "a1")

    table = storage._options.tables.agent_history
    row = await connection.fetchrow(
        f"SELECT input::text, output::text, usage::text, metadata::text, exact FROM {table}"
    )

    assert row is not None
    assert [*row] == [*[None if value is None else exactly(value)] * 4, None]


async def test_voltagent_can_read_what_jsonb_cannot_hold(storage: PostgresStorage, connection: Connection) -> None:
    """
    For a value that jsonb cannot hold, a copy with U+FFFD is stored beside the exact one.

    Other values are stored once.
    """
    await storage.add_history_entry("h1", {"input": "a\x00b", "output": "plain"}, "a1")

    row = await connection.fetchrow(
        f"SELECT input #>> '{{}}' AS input, exact::text FROM {storage._options.tables.agent_history}"
    )

    assert row is not None
    assert row["input"] == "a\N{REPLACEMENT CHARACTER}b"
    assert json.loads(row["exact"]).keys() == {"input"}


async def test_a_later_value_of_voltagent_is_read(storage: PostgresStorage, connection: Connection) -> None:
    """If VoltAgent overwrites a value without changing the exact one, reads return VoltAgent's value."""
    await storage.add_history_entry("h1", {"input": "\x00", "output": "\x00"}, "a1")
    await connection.execute(f"UPDATE {storage._options.tables.agent_history} SET input = '\"new\"'")

    entry = await storage.get_history_entry("h1")

    assert entry is not None
    assert (entry.input, entry.output) == ("new", "\x00")


# --- replacing and updating ---------------------------------------------------------------------------------------


async def test_add_history_entry_with_an_existing_key_replaces_it(storage: PostgresStorage) -> None:
    """add_history_entry() with an existing key replaces all but the place of the entry; steps and events likewise."""
    first = await storage.add_history_entry("h1", {"input": "\x00", "output": 1, "userId": "ada"}, "a1")
    await storage.add_history_step("s1", {"content": "\x00", "role": "user"}, "h1", "a1")
    await storage.add_history_step("s2", {"content": 2}, "h1", "a1")
    begun = await storage.add_timeline_event("e1", {"type": "t", "name": "n", "input": "\x00"}, "h1", "a1")

    again = await storage.add_history_entry("h1", {"status": "completed"}, "a2")
    await storage.add_history_step("s1", {"type": "tool_call"}, "h1", "a2")
    ended = await storage.add_timeline_event("e1", {"type": "t", "name": "m", "output": 0}, "h1", "a2")

    assert again == AgentHistoryEntry(id="h1", agent_id="a2", status="completed", timestamp=first.timestamp)
    assert ended == TimelineEvent(id="e1", type="t", name="m", output=0, start_time=begun.start_time, trace_id="h1")
    found = await storage.get_history_entry("h1")
    assert found is not None
    assert found.steps == [AgentHistoryStep(id="s1", type="tool_call"), AgentHistoryStep(id="s2", content=2)]


async def test_update_history_entry_keeps_what_is_not_given(storage: PostgresStorage) -> None:
    """update_history_entry() sets the fields that are given, clears those that are None, and keeps all others."""
    value = {"timestamp": MORNING, "input": "\x00", "output": "\ud800", "usage": 1, "metadata": {"n": 1}}
    before = await storage.add_history_entry("h1", {**value, "userId": "ada", "status": "working"}, "a1")

    changed = await storage.update_history_entry("h1", {"status": "completed", "output": 0, "usage": None}, "a1")

    assert changed == before.model_copy(update={"status": "completed", "output": 0, "usage": None})
    assert await storage.update_history_entry("h1", {}, "a1") == changed
    update = AgentHistoryEntry(agent_id="ignored", conversation_id="c1")
    assert await storage.update_history_entry("h1", update, "a1") == changed.model_copy(
        update={"conversation_id": "c1"}
    )


async def test_update_history_step_keeps_what_is_not_given(storage: PostgresStorage) -> None:
    """update_history_step() changes single fields, known and unknown, with values that jsonb can or cannot hold."""
    await storage.add_history_entry("h1", {}, "a1")
    await storage.add_history_step("s1", {"type": "tool_call", "content": "\x00", "role": "\ud800"}, "h1", "a1")

    await storage.update_history_step("s1", {"role": "tool", "arguments": "\x00"}, "h1", "a1")
    changed = await storage.update_history_step("s1", {"result": 0, "arguments": None}, "h1", "a1")

    assert changed == AgentHistoryStep(id="s1", type="tool_call", content="\x00", role="tool", result=0)


async def test_update_history_entry_and_step_add_what_is_missing(storage: PostgresStorage) -> None:
    """update_history_entry(create=True) and update_history_step() create what is missing, like VoltAgent's."""
    entry = await storage.update_history_entry("h1", {"status": "working"}, "a1", create=True)
    step = await storage.update_history_step("s1", {"content": 1}, "h1", "a1")

    assert await storage.get_history_entry("h1") == entry.model_copy(update={"steps": [step]})


async def test_a_value_may_repeat_fields_of_its_columns(storage: PostgresStorage) -> None:
    """VoltAgent's whole objects are accepted: the arguments override their ids and agents."""
    step, event = {"type": "text"}, {"type": "t", "name": "n"}
    whole = {"id": "x", "_agentId": "x", "steps": [step], "events": [event], "_sequenceNumber": 7, "status": "working"}

    entry = await storage.addHistoryEntry("h1", {**whole, "timestamp": "2026-01-01T08:00:00.000Z"}, "a1")
    await storage.addHistoryStep("s1", {**step, "id": "x", "history_id": "h1"}, "h1", "a1")
    start = {"startTime": "2026-01-01T08:00:00.000Z", "endTime": "2026-01-01T08:00:00.005Z"}
    await storage.addTimelineEvent("e1", {**event, **start, "id": "x", "traceId": "x"}, "h1", "a1")

    assert (entry.id, entry.agent_id, entry.timestamp, entry.steps, entry.events) == ("h1", "a1", MORNING, [], [])
    found = await storage.getHistoryEntry("h1")
    assert found is not None
    assert [(step.id, step.more) for step in found.steps] == [("s1", {"history_id": "h1"})]
    assert [(event.id, event.trace_id, event.start_time) for event in found.events] == [("e1", "h1", MORNING)]


async def test_nothing_hangs_on_an_entry_that_is_missing(storage: PostgresStorage) -> None:
    """A step or an event without an entry raises HistoryEntryNotFoundError, a LookupError, with the id of the entry."""
    with pytest.raises(HistoryEntryNotFoundError, match="'nowhere'") as missing:
        await storage.add_history_step("s1", {}, "nowhere", "a1")
    with pytest.raises(HistoryEntryNotFoundError):
        await storage.update_history_step("s1", {}, "nowhere", "a1")
    with pytest.raises(LookupError):
        await storage.add_timeline_event("e1", {"type": "t", "name": "n"}, "nowhere", "a1")

    assert missing.value.history_id == "nowhere"
    assert await storage.get_history_step("s1") is None


@pytest.mark.parametrize(
    ("verb", "value"),
    [
        ("add_history_entry", {"status": "\x00"}),
        ("add_history_entry", {"state": "working"}),
        ("add_history_entry", {"timestamp": "2026-01-01"}),
        ("add_history_entry", {"input": object()}),
        ("update_history_entry", {"output": float("nan")}),
        ("update_history_entry", TimelineEvent(type="t", name="n")),
        ("add_history_step", {"type": 1}),
        ("add_history_step", {"name": "\x00"}),
        ("add_history_step", {"a\x00": 1}),
        ("add_history_step", {"a\ud800": 1}),
        ("add_history_step", {1: 1}),
        ("update_history_step", {"more": (1, 2)}),
        ("add_timeline_event", {"type": "t"}),
        ("add_timeline_event", {"type": "t", "name": None}),
        ("add_timeline_event", {"type": "t", "name": "n", "level": "\x00"}),
        ("add_timeline_event", {"type": "t", "name": "n", "tags": "tag"}),
        ("add_timeline_event", {"type": "t", "name": "n", "tags": ["\x00"]}),
    ],
)
async def test_a_bad_value_is_refused(storage: PostgresStorage, verb: str, value: Any) -> None:
    """An invalid value in an entry, step or event raises InvalidInputError, and nothing is stored."""
    arguments = ("k1", value, "a1") if "entry" in verb else ("k1", value, "h1", "a1")

    with pytest.raises(InvalidInputError):
        await getattr(storage, verb)(*arguments)

    assert (await storage.list_history_entries()).entries == []


# --- order and pages ----------------------------------------------------------------------------------------------


async def test_steps_and_events_come_in_order(storage: PostgresStorage) -> None:
    """Steps are in the order of adding, for any agent; events by start time, and then in the order of adding."""
    await storage.add_history_entry("h1", {}, "a1")
    for name in ("s3", "s1", "s2"):
        await storage.add_history_step(name, {"timestamp": "2026-01-01T08:00:00.000Z"}, "h1", f"agent of {name}")
    for name, minutes in (("e3", 5), ("e1", 5), ("e2", 0), ("e4", 5)):
        event = {"type": "t", "name": name, "startTime": MORNING + timedelta(minutes=minutes)}
        await storage.add_timeline_event(name, event, "h1", "a1")
    await storage.add_history_step("s3", {"content": "again"}, "h1", "a1")

    entry = await storage.get_history_entry("h1")

    assert entry is not None
    assert [step.id for step in entry.steps] == ["s3", "s1", "s2"]
    assert [event.id for event in entry.events] == ["e2", "e3", "e1", "e4"]


async def test_list_history_entries_filters_by_agent_user_and_conversation(storage: PostgresStorage) -> None:
    """list_history_entries() filters by agent, user and conversation, alone and together, newest first."""
    for number in range(8):
        value = {"userId": f"u{number % 2}", "conversationId": f"c{number // 4}", "timestamp": MORNING}
        await storage.add_history_entry(f"h{number}", value, f"a{number // 2 % 2}")

    async def found(**filters: Any) -> list[str]:
        return ids((await storage.list_history_entries(**filters)).entries)

    assert await found() == [f"h{number}" for number in reversed(range(8))]
    assert await found(agent_id="a1") == ["h7", "h6", "h3", "h2"]
    assert await found(user_id="u1") == ["h7", "h5", "h3", "h1"]
    assert await found(conversation_id="c0") == ["h3", "h2", "h1", "h0"]
    assert await found(agent_id="a1", user_id="u1", conversation_id="c0") == ["h3"]
    assert ids(await storage.get_all_history_entries_by_agent("a1")) == ["h7", "h6", "h3", "h2"]
    assert ids(await storage.getAllHistoryEntriesByAgent("a1", limit=2, offset=1)) == ["h6", "h3"]
    assert await storage.get_all_history_entries_by_agent("a1", limit=0) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 20])
async def test_list_history_entries_pages_neither_repeat_nor_skip(storage: PostgresStorage, limit: int) -> None:
    """list_history_entries() lists each entry once for any page size, with equal times and new entries."""
    for number in range(7):
        await storage.add_history_entry(f"h{number}", {"timestamp": MORNING + timedelta(number // 3)}, "a1")
    pages: list[AgentHistoryPage] = []

    while not pages or pages[-1].has_more:
        pages.append(await storage.list_history_entries(agent_id="a1", limit=limit, after=cursor_of(pages)))
        await storage.add_history_entry(f"later {len(pages)}", {}, "a1")

    assert ids([entry for page in pages for entry in page.entries]) == [f"h{number}" for number in reversed(range(7))]
    assert all(len(page.entries) == limit for page in pages[:-1])
    assert pages[-1].next_cursor is None


def cursor_of(pages: list[AgentHistoryPage]) -> str | None:
    return pages[-1].next_cursor if pages else None


@given(id=storable_texts.filter(lambda text: len(text.encode()) <= 1000), time=st.datetimes(timezones=st.just(UTC)))
@examples(100)
def test_a_cursor_keeps_its_position(id: str, time: datetime) -> None:
    """A cursor is safe in a URL, and keeps its position when its entry is gone."""
    if time.replace(tzinfo=None) in (datetime.min, datetime.max):
        return
    cursor = HistoryCursor(time, id)

    assert str(cursor).replace("-", "").replace("_", "").isalnum()
    assert HistoryCursor.of("after", str(cursor)) == cursor


@pytest.mark.parametrize(
    "cursor", ["", "h1", "=", "****", "MjAyNg", str(HistoryCursor(datetime(2026, 1, 1), "h1")), "é", 7, "x" * 99]
)
async def test_list_history_entries_refuses_an_invalid_cursor(storage: PostgresStorage, cursor: Any) -> None:
    """list_history_entries() refuses a cursor that was not a next_cursor."""
    with pytest.raises(InvalidQueryError, match="next_cursor"):
        await storage.list_history_entries(after=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
async def test_a_page_holds_at_least_one_entry(storage: PostgresStorage, limit: Any) -> None:
    """A limit below 1, or one that is not an integer, is an InvalidQueryError."""
    with pytest.raises(InvalidQueryError, match="limit"):
        await storage.list_history_entries(limit=limit)


@pytest.mark.parametrize("count", [0, 1, 30])
async def test_get_all_history_entries_by_agent_sends_three_statements(
    make_storage: MakeStorage, proxy: Proxy, count: int
) -> None:
    """get_all_history_entries_by_agent() sends one statement each for entries, steps and events."""
    storage = make_storage(proxy.dsn, max_connections=1)
    for number in range(count):
        await storage.add_history_entry(f"h{number}", {}, "a1")
        await storage.add_history_step(f"s{number}", {"content": number}, f"h{number}", "a1")
    await storage.list_history_entries(limit=count or 1)  # opens the pool, and prepares the statements
    before = proxy.round_trips

    page = await storage.list_history_entries(limit=count or 1)

    assert proxy.round_trips - before == (3 if count else 1)
    assert [step.content for entry in page.entries for step in entry.steps] == [*reversed(range(count))]


@pytest.fixture(scope="module")
def large_schema() -> Iterator[str]:
    with migrated_schema() as schema:
        yield schema


@pytest.mark.parametrize(("filter", "index"), [("agent", "agent_time"), ("user", "user"), ("conversation", None)])
@pytest.mark.parametrize("page", ["first", "following"])
async def test_lists_walk_their_index(
    connection: Connection, large_schema: str, filter: str, index: str | None, page: str
) -> None:
    """The newest entries of an agent, a user or a conversation among 20,000 are read from an index, without a sort."""
    tables = Tables(large_schema, DEFAULT_TABLE_PREFIX)
    if not await connection.fetchval(f"SELECT EXISTS (SELECT FROM {tables.agent_history})"):
        await connection.execute(f"""
            INSERT INTO {tables.agent_history} (id, agent_id, "timestamp", userid, conversationid)
            SELECT 'h' || n, n % 10, timestamptz '2026-01-01' + n * interval '1 minute', n % 10, n % 10
            FROM generate_series(1, 20000) AS n""")
        await connection.execute(f"ANALYZE {tables.agent_history}")
    after = HistoryCursor(MORNING + timedelta(days=3), "h") if page == "following" else None
    filters: dict[str, Any] = {f"{filter}_id": "7"}
    sql, arguments = HistoryQuery(**filters, limit=21, after=after).sql(tables)

    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *arguments))

    assert f"Backward using {DEFAULT_TABLE_PREFIX}_history_by_{index or filter}" in plan
    assert "Sort" not in plan


# --- the tree of events -------------------------------------------------------------------------------------------


def tree(*events: tuple[str, str | None]) -> list[tuple[int, str]]:
    """Return the depths and ids of events with these ids and parents."""
    made = [TimelineEvent(id=id, type="t", name="n", parent_event_id=parent) for id, parent in events]
    return [(depth, event.id) for depth, event in AgentHistoryEntry(agent_id="a1", events=made).event_tree()]


def test_events_stand_below_the_one_they_happened_in() -> None:
    """Events are listed depth first, in the order of the timeline; with a missing parent, they are at depth 0."""
    assert tree(("a", None), ("b", None), ("a1", "a"), ("a11", "a1"), ("a2", "a"), ("c", "gone")) == [
        (0, "a"),
        (1, "a1"),
        (2, "a11"),
        (1, "a2"),
        (0, "b"),
        (0, "c"),
    ]


def test_events_that_go_round_in_circles_are_shown_once() -> None:
    """Events in a cycle, an event that is its own parent included, are listed once, without an endless loop."""
    assert tree(("a", "b"), ("b", "a"), ("c", "c"), ("d", None)) == [(0, "d"), (0, "a"), (1, "b"), (0, "c")]


def test_a_tree_may_be_deep() -> None:
    """Ten thousand nested events are a tree of that depth."""
    deep = tree(*((f"{number}", f"{number - 1}") for number in range(10_000)))

    assert [depth for depth, _ in deep] == [*range(10_000)]


# --- rows of VoltAgent itself -------------------------------------------------------------------------------------


def history_in(release: str, schema: str) -> str:
    """The script of a VoltAgent database in another schema, with only the tables of the history."""
    statements = script_of(release, schema).split(";\n")
    return ";\n".join(each for each in statements if "_agent_history" in each or "timeline_events" in each)


@pytest.mark.parametrize("release", ["0.1.0", "0.1.7"])
async def test_rows_that_voltagent_wrote_are_read(
    make_storage: MakeStorage, connection: Connection, schema: str, release: str
) -> None:
    """VoltAgent's runs are readable after the upgrade, with their steps and events, in order."""
    await connection.execute(f"CREATE SCHEMA {schema}; {history_in(release, schema)}")
    storage = make_storage()

    first, second = await storage.get_all_history_entries_by_agent("agent-0")

    assert (first.id, first.status, first.input, first.output) == ("h2", "completed", {"text": "q2"}, {"text": "a2"})
    assert (second.id, second.status, second.output, second.metadata) == ("h0", "error", None, {"h": 0})
    assert second.user_id == (None if release == "0.1.0" else "user-1")
    assert [(step.id, step.type, step.content, step.arguments) for step in second.steps] == [
        ("h0s0", "tool_call", "c0", {"q": 0}),
        ("h0s1", "tool_result", "c1", {"q": 1}),
    ]
    assert second.steps[0].more == {"timestamp": "2025-06-01T12:00:00.000Z"}
    assert [(event.id, event.name, event.output) for event in second.events] == [
        ("h0e0", "agent:start", {"ok": True}),
        ("h0e1", "agent:success", {"ok": True}),
    ]
    added = await storage.add_history_step("h0a", {"type": "text"}, "h0", "agent-0")
    entry = await storage.get_history_entry("h0")
    assert entry is not None
    assert entry.steps == [*second.steps, added]


async def test_what_a_row_of_voltagents_may_have_is_read(
    storage: PostgresStorage, connection: Connection, schema: str
) -> None:
    """
    VoltAgent's rows with a status message that is not JSON, a step that is not an object or no level are readable.
    """
    rows = Rows(connection, schema)
    await rows.seed()
    await connection.execute(f"UPDATE {rows.events} SET status_message = 'plain text', level = NULL, error = '0'")
    await connection.execute(f"""UPDATE {rows.steps} SET value = '"words"'""")

    entry = await storage.get_history_entry("h1")

    assert entry is not None
    assert [(event.status_message, event.level, event.error) for event in entry.events] == [("plain text", "INFO", 0)]
    assert [(step.type, step.content) for step in entry.steps] == [("text", "words")]


# --- deleting -----------------------------------------------------------------------------------------------------


async def test_delete_history_entry_deletes_the_steps_and_events(
    storage: PostgresStorage, connection: Connection
) -> None:
    """delete_history_entry() deletes the entry with its steps and events, and no other; it returns whether it did."""
    for key in ("h1", "h2"):
        await storage.add_history_entry(key, {"user_id": "ada"}, "cook")
        await storage.add_history_step(f"step of {key}", {"type": "text"}, key, "cook")
        await storage.add_timeline_event(f"event of {key}", {"type": "agent", "name": "start"}, key, "cook")

    assert await storage.delete_history_entry("h1") is True
    assert await storage.delete_history_entry("h1") is False

    assert await storage.get_history_entry("h1") is None
    assert await storage.get_history_step("step of h1") is None
    kept = await storage.get_history_entry("h2")
    assert kept is not None
    assert (len(kept.steps), len(kept.events)) == (1, 1)
    events = storage._options.tables.agent_history_timeline_events
    assert await connection.fetchval(f"SELECT count(*) FROM {events}") == 1


async def test_delete_history_entry_checks_the_owner(storage: PostgresStorage) -> None:
    """
    delete_history_entry(owner=…) deletes the user's runs: those that name the user, or no user and the conversation.
    """
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    await storage.add_history_entry("hers", {"user_id": "ada"}, "cook")
    await storage.add_history_entry("in hers", {"conversation_id": "c1"}, "cook")
    await storage.add_history_entry("eve's in hers", {"user_id": "eve", "conversation_id": "c1"}, "cook")
    await storage.add_history_entry("nobody's", {}, "cook")

    for key in ("hers", "in hers", "nobody's"):
        assert await storage.delete_history_entry(key, owner="eve") is False
    for key in ("eve's in hers", "nobody's"):
        assert await storage.for_user("ada").delete_history_entry(key) is False
    for key in ("hers", "in hers"):
        assert await storage.for_user("ada").delete_history_entry(key) is True

    left = (await storage.list_history_entries()).entries
    assert {entry.id for entry in left} == {"eve's in hers", "nobody's"}

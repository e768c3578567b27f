"""Numbers and times beyond what PostgreSQL, or a clock, can hold are errors of ours, before any SQL runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, get_type_hints

import pytest

from tests.calls import VERBS, call, parameters
from tests.conftest import MakeStorage
from tests.proxy import Proxy
from voltmem import (
    Conversation,
    InvalidInputError,
    InvalidOptionError,
    InvalidQueryError,
    NativeMemory,
    PostgresStorage,
    group_by_date,
    list_payloads,
)
from voltmem._areas.cursors import HistoryCursor, SearchCursor, SharedCursor, SidebarCursor

# 10**5000 has more digits than Python writes.
NOT_COUNTS: Final[list[Any]] = [-1, 2**63, 10**400, 10**5000, -(10**5000), 1e308, float("nan"), float("inf"), True]
NO_TIMES: Final = [
    datetime.max.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
]
EXTREME: Final = [2**31 - 1, 2**31, 2**63 - 1]
SPANS: Final = [timedelta.max, timedelta.min, timedelta(days=10**6)]


def taking(kind: str) -> Iterator[tuple[str, str]]:
    """Yield each verb with a parameter of this kind, and the parameter; the type of a flag is bool."""
    for name in VERBS:
        hints = get_type_hints(getattr(PostgresStorage, name))
        for parameter in sorted(parameters(PostgresStorage, name)):
            if kind in str(hints[parameter]).replace("datetime.", ""):
                yield name, parameter


COUNTS: Final = list(taking("int"))
TIMES: Final = list(taking("datetime"))


def test_the_verbs_with_numbers_are_found() -> None:
    """Introspection finds the parameters: of counts, of times and of time spans."""
    counts = {"around", "limit", "offset", "page", "page_size", "shortest_id", "size", "start", "end"}
    assert counts == {parameter for _, parameter in COUNTS}
    assert {"before", "after", "at"} <= {parameter for _, parameter in TIMES}
    assert {parameter for _, parameter in taking("timedelta")} == {"older_than"}


@pytest.mark.parametrize(("name", "parameter"), COUNTS)
async def test_a_count_beyond_bigint_is_refused(
    name: str, parameter: str, proxy: Proxy, make_storage: MakeStorage
) -> None:
    """Each number that is no count raises InvalidInputError before anything is sent; the largest count does not."""
    storage = make_storage(proxy.dsn, search=True)
    await storage.open()
    sent = proxy.round_trips

    for value in NOT_COUNTS:
        with pytest.raises(InvalidInputError, match=parameter) as caught:
            await call(storage, name, **{parameter: value})
        assert len(str(caught.value)) < 500
    assert proxy.round_trips == sent

    for value in EXTREME:
        if (name, parameter) == ("get_paginated_user_conversations", "page") and value > 2**62:
            with pytest.raises(InvalidQueryError, match="page"):
                await call(storage, name, **{parameter: value})
        else:
            await _no_error_but_ours(call(storage, name, **{parameter: value}))


@pytest.mark.parametrize(("name", "parameter"), TIMES)
async def test_a_time_that_postgresql_cannot_hold_is_refused(
    name: str, parameter: str, proxy: Proxy, make_storage: MakeStorage
) -> None:
    """Each time beyond the years 1 to 9999 raises InvalidInputError, and nothing is sent."""
    storage = make_storage(proxy.dsn, search=True)
    await storage.open()
    sent = proxy.round_trips

    for value in NO_TIMES:
        with pytest.raises(InvalidInputError, match=parameter):
            await call(storage, name, **{parameter: value})
    assert proxy.round_trips == sent


async def _no_error_but_ours(calling: Awaitable[object]) -> None:
    with suppress(InvalidInputError, LookupError):
        await calling


async def test_any_time_span_may_be_given(storage: PostgresStorage) -> None:
    """A time span longer than history deletes nothing, or is refused; none overflows."""
    for span in SPANS:
        await _no_error_but_ours(storage.purge_deleted_conversations(older_than=span))


@pytest.mark.parametrize(("page", "page_size"), [(2**62, 2**62), (2**63 - 1, 10), (2, 2**62), (1, 2**63 - 1)])
async def test_a_page_beyond_bigint_is_refused_by_its_name(storage: PostgresStorage, page: int, page_size: int) -> None:
    """get_paginated_user_conversations() names page or page_size, which the caller knows, not the offset."""
    with pytest.raises(InvalidQueryError, match=r"^page(_size)? must be"):
        await storage.get_paginated_user_conversations("ada", page, page_size)


async def test_a_memory_refuses_what_is_no_count(storage: PostgresStorage) -> None:
    """The methods of a memory, the query builder and list_payloads() refuse such numbers, too."""
    memory = NativeMemory(storage, "ada", "c1")
    conversations = storage.get_user_conversations("ada")
    calls: list[Callable[[Any], Awaitable[object]]] = [
        lambda value: memory.messages(limit=value),
        lambda value: memory.messages(turns=value),
        lambda value: memory.exchanges(value),
        lambda value: memory.compact(lambda *_: "text", keep_turns=value),
        lambda value: memory.newest_messages(value),
        lambda value: memory.messages_since("form", value),
        lambda value: memory.messages_since("form", 1, limit=value),
        lambda value: conversations.limit(value).execute(),
        lambda value: conversations.offset(value).execute(),
        lambda value: list_payloads(storage, ["form"], limit=value),
        lambda value: list_payloads(storage, ["form"], offset=value),
    ]
    for value in NOT_COUNTS:
        for method in calls:
            with pytest.raises(InvalidInputError):
                await method(value)
    for method in calls:
        await method(2**63 - 1)


@pytest.mark.parametrize("option", ["max_connections", "storage_limit", "retry_timeout"])
def test_an_option_beyond_its_range_is_refused(option: str) -> None:
    """An option that is too large for a pool, a column or a timer is an InvalidOptionError that names it."""
    for value in NOT_COUNTS:
        with pytest.raises(InvalidOptionError, match=option):
            PostgresStorage("postgresql://localhost/app", **{option: value})


async def test_watch_refuses_an_interval_beyond_all_clocks(storage: PostgresStorage) -> None:
    """watch() refuses a poll_interval that no timer can wait for."""
    for value in NOT_COUNTS:
        with pytest.raises(InvalidInputError, match="poll_interval"):
            storage.watch("ada", poll_interval=value)


async def test_a_forged_cursor_is_refused(storage: PostgresStorage) -> None:
    """A cursor with such a number or time is malformed."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidQueryError):
        await storage.get_shared_conversation("t", after=str(SharedCursor(moment, ("",) * 9)))
    wrong: list[Any] = [2**63, 10**400, *map(str, NO_TIMES)]
    for value in wrong:
        with pytest.raises(InvalidQueryError):
            await storage.list_conversations("ada", after=str(SidebarCursor(False, value, "c1")))
        with pytest.raises(InvalidQueryError):
            await storage.list_history_entries(after=str(HistoryCursor(value, "h1")))
        with pytest.raises(InvalidQueryError):
            await storage.search("x", "ada", after=str(SearchCursor(1.0, value, "c1")))
        with pytest.raises(InvalidQueryError):
            await storage.get_shared_conversation("t", after=str(SharedCursor(value, ())))


@pytest.mark.parametrize("number", [10**5000, [{"n": -(10**5000)}]], ids=["alone", "within"])
async def test_an_integer_that_python_does_not_write_is_refused(storage: PostgresStorage, number: Any) -> None:
    """Such an integer, in content, metadata or in place of a name, is an InvalidInputError, not Python's ValueError."""
    await storage.create_conversation({"id": "c1", "user_id": "ada"})
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: storage.add_message({"role": "user", "content": number}, "ada", "c1"),
        lambda: storage.add_message({"role": "user", "content": "", "metadata": {"n": number}}, "ada", "c1"),
        lambda: storage.add_message({"role": number, "content": ""}, "ada", "c1"),
        lambda: storage.add_message(number, "ada", "c1"),
        lambda: storage.merge_conversation_metadata("c1", {"n": number}),
        lambda: storage.get_messages(number, "c1"),
        lambda: storage.get_messages("ada", "c1", roles=number),
        lambda: storage.add_history_entry("h1", {"input": number}, "cook"),
        lambda: storage.query_conversations(order_by=number),
    ]
    for method in calls:
        with pytest.raises(InvalidInputError):
            await method()


def test_group_by_date_has_a_group_for_every_time() -> None:
    """group_by_date() works at the ends of the calendar, wherever the viewer is."""
    ends = [datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, tzinfo=UTC)]
    conversations = [Conversation(id=str(end.year), user_id="ada", created_at=end, updated_at=end) for end in ends]

    for zone in ("Etc/GMT-14", "Etc/GMT+12"):
        assert len(group_by_date(conversations, zone)) == 2

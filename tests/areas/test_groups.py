"""A list is grouped by day in the viewer's calendar, in any time zone, with any change of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voltmem import Conversation, ConversationItem, InvalidInputError, group_by_date

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def last_used(*moments: datetime) -> list[Conversation]:
    return [Conversation(id=f"c{number}", user_id="ada", updated_at=moment) for number, moment in enumerate(moments)]


@pytest.mark.parametrize(
    ("days", "key", "label"),
    [
        (0, "today", "Today"),
        (1, "yesterday", "Yesterday"),
        (2, "previous-7-days", "Previous 7 days"),
        (7, "previous-7-days", "Previous 7 days"),
        (8, "previous-30-days", "Previous 30 days"),
        (30, "previous-30-days", "Previous 30 days"),
        (31, "2026-10", "October 2026"),
        (365, "2025-11", "November 2025"),
    ],
)
def test_a_conversation_is_under_the_heading_of_its_age(days: int, key: str, label: str) -> None:
    """The groups are today, yesterday, a week, a month, then the months by name."""
    (group,) = group_by_date(last_used(NOW - timedelta(days=days)), "UTC", now=NOW)

    assert (group.key, group.label) == (key, label)


def test_the_day_is_the_viewers() -> None:
    """The day is the viewer's: before midnight in Oslo it is today there and, at the same time, tomorrow in Tokyo."""
    moment = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
    now = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)

    assert [group.key for group in group_by_date(last_used(moment), "Europe/Oslo", now=now)] == ["yesterday"]
    assert [group.key for group in group_by_date(last_used(moment), "Asia/Tokyo", now=now)] == ["today"]
    assert [group.key for group in group_by_date(last_used(moment), timezone(timedelta(hours=-8)), now=now)] == [
        "today"
    ]


def test_a_day_of_23_hours_is_a_day() -> None:
    """When the clocks go forward, 23 hours before noon is still yesterday."""
    zone = ZoneInfo("Europe/Oslo")
    now = datetime(2026, 3, 29, 0, 30, tzinfo=zone)

    (group,) = group_by_date(last_used(now - timedelta(hours=1)), zone, now=now)

    assert group.key == "yesterday"


def test_a_clock_that_runs_ahead_is_today() -> None:
    """A time of the server slightly after the viewer's now belongs to today."""
    (group,) = group_by_date(last_used(NOW + timedelta(days=1)), "UTC", now=NOW)

    assert group.key == "today"


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/New_York"])
def test_times_at_either_end_of_the_calendar_have_a_group(zone: str) -> None:
    """
    Times at either end of the calendar, which imports accept, have a group.

    Months before the year 1000 have four digits.
    """
    first = datetime(1, 1, 1, 0, 1, tzinfo=UTC)
    last = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)

    assert [group.key for group in group_by_date(last_used(last, first), zone, now=NOW)] == ["today", "0001-01"]
    assert [group.key for group in group_by_date(last_used(last, NOW), zone, now=last)] == ["today", "2026-11"]
    assert [group.key for group in group_by_date(last_used(NOW, first), zone, now=first)] == ["today"]


def test_pinned_conversations_are_a_group() -> None:
    """
    Pinned conversations are a group of their own, whatever their age.

    The order within each group is the one given.
    """
    old, new = (ConversationItem.model_construct(**vars(each)) for each in last_used(NOW - timedelta(days=99), NOW))
    pinned = old.model_copy(update={"pinned": True})

    groups = group_by_date([pinned, new, old], "UTC", now=NOW)

    assert [(group.key, group.conversations) for group in groups] == [
        ("pinned", [pinned]),
        ("today", [new]),
        ("2026-08", [old]),
    ]


def test_no_conversations_are_no_groups() -> None:
    """No conversations make no groups."""
    assert group_by_date([], "UTC") == []


@pytest.mark.parametrize("zone", ["", "Nowhere/Land", "../etc/passwd", None, 7])
def test_an_unknown_time_zone_is_refused(zone: Any) -> None:
    """An unknown time zone raises an error that names a valid one."""
    with pytest.raises(InvalidInputError, match="Europe/Oslo"):
        group_by_date([], zone)


def test_a_now_without_a_zone_is_refused() -> None:
    """A *now* without a time zone is refused, since it would be another time on another server."""
    with pytest.raises(InvalidInputError, match="time zone"):
        group_by_date([], "UTC", now=datetime(2026, 1, 1))


@given(
    st.lists(st.integers(-3, 800 * 24), max_size=30).map(sorted),
    st.sampled_from(["UTC", "Europe/Oslo", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"]),
)
def test_groups_are_the_list_cut_into_pieces(hours: list[int], zone: str) -> None:
    """The groups together are the list: nothing is lost, duplicated or moved, and no heading occurs twice."""
    conversations = last_used(*(NOW - timedelta(hours=each) for each in hours))

    groups = group_by_date(conversations, zone, now=NOW)

    assert [each for group in groups for each in group.conversations] == conversations
    assert len({group.key for group in groups}) == len(groups)
    assert all(group.conversations for group in groups)

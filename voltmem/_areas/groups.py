"""Groups of a sidebar: pinned, today, yesterday, previous days, months."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Final, Generic, TypeVar

from voltmem._values import check_time, short_repr
from voltmem.errors import InvalidInputError
from voltmem.models import Conversation

ConversationT = TypeVar("ConversationT", bound=Conversation)

# Each group: the maximum age in days, its key and its label.
_DAYS: Final = (
    (0, "today", "Today"),
    (1, "yesterday", "Yesterday"),
    (7, "previous-7-days", "Previous 7 days"),
    (30, "previous-30-days", "Previous 30 days"),
)
# Not from strftime, which follows the server's locale.
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@dataclass(frozen=True)
class ConversationGroup(Generic[ConversationT]):
    """Conversations under one heading."""

    key: str
    """"pinned", "today", "yesterday", "previous-7-days", "previous-30-days", or a month: "2026-09"."""
    label: str
    """The heading in English: "Previous 7 days", "September 2026"."""
    conversations: list[ConversationT]
    """In the given order."""


def group_by_date(
    conversations: Iterable[ConversationT], time_zone: tzinfo | str, *, now: datetime | None = None
) -> list[ConversationGroup[ConversationT]]:
    """
    Group conversations by the day of their last activity. Returns the groups that are not empty.

    Args:
        conversations: In the order of the list. Pinned conversations form the first group.
        time_zone: The viewer's time zone, which decides what "today" is: a tzinfo, or a name such as the browser's
            ``Intl.DateTimeFormat().resolvedOptions().timeZone``.
        now: The current time; None: by this machine's clock.

    No I/O. A group may continue on the next page: merge groups with equal keys.
    """
    zone = _zone(time_zone)
    if now is not None:
        check_time("now", now)
    heading = headings(zone, datetime.now(UTC) if now is None else now)
    groups: dict[str, ConversationGroup[ConversationT]] = {}
    for conversation in conversations:
        key, label = heading(getattr(conversation, "pinned", False), conversation.updated_at)
        groups.setdefault(key, ConversationGroup(key, label, [])).conversations.append(conversation)
    return list(groups.values())


def headings(zone: tzinfo, now: datetime) -> Callable[[bool, datetime], tuple[str, str]]:
    """Return the function that returns a group's key and label, of what is pinned or was active at this time."""
    today = _day(now, zone)
    return lambda pinned, time: ("pinned", "Pinned") if pinned else _heading(_day(time, zone), today)


def _zone(time_zone: tzinfo | str) -> tzinfo:
    if isinstance(time_zone, tzinfo):
        return time_zone
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # here: not every program shows groups

    try:
        return ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise InvalidInputError(
            f"time_zone {short_repr(time_zone)}: use a name like 'Europe/Oslo', or a tzinfo"
        ) from error


def _day(moment: datetime, zone: tzinfo) -> date:
    """Return the viewer's day. Near the years 1 and 9999, where it would have no year, the day in UTC."""
    try:
        return moment.astimezone(zone).date()
    except OverflowError:
        return moment.astimezone(UTC).date()


def _heading(day: date, today: date) -> tuple[str, str]:
    age = (today - day).days
    for days, key, label in _DAYS:
        if age <= days:
            return key, label
    return day.isoformat()[:7], f"{_MONTHS[day.month - 1]} {day.year}"

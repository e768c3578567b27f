"""Helpers for the tests of VoltAgent's document: hours of a day, and tests in both spellings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from voltmem import Conversation, Message

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def hours(count: int) -> datetime:
    return NEW_YEAR + timedelta(hours=count)


def in_both_spellings(camel: Callable[..., object], snake: Callable[..., object]) -> pytest.MarkDecorator:
    """Run the test with each translation of a block as its argument *block*."""
    return pytest.mark.parametrize("block", [camel, snake], ids=["camelCase", "snake_case"])


def ids(values: Sequence[Conversation | Message]) -> list[str]:
    return [value.id for value in values]

"""
Messages that are given as dicts, to the functions that write lists.

A dict becomes a message as it does when it is stored, which voltmem.models knows. That module imports this package, so
it sets here how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from voltmem._values import short_repr
from voltmem.errors import InvalidInputError
from voltmem.parts._steps import Readable

MakeMessage: TypeAlias = Callable[[Any], Readable]


class Given:
    """How a value becomes a message."""

    make: MakeMessage


def check_list(values: object) -> Iterable[Any]:
    """Return the values if they are a list or another iterable of messages; InvalidInputError otherwise."""
    if isinstance(values, Mapping | str | bytes) or not isinstance(values, Iterable):
        raise InvalidInputError(f"messages must be a list of messages, not {short_repr(values)}")
    return values


def readable(messages: object) -> list[Readable]:
    """Return the messages of a list, dicts in any form included; InvalidInputError for what is none."""
    # Other programs' messages may be read, too, if they have a message's fields.
    return [each if hasattr(each, "role") else Given.make(each) for each in check_list(messages)]

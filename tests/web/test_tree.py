"""A conversation with branches in a front end's form."""

from __future__ import annotations

from collections.abc import Sequence

from voltmem._values import JsonObject
from voltmem.models import NativeMessage
from voltmem.web._tree import Format, Tree


def message(id: str, parent: str | None) -> NativeMessage:
    return NativeMessage(id=id, role="user", content=id, parent_id=parent)


def test_each_message_is_converted_once_however_many_branches_there_are() -> None:
    """A thousand branches at the end of a long conversation do not convert it a thousand times."""
    converted: list[str] = []

    def convert(branch: Sequence[NativeMessage]) -> dict[str, JsonObject]:
        converted.extend(each.id for each in branch)
        return {each.id: {} for each in branch}

    line = [(message(f"m{number}", None), False) for number in range(1000)]
    branches = [(message(f"b{number}", "m998"), True) for number in range(1000)]

    tree = Tree([*line, *branches], Format(convert))

    assert len(converted) == len(tree.contents) == 2000
    assert {tree.parent_of(f"b{number}") for number in range(1000)} == {"m998"}
    assert tree.head_id == "m999"


def test_parents_in_a_circle_end() -> None:
    """A file that was imported may hold parents in a circle: each message is shown once."""
    circle = [(message("a", "b"), True), (message("b", "a"), True)]

    tree = Tree(circle, Format(lambda branch: {each.id: {} for each in branch}))

    assert set(tree.contents) == {"a", "b"}


def test_a_message_is_unchanged_if_javascript_has_only_rounded_its_numbers() -> None:
    """JSON.parse() rounds integers beyond 2^53: a message that comes back with those is not an edited one."""
    given: JsonObject = {"n": [2**60 + 1, 10**400, 3, True]}
    tree = Tree([(message("a", None), False)], Format(lambda branch: {each.id: given for each in branch}))

    assert tree.is_unchanged("a", {"n": [2**60, None, 3.0, True]})
    assert not tree.is_unchanged("a", {"n": [2**60 + 2**10, None, 3, True]})
    assert not tree.is_unchanged("b", {})

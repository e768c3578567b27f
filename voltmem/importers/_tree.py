"""The tree that the nodes of a conversation in ChatGPT's export form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import chain
from typing import TypeVar

from voltmem.importers._shapes import Json, object_in, seconds, string_in

State = TypeVar("State")


class Tree:
    """The nodes with what follows each of them. Any mapping is read: circles are cut, and missing parents ignored."""

    def __init__(self, nodes: Mapping[str, Json], current: object) -> None:
        self.nodes = nodes
        parents: dict[str, str] = {}
        for id, node in nodes.items():
            children = node.get("children")
            parents |= {child: id for child in children if isinstance(child, str)} if isinstance(children, list) else {}
        parents |= {id: parent for id, node in nodes.items() if (parent := string_in(node, "parent"))}
        self.line = _line(nodes, parents, current)
        """The ids from the first node to the current one; without a current one, to the newest leaf."""
        for id in self.line[:1]:
            parents.pop(id, None)  # in a circle
        self.children: defaultdict[str, list[str]] = defaultdict(list)
        self._roots: list[str] = []
        for id in nodes:
            parent = parents.get(id, "")
            (self.children[parent] if parent in nodes else self._roots).append(id)

    def walk(self, start: State, visit: Callable[[str, State], State]) -> None:
        """
        Call visit() for each node, with what it returned for the node's parent; for first nodes with *start*.

        A node comes after its parent, and before its parent's next child.
        """
        seen: set[str] = set()
        for root in chain(self._roots, self.nodes):  # a circle has no root
            stack = [(root, start)]
            while stack:
                id, before = stack.pop()
                if id not in seen:
                    seen.add(id)
                    after = visit(id, before)
                    stack += [(child, after) for child in reversed(self.children.get(id, []))]


def _line(nodes: Mapping[str, Json], parents: Mapping[str, str], current: object) -> list[str]:
    if not isinstance(current, str) or current not in nodes:
        times = {id: seconds(object_in(node, "message").get("create_time")) for id, node in nodes.items()}
        leaves = nodes.keys() - set(parents.values())
        current = max((id for id in nodes if id in leaves or not leaves), key=times.__getitem__, default=None)
    line: dict[str, None] = {}
    while isinstance(current, str) and current in nodes and current not in line:
        line[current] = None
        current = parents.get(current)
    return list(line)[::-1]

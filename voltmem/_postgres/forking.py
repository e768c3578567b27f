"""What a forked child process must not use, because it belongs to the parent: event loops and connections."""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet


class Inheritable(Protocol):
    """Holds what belongs to one process."""

    def forget(self) -> object:
        """Forget it, in a child. Returns it."""
        ...


def forget_in_children(owner: Inheritable) -> None:
    """Call forget() in each forked child, as long as the owner lives."""
    _owners.add(owner)


_owners: Final[WeakSet[Inheritable]] = WeakSet()
# Referenced so that it is not garbage-collected and closed: closing event loops and pools of the parent would remove
# its sockets from the epoll instance that both processes share.
_inherited: Final[list[object]] = []


def _forget_all() -> None:
    _inherited.extend(owner.forget() for owner in _owners)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)

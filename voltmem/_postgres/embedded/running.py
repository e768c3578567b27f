"""The servers that this process uses. They are stopped at interpreter exit at the latest."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from pathlib import Path

from voltmem._repr import safe_repr

_lock = threading.RLock()  # held while a shared server is joined, and while any server is left

_running: set[EmbeddedPostgres] = set()  # started or joined, and not stopped yet


def lock() -> threading.RLock:
    """Return the lock to hold while a server is joined or left: another after a fork."""
    return _lock


class EmbeddedPostgres:
    """
    A PostgreSQL server that this process started or joined. ``stop()`` it, or leave its ``with`` block.

    It is stopped at interpreter exit at the latest. A forked child may use the server; its ``stop()`` does nothing.
    """

    dsn: str
    """The connection string, with the password. A shared server may get another port when it is started again."""
    folder: Path
    """The folder with its data."""

    def __init__(self, folder: Path, dsn: str, leave: Callable[[], None], forget: Callable[[], None]) -> None:
        """Not for applications: `start_temporary` and `start_shared` make these."""
        self.dsn = dsn
        self.folder = folder
        self._leave = leave
        self._forget = forget
        with _lock:
            _running.add(self)

    def stop(self) -> None:
        """Leave the server. A temporary one stops, a shared one when its last user leaves. May be repeated."""
        with _lock:
            if self in _running:
                _running.remove(self)
                self._leave()

    def __enter__(self) -> EmbeddedPostgres:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @safe_repr
    def __repr__(self) -> str:
        return f"<EmbeddedPostgres {str(self.folder)!r}>"


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        server.stop()


def _forget_all() -> None:
    """Forget all servers in a forked child: only the parent stops them. The lock may be held, so make another."""
    global _lock
    _lock = threading.RLock()
    for server in _running:
        server._forget()
    _running.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)

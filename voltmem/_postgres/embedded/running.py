"""The servers that this process uses, which end with it at the latest."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from pathlib import Path

_lock = threading.RLock()  # held while a shared server is joined, and while any server is left
_running: set[EmbeddedPostgres] = set()  # started or joined, and not stopped yet


def lock() -> threading.RLock:
    """Return the lock to hold while a server is joined or left: another after a fork."""
    return _lock


class EmbeddedPostgres:
    """
    A PostgreSQL server that this process started or joined; ``stop()`` it, or leave its ``with`` block.

    What was not stopped is stopped when the interpreter exits. A forked child may use the server, but its
    ``stop()`` does nothing.
    """

    dsn: str
    """How to connect, password included. A shared server that is started again may get another port."""
    folder: Path
    """Where its data are."""

    def __init__(self, folder: Path, dsn: str, leave: Callable[[], None], forget: Callable[[], None]) -> None:
        """Not for applications: `start_temporary` and `start_shared` make these."""
        self.dsn = dsn
        self.folder = folder
        self._leave = leave
        self._forget = forget
        with _lock:
            _running.add(self)

    def stop(self) -> None:
        """Leave the server: a temporary one ends, a shared one with its last user. Again: does nothing."""
        with _lock:
            if self in _running:
                _running.remove(self)
                self._leave()

    def __enter__(self) -> EmbeddedPostgres:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres {str(self.folder)!r}>"


@atexit.register
def _stop_all() -> None:
    for server in list(_running):
        server.stop()


def _forget_all() -> None:
    """Let a forked child begin with nothing: servers are its parent's to stop, and the lock may be held."""
    global _lock
    _lock = threading.RLock()
    for server in _running:
        server._forget()
    _running.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)

"""
The PostgreSQL of the extra ``embedded``: finds, starts, shares and stops it.

    start_temporary()   a throw-away server for tests; its folder is removed with it
    start_shared()      the development default; keeps its data and serves every process that uses its folder

Only the programs of the wheel (or of a PostgreSQL on the machine) are used, never its Python code. All calls block; on
an event loop use ``asyncio.to_thread``. A server listens on 127.0.0.1 only and has a random password, so that other
accounts of the machine cannot log in. PostgreSQL refuses to run as root, so root's servers run as the user
``postgres``, or else ``nobody``.
"""

from __future__ import annotations

from voltmem._postgres.embedded.programs import servers_found
from voltmem._postgres.embedded.running import EmbeddedPostgres
from voltmem._postgres.embedded.shared import start_shared
from voltmem._postgres.embedded.temporary import start_temporary

__all__ = ["EmbeddedPostgres", "is_available", "start_shared", "start_temporary"]


def is_available() -> bool:
    """Return whether there is a PostgreSQL to start: the extra's, or one on this machine."""
    return next(servers_found(), None) is not None

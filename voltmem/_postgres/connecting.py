"""Connecting to the hosts of a target, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from voltmem._postgres.driver import DRIVER_ERRORS, check_encoding
from voltmem._targets import ConnectionTarget

if TYPE_CHECKING:
    from voltmem._postgres.driver import Record


class NotConnectedError(Exception):
    """Connecting failed, so nothing was sent. The cause is the driver's error."""


async def connect_to(
    target: ConnectionTarget, settings: dict[str, Any], first: int
) -> tuple[asyncpg.Connection[Record], int]:
    """
    Connect to the first host that answers. Returns the connection, and the place of its host among the hosts.

    Each host has a timeout of its own. With several hosts in one call, asyncpg would spend all of it on the first that
    hangs.

    Args:
        target: Where to connect.
        settings: Arguments of asyncpg.connect().
        first: The place of the host to begin with, which answered last.
    """
    if target.statement_cache_size is not None:
        settings["statement_cache_size"] = target.statement_cache_size
    failure: BaseException | None = None
    for session in ("standby", "any") if target.session == "prefer-standby" else (target.session,):
        for step in range(len(target.hosts)):
            host = (first + step) % len(target.hosts)
            try:
                arguments = {**settings, **target.hosts[host], "target_session_attrs": session}
                connection: asyncpg.Connection[Record] = await asyncpg.connect(**arguments)
            except (*DRIVER_ERRORS, ValueError) as error:  # ValueError: a variable that the driver cannot read
                failure = error
            else:
                try:
                    check_encoding(connection)
                except BaseException:
                    connection.terminate()
                    raise
                return connection, host
    raise NotConnectedError from failure

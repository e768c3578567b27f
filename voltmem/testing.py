"""
A real, throw-away storage for the tests of applications that use voltmem.

::

    from voltmem.testing import temporary_storage

    async def test_the_agent_remembers():
        async with temporary_storage() as storage:
            agent = Agent(memory=storage)
            ...

The server is the first of these: the one at VOLTMEM_TEST_DSN; with VOLTMEM_TEST_PG=docker and a Docker daemon that
answers, a container of VOLTMEM_TEST_IMAGE (default "postgres:18"; any image tag of PostgreSQL; extra "docker"); the
embedded server (extra "embedded"). It starts once per process and stops with it. Each temporary storage has a schema of
its own, which is dropped at the end, so tests can run in parallel and in any order.
"""

from __future__ import annotations

import atexit
import importlib
import os
import secrets
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypedDict, Unpack
from urllib.parse import urlsplit

from voltmem._repr import safe_repr
from voltmem.errors import MissingExtraError
from voltmem.options import KeepFiles, Migrate, OnLimit, Quotas, Recall
from voltmem.storage import PostgresStorage

__all__ = [
    "DEFAULT_IMAGE",
    "Server",
    "StorageArguments",
    "drop_schema",
    "server",
    "temporary_schema_name",
    "temporary_storage",
]

DEFAULT_IMAGE = "postgres:18"
_PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"

_lock = threading.Lock()
_servers: list[Server] = []


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server for tests. Its repr shows no password."""

    kind: str
    """Its source: "VOLTMEM_TEST_DSN", "docker postgres:18" or "embedded"."""
    _dsn: str

    @property
    def dsn(self) -> str:
        """The connection string."""
        return self._dsn

    @safe_repr
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kind}>"


class StorageArguments(TypedDict, total=False):
    """The options that temporary_storage() passes on to PostgresStorage."""

    max_connections: int
    table_prefix: str
    storage_limit: int | None
    on_limit: OnLimit
    migrate: Migrate
    search: bool
    count_tokens: bool
    files: KeepFiles
    recall: Recall | None
    quotas: Quotas | None
    debug: bool
    connect_timeout: float
    command_timeout: float
    retry_timeout: float


def server() -> Server:
    """
    Return this process's PostgreSQL server for tests. The first call starts it, which blocks for about a second.

    Raises:
        EmbeddedPostgresError: There is no server; the message says what to install or to set.
        MissingExtraError: VOLTMEM_TEST_PG=docker, Docker answers, and testcontainers is not installed.
    """
    with _lock:
        if not _servers:
            _servers.append(_start())
        return _servers[0]


@asynccontextmanager
async def temporary_storage(**options: Unpack[StorageArguments]) -> AsyncIterator[PostgresStorage]:
    """
    Open a PostgresStorage on a schema of its own, and drop the schema with everything in it at the end.

    Args:
        options: Options of PostgresStorage.
    """
    schema = temporary_schema_name()
    try:
        async with PostgresStorage(server().dsn, schema=schema, **options) as storage:
            yield storage
    finally:
        await drop_schema(schema)


def temporary_schema_name() -> str:
    """Return a unique name for a schema."""
    return f"voltmem_test_{secrets.token_hex(8)}"


async def drop_schema(schema: str) -> None:
    """Drop a schema of the test server, if it exists, with everything in it."""
    admin = PostgresStorage(server().dsn, schema=schema, migrate="off", max_connections=1)
    async with admin, admin.transaction() as tx:
        await tx.connection.execute("SET LOCAL client_min_messages = warning")
        await tx.connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def _start() -> Server:
    if dsn := os.environ.get("VOLTMEM_TEST_DSN"):
        return Server("VOLTMEM_TEST_DSN", dsn)
    if os.environ.get("VOLTMEM_TEST_PG") == "docker" and _docker_answers():
        return _start_container(os.environ.get("VOLTMEM_TEST_IMAGE", DEFAULT_IMAGE))
    from voltmem._postgres.embedded import start_temporary  # here: an optional extra

    return Server("embedded", start_temporary().dsn)


def _docker_answers() -> bool:
    """Return whether the Docker daemon answers within a second; testcontainers would wait for a minute."""
    host = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    unix = host.scheme == "unix"
    try:
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as daemon:
            daemon.settimeout(1)
            daemon.connect(host.path if unix else (host.hostname, host.port or 2375))
            daemon.sendall(_PING)
            return b" 200 " in daemon.recv(64)
    except OSError:
        return False


def _start_container(image: str) -> Server:
    try:
        testcontainers = importlib.import_module("testcontainers.community.postgres")
    except ImportError:
        try:  # its place before 4.15
            testcontainers = importlib.import_module("testcontainers.postgres")
        except ImportError as error:
            raise MissingExtraError("testcontainers", "docker") from error
    container = testcontainers.PostgresContainer(image, driver=None).start()
    atexit.register(container.stop)
    return Server(f"docker {image}", container.get_connection_url())

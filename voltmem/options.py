"""The options of a storage."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypedDict

from voltmem._tables import Tables
from voltmem._targets import ConnectionTarget, check_choice
from voltmem._values import Unset, check_count, check_flag, check_seconds, short_repr
from voltmem.errors import InvalidInputError, InvalidOptionError
from voltmem.tokens import CountTokens, Encoding

__all__ = [
    "CONVERSATION_LIMIT",
    "DEFAULT_COMMAND_TIMEOUT",
    "DEFAULT_CONNECT_TIMEOUT",
    "DEFAULT_MAX_CONNECTIONS",
    "DEFAULT_POLL_INTERVAL",
    "DEFAULT_RESOURCE_ID",
    "DEFAULT_RETRY_TIMEOUT",
    "DEFAULT_STORAGE_LIMIT",
    "DEFAULT_TABLE_PREFIX",
    "HISTORY_LIMIT",
    "MESSAGE_LIMIT",
    "RECALL_LIMIT",
    "SEARCH_LIMIT",
    "SHARED_LIMIT",
    "SIDEBAR_LIMIT",
    "ConnectionOptions",
    "KeepFiles",
    "Migrate",
    "OnLimit",
    "Quotas",
    "Window",
]

Migrate: TypeAlias = Literal["auto", "check", "off"]
OnLimit: TypeAlias = Literal["delete", "archive"]
KeepFiles: TypeAlias = Literal["inline", "extract"]

DEFAULT_TABLE_PREFIX: Final = "voltagent_memory"  # VoltAgent's tablePrefix
DEFAULT_MAX_CONNECTIONS: Final = 10  # VoltAgent's maxConnections
MAX_CONNECTIONS: Final = 262_143  # PostgreSQL's own; asyncpg's pool prepares as many places
DEFAULT_STORAGE_LIMIT: Final = 100  # VoltAgent's storageLimit
# These fit together: a call on a server that hangs waits for one of each, and is then repeated.
DEFAULT_CONNECT_TIMEOUT: Final = 5.0
DEFAULT_COMMAND_TIMEOUT: Final = 10.0
# Patroni's default ttl is 30 seconds: a failover is over within it. A time-out may be under way at its end.
DEFAULT_RETRY_TIMEOUT: Final = 40.0
DEFAULT_RESOURCE_ID: Final = "default"  # VoltAgent's
# Seconds between two queries of watch() where no notifications arrive.
DEFAULT_POLL_INTERVAL: Final = 2.0
# The default limits of verbs, in rows.
CONVERSATION_LIMIT: Final = 50  # VoltAgent's
MESSAGE_LIMIT: Final = 100  # VoltAgent's
HISTORY_LIMIT: Final = 20
RECALL_LIMIT: Final = 5
SEARCH_LIMIT: Final = 20
SHARED_LIMIT: Final = 100
SIDEBAR_LIMIT: Final = 20


class ConnectionOptions(TypedDict, total=False):
    """A connection as a dict, as in VoltAgent. Missing keys come from PGHOST, PGUSER …, as in libpq."""

    host: str
    port: int
    database: str
    user: str
    password: str
    ssl: bool | ssl.SSLContext
    """True: TLS that verifies the server's certificate; an SSLContext: TLS with it; False: no TLS."""
    keepalives: int
    """0: no TCP keepalives. This and the following are libpq's parameters, in its units."""
    keepalives_idle: int
    """Seconds until the first keepalive of an idle connection."""
    keepalives_interval: int
    """Seconds between keepalives that are not answered."""
    keepalives_count: int
    """How many of these there are before the connection is lost."""
    tcp_user_timeout: int
    """Milliseconds for which what was sent may stay unacknowledged."""


@dataclass(frozen=True, kw_only=True)
class Quotas:
    """
    How much each user may store. A write that would exceed a quota raises QuotaExceededError, and stores nothing.

    ::

        PostgresStorage(quotas=Quotas(conversations=1_000, messages=100_000, file_bytes=2**30))

    All that takes space counts, soft-deleted conversations and archived messages too. get_usage() counts it.
    """

    conversations: int | None = None
    """The number of conversations; None: no quota."""
    messages: int | None = None
    """The number of messages in all conversations of the user; None: no quota."""
    file_bytes: int | None = None
    """The bytes of all files of the user together, with uploads that are not complete; None: no quota."""

    def __post_init__(self) -> None:
        for name in ("conversations", "messages", "file_bytes"):
            if (value := getattr(self, name)) is not None:
                try:
                    check_count(name, value)
                except InvalidInputError as error:
                    raise InvalidOptionError(f"quotas: {error}") from None


def check_quotas(quotas: object) -> Quotas | None:
    """Return the option *quotas*; InvalidOptionError if it is something else."""
    if quotas is None or isinstance(quotas, Quotas):
        return quotas
    raise InvalidOptionError(f"quotas must be a voltmem.Quotas, not {short_repr(quotas)}")


@dataclass(frozen=True)
class StorageOptions:
    """The checked options of a PostgresStorage. The repr contains no password."""

    target: ConnectionTarget | None
    """None: VOLTMEM_DATABASE_URL, then DATABASE_URL, then the embedded PostgreSQL, decided when it is opened."""
    tables: Tables
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    storage_limit: int | None = DEFAULT_STORAGE_LIMIT
    limit_is_given: bool = True
    """False: storage_limit is the default, which does not apply to tables that VoltAgent 1 or 2 uses."""
    on_limit: OnLimit = "delete"
    migrate: Migrate = "auto"
    search: bool = False
    count_tokens: bool = False
    files: KeepFiles = "inline"
    debug: bool = False
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT
    command_timeout: float = DEFAULT_COMMAND_TIMEOUT
    retry_timeout: float = DEFAULT_RETRY_TIMEOUT

    def __post_init__(self) -> None:
        try:
            check_count("max_connections", self.max_connections, minimum=1, maximum=MAX_CONNECTIONS)
            if self.storage_limit is not None:
                check_count("storage_limit", self.storage_limit)
            check_flag("debug", self.debug)
            check_flag("search", self.search)
            check_flag("count_tokens", self.count_tokens)
            for name in ("connect_timeout", "command_timeout", "retry_timeout"):
                check_seconds(name, getattr(self, name))
        except InvalidInputError as error:
            raise InvalidOptionError(str(error)) from None
        check_choice("on_limit", self.on_limit, ("delete", "archive"))
        check_choice("migrate", self.migrate, ("auto", "check", "off"))
        check_choice("files", self.files, ("inline", "extract"))


class Window(TypedDict, total=False):
    """Which messages an adapter passes to a model: the arguments of ``memory.messages()``."""

    limit: int | Unset | None
    turns: int | None
    tokens: int | None
    count: Encoding | CountTokens
    shorten_results: int | None

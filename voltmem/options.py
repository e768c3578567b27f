"""The options of a storage."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypedDict

from voltmem._tables import Tables
from voltmem._targets import ConnectionTarget, check_choice, connection_target
from voltmem._values import Unset, check_count, check_flag, check_seconds, check_text, short_repr
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
    "Embed",
    "KeepFiles",
    "Migrate",
    "OnLimit",
    "Quotas",
    "Recall",
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


def target_of(
    connection: str | ConnectionOptions | Mapping[str, object] | None, pool: object
) -> ConnectionTarget | None:
    """Return where to connect, if it is given; InvalidOptionError if a pool is given as well."""
    if pool is not None and connection is not None:
        raise InvalidOptionError("connection and pool were both given: pass the one that leads to the database")
    return None if connection is None else connection_target(connection)


def check_quotas(quotas: object) -> Quotas | None:
    """Return the option *quotas*; InvalidOptionError if it is something else."""
    if quotas is None or isinstance(quotas, Quotas):
        return quotas
    raise InvalidOptionError(f"quotas must be a voltmem.Quotas, not {short_repr(quotas)}")


Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Returns a vector for each text, in their order."""

_MOST_DIMENSIONS: Final = 16_000  # pgvector's, of halfvec
_SHORTEST_PIECE: Final = 100


@dataclass(frozen=True, kw_only=True)
class Recall:
    """
    How recall() finds messages by what they mean, and not by their words alone.

    ::

        PostgresStorage(search=True, recall=Recall(embed=embed, dimensions=384, model="all-MiniLM-L6-v2"))

    The vectors are stored in a table of their own, which needs the extension pgvector, by embed_messages().
    """

    embed: Embed
    """``async def embed(texts) -> list[list[float]]``. At most *batch* texts are passed at once."""
    dimensions: int
    """How many numbers a vector has, at most 16,000."""
    model: str
    """The name of the model. Another name means that all messages are embedded again."""
    batch: int = 64
    """The maximum number of texts of one call of embed."""
    piece: int = 1_000
    """
    Longer texts are cut into pieces of so many characters, each with a vector of its own. Choose what the model reads
    at once; another number means that all messages are embedded again.
    """
    tool_results: bool = False
    """Whether to embed the calls and results of tools, too."""
    every: float | None = None
    """
    How many seconds a task in the background waits between two looks for what is new; it ends with close(). None: no
    such task: call embed_messages() yourself.
    """

    question_timeout: float = 10.0
    """
    How many seconds recall() waits for the vector of what is looked for. Words alone count after that, as if embed had
    failed. Vectors of messages are waited for as long as embed takes.
    """

    def __post_init__(self) -> None:
        if not callable(self.embed):
            raise InvalidOptionError(f"recall: embed must be an async function, not {short_repr(self.embed)}")
        try:
            check_count("dimensions", self.dimensions, minimum=1, maximum=_MOST_DIMENSIONS)
            check_count("batch", self.batch, minimum=1, maximum=10_000)
            check_count("piece", self.piece, minimum=_SHORTEST_PIECE)
            check_flag("tool_results", self.tool_results)
            check_text(model=self.model)
            check_seconds("question_timeout", self.question_timeout)
            if self.every is not None:
                check_seconds("every", self.every)
        except InvalidInputError as error:
            raise InvalidOptionError(f"recall: {error}") from None
        if not self.model.strip():
            raise InvalidOptionError("recall: model is empty: name the model, so that another one is noticed")

    @property
    def key(self) -> str:
        """The name under which the vectors are stored: those with another name cannot be compared with them."""
        return f"{self.model} ({self.dimensions}, {self.piece})"


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
    recall: Recall | None = None
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
        recall: object = self.recall
        if recall is not None and not isinstance(recall, Recall):
            raise InvalidOptionError(f"recall must be a voltmem.Recall, not {short_repr(recall)}")


class Window(TypedDict, total=False):
    """Which messages an adapter passes to a model: the arguments of ``memory.messages()``."""

    limit: int | Unset | None
    turns: int | None
    tokens: int | None
    count: Encoding | CountTokens
    shorten_results: int | None

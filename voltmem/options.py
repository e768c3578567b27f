"""The options of a storage, and the parsing of connection strings."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypedDict
from urllib.parse import parse_qsl, quote, unquote, urlencode

from voltmem._tables import Tables
from voltmem._values import check_count, check_flag, check_seconds, describe_unknown, short_repr
from voltmem.errors import InvalidInputError, InvalidOptionError

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
    "SEARCH_LIMIT",
    "SHARED_LIMIT",
    "SIDEBAR_LIMIT",
    "ConnectionOptions",
    "KeepFiles",
    "Migrate",
    "OnLimit",
]

Migrate: TypeAlias = Literal["auto", "check", "off"]
OnLimit: TypeAlias = Literal["delete", "archive"]
KeepFiles: TypeAlias = Literal["inline", "extract"]

DEFAULT_TABLE_PREFIX: Final = "voltagent_memory"  # VoltAgent's tablePrefix
DEFAULT_MAX_CONNECTIONS: Final = 10  # VoltAgent's maxConnections
MAX_CONNECTIONS: Final = 262_143  # PostgreSQL's own; asyncpg's pool prepares as many places
DEFAULT_STORAGE_LIMIT: Final = 100  # VoltAgent's storageLimit
DEFAULT_CONNECT_TIMEOUT: Final = 10.0
DEFAULT_COMMAND_TIMEOUT: Final = 60.0
# Patroni's default ttl is 30 seconds: a failover is over within it.
DEFAULT_RETRY_TIMEOUT: Final = 30.0
DEFAULT_RESOURCE_ID: Final = "default"  # VoltAgent's
# Seconds between two queries of watch() where no notifications arrive.
DEFAULT_POLL_INTERVAL: Final = 2.0
# The default limits of verbs, in rows.
CONVERSATION_LIMIT: Final = 50  # VoltAgent's
MESSAGE_LIMIT: Final = 100  # VoltAgent's
HISTORY_LIMIT: Final = 20
SEARCH_LIMIT: Final = 20
SHARED_LIMIT: Final = 100
SIDEBAR_LIMIT: Final = 20
_APPLICATION_NAME: Final = "voltmem"
_EXAMPLE: Final = "postgresql://user:password@host:5432/database"


class ConnectionOptions(TypedDict, total=False):
    """A connection as a dict, as in VoltAgent. Missing keys come from PGHOST, PGUSER …, as in libpq."""

    host: str
    port: int
    database: str
    user: str
    password: str
    ssl: bool | ssl.SSLContext
    """True: TLS that verifies the server's certificate; an SSLContext: TLS with it; False: no TLS."""


@dataclass(frozen=True)
class ConnectionTarget:
    """Where to connect: the arguments of asyncpg.connect() for each host, and settings for all hosts."""

    hosts: tuple[Mapping[str, Any], ...] = field(repr=False)
    name: str
    """The hosts and the database, for logs and errors, without the password."""
    session: str = "any"
    """libpq's target_session_attrs."""
    statement_cache_size: int | None = None
    """None: asyncpg's default; 0: for a pooler in transaction mode."""
    connect_timeout: float | None = None
    """Seconds for each host; None: the connection string has no connect_timeout."""


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
            for name in ("connect_timeout", "command_timeout", "retry_timeout"):
                check_seconds(name, getattr(self, name))
        except InvalidInputError as error:
            raise InvalidOptionError(str(error)) from None
        _check_choice("on_limit", self.on_limit, ("delete", "archive"))
        _check_choice("migrate", self.migrate, ("auto", "check", "off"))
        _check_choice("files", self.files, ("inline", "extract"))


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidOptionError(f"{name} {short_repr(value)}: use one of {', '.join(choices)}")


def connection_target(connection: str | Mapping[str, object]) -> ConnectionTarget:
    """Return the target of a connection string or dict; InvalidOptionError, without secrets, if it is invalid."""
    if isinstance(connection, str):
        return _from_url(connection)
    if isinstance(connection, Mapping):
        return _from_object(connection)
    raise InvalidOptionError(
        f"connection must be a string or a dict, not a {type(connection).__name__}: pass one like {_EXAMPLE}"
    )


# --- connection dicts ---------------------------------------------------------------------------------------------

_OBJECT_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "host": (str,),
    "port": (int,),
    "database": (str,),
    "user": (str,),
    "password": (str,),
    "ssl": (bool, ssl.SSLContext),
}


def _from_object(connection: Mapping[str, object]) -> ConnectionTarget:
    arguments: dict[str, Any] = {name: value for name, value in connection.items() if value is not None}
    for name, value in arguments.items():
        if name not in _OBJECT_TYPES:
            raise InvalidOptionError(f"connection: {describe_unknown('key', str(name), list(_OBJECT_TYPES))}")
        if not isinstance(value, _OBJECT_TYPES[name]):
            wanted = " or ".join(kind.__name__ for kind in _OBJECT_TYPES[name])
            raise InvalidOptionError(f"connection[{name!r}] must have the type {wanted}, not {type(value).__name__}")
    if not 0 <= arguments.get("port", 0) <= _MAX_PORT:
        raise InvalidOptionError(
            f"connection['port'] must be between 0 and {_MAX_PORT}, not {short_repr(arguments['port'])}"
        )
    arguments["server_settings"] = {"application_name": _APPLICATION_NAME}
    place = f"{arguments.get('host', 'localhost')}:{arguments.get('port', 5432)}"
    return ConnectionTarget((arguments,), name=f"{place}/{arguments.get('database', '')}")


# --- connection strings -------------------------------------------------------------------------------------------

_URL = re.compile(r"(?P<scheme>postgres(?:ql)?)(?:\+\w+)?://(?P<authority>[^/?#]*)(?P<path>[^?]*)(?:\?(?P<query>.*))?")
_PLACE = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^:@\[\]]*)(?::(?P<port>\d*))?")
_MAX_PORT: Final = 65535

# Parameters of libpq, poolers and other drivers. asyncpg would send them to the server, which would refuse them.
_NOT_FOR_THE_SERVER: Final = (
    "channel_binding",
    "connection_limit",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "pool_timeout",
    "schema",
    "tcp_user_timeout",
)
_TLS_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SESSIONS: Final = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")


def _from_url(url: str) -> ConnectionTarget:
    found = _URL.fullmatch(url.strip())
    if found is None:
        scheme, separator, _ = url.strip().partition("://")  # the rest may contain the password
        is_scheme = separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme)
        wrong = f"has the scheme {short_repr(scheme)}; it " if is_scheme else ""
        raise InvalidOptionError(f"the connection string {wrong}must look like {_EXAMPLE}")
    login, _, authority = found["authority"].rpartition("@")
    hosts = authority.split(",")
    # A "/", "?" or "#" in a password ends the authority too early, and asyncpg's error would contain part of the
    # password, as the port.
    cut_short = "@" in found["path"] + (found["query"] or "")
    if not cut_short and not all(map(_is_place, hosts)):  # the value is not shown: it may be a password without a host
        raise InvalidOptionError(
            f"the host or port in the connection string is invalid: the port is a number from 0 to {_MAX_PORT}, and an "
            "IPv6 address is in brackets"
        )
    if cut_short:
        raise InvalidOptionError(
            "the connection string must have host:port between '@' and '/': percent-encode special characters in the "
            "user name and password (urllib.parse.quote)"
        )
    parameters = dict(parse_qsl(found["query"] or "", keep_blank_values=True))
    if "port" in parameters and not _is_place(f":{parameters['port']}"):
        raise InvalidOptionError(
            f"port={parameters['port']!r} in the connection string: use a number between 0 and {_MAX_PORT}"
        )
    cache_size = _statement_cache_size(parameters)
    connect_timeout = _connect_timeout(parameters)
    session = parameters.pop("target_session_attrs", "any")
    _check_choice("target_session_attrs", session, _SESSIONS)
    _set_tls(parameters)
    for name in _NOT_FOR_THE_SERVER:
        parameters.pop(name, None)

    parameters.setdefault("application_name", _APPLICATION_NAME)  # the only startup parameter that all poolers accept

    query = f"?{urlencode(parameters, quote_via=quote)}"
    prefix = f"{login}@" if login else ""
    urls = [f"postgresql://{prefix}{host}{found['path']}{query}" for host in hosts]
    place = parameters.get("host") or authority or "localhost"
    return ConnectionTarget(
        hosts=tuple({"dsn": each} for each in urls),
        name=f"{place}{unquote(found['path'])}",
        session=session,
        statement_cache_size=cache_size,
        connect_timeout=connect_timeout,
    )


def _is_place(text: str) -> bool:
    found = _PLACE.fullmatch(text)
    return found is not None and int(found["port"] or 0) <= _MAX_PORT


def _statement_cache_size(parameters: dict[str, str]) -> int | None:
    """Remove and return the cache size: pgbouncer=true, or (prepared_)statement_cache_size=0 (SQLAlchemy, asyncpg)."""
    size = None
    if parameters.pop("pgbouncer", "false").lower() in ("true", "1", "yes", "on"):
        size = 0
    for name in ("prepared_statement_cache_size", "statement_cache_size"):
        value = parameters.pop(name, None)
        if value is not None:
            size = int(_number(name, value))
    return size


def _connect_timeout(parameters: dict[str, str]) -> float | None:
    value = parameters.pop("connect_timeout", None)
    return None if value is None else _number("connect_timeout", value) or None  # 0, in libpq no limit: our default


def _number(name: str, value: str) -> float:
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value) is None:
        raise InvalidOptionError(f"{name}={value!r} in the connection string: use a number")
    return float(value)


def _set_tls(parameters: dict[str, str]) -> None:
    """Replace the parameter ssl of SQLAlchemy and node-postgres by libpq's sslmode."""
    mode = parameters.pop("ssl", None)
    if mode is not None and "sslmode" not in parameters:
        parameters["sslmode"] = {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(mode, mode)
    if "sslmode" in parameters:
        _check_choice("sslmode", parameters["sslmode"], _TLS_MODES)

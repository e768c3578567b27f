"""
Where to connect: connection strings and dicts, read into the driver's arguments.

The driver never parses a connection string: its errors quote what they could not read, which may be a password. No
error here shows a value that may be part of one, and none is raised while handling an exception that quotes it.
"""

from __future__ import annotations

import os
import random
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from voltmem._values import describe_unknown, short_repr
from voltmem.errors import InvalidOptionError

_APPLICATION_NAME: Final = "voltmem"
_EXAMPLE: Final = "postgresql://user:password@host:5432/database"
_MAX_PORT: Final = 65535
_DRIVERS_CACHE_SIZE: Final = 100


@dataclass(frozen=True)
class SocketOptions:
    """
    How a dead network is noticed: libpq's parameters, in its units. 0: the default of the operating system.

    An idle connection is lost after idle + interval * count seconds, 19, and a statement that is not acknowledged after
    tcp_user_timeout. Both fit to command_timeout, 10 seconds.
    """

    keepalives: int = 1
    """0: none."""
    keepalives_idle: int = 10
    """Seconds until the first keepalive of an idle connection."""
    keepalives_interval: int = 3
    """Seconds between keepalives that are not answered."""
    keepalives_count: int = 3
    """How many of these there are before the connection is lost."""
    tcp_user_timeout: int = 10_000
    """Milliseconds for which what was sent may stay unacknowledged."""


@dataclass(frozen=True)
class ConnectionTarget:
    """Where to connect: the arguments of asyncpg.connect() for each host, and settings for all hosts."""

    hosts: tuple[Mapping[str, Any], ...] = field(repr=False)
    name: str
    """The hosts and the database, for logs and errors, without the password."""
    session: str = "any"
    """libpq's target_session_attrs."""
    statement_cache_size: int | None = None
    """None: asyncpg's default, or 0 if a pooler is noticed; 0: for a pooler in transaction mode."""
    connect_timeout: float | None = None
    """Seconds for each host; None: the connection string has no connect_timeout."""
    socket: SocketOptions = SocketOptions()


def connection_target(connection: str | Mapping[str, object]) -> ConnectionTarget:
    """Return the target of a connection string or dict; InvalidOptionError, without secrets, if it is invalid."""
    if isinstance(connection, str):
        text = connection.strip()
        is_url = re.match(r"\w+\s*=", text) is None
        return _from_parameters(_with_service(_of_url(text) if is_url else _of_keywords(text)))
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
    **{option.name: (int,) for option in fields(SocketOptions)},
}


def _from_object(connection: Mapping[str, object]) -> ConnectionTarget:
    arguments: dict[str, Any] = {name: value for name, value in connection.items() if value is not None}
    for name, value in arguments.items():
        if name not in _OBJECT_TYPES:
            raise InvalidOptionError(f"connection: {describe_unknown('key', str(name), list(_OBJECT_TYPES))}")
        if not isinstance(value, _OBJECT_TYPES[name]):
            wanted = " or ".join(kind.__name__ for kind in _OBJECT_TYPES[name])
            raise InvalidOptionError(f"connection[{name!r}] must have the type {wanted}, not {type(value).__name__}")
    _check_texts({name: value for name, value in arguments.items() if isinstance(value, str)})
    if "host" in arguments and re.search(r"[@\s]|://", arguments["host"]):
        raise InvalidOptionError("connection['host'] must be the name or address of a host, or a folder of sockets")
    if not 0 <= arguments.get("port", 0) <= _MAX_PORT:
        raise InvalidOptionError(
            f"connection['port'] must be between 0 and {_MAX_PORT}, not {short_repr(arguments['port'])}"
        )
    socket = _socket({name: str(int(value)) for name, value in _popped(arguments, _SOCKET).items()})
    arguments["server_settings"] = {"application_name": _APPLICATION_NAME}
    place = _shown({"port": _variable("PGPORT") or 5432, **arguments})
    database = arguments.get("database") or _variable("PGDATABASE")
    return ConnectionTarget((arguments,), name=f"{place}/{database}", socket=socket)


# --- the forms of a connection string -----------------------------------------------------------------------------

_URL: Final = re.compile(
    r"(?P<scheme>postgres(?:ql)?)(?:\+\w+)?://(?P<authority>[^/?#]*)(?P<path>[^?]*)(?:\?(?P<query>.*))?",
    re.DOTALL | re.IGNORECASE,
)
_KEYWORD: Final = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s\\']|\\.)*))(?=\s|$)", re.DOTALL)
_PLACE: Final = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[0-9A-Fa-f]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*|/[^@]*?|[^:@\[\]/\s]*)"
    r"(?::(?P<port>\d*))?"
)
_PLACES_HELP: Final = (
    f"the host or port in the connection string is invalid: the port is a number from 0 to {_MAX_PORT}, and an IPv6 "
    "address is in brackets"
)


def _of_url(url: str) -> dict[str, str]:
    """Return the parameters of a URL. As in libpq, those of its query replace the others."""
    found = _URL.fullmatch(url)
    if found is None:
        scheme, separator, _ = url.partition("://")  # the rest may contain the password
        is_scheme = separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme)
        wrong = f"has the scheme {short_repr(scheme)}; it " if is_scheme else ""
        raise InvalidOptionError(f"the connection string {wrong}must look like {_EXAMPLE}, without quotes around it")
    # A "/", "?" or "#" in a password ends the authority too early. The login's own "@" is then in the rest.
    if "@" in found["path"] + (found["query"] or ""):
        raise InvalidOptionError(
            "the connection string must have host:port between '@' and '/': percent-encode special characters in the "
            "user name and password, and '@' everywhere else (urllib.parse.quote)"
        )
    login, _, places = found["authority"].rpartition("@")  # the last one: logins such as user@server contain another
    user, _, password = login.partition(":")
    parts = {"host": places, "user": user, "password": password, "dbname": found["path"][1:]}
    # surrogateescape: bytes that are no UTF-8 are found, and refused, by _check_texts()
    parameters = {name: unquote(part, errors="surrogateescape") for name, part in parts.items() if part}
    return _as_libpq(parameters) | _of_query(found["query"] or "")


def _of_query(query: str) -> dict[str, str]:
    parts = [part for part in query.split("&") if part]
    items = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    values = _last(items)
    # With an unencoded "&" in password=, the rest would be taken for a setting, which the server's error shows.
    is_cut = "password" in values and not values.keys() <= _KNOWN
    if is_cut or not all(re.match(r"[A-Za-z_][\w.]*=", part) for part in parts):
        raise InvalidOptionError(
            "the query of the connection string must be parameters like connect_timeout=5&sslmode=require: "
            "percent-encode special characters (urllib.parse.quote), and do not put settings of the server beside "
            "password="
        )
    for repeated in ("host", "port"):  # SQLAlchemy repeats the host
        if given := [value for name, value in items if name == repeated and value]:
            values[repeated] = ",".join(given)
    return _as_libpq(values)


def _of_keywords(text: str) -> dict[str, str]:
    """Return the parameters of libpq's other form, keyword=value keyword='value with spaces'."""
    items: list[tuple[str, str]] = []
    place = 0
    while place < len(text):
        found = _KEYWORD.match(text, place)
        if found is None or found[1] not in _KNOWN:
            after = f", after {items[-1][0]}" if items else ""
            raise InvalidOptionError(
                f"the connection string has a part that is no keyword=value of libpq{after}: put values with spaces "
                "into single quotes, and a backslash before quotes and backslashes in them"
            )
        items.append((found[1], re.sub(r"\\(.)", r"\1", found[2] or found[3] or "", flags=re.DOTALL)))
        place = found.end()
    return _as_libpq(_last(items))


def _last(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the last value of each parameter, as libpq does. What protects must not have two: InvalidOptionError."""
    values: dict[str, str] = {}
    for name, value in items:
        if name in _PROTECTING and values.get(name, value) != value:
            raise InvalidOptionError(
                f"{name} is in the connection string twice, with two values: leave one of them out"
            )
        values[name] = value
    return values


def _as_libpq(parameters: dict[str, str]) -> dict[str, str]:
    """
    Return the parameters of one source under libpq's names: dbname, and ports in port=, not in host=a:1,b:2.

    So what stands in another source (the query, the file of services) replaces each as a whole, as in libpq.
    """
    database = parameters.pop("database", None)
    if database is not None and parameters.setdefault("dbname", database) != database:
        raise InvalidOptionError("the connection string has two names in database and dbname: leave one out")
    found = [_PLACE.fullmatch(place) for place in parameters.get("host", "").split(",")]
    places = [(place["host"], place["port"] or "") for place in found if place is not None]
    if len(places) < len(found):
        raise InvalidOptionError(_PLACES_HELP)
    if any(port for _, port in places):
        if parameters.get("port"):
            raise InvalidOptionError("the connection string has a port in host and in port: leave one of them out")
        parameters["port"] = ",".join(port for _, port in places)
    if "host" in parameters:
        parameters["host"] = ",".join(host for host, _ in places)
    return parameters


def _with_service(parameters: dict[str, str]) -> dict[str, str]:
    """Add what libpq's file of services has for service=. What is in the string itself comes first."""
    given = parameters.pop("servicefile", "") or os.environ.get("PGSERVICEFILE")
    service = parameters.pop("service", "")
    if not service:
        return parameters
    file = Path(given or Path.home() / ".pg_service.conf")
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise InvalidOptionError(f"service={service}: the file {str(file)!r} cannot be read: {error}") from error
    section = ""
    found: dict[str, str] = {}
    for line in map(str.strip, lines):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == service and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name.strip(), value.strip())  # the first one, as in libpq
    if not found:
        raise InvalidOptionError(f"service={service}: the file {str(file)!r} has no such section, or an empty one")
    if not found.keys() <= _KNOWN:  # not shown: it may be a part of a password with a line break
        raise InvalidOptionError(f"service={service}: the section in {str(file)!r} has a line that libpq does not know")
    return _as_libpq(found) | parameters


# --- parameters ---------------------------------------------------------------------------------------------------

_SESSIONS: Final = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
_TLS_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_ENFORCING: Final = _TLS_MODES[3:]
_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_SOCKET: Final = tuple(option.name for option in fields(SocketOptions))
# Arguments of the driver's connect() with the same name and meaning.
_ARGUMENTS: Final = ("user", "password", "passfile", "krbsrvname", "gsslib")
# TLS parameters that the driver takes from a connection string only, so it gets one with nothing else in it.
_TLS_FILES: Final[tuple[str, ...]] = (
    *("sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
)
# Parameters of libpq, poolers and other drivers without an effect here. The server would refuse them.
_IGNORED: Final = (
    *("connection_limit", "pool_timeout", "schema", "socket_timeout", "sslcompression", "uselibpqcompat"),
    *("async_fallback", "max_overflow", "pool_pre_ping", "pool_recycle", "pool_size"),
)
_ON: Final = ("true", "1", "yes", "on")
_OFF: Final = ("false", "0", "no", "off")
# What the driver does not do, by parameter: the values that do not ask for it, and what to do instead. Any other value
# is an error, since a restriction that is dropped silently would not protect.
_UNSUPPORTED: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "channel_binding": (("prefer", "disable"), "leave it out; sslmode=verify-full makes sure of the server, too"),
    "client_encoding": (("utf8", "utf-8", "unicode", "auto"), "leave it out: voltmem's text is UTF-8"),
    "command_timeout": ((), "pass it to PostgresStorage"),
    "gssdelegation": (_OFF, "leave it out"),
    "gssencmode": (("disable", "prefer"), "encrypt with TLS: sslmode=verify-full"),
    "hostaddr": ((), "give the address as the host"),
    "max_protocol_version": (("3.0", "3.2", "latest"), "leave it out: the driver uses 3.0"),
    "min_protocol_version": (("3.0",), "leave it out: the driver uses 3.0"),
    "oauth_client_id": ((), "log in with a password, a certificate or GSSAPI"),
    "oauth_client_secret": ((), "log in with a password, a certificate or GSSAPI"),
    "oauth_issuer": ((), "log in with a password, a certificate or GSSAPI"),
    "oauth_scope": ((), "log in with a password, a certificate or GSSAPI"),
    "passwd": ((), "it is called password"),
    "pwd": ((), "it is called password"),
    "replication": (_OFF, "leave it out"),
    "require_auth": ((), "leave it out, and use sslmode=verify-full so that no other server asks for the password"),
    "requirepeer": ((), "leave it out, and use a folder of sockets that only the server's user can write to"),
    "scram_client_key": ((), "log in with the password"),
    "scram_server_key": ((), "log in with the password"),
    "sslaccept": (("accept_invalid_certs",), "sslmode=verify-full verifies the certificate"),
    "sslcertmode": (("allow",), "leave it out, and give sslcert where a certificate is to be sent"),
    "sslcrldir": ((), "give one file with sslcrl"),
    "sslkeylogfile": ((), "set the environment variable SSLKEYLOGFILE"),
    "sslsni": (("1",), "leave it out: the name of the host is always sent"),
}
_PROTECTING: Final = frozenset([*_TLS_FILES, *_UNSUPPORTED, "ssl", "sslmode", "sslnegotiation", "requiressl"])
_KNOWN: Final = frozenset(
    [
        *(*_ARGUMENTS, *_SOCKET, *_IGNORED),
        *("host", "port", "dbname", "database", "load_balance_hosts", "target_session_attrs", "connect_timeout"),
        *("application_name", "fallback_application_name", "options", "service", "servicefile"),
        *_PROTECTING,
        *("pgbouncer", "statement_cache_size", "prepared_statement_cache_size"),
    ]
)


def _from_parameters(given: dict[str, str]) -> ConnectionTarget:
    _check_texts(given)
    parameters = {name: value for name, value in given.items() if value}
    places, hosts = _hosts(parameters)
    database = parameters.pop("dbname", "")
    cache_size = _statement_cache_size(parameters)
    connect_timeout = _connect_timeout(parameters)
    session = parameters.pop("target_session_attrs", "any")
    check_choice("target_session_attrs", session, _SESSIONS)
    arguments: dict[str, Any] = _tls(parameters)
    if database:
        arguments["database"] = database
    arguments |= _popped(parameters, _ARGUMENTS)
    socket = _socket(_popped(parameters, _SOCKET))
    _refuse_unsupported(parameters)
    name = parameters.pop("fallback_application_name", _APPLICATION_NAME)
    parameters.setdefault("application_name", name)  # the only startup parameter that all poolers accept
    settings = {name: value for name, value in parameters.items() if name not in _IGNORED}
    return ConnectionTarget(
        hosts=tuple({**arguments, "server_settings": settings, **host} for host in hosts),
        name=f"{places}/{database or _variable('PGDATABASE')}",
        session=session,
        statement_cache_size=cache_size,
        connect_timeout=connect_timeout,
        socket=socket,
    )


def _check_texts(values: Mapping[str, str]) -> None:
    """Refuse what cannot be sent, and a connection string in the place of the database, which errors show."""
    for name, value in values.items():
        if re.search("[\0\ud800-\udfff]", value):
            raise InvalidOptionError(
                f"{name if name in _KNOWN else 'a parameter'} in the connection contains a NUL character, or bytes "
                "that are no UTF-8: percent-encode the bytes of UTF-8 (urllib.parse.quote)"
            )
        if name in ("database", "dbname") and "://" in value:
            raise InvalidOptionError(f"{name} must be the name of a database, not a connection string")


def _hosts(parameters: dict[str, str]) -> tuple[str, list[dict[str, Any]]]:
    """Remove host and port. Returns them as text, and as one dict of arguments for each host, in the order to try."""
    names = parameters.pop("host", "").split(",")
    ports = parameters.pop("port", "").split(",")
    if len(ports) not in (1, len(names)):
        raise InvalidOptionError(
            f"the connection string has {len(names)} hosts and {len(ports)} ports: give one port, or one for each host"
        )
    hosts: list[dict[str, Any]] = []
    for name, port in zip(names, ports if len(ports) == len(names) else ports * len(names), strict=True):
        number = port.strip()
        if number and (re.fullmatch(r"\d{1,9}", number) is None or int(number) > _MAX_PORT):
            raise InvalidOptionError(_PLACES_HELP)
        each = {"host": name.strip("[]"), "port": int(number or 0)}
        hosts.append({name: value for name, value in each.items() if value})
    shown = ",".join(map(_shown, hosts))
    balance = parameters.pop("load_balance_hosts", "disable")
    check_choice("load_balance_hosts", balance, ("disable", "random"))
    if balance == "random":
        random.shuffle(hosts)
    return shown, hosts


def _shown(host: Mapping[str, Any]) -> str:
    """Return a host for logs and errors. What is not given is that of the variable which the driver reads."""
    name = host.get("host") or _variable("PGHOST") or "localhost"
    port = host.get("port") or _variable("PGPORT")
    shown = f"[{name}]" if ":" in name else name
    return f"{shown}:{port}" if port else shown


def _variable(name: str) -> str:
    """Return a variable of the environment; "" if it may hold a whole connection string, by mistake."""
    value = os.environ.get(name, "")
    return value if re.fullmatch(r"[\w./,-]*", value) else ""


def _statement_cache_size(parameters: dict[str, str]) -> int | None:
    """Remove and return the cache size: pgbouncer=true, or (prepared_)statement_cache_size=0 (SQLAlchemy, asyncpg)."""
    sizes: dict[str, int] = {}
    declared = parameters.pop("pgbouncer", None)
    if declared is not None:
        check_choice("pgbouncer", declared.lower(), (*_ON, *_OFF))
        sizes["pgbouncer"] = 0 if declared.lower() in _ON else _DRIVERS_CACHE_SIZE
    for name in ("prepared_statement_cache_size", "statement_cache_size"):
        value = parameters.pop(name, None)
        if value is not None:
            sizes[name] = int(_number(name, value))
    if len({size > 0 for size in sizes.values()}) > 1:
        raise InvalidOptionError(f"{' and '.join(sizes)} in the connection string contradict each other: leave one out")
    return list(sizes.values())[-1] if sizes else None


def _connect_timeout(parameters: dict[str, str]) -> float | None:
    value = parameters.pop("connect_timeout", None)
    return None if value is None else _number("connect_timeout", value) or None  # 0, in libpq no limit: our default


def _socket(given: Mapping[str, str]) -> SocketOptions:
    """Return the options of the socket. A negative number means the default of the operating system, as in libpq."""
    for name, value in given.items():
        if re.fullmatch(r"-?\d{1,9}", value) is None:
            unit = "milliseconds" if name == "tcp_user_timeout" else "a count" if name.endswith("_count") else "seconds"
            raise InvalidOptionError(f"{name}={value!r} in the connection: use a whole number ({unit})")
    return SocketOptions(**{name: max(int(value), 0) for name, value in given.items()})


def _popped(given: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Remove these names, and return what they had."""
    return {name: given.pop(name) for name in names if name in given}


def _number(name: str, value: str) -> float:
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value) is None:
        raise InvalidOptionError(f"{name}={value!r} in the connection string: use a number")
    return float(value)


def _tls_mode(parameters: dict[str, str]) -> str | None:
    """Remove sslmode and its other names. InvalidOptionError if one asks for TLS and another one does not."""
    words = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
    required = parameters.pop("requiressl", "0")
    check_choice("requiressl", required, ("0", "1"))
    given = {
        "ssl": parameters.pop("ssl", None),  # SQLAlchemy and node-postgres
        "requiressl": "1" if required == "1" else None,
        "sslmode": parameters.pop("sslmode", None),
    }
    mode, name = None, ""
    for other, value in given.items():
        if value is None:
            continue
        wanted = value if other == "sslmode" else words.get(value, value)
        check_choice(other, wanted, _TLS_MODES)
        # sslmode=verify-full beside ssl=true only says how.
        if mode not in (None, wanted) and not (mode == "require" and wanted in _ENFORCING):
            raise InvalidOptionError(
                f"{name}={given[name]} and {other}={value} in the connection string contradict each other: leave "
                "one out"
            )
        mode, name = wanted, other
    return mode


def _tls(parameters: dict[str, str]) -> dict[str, Any]:
    """Remove the parameters of TLS. Returns the driver's arguments."""
    is_system = parameters.get("sslrootcert") == "system"
    mode = _tls_mode(parameters) or ("verify-full" if is_system else None)
    files = _popped(parameters, _TLS_FILES)
    for name in ("ssl_min_protocol_version", "ssl_max_protocol_version"):
        check_choice(name, files.get(name, "TLSv1.2"), _TLS_VERSIONS)
    negotiation = parameters.pop("sslnegotiation", "postgres")
    check_choice("sslnegotiation", negotiation, ("postgres", "direct"))
    direct: dict[str, Any] = {"direct_tls": True} if negotiation == "direct" else {}
    if direct and mode not in _ENFORCING:
        raise InvalidOptionError("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")
    if is_system:
        if mode != "verify-full" or len(files) > 1:
            raise InvalidOptionError("sslrootcert=system needs sslmode=verify-full, and no other parameter of TLS")
        return {"ssl": True, **direct}
    unused = [name for name in ("sslrootcert", "sslcrl", "ssl_min_protocol_version") if name in files]
    if mode == "disable" and unused:
        raise InvalidOptionError(f"{unused[0]} and sslmode=disable contradict each other: leave one out")
    if mode is not None:
        files["sslmode"] = mode
    return {**({"dsn": f"postgresql://?{urlencode(files, quote_via=quote)}"} if files else {}), **direct}


def _refuse_unsupported(parameters: dict[str, str]) -> None:
    """Remove what asks for nothing. InvalidOptionError for what the driver does not do."""
    for name, (harmless, instead) in _UNSUPPORTED.items():
        value = parameters.pop(name, None)
        if value is not None and value.lower() not in harmless:
            raise InvalidOptionError(f"{name} in the connection string is not supported: {instead}")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise InvalidOptionError unless the value is one of the choices."""
    if value not in choices:
        raise InvalidOptionError(f"{name} {short_repr(value)}: use one of {', '.join(choices)}")

"""Options and connection strings are accepted in common forms, and refused before anything is sent."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Connection, MakeStorage
from tests.pgbouncer import THROUGH_POOLER
from voltmem import InvalidOptionError, PostgresStorage
from voltmem._postgres.passfile import password_for
from voltmem._tables import MAX_PREFIX_LENGTH, Tables
from voltmem._targets import ConnectionTarget, connection_target


def places(target: ConnectionTarget) -> list[tuple[str, int]]:
    return [(host["host"], host["port"]) for host in target.hosts]


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"])
async def test_a_connection_string_of_another_library_works(
    scheme: str, dsn: str, make_storage: MakeStorage, migrated: str
) -> None:
    """Connection strings with the schemes of SQLAlchemy, Django or Heroku are accepted."""
    storage = make_storage(f"{scheme}://{dsn.partition('://')[2]}")

    assert await storage.count_conversations() == 0


@pytest.mark.parametrize(
    "parameters",
    [
        "channel_binding=prefer",
        "connect_timeout=5",
        "connect_timeout=0",
        "keepalives=1&keepalives_idle=30",
        "pgbouncer=true&connection_limit=5&pool_timeout=10&schema=public",
        "prepared_statement_cache_size=0",
        "statement_cache_size=50",
        "application_name=mine",
        "target_session_attrs=read-write",
        "target_session_attrs=prefer-standby",
        "ssl=false",
        "sslmode=prefer",
    ],
)
async def test_parameters_that_people_have_in_their_strings_work(
    parameters: str, dsn: str, make_storage: MakeStorage, migrated: str
) -> None:
    """Parameters of libpq, of poolers and of other drivers raise no error, and are not sent to the server."""
    storage = make_storage(f"{dsn.partition('?')[0]}?{parameters}")

    assert await storage.count_conversations() == 0


# Every parameter of libpq 18, with a value that asks for nothing that the tests' server lacks; None: an error.
LIBPQ: Mapping[str, str | None] = {
    "application_name": "mine",
    "channel_binding": "prefer",
    "client_encoding": "UTF8",
    "connect_timeout": "5",
    "fallback_application_name": "mine",
    "gssdelegation": "0",
    "gssencmode": "prefer",
    "gsslib": "gssapi",
    "hostaddr": None,
    "keepalives": "1",
    "keepalives_count": "3",
    "keepalives_idle": "10",
    "keepalives_interval": "10",
    "krbsrvname": "postgres",
    "load_balance_hosts": "disable",
    "max_protocol_version": "latest",
    "min_protocol_version": "3.0",
    "oauth_client_id": None,
    "oauth_client_secret": None,
    "oauth_issuer": None,
    "oauth_scope": None,
    "options": "-c search_path=pg_catalog",
    "passfile": "/no/such/file",
    "replication": "false",
    "require_auth": None,
    "requirepeer": None,
    "requiressl": "0",
    "scram_client_key": None,
    "scram_server_key": None,
    "sslcertmode": "allow",
    "sslcompression": "0",
    "sslcrldir": None,
    "sslkeylogfile": None,
    "sslmode": "prefer",
    "sslnegotiation": "postgres",
    "sslpassword": "secret",
    "sslsni": "1",
    "ssl_max_protocol_version": "TLSv1.3",
    "ssl_min_protocol_version": "TLSv1.2",
    "target_session_attrs": "any",
    "tcp_user_timeout": "1000",
}


@pytest.mark.parametrize(("name", "value"), LIBPQ.items(), ids=LIBPQ)
async def test_a_parameter_of_libpq_works_or_is_named(
    name: str, value: str | None, dsn: str, make_storage: MakeStorage, migrated: str
) -> None:
    """A parameter of libpq has its effect, or the constructor raises an error that names it."""
    if value is None:
        with pytest.raises(InvalidOptionError, match=f"^{name} in the connection string is not supported: "):
            make_storage(f"{dsn.partition('?')[0]}?{name}=x")
        return
    if name == "options" and THROUGH_POOLER:
        pytest.skip("needs a real backend: a pooler refuses settings of a session")
    storage = make_storage(f"{dsn.partition('?')[0]}?{name}={quote(value)}")

    assert await storage.count_conversations() == 0


@pytest.mark.parametrize(
    "parameter",
    [
        "channel_binding=require",
        "client_encoding=latin1",
        "gssencmode=require",
        "min_protocol_version=3.2",
        "replication=database",
        "sslaccept=strict",
        "sslcertmode=require",
        "sslmode=verify",
        "sslnegotiation=direct&sslmode=prefer",
        "ssl_min_protocol_version=SSLv3",
        "sslrootcert=system&sslmode=require",
        "sslrootcert=system&sslcert=client.crt",
    ],
)
def test_a_parameter_that_would_protect_is_never_dropped(parameter: str) -> None:
    """A value that restricts the connection and that the driver cannot do is an error that names the parameter."""
    with pytest.raises(InvalidOptionError, match=parameter.partition("=")[0]):
        PostgresStorage(f"postgresql://h/d?{parameter}")


@pytest.mark.parametrize(
    ("query", "first", "second"),
    [
        ("sslmode=disable&ssl=true", "ssl=true", "sslmode=disable"),
        ("ssl=true&sslmode=disable", "ssl=true", "sslmode=disable"),
        ("ssl=1&sslmode=prefer", "ssl=1", "sslmode=prefer"),
        ("ssl=false&sslmode=verify-full", "ssl=false", "sslmode=verify-full"),
        ("ssl=verify-full&sslmode=require", "ssl=verify-full", "sslmode=require"),
        ("requiressl=1&sslmode=disable", "requiressl=1", "sslmode=disable"),
        ("requiressl=1&ssl=0", "ssl=0", "requiressl=1"),
        ("sslmode=require&sslmode=disable", "sslmode", "twice"),
        ("channel_binding=prefer&channel_binding=disable", "channel_binding", "twice"),
        ("sslmode=disable&sslrootcert=ca.pem", "sslrootcert", "sslmode=disable"),
        ("sslmode=disable&ssl_min_protocol_version=TLSv1.3", "ssl_min_protocol_version", "sslmode=disable"),
        ("sslmode=disable&sslnegotiation=direct", "sslnegotiation", "sslmode"),
        ("pgbouncer=true&statement_cache_size=100", "pgbouncer", "statement_cache_size"),
        ("prepared_statement_cache_size=0&statement_cache_size=9", "prepared_statement_cache_size", " statement_cache"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(query: str, first: str, second: str) -> None:
    """Where one parameter asks for protection and another one takes it away, the error names both."""
    for connection in (f"postgresql://h/d?{query}", "host=h " + query.replace("&", " ")):
        with pytest.raises(InvalidOptionError, match=f"{first}.*{second}"):
            PostgresStorage(connection)


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("ssl=true&sslmode=verify-full", "verify-full"),
        ("requiressl=1&sslmode=verify-ca", "verify-ca"),
        ("requiressl=0&sslmode=require", "require"),
        ("ssl=false&sslmode=disable", "disable"),
        ("sslmode=require&sslmode=require", "require"),
    ],
)
def test_parameters_that_ask_for_the_same_work_together(query: str, mode: str) -> None:
    """ssl=true and requiressl=1 ask for TLS, and sslmode beside them says which."""
    assert connection_target(f"postgresql://h/d?{query}").hosts[0]["dsn"] == f"postgresql://?sslmode={mode}"


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        ("pgbouncer=maybe", "true, 1, yes, on, false, 0, no, off"),
        ("requiressl=true", "0, 1"),
        ("load_balance_hosts=yes", "disable, random"),
    ],
)
def test_a_parameter_with_few_values_names_them(query: str, allowed: str) -> None:
    """The error for a value that a parameter cannot have names those that it can have."""
    with pytest.raises(InvalidOptionError, match=f"{query.partition('=')[0]} .*: use one of {allowed}"):
        PostgresStorage(f"postgresql://h/d?{query}")


def test_the_systems_certificates_verify_the_server() -> None:
    """sslrootcert=system verifies the certificate with the system's own, as in libpq."""
    assert connection_target("postgresql://h/d?sslrootcert=system").hosts[0]["ssl"] is True


async def test_a_service_names_the_database(
    dsn: str, make_storage: MakeStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """service= reads the section of libpq's file; what is in the string comes first."""
    found = connection_target(dsn).hosts[0]
    names = {"host": "host", "port": "port", "user": "user", "password": "password", "database": "dbname"}
    lines = [f"{name}={found[key]}" for key, name in names.items() if key in found]
    file = tmp_path / "services"
    file.write_text("\n".join(["[other]", "host=h", "# mine", "[mine]", *lines, "application_name=service"]))
    monkeypatch.setenv("PGSERVICEFILE", str(file))

    for connection in ("postgresql://?service=mine", f"service=mine servicefile={file} application_name=string"):
        async with make_storage(connection).transaction() as tx:
            name = await tx.connection.fetchval("SELECT current_setting('application_name')")
        assert name == ("string" if "string" in connection else "service")
    with pytest.raises(InvalidOptionError, match="no such section"):
        PostgresStorage("postgresql://?service=nobodys")


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("postgresql://ada@h:1/d", "first"),
        ("postgresql://ada@h:1/e", "a:b\\c"),
        ("postgresql://bob@h/d", "of bob"),
        ("postgresql://bob@h:5432/d", "of bob"),
        ("postgresql://eve@/d?host=/sockets", "of sockets"),
        ("postgresql://nobody@h/d", ""),
        ("postgresql://ada:own@h:1/d", None),
    ],
)
def test_the_password_file_is_read_as_libpq_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: str, expected: str | None
) -> None:
    """The first line that fits has the password; malformed lines and comments are skipped, backslashes escape."""
    file = tmp_path / "pass"
    lines = [
        b"malformed",
        b"h:1:d:ada",
        b"",
        b"#h:1:d:ada:comment",
        b"h:1:d:ada:\xff",
        b"h:1:d:ada:first:rest",
        b"::::",
    ]
    more = [rb"h:*:e:*:a\:b\\c", b"*:5432:*:bob:of bob", b"localhost:*:*:eve:of sockets", b"h:1:d:ada:second"]
    file.write_bytes(b"\n".join([*lines, *more]))
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    monkeypatch.delenv("PGPASSWORD", raising=False)

    assert password_for(connection_target(connection).hosts[0]) == expected


def test_a_password_file_that_others_may_read_is_ignored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that its group or others may read is not used, with a line in the log."""
    file = tmp_path / "pass"
    file.write_text("*:*:*:*:secret")
    file.chmod(0o640)

    found = password_for(connection_target(f"postgresql://ada@h/d?passfile={file}").hosts[0])

    assert found == ("secret" if os.name == "nt" else "")
    assert ("chmod 600" in caplog.text) is (os.name != "nt")


async def test_a_malformed_line_in_the_password_file_does_not_end_connecting(
    tmp_path: Path, dsn: str, make_storage: MakeStorage
) -> None:
    """A storage connects, although the password file has lines that libpq skips."""
    host = connection_target(dsn).hosts[0]
    file = tmp_path / "pass"
    file.write_text(f"malformed\n*:*:*:*:{host.get('password', '')}")
    file.chmod(0o600)
    place = f"{host.get('host', 'localhost')}:{host.get('port', 5432)}"
    storage = make_storage(f"postgresql://{host['user']}@{place}/{host['database']}?passfile={file}")

    assert await storage.count_conversations() == 0


async def test_the_application_name_is_ours_unless_given(dsn: str, make_storage: MakeStorage) -> None:
    """pg_stat_activity shows the application_name of the connection string, or "voltmem"."""
    names = []
    for query in ("", "?application_name=mine"):
        async with make_storage(f"{dsn.partition('?')[0]}{query}").transaction() as tx:
            names.append(await tx.connection.fetchval("SELECT current_setting('application_name')"))

    assert names == ["voltmem", "mine"]


async def test_a_pooler_in_transaction_mode_gets_no_prepared_statements(
    dsn: str, make_storage: MakeStorage, schema: str
) -> None:
    """With pgbouncer=true no statement stays prepared on a connection."""
    storage = make_storage(f"{dsn.partition('?')[0]}?pgbouncer=true")
    await storage.get_conversation("any")

    async with storage.transaction() as tx:
        await tx.get_conversation("any")
        prepared = await tx.connection.fetch("SELECT statement FROM pg_prepared_statements")

    assert [row["statement"] for row in prepared if schema in row["statement"]] == []  # other clients have theirs


def test_each_host_is_one_target() -> None:
    """Several hosts become several targets with the same login, database and parameters, tried one by one."""
    target = connection_target("postgresql://u:p@one:1,two:2,[::1]:3/db?target_session_attrs=primary&sslmode=require")

    assert places(target) == [("one", 1), ("two", 2), ("::1", 3)]
    assert {(host["user"], host["password"], host["database"]) for host in target.hosts} == {("u", "p", "db")}
    assert {host["dsn"] for host in target.hosts} == {"postgresql://?sslmode=require"}
    assert (target.session, target.name) == ("primary", "one:1,two:2,[::1]:3/db")


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("postgresql://one,two:2/db?port=1", [("one", 1), ("two", 1)]),
        ("postgresql:///db?host=one,two&port=1,2", [("one", 1), ("two", 2)]),
        ("postgresql:///db?host=one:1&host=two:2", [("one", 1), ("two", 2)]),
        ("postgresql://other:9/db?host=one&port=1", [("one", 1)]),
        ("host=one,::1 port=1,2 dbname=db", [("one", 1), ("::1", 2)]),
        ("postgresql://%2Fsockets:1/db", [("/sockets", 1)]),
    ],
)
def test_hosts_and_ports_are_read_as_libpq_reads_them(connection: str, expected: list[tuple[str, int]]) -> None:
    """Hosts and ports may be lists in the query, which replaces the rest of the string, as in libpq and SQLAlchemy."""
    assert places(connection_target(connection)) == expected


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("postgresql://app@127.0.0.1:1/d?port=56100", "127.0.0.1:56100/d"),
        ("postgresql://app@127.0.0.1/d?port=56100", "127.0.0.1:56100/d"),
        ("postgresql://a:1,b:2/d?port=5", "a:5,b:5/d"),
        ("postgresql://a:1,b:2/d?port=5,6", "a:5,b:6/d"),
        ("postgresql://a,b/d?port=5,6", "a:5,b:6/d"),
        ("postgresql://a:1,b:2/d?host=x,y", "x:1,y:2/d"),
        ("postgresql://a:1/d?host=x,y", "x:1,y:1/d"),
        ("postgresql://a:1,b:2/d?host=x,y&port=5,6", "x:5,y:6/d"),
        ("postgresql://a:1/d?host=x:5&host=y:6", "x:5,y:6/d"),
        ("postgresql://a:1/d?host=%2Fsockets", "/sockets:1/d"),
        ("postgresql://[::1]:1/d?port=5", "[::1]:5/d"),
        ("postgresql://a:1/d?host=::1", "[::1]:1/d"),
        ("postgresql://a:1/d?dbname=e", "a:1/e"),
        ("postgresql://a:1/d?database=e", "a:1/e"),
        ("postgresql://a:1/d?port=", "a/d"),
        ("postgresql:///d?host=a&port=5", "a:5/d"),
        ("host=a,b port=5 dbname=d", "a:5,b:5/d"),
    ],
)
def test_the_query_replaces_what_stands_before_it(connection: str, expected: str) -> None:
    """host, port and dbname of the query are what is connected to, and what errors and the log name."""
    target = connection_target(connection)

    shown = [f"[{each['host']}]" if ":" in each["host"] else each["host"] for each in target.hosts]
    used = ",".join(
        f"{name}:{each['port']}" if "port" in each else name for name, each in zip(shown, target.hosts, strict=True)
    )
    assert f"{used}/{target.hosts[0]['database']}" == target.name == expected


@pytest.mark.parametrize(
    ("connection", "why"),
    [
        ("postgresql://h:1/d?port=zz", "the port is a number"),
        ("postgresql://h:1/d?port=70000", "the port is a number"),
        ("postgresql://h:1/d?port=1&port=2", "1 hosts and 2 ports"),
        ("postgresql://a:1,b:2/d?host=x", "1 hosts and 2 ports"),
        ("postgresql://a:1,b:2,c:3/d?port=5,6", "3 hosts and 2 ports"),
        ("postgresql://h/d?host=a:1&port=2", "a port in host and in port"),
        ("host=a:1 port=2", "a port in host and in port"),
        ("postgresql://h/d?database=a&dbname=b", "database and dbname"),
    ],
)
def test_places_that_contradict_each_other_are_refused(connection: str, why: str) -> None:
    """A port that is no number, and two ports for one host, are errors also where the query replaces others."""
    with pytest.raises(InvalidOptionError, match=why):
        PostgresStorage(connection)


def test_the_variables_are_what_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the string has no host, port or database, logs name those of the environment, which are used."""
    for name, value in {"PGHOST": "there", "PGPORT": "7", "PGDATABASE": "e"}.items():
        monkeypatch.setenv(name, value)

    assert connection_target("postgresql://").name == connection_target({}).name == "there:7/e"


def test_hosts_are_shuffled_where_load_is_to_be_balanced() -> None:
    """load_balance_hosts=random changes the order in which hosts are tried, and loses none."""
    hosts = ",".join(f"h{number}:{number}" for number in range(1, 30))

    found = {tuple(places(connection_target(f"postgresql://{hosts}/d?load_balance_hosts=random"))) for _ in range(5)}

    assert len(found) > 1
    assert {frozenset(each) for each in found} == {frozenset((f"h{n}", n) for n in range(1, 30))}


def test_a_socket_folder_is_a_host() -> None:
    """host= in the query may be a folder of sockets, as in libpq."""
    target = connection_target("postgresql:///db?host=/var/run/postgresql")

    assert (target.name, target.hosts[0]["host"]) == ("/var/run/postgresql/db", "/var/run/postgresql")


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("host=h user=u password='a b\\'c\\\\' dbname=d", ("u", "a b'c\\", "d")),
        ("user = u password=a\\ b host = h dbname = 'd e'", ("u", "a b", "d e")),
        ("postgresql://app@server:pa:ss@h/d", ("app@server", "pa:ss", "d")),
        ("postgresql://u:a@b[c]@h/d", ("u", "a@b[c]", "d")),
        ("postgresql://u:p@h/d?user=other&password=o#ther&dbname=e", ("other", "o#ther", "e")),
        ("POSTGRES://u:%C3%A4@h/d", ("u", "ä", "d")),
    ],
)
def test_a_login_is_read_in_each_form(connection: str, expected: tuple[str, str, str]) -> None:
    """A login is read from a URL, from its query and from libpq's keywords, with special characters where they fit."""
    (host,) = connection_target(connection).hosts

    assert (host["user"], host["password"], host["database"]) == expected


@pytest.mark.parametrize(
    "connection",
    [
        "",
        "localhost",
        "mysql://u:p@h/db",
        "postgresql://u:sec/ret@h/db",
        "postgresql://u:sec#ret@h/db",
        "postgresql://u:sec?ret@h/db",
        "postgresql://u:12?secret@h/db",
        "postgresql://u:secret@h:port/db",
        "postgresql://u:secret@h/db?target_session_attrs=secret-writer",
        "postgresql://u:secret@h/db?connect_timeout=soon",
        "postgresql://u:secret@h/db?statement_cache_size=-1",
        "postgresql://u:secret%00@h/db",
        "postgresql://u:secret%ff@h/db",
        "postgresql://u@h/db?password=12&secret",
        "postgresql://u@h/db?password=12&secret=1",
        "postgresql://u@h/db?passwd=secret",
        "postgresql://u@h/db?scram_client_key=secret",
        "postgresql://u@h/db?dbname=postgresql://u:secret%40h/d",
        "postgresql://u:secret@h,g/db?port=1,2,3",
        "host=h password=12 secret=1",
        "host=h password='12 secret",
        "host=h password=12 secret",
        "host=u:secret@h",
        {"host": "postgresql://u:secret@h/db"},
        {"host": "h", "database": "postgresql://u:secret@h/db"},
        {"host": "h", "password": "secret\0"},
        {"host": "h", "pasword": "secret"},
        {"host": "h", "port": "5432", "password": "secret"},
        {"host": "h", "password": b"secret"},
        {"host": "h", "ssl": "secret"},
        42,
    ],
)
def test_a_connection_that_cannot_be_is_refused_without_its_secrets(connection: Any) -> None:
    """An invalid connection is refused by the constructor, without any part of a password in the error."""
    with pytest.raises(InvalidOptionError) as refused:
        PostgresStorage(connection)

    said = str(refused.value).replace("secret-writer", "")
    assert not [part for part in ("secret", "sec/", "/ret", "sec#", "sec?", "12?") if part in said]


@pytest.mark.parametrize(
    ("connection", "why"),
    [
        ("mysql://u:secret@h/db", "has the scheme 'mysql'; it must look like"),
        ("localhost", "connection string must look like"),
        ("postgresql://h:abc/db", "host or port in the connection string is invalid: the port is a number"),
        ("postgresql://u:secret@h:99999/db", "host or port in the connection string is invalid: the port is a number"),
        ("postgresql://u:sec/ret@h/db", "percent-encode special characters"),
    ],
)
def test_the_error_names_what_is_wrong_in_a_connection_string(connection: str, why: str) -> None:
    """The error names the scheme, the port, or characters that are not percent-encoded."""
    with pytest.raises(InvalidOptionError, match=why):
        PostgresStorage(connection)


@given(user=st.text(min_size=1, max_size=20), password=st.text(max_size=30), database=st.text(min_size=1, max_size=20))
def test_a_percent_encoded_login_is_never_shown(user: str, password: str, database: str) -> None:
    """A percent-encoded password of any characters is decoded, and never shown."""
    secret = f"<<{password}>>".encode("utf-8", "replace").decode()
    url = f"postgresql://{quote(user.encode('utf-8', 'replace'), safe='')}:{quote(secret, safe='')}@h/d"

    storage = PostgresStorage(url)

    assert secret not in repr(storage)
    assert quote(secret, safe="") not in repr(storage) + repr(storage._options)


async def test_a_connection_object_works(dsn: str, connection: Connection, make_storage: MakeStorage) -> None:
    """VoltAgent's object with host, port, database, user, password and ssl is equivalent to the string."""
    host, port = connection._addr  # type: ignore[attr-defined]  # where the tests' server is, whatever its string
    params = connection._params  # type: ignore[attr-defined]
    options = {"host": host, "port": port, "database": params.database, "user": params.user, "ssl": False}
    storage = PostgresStorage({**options, "password": params.password}, schema=make_storage()._options.tables.schema)

    async with storage:
        assert await storage.count_conversations() == 0


async def test_ssl_true_insists_on_tls(connection: Connection, schema: str) -> None:
    """ssl=True requires a verified certificate: a server without TLS is refused."""
    if await connection.fetchval("SELECT current_setting('ssl')") == "on":
        pytest.skip("this server has TLS; what is shown here is a server without")
    host, port = connection._addr  # type: ignore[attr-defined]  # where the tests' server is, whatever its string
    storage = PostgresStorage({"host": host, "port": port, "ssl": True}, schema=schema)

    with pytest.raises(ConnectionError):
        await storage.open()


@pytest.mark.parametrize("tls", [True, False, ssl.create_default_context()])
def test_tls_is_passed_on_as_it_is(tls: object) -> None:
    """True, False or an SSLContext is passed on to the driver, for which True means a verified certificate."""
    target = connection_target({"host": "h", "ssl": tls})

    assert target.hosts[0]["ssl"] is tls


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "a.b", 'a"b', "a b", "ä", "a" * 64, "a\x00", 1, None])
def test_a_schema_or_prefix_that_is_no_plain_identifier_is_refused(name: Any) -> None:
    """A schema or prefix may have lower-case letters, digits and underscores, so that it needs no quoting."""
    with pytest.raises(InvalidOptionError):
        PostgresStorage(table_prefix=name)
    with pytest.raises(InvalidOptionError):
        PostgresStorage(schema=name)


def test_a_prefix_leaves_room_for_the_longest_name() -> None:
    """With the longest prefix, no name is cut at PostgreSQL's 63 bytes."""
    with pytest.raises(InvalidOptionError, match=f"at most {MAX_PREFIX_LENGTH}"):
        PostgresStorage(table_prefix="a" * (MAX_PREFIX_LENGTH + 1))

    assert Tables("public", "a" * MAX_PREFIX_LENGTH).prefix == "a" * MAX_PREFIX_LENGTH


@pytest.mark.parametrize(
    "options",
    [
        {"max_connections": 0},
        {"max_connections": True},
        {"max_connections": 2.0},
        {"storage_limit": -1},
        {"storage_limit": "100"},
        {"storage_limit": False},
        {"on_limit": "forget"},
        {"count_tokens": "o200k"},
        {"on_limit": None},
        {"migrate": "maybe"},
        {"schema": "pg_toast"},
        {"command_timeout": 0},
        {"connect_timeout": float("inf")},
        {"retry_timeout": "1"},
        {"storageLimit": -1},
        {"storageLimit": 1, "storage_limit": 2},
        {"tableprefix": "a"},
        {"connection": "postgresql://h/d", "pool": object()},
    ],
)
def test_an_option_that_cannot_be_is_refused(options: Mapping[str, Any]) -> None:
    """An invalid option is refused by the constructor, which names it and the valid values."""
    with pytest.raises(InvalidOptionError):
        PostgresStorage(**options)


def test_a_storage_is_made_without_io() -> None:
    """Creating a storage does no I/O, so it can be done at module level."""
    storage = PostgresStorage("postgresql://nobody:secret@host.invalid:1/nowhere")

    assert repr(storage) == "<PostgresStorage host.invalid:1/nowhere public.voltagent_memory_*>"


async def test_the_variables_name_the_database(dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """VOLTMEM_DATABASE_URL has precedence over DATABASE_URL; an invalid one is named in the error."""
    monkeypatch.setenv("DATABASE_URL", "mysql://not-this-one")
    monkeypatch.setenv("VOLTMEM_DATABASE_URL", dsn)
    async with PostgresStorage(schema=schema) as storage:
        assert await storage.count_conversations() == 0

    monkeypatch.delenv("VOLTMEM_DATABASE_URL")
    with pytest.raises(
        InvalidOptionError, match="DATABASE_URL: the connection string has the scheme 'mysql'; it must look like"
    ):
        await PostgresStorage(schema=schema).open()

"""The password of a connection is in no error, no cause or context of one, no repr and no log, in whatever form."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import MakeStorage
from tests.properties import examples
from voltmem import DatabaseError, InvalidOptionError, PostgresStorage, VoltMemError

# A server that refuses connections at once, so that the driver has read everything.
NOWHERE = "127.0.0.1:1"
# The forms of a connection string, with a place for the password.
FORMS = {
    "url": "postgresql://ada:{}@" + NOWHERE + "/db",
    "url without port": "postgresql://ada:{}@127.0.0.1/db?port=1",
    "login of a server": "postgresql://ada@server:{}@" + NOWHERE + "/db",
    "hosts": "postgresql://ada:{}@" + NOWHERE + ",127.0.0.1:2/db?target_session_attrs=primary",
    "query": "postgresql://ada@" + NOWHERE + "/db?password={}",
    "query with more": "postgresql://ada@" + NOWHERE + "/db?password={}&connect_timeout=2",
    "query of sslpassword": "postgresql://ada@" + NOWHERE + "/db?sslmode=require&sslpassword={}",
    "wrong scheme": "mysql://ada:{}@" + NOWHERE + "/db",
    "wrong port": "postgresql://ada:{}@127.0.0.1:port/db",
    "wrong mode": "postgresql://ada:{}@" + NOWHERE + "/db?sslmode=nonsense",
    "in quotes": '"postgresql://ada:{}@' + NOWHERE + '/db"',
    "keywords": "host=127.0.0.1 port=1 user=ada password={} dbname=db",
    "keywords in quotes": "host=127.0.0.1 port=1 user=ada password='{}' dbname=db",
    "a string as the database": "postgresql://" + NOWHERE + "/db?dbname=postgresql://ada:{}",
}


def everything(error: BaseException | None) -> str:
    """Return all texts of an error, and of all causes and contexts, also those that a traceback does not print."""
    if error is None:
        return ""
    own = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
    return own + everything(error.__cause__) + everything(error.__context__)


@contextmanager
def captured_log() -> Iterator[list[str]]:
    """Yield the messages that are logged anywhere in the block."""
    messages: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(self.format(record))

    handler, root = Handler(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield messages
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def shown_by(connection: str) -> str:
    """Return all that is shown when a storage with this connection string is made and opened, in vain."""

    async def open_it() -> str:
        try:
            storage = PostgresStorage(connection, debug=True, retry_timeout=0.001, migrate="off")
        except VoltMemError as error:
            return everything(error)
        with pytest.raises(VoltMemError) as failed:
            async with storage, storage.transaction():
                pass
        return everything(failed.value) + repr(storage) + repr(storage._options)

    with captured_log() as messages:
        return asyncio.run(open_it()) + "".join(messages)


@pytest.mark.hypothesis
@pytest.mark.parametrize("form", FORMS)
@examples(25, more=4)
@given(middle=st.text(st.characters(), max_size=12) | st.text("@:/?#[]%&='\\ ,\u2100\uff20\t\n\0a", max_size=12))
def test_a_password_is_shown_in_no_form(form: str, middle: str) -> None:
    """Neither a percent-encoded password nor one as it is, whatever its characters, is shown in part."""
    as_it_is = f"S3{middle}3S"
    encoded = quote(as_it_is.encode("utf-8", "surrogatepass"), safe="")

    for password in (as_it_is, encoded):
        shown = shown_by(FORMS[form].format(password))
        assert "S3" not in shown
        assert "3S" not in shown


async def test_a_password_of_a_service_or_a_password_file_is_not_shown(
    tmp_path: Path, make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines of libpq's files are in no error, also when they are malformed."""
    for text in (
        "[s]\npassword=S3cret%z\nhost=127.0.0.1\nport=1",
        "[s]\npassword=a\nS3cret",
        "S3cret\n[s",
        "[s]\nport=S3",
    ):
        (tmp_path / "services").write_text(text)
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        with pytest.raises(VoltMemError) as failed:
            await make_storage("postgresql://?service=s", retry_timeout=0.001).open()
        assert "S3" not in everything(failed.value).replace(str(tmp_path), "")
    for line in (b"*:*:*:*:S3cret", b"S3cret", b"*:*:*:*:S3cret\xff"):
        (tmp_path / "pass").write_bytes(line)
        (tmp_path / "pass").chmod(0o600)
        with pytest.raises(VoltMemError) as failed:
            await make_storage(f"postgresql://{NOWHERE}?passfile={tmp_path / 'pass'}", retry_timeout=0.001).open()
        assert "S3" not in everything(failed.value).replace(str(tmp_path), "")


@pytest.mark.parametrize(
    "dsn", ["postgresql://ada@server:S3cret@h/d", "postgresql://ada:[S3cret]@h/d", "postgresql://ada:b@[S3cret@h/d"]
)
async def test_a_pool_that_cannot_read_its_string_does_not_show_it(dsn: str) -> None:
    """The driver quotes the string of the caller's pool that it cannot read; voltmem's error does not."""
    pool = asyncpg.create_pool(dsn, min_size=0)
    await pool

    with pytest.raises(DatabaseError, match="the pool that was given") as failed:
        await PostgresStorage(pool=pool).open()

    assert "S3" not in everything(failed.value)


async def test_a_variable_that_the_driver_cannot_read_is_not_shown(
    make_storage: MakeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGPORT and PGHOST are named, and not quoted: they may hold a whole connection string by mistake."""
    monkeypatch.setenv("PGPORT", "postgresql://ada:S3cret@h/d")

    with pytest.raises(DatabaseError, match="PGPORT") as failed:
        await make_storage("postgresql://127.0.0.1/db").open()

    assert "S3" not in everything(failed.value)


def test_a_login_that_must_be_encoded_is_told_how() -> None:
    """The error for an unencoded special character says what to do."""
    with pytest.raises(InvalidOptionError, match=r"percent-encode special characters .*urllib\.parse\.quote"):
        PostgresStorage("postgresql://ada:a/b@h/d")

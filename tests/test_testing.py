"""The helpers for applications' own tests."""

import asyncio
import atexit
import importlib
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import voltmem.testing
from tests.conftest import Connection
from voltmem import MissingExtraError
from voltmem.testing import server, temporary_storage

SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname = $1"


async def test_a_temporary_storage_is_gone_afterwards(connection: Connection) -> None:
    """A temporary storage is open and empty; its schema is dropped at the end, also when the test fails."""
    schemas: list[str] = []

    async def failing_test() -> None:
        async with temporary_storage(storage_limit=1) as storage:
            schemas.append(storage._options.tables.schema)
            await storage.create_conversation({"id": "c1", "user_id": "ada"})
            assert await connection.fetchval(SCHEMAS, schemas[0]) == schemas[0]
            raise RuntimeError("the test failed")

    with pytest.raises(RuntimeError, match="the test failed"):
        await failing_test()

    assert await connection.fetchval(SCHEMAS, schemas[0]) is None


async def test_temporary_storages_do_not_meet() -> None:
    """Two temporary storages at the same time share nothing."""
    async with temporary_storage() as one, temporary_storage() as two:
        await one.create_conversation({"id": "c1", "user_id": "ada"})

        assert await two.get_conversation("c1") is None


def test_the_server_is_started_once_and_shows_no_password() -> None:
    """Every call of server() returns the same server, and its repr shows no password."""
    assert server() is server()
    assert server().dsn not in repr(server())


@pytest.fixture
def daemon() -> Iterator[socket.socket]:
    """A server that listens at Docker's address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def docker(daemon: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set Docker as the choice, at the daemon's address."""
    monkeypatch.delenv("VOLTMEM_TEST_DSN", raising=False)
    monkeypatch.setenv("VOLTMEM_TEST_PG", "docker")
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{daemon.getsockname()[1]}")


async def answer(daemon: socket.socket, status: bytes) -> None:
    """Answer the next request. Started before the request, since that waits for a second only."""

    def serve() -> None:
        client, _ = daemon.accept()
        with client:
            client.recv(1000)
            client.sendall(b"HTTP/1.0 " + status + b"\r\n\r\n")

    await asyncio.to_thread(serve)


@pytest.mark.usefixtures("docker")
async def test_a_docker_that_answers_gets_a_container_of_any_image(
    daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VOLTMEM_TEST_PG=docker starts VOLTMEM_TEST_IMAGE, and stops it with the process."""
    monkeypatch.setenv("VOLTMEM_TEST_IMAGE", "postgres:13-alpine")
    stopped: list[object] = []

    class PostgresContainer:
        def __init__(self, image: str, driver: None) -> None:
            self.image = image

        def start(self) -> "PostgresContainer":
            return self

        def stop(self) -> None:
            stopped.append(self)

        def get_connection_url(self) -> str:
            return f"postgresql://test:secret@host/{self.image}"

    def find(name: str) -> Any:
        if "community" in name:
            raise ImportError(name)
        return SimpleNamespace(PostgresContainer=PostgresContainer)

    monkeypatch.setattr(importlib, "import_module", find)
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", registered.append)

    _, started = await asyncio.gather(answer(daemon, b"200 OK"), asyncio.to_thread(voltmem.testing._start))

    assert (started.kind, started.dsn) == (
        "docker postgres:13-alpine",
        "postgresql://test:secret@host/postgres:13-alpine",
    )
    assert "secret" not in repr(started)
    registered[0]()
    assert len(stopped) == 1


@pytest.mark.usefixtures("docker")
async def test_docker_without_its_extra_says_what_to_install(
    daemon: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Docker answers but testcontainers is missing, the error names the extra."""

    def find(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", find)

    with pytest.raises(MissingExtraError, match="docker"):
        await asyncio.gather(answer(daemon, b"200 OK"), asyncio.to_thread(voltmem.testing._start))


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize("status", [b"500 Broken", None])
async def test_a_docker_that_does_not_answer_is_not_waited_for(status: bytes | None, daemon: socket.socket) -> None:
    """A daemon that is broken or hangs is given a second; then the embedded server is used."""
    answers = [] if status is None else [answer(daemon, status)]

    answered, *_ = await asyncio.gather(asyncio.to_thread(voltmem.testing._docker_answers), *answers)

    assert answered is False


@pytest.mark.parametrize("host", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1", "tcp://host.invalid:1"])
def test_no_docker_is_no_error(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Docker daemon nothing is raised."""
    monkeypatch.setenv("DOCKER_HOST", host)

    assert voltmem.testing._docker_answers() is False

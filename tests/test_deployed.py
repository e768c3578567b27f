"""The example that is deployed: two workers, sign-in with sessions, and no requests of other sites' pages."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2
import pytest

from tests.checkout import ROOT

TEAM = "/team"


@pytest.fixture
async def address(database: str) -> AsyncIterator[str]:
    """The address of the example, which runs on two workers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "examples.deployed.app:app", "--workers", "2", "--port", str(port)),
        *("--root-path", TEAM, "--timeout-graceful-shutdown", "1", "--log-level", "warning"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VOLTMEM_DATABASE_URL": database, "SESSION_SECRET": "s" * 32},
    )
    try:
        async with asyncio.timeout(60), httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as asking:
            while True:
                try:
                    await asking.get("/health")
                    break
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def signed_in(address: str, stack: AsyncExitStack) -> tuple[httpx2.AsyncClient, int]:
    """Return a client of ada's with a connection of its own, and the process that it leads to."""
    client = await stack.enter_async_context(httpx2.AsyncClient(base_url=address, timeout=30))
    response = await client.post("/sign-in", data={"name": "ada", "password": "lovelace"})
    assert (response.status_code, response.headers["Location"]) == (303, f"{TEAM}/chat/")
    cookie = response.headers["Set-Cookie"]
    assert all(each in cookie for each in ("__Host-session=", "path=/;", "httponly", "samesite=lax", "secure"))
    client.headers["Cookie"] = cookie.partition(";")[0]  # which a client sends over HTTPS only
    return client, (await client.get("/health")).json()["process"]


async def said(lines: AsyncIterator[str], wanted: str) -> None:
    """Read a stream of events until one has this text."""
    async for line in lines:
        if wanted in line:
            return
    raise AssertionError(f"nobody said {wanted}")


async def test_a_reload_joins_the_answer_in_another_worker(address: str) -> None:
    """An answer that one worker writes is joined through the other after the page is gone, and stopped there."""
    async with AsyncExitStack() as stack:
        one, first = await signed_in(address, stack)
        page = await one.get("/chat/")
        assert f'src="{TEAM}/chat/static/' in page.text
        made = (await one.post("/chat/api/conversations", json={})).json()["id"]
        question = {"conversationId": made, "messageId": "m1", "text": "How long?"}
        async with one.stream("POST", "/chat/api/chat", json=question) as response:
            await said(response.aiter_lines(), f"Process {first} counts:")

        other, second = await signed_in(address, stack)
        while second == first:  # the system chooses which of them accepts a connection
            other, second = await signed_in(address, stack)
        async with other.stream("GET", f"/chat/api/chat/{made}/stream") as response:
            assert response.status_code == 200
            lines = response.aiter_lines()
            await said(lines, f"Process {first} counts:")
            await other.post(f"/chat/api/chat/{made}/stop")
            await said(lines, '"stopped"')


OURS = {"Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize(
    ("headers", "is_refused"),
    [
        (OURS, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://team.example"}, True),
        ({"Origin": "http://team.example"}, False),
        ({}, False),
    ],
)
async def test_another_sites_page_changes_nothing(
    headers: dict[str, str], is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another site's page sends with the cookie is refused, by each method that may change something."""
    monkeypatch.setenv("SESSION_SECRET", "s" * 32)
    from examples.deployed.app import app

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://team.example") as client:
        for method, path in (("POST", "/sign-out"), ("DELETE", "/chat/api/me"), ("PATCH", "/chat/api/tags")):
            response = await client.request(method, path, headers=headers)
            assert (response.status_code == 403) is is_refused
        assert (await client.get("/sign-in", headers=headers)).status_code == 200


async def test_a_wrong_password_signs_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name or password is refused, without a session; the chat's routes are closed."""
    monkeypatch.setenv("SESSION_SECRET", "s" * 32)
    from examples.deployed.app import app

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="https://team.example") as client:
        for name, password in (("ada", ""), ("ada", "hopper"), ("eve", ""), ("", "")):
            response = await client.post("/sign-in", data={"name": name, "password": password})
            assert response.status_code == 401
            assert "Set-Cookie" not in response.headers
        assert (await client.get("/chat/api/conversations")).status_code == 401

"""
Firefox and WebKit, where the machine has them: Debian's firefox-esr, and its webkit2gtk-driver with xvfb.

Firefox is driven by WebDriver BiDi, which it speaks itself, WebKit by its WebDriver. Without one, a test that asks for
it is skipped.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect

KEYS: Final = {"Enter": "\ue007"}
_PATIENCE: Final = 60  # seconds; far more than anything here takes, so that its end means failure


class Page(Protocol):
    """A page of a browser."""

    async def go(self, address: str) -> None:
        """Open an address, and wait until it is loaded."""
        ...

    async def run(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript, as JSON."""
        ...

    async def type(self, *keys: str) -> None:
        """Type texts, or keys of KEYS by their names, where the focus is."""
        ...

    async def problems(self) -> list[str]:
        """Return the errors that the browser has told of. All of the last page, at least."""
        ...


async def until(page: Page, expression: str) -> None:
    """Wait until an expression of JavaScript is true."""
    try:
        async with asyncio.timeout(_PATIENCE):
            while not await page.run(f"Boolean({expression})"):  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        shown = await page.run("document.body.innerText")
        raise AssertionError(f"{expression} is not true; the page has:\n{shown}\n{await page.problems()}") from None


def _actions(keys: tuple[str, ...]) -> list[dict[str, Any]]:
    pressed = [each for key in keys for each in ([KEYS[key]] if key in KEYS else key)]
    strokes = [{"type": kind, "value": each} for each in pressed for kind in ("keyDown", "keyUp")]
    return [{"type": "key", "id": "keyboard", "actions": strokes}]


# --- Firefox ----------------------------------------------------------------------------------------------------------


class _Firefox:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._problems: list[str] = []
        self._context = ""

    async def start(self) -> None:
        await self._call("session.new", capabilities={})
        await self._call("session.subscribe", events=["log.entryAdded"])
        self._context = (await self._call("browsingContext.getTree"))["contexts"][0]["context"]

    async def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        await self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(_PATIENCE):
            while True:
                given = json.loads(await self._connection.recv())
                if given.get("method") == "log.entryAdded" and given["params"]["level"] == "error":
                    self._problems.append(str(given["params"]["text"]))
                if given.get("id") == number:
                    assert given["type"] == "success", given
                    return given["result"]

    async def go(self, address: str) -> None:
        await self._call("browsingContext.navigate", context=self._context, url=address, wait="complete")

    async def run(self, expression: str) -> Any:
        found = await self._call(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": self._context},
            awaitPromise=True,
        )
        assert found["type"] == "success", found
        return json.loads(found["result"].get("value", "null"))

    async def type(self, *keys: str) -> None:
        await self._call("input.performActions", context=self._context, actions=_actions(keys))

    async def problems(self) -> list[str]:
        return self._problems


@asynccontextmanager
async def _firefox() -> AsyncIterator[Page]:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("there is no Firefox: install firefox-esr")
    with TemporaryDirectory() as profile:
        process = await asyncio.create_subprocess_exec(
            *(program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"),
            env={**os.environ, "HOME": profile},
            stdout=DEVNULL,
            stderr=PIPE,
            start_new_session=True,
        )
        try:
            async with connect(await _address(process) + "/session", max_size=None) as connection:
                page = _Firefox(connection)
                await page.start()
                yield page
        finally:
            await _end(process)


async def _address(process: Process) -> str:
    assert process.stderr is not None
    async with asyncio.timeout(_PATIENCE):
        async for line in process.stderr:
            if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", line.decode()):
                return found[1]
    raise AssertionError("Firefox has ended")


# --- WebKit -----------------------------------------------------------------------------------------------------------

# A page has no log for WebDriver, so it keeps its own, from the end of its load on.
_LISTEN: Final = """
    window.problems = [];
    addEventListener("error", (event) => problems.push(event.message));
    addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
    console.error = (...given) => problems.push(given.join(" "));
"""


class _WebKit:
    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def _call(self, path: str, **given: Any) -> Any:
        response = await self._client.post(path, json=given)
        assert response.status_code == 200, response.text
        return response.json()["value"]

    async def start(self, browser: str) -> None:
        options = {"binary": browser, "args": ["--automation"]}
        made = await self._call("/session", capabilities={"alwaysMatch": {"webkitgtk:browserOptions": options}})
        self._client.base_url = f"{self._client.base_url}session/{made['sessionId']}"

    async def go(self, address: str) -> None:
        await self._call("/url", url=address)
        await self._call("/execute/sync", script=_LISTEN, args=[])

    async def run(self, expression: str) -> Any:
        return json.loads(
            await self._call("/execute/sync", script=f"return JSON.stringify({expression}) ?? 'null'", args=[])
        )

    async def type(self, *keys: str) -> None:
        await self._call("/actions", actions=_actions(keys))

    async def problems(self) -> list[str]:
        found: list[str] = await self.run("window.problems")
        return found

    async def end(self) -> None:
        await self._client.delete("")


@asynccontextmanager
async def _webkit() -> AsyncIterator[Page]:
    browser = next(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), None)
    programs = [shutil.which(name) for name in ("WebKitWebDriver", "Xvfb")]
    if browser is None or None in programs:
        pytest.skip("there is no WebKit: install webkit2gtk-driver and xvfb")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    screen = await asyncio.create_subprocess_exec(
        *("Xvfb", "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"),
        stdout=PIPE,
        stderr=DEVNULL,
        start_new_session=True,
    )
    driver: Process | None = None
    try:
        assert screen.stdout is not None
        display = f":{(await screen.stdout.readline()).decode().strip()}"
        driver = await asyncio.create_subprocess_exec(
            *("WebKitWebDriver", f"--port={port}"),
            env={**os.environ, "DISPLAY": display, "GDK_BACKEND": "x11"},
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,
        )
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}/", timeout=_PATIENCE) as client:
            await _listening(client)
            page = _WebKit(client)
            await page.start(str(browser))
            yield page
            await page.end()
    finally:
        for process in (driver, screen):
            if process is not None:
                await _end(process)


async def _listening(client: httpx2.AsyncClient) -> None:
    async with asyncio.timeout(_PATIENCE):
        while True:
            try:
                await client.get("/status")
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


async def _end(process: Process) -> None:
    """End a program and those that it has started."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


BROWSERS: Final = {"Firefox": _firefox, "WebKit": _webkit}

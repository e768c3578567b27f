"""Serves the chat on this machine, for ``python -m voltmem chat`` and the example."""

from __future__ import annotations

import asyncio
import logging
import socket
import webbrowser
from collections.abc import Sequence
from types import FrameType
from typing import Final

from voltmem.chat._agents import Agent
from voltmem.chat._answering import Answer
from voltmem.chat._answers import MakeTitle
from voltmem.chat._app import app
from voltmem.chat._languages import Languages
from voltmem.errors import MissingExtraError
from voltmem.storage import PostgresStorage

try:
    import uvicorn
except ImportError as error:
    raise MissingExtraError("uvicorn", "chat") from error

HOST: Final = "127.0.0.1"
_OWN: Final = ("localhost", HOST)


def you() -> str:
    """Return the user. On your own machine that is always you; a server would read its session here."""
    return "you"


async def serve(
    storage: PostgresStorage,
    answer: Answer | Agent,
    port: int,
    *,
    models: Sequence[str] = (),
    suggestions: Sequence[str] = (),
    make_title: MakeTitle | None = None,
    languages: Languages | None = None,
    opens_browser: bool = True,
) -> None:
    """Serve the chat until Ctrl-C, on this port or a free one. The caller has opened the storage."""
    made = app(
        storage,
        answer,
        you,
        make_title=make_title,
        suggestions=suggestions,
        models=models,
        languages=languages,
        allowed_hosts=_OWN,
    )
    with listening(port) as listener:
        address = f"http://{HOST}:{listener.getsockname()[1]}/"
        # Event streams never end by themselves. On Ctrl-C they are given one second.
        config = uvicorn.Config(made, log_level="warning", timeout_graceful_shutdown=1)
        await _Server(config, address, opens_browser=opens_browser).serve([listener])


def listening(port: int) -> socket.socket:
    """Create a socket on this port, or on a free port if it is in use."""
    try:
        listener = socket.create_server((HOST, port))
    except OSError:
        listener = socket.create_server((HOST, 0))
    # asyncio does this for the sockets that it creates. Without it, the body of a response, or a piece of a stream,
    # may wait 40 ms until the browser acknowledges the one before.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server(uvicorn.Server):
    """A server that prints its address once it accepts requests."""

    def __init__(self, config: uvicorn.Config, address: str, *, opens_browser: bool) -> None:
        super().__init__(config)
        self._address = address
        self._opens_browser = opens_browser

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"The chat is at {self._address} (press Ctrl-C to stop it)", flush=True)
        if self._opens_browser:
            await asyncio.to_thread(webbrowser.open, self._address)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # The event streams that are closed now are not errors.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)

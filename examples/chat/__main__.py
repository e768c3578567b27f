"""``python -m examples.chat``, or ``make sidebar``: run the application on this machine, with the embedded database."""

import argparse
import asyncio
import contextlib
import logging
import socket
import webbrowser
from pathlib import Path
from types import FrameType

import uvicorn

from examples.chat.app import application, you
from examples.chat.load import load
from examples.chat.model import from_environment
from voltmem import PostgresStorage

HOST = "127.0.0.1"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.chat", description="A chat application with a sidebar.")
    parser.add_argument("--load", type=Path, metavar="FILE", help="load conversations from a .jsonl or .jsonl.gz file")
    parser.add_argument("--port", type=int, default=8765, help="the port (default: 8765); a free one if it is in use")
    parser.add_argument("--no-browser", action="store_true", help="don't open the browser")
    parser.add_argument("--connection", metavar="DSN", help="a connection string, instead of the embedded database")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(given.connection, given.load, given.port, opens_browser=not given.no_browser))


async def run(connection: str | None, file: Path | None, port: int, *, opens_browser: bool) -> None:
    model = from_environment()
    storage = PostgresStorage(connection, search=True, storage_limit=None)
    async with storage:
        if file is not None:
            print(f"loading {file} …", flush=True)
            print(f"loaded {await load(storage, file, you()):,} conversations", flush=True)
        with listening(port) as listener:
            address = f"http://{HOST}:{listener.getsockname()[1]}/"
            # Event streams never end by themselves. On Ctrl-C they are given one second.
            config = uvicorn.Config(application(storage, model), log_level="warning", timeout_graceful_shutdown=1)
            server = Server(config, address, opens_browser=opens_browser)
            await server.serve([listener])


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


class Server(uvicorn.Server):
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


if __name__ == "__main__":
    main()

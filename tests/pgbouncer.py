"""PgBouncer in transaction mode, in front of a server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from voltmem._postgres.embedded.programs import Account

PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
THROUGH_POOLER: Final = bool(os.environ.get("VOLTMEM_TEST_PGBOUNCER"))
"""Whether the storages of the tests connect through PgBouncer."""


class PgBouncer:
    """``with PgBouncer(dsn, max_client_conn=4) as pooler``: connect to ``pooler.dsn``, which needs no password."""

    def __init__(self, dsn: str, **settings: object) -> None:
        self._server = urlsplit(dsn)
        self._folder = Path(tempfile.mkdtemp(prefix="voltmem-pgbouncer-"))
        self._account = Account.for_server_in(self._folder / "missing")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        wanted = "\n".join(f"{name} = {value}" for name, value in {"pool_mode": "transaction", **settings}.items())
        (self._folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={self._server.hostname} port={self._server.port} user={self._server.username} "
            f"password={self._server.password}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self._port}\n"
            f"unix_socket_dir =\nauth_type = any\n{wanted}\n"
        )
        self._account.own(self._folder)

    @property
    def dsn(self) -> str:
        return f"postgresql://{self._server.username}@127.0.0.1:{self._port}{self._server.path}?sslmode=disable"

    def start(self) -> None:
        """
        Start it. It may take a moment until it lets clients in.

        It is started again if it ends, as an init system does: release 1.18 ends at some requests to cancel a statement
        (issue 822 of PgBouncer).
        """
        self._is_wanted = True
        self._process = self._started()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def _started(self) -> subprocess.Popen[bytes]:
        assert PROGRAM is not None
        return subprocess.Popen(
            [PROGRAM, "-q", str(self._folder / "pgbouncer.ini")],
            stderr=subprocess.DEVNULL,
            user=self._account.user,
            group=self._account.group,
            extra_groups=self._account.extra_groups,
        )

    def _keep(self) -> None:
        while self._is_wanted:
            self._process.wait()
            if self._is_wanted:
                self._process = self._started()

    def kill(self) -> None:
        """Kill it. It can be started again."""
        self._is_wanted = False
        while self._keeper.is_alive():
            self._process.kill()
            self._keeper.join(0.05)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

"""The example that is deployed, behind the proxies it has configurations for. Skipped where they are missing."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.checkout import ROOT
from tests.test_deployed import TEAM, address, said

__all__ = ["address"]  # the fixture

DEPLOYED = ROOT / "examples/deployed"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def nginx(folder: Path, port: int, upstream: str) -> list[str]:
    """Write nginx's configuration around the example's, with a certificate of its own. Returns the command."""
    given = (DEPLOYED / "nginx.conf").read_text("utf-8").replace("127.0.0.1:8000", upstream)
    certificate = f"ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;"
    given = re.sub("listen 443 ([^;]*);", rf"listen 127.0.0.1:{port} \1; {certificate}", given)
    places = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; error_log stderr; pid {folder}/nginx.pid; events {{}} http {{ access_log off; {places} {given} }}"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def caddy(folder: Path, port: int, upstream: str) -> list[str]:
    """Write the example's configuration of Caddy, with a certificate that Caddy makes. Returns the command."""
    given = (DEPLOYED / "Caddyfile").read_text("utf-8").replace("127.0.0.1:8000", upstream)
    given = given.replace("example.com {", f"https://localhost:{port} {{\n\ttls internal")
    options = (
        f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tstorage file_system {folder}\n}}\n"
    )
    (folder / "Caddyfile").write_text(options + given)
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES = {"nginx": nginx, "caddy": caddy}


async def certificate(folder: Path) -> None:
    """Make a certificate that nobody knows."""
    subject = ("-subj", "/CN=localhost", "-days", "2", "-nodes", "-newkey", "rsa:2048")
    files = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    making = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", *subject, *files, stderr=asyncio.subprocess.DEVNULL
    )
    assert await making.wait() == 0


@asynccontextmanager
async def running(name: str, folder: Path, upstream: str) -> AsyncIterator[tuple[str, int]]:
    """Run a proxy before the example. Yields its host and port."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    port = free_port()
    await certificate(folder)
    command = PROXIES[name](folder, port, upstream.removeprefix("http://"))
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        yield "localhost", port
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


def trusting() -> ssl.SSLContext:
    """Return settings for TLS that take any certificate, and offer HTTP/2."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def answering(client: httpx2.AsyncClient) -> None:
    """Wait until the proxy leads to the example."""
    async with asyncio.timeout(60):
        while True:
            try:
                if (await client.get(f"{TEAM}/health")).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", PROXIES)
async def test_the_chat_works_behind_a_proxy(name: str, address: str, tmp_path: Path) -> None:
    """Behind each proxy the chat is under its path, signs in, speaks HTTP/2, and an answer comes as it is written."""
    async with running(name, tmp_path, address) as (host, port):
        base = f"https://{host}:{port}"
        async with httpx2.AsyncClient(base_url=base, verify=trusting(), timeout=30) as client:
            await answering(client)
            assert (await client.get(f"{TEAM}/chat/api/conversations")).status_code == 401
            form = {"name": "ada", "password": "lovelace"}
            headers = {"Origin": base}
            response = await client.post(f"{TEAM}/sign-in", data=form, headers=headers)
            assert (response.status_code, response.headers["Location"]) == (303, f"{TEAM}/chat/")
            assert f'src="{TEAM}/chat/static/' in (await client.get(f"{TEAM}/chat/")).text
            refused = await client.post(f"{TEAM}/sign-in", data=form, headers={"Origin": "https://evil.example"})
            assert refused.status_code == 403

            made = (await client.post(f"{TEAM}/chat/api/conversations", json={}, headers=headers)).json()["id"]
            question = {"conversationId": made, "messageId": "m1", "text": "How long?"}
            async with client.stream("POST", f"{TEAM}/chat/api/chat", json=question, headers=headers) as response:
                lines = response.aiter_lines()
                await said(lines, "counts:")  # half a minute before its end
                await client.post(f"{TEAM}/chat/api/chat/{made}/stop", headers=headers)
                await said(lines, '"stopped"')
        context = trusting()
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        writer.transport.abort()

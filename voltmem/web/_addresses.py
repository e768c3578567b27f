"""
The addresses of files over HTTP. A message in the storage has "voltmem:file/…", a front end the address of the route.

Both texts are replaced in whole bodies, where they are a string of their own: in any form of message, and in metadata.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from fastapi import Request

from voltmem.parts._types import FILE_URL

_ANY_REFERENCE: Final = FILE_URL.encode()
# Behind a backslash the quotation mark belongs to a text.
_REFERENCE: Final = re.compile(rf'(?<!\\)"{FILE_URL}([0-9a-f]{{64}})"'.encode())
_HOST: Final = re.compile(r"[\w.:\[\]-]+", re.ASCII)
_PREFIX: Final = "voltmem.prefix"


def set_prefix(request: Request, route: str) -> None:
    """
    Remember where the routes are: the path of this request as it was sent, without that of the route.

    A parameter is one step of the path as it was sent; a slash in its value is %2F. Behind a proxy that cuts off a
    path, the root path is not part of it.
    """
    sent = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    prefix = "/".join(sent.decode("latin-1").split("/")[: -route.count("/")])
    root = request.scope.get("root_path", "")
    whole = prefix if unquote(prefix).startswith(root) else quote(root) + prefix
    request.scope[_PREFIX] = quote(whole, safe="/%!$&'()*+,;=:@~")


def address_of(request: Request, path: str) -> str:
    """
    Return the address of a route for the client, such as https://example.com/api/files/.

    With the host, because a page of another origin and the AI SDK read no bare paths. What a proxy says about host and
    scheme is believed: the address goes back to whoever sent the request.
    """
    return _origin(request) + str(request.scope[_PREFIX]) + path


def _origin(request: Request) -> str:
    scheme = _first(request, "x-forwarded-proto") or request.scope["scheme"]
    host = _first(request, "x-forwarded-host") or request.headers.get("host", "")
    return f"{scheme}://{host}" if scheme in ("http", "https") and _HOST.fullmatch(host) else ""


def _first(request: Request, header: str) -> str:
    return request.headers.get(header, "").partition(",")[0].strip()


def with_addresses(body: bytes, request: Request) -> bytes:
    """Return a response's JSON with the addresses of files, in place of references."""
    if _ANY_REFERENCE not in body:  # many times as fast as the pattern, which begins with a look behind
        return body
    address = address_of(request, "/files/").encode()
    return _REFERENCE.sub(lambda found: b'"' + address + found[1] + b'"', body)


def with_references(body: bytes, request: Request) -> bytes:
    """Return a request's JSON with references to files, in place of addresses: URLs with the same host, or paths."""
    if b"files" not in body:
        return body
    host = re.escape(_origin(request).partition("://")[2])
    address = re.escape(str(request.scope[_PREFIX]) + "/files/")
    # Some programs write a slash in JSON as \/.
    found = rf'(?<!\\)"(?:https?://{host})?{address}([0-9a-f]{{64}})"'.replace("/", r"\\?/")
    return re.sub(found.encode(), rb'"%b\1"' % FILE_URL.encode(), body)

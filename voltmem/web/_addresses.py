"""
The addresses of files over HTTP. A message in the storage has "voltmem:file/…", a front end the address of the route.

Both texts are replaced in whole bodies, where they are a string of their own: in any form of message, and in metadata.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from fastapi import Request

from voltmem._areas.files import FILE_URL

# Behind a backslash the quotation mark belongs to a text.
_REFERENCE: Final = re.compile(rf'(?<!\\)"{FILE_URL}([0-9a-f]{{64}})"'.encode())
_KEY: Final = "voltmem.prefix"


def set_prefix(request: Request, route: str) -> None:
    """
    Remember where the routes are: the path of this request as it was sent, without that of the route.

    A parameter is one step of the path as it was sent; a slash in its value is %2F. Behind a proxy that cuts off a
    path, the root path is not part of it.
    """
    sent = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    prefix = "/".join(sent.decode("latin-1").split("/")[: -route.count("/")])
    root = request.scope.get("root_path", "")
    request.scope[_KEY] = prefix if unquote(prefix).startswith(root) else quote(root) + prefix


def path_of(request: Request, path: str) -> str:
    """Return the path of a route for the client, such as /api/files/."""
    return str(request.scope[_KEY]) + path


def with_addresses(body: bytes, request: Request) -> bytes:
    """Return a response's JSON with the addresses of files, in place of references."""
    address = path_of(request, "/files/").encode()
    return _REFERENCE.sub(lambda found: b'"' + address + found[1] + b'"', body)


def with_references(body: bytes, request: Request) -> bytes:
    """Return a request's JSON with references to files, in place of addresses: paths, or URLs with the same host."""
    if b"files" not in body:
        return body
    host = request.headers.get("host", "")
    address = re.escape(path_of(request, "/files/"))
    found = rf'(?<!\\)"(?:https?://{re.escape(host)})?{address}([0-9a-f]{{64}})"'.replace("/", r"\\?/")  # PHP writes \/
    return re.sub(found.encode(), rb'"%b\1"' % FILE_URL.encode(), body)

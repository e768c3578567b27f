"""
Base64 in the payloads of messages, which files="extract" stores as files.

In the JSON text of the payload a token stands for it, \\u0076oltmem:file/<id>; with "/url" at its end if the base64 has
the alphabet that is safe in URLs. The database replaces the token when the payload is read
(migrations_sql/functions/fill_in_files.sql), so the payload comes back equal. to_json() never escapes a "v", and
doubles a backslash, so no other text has a token behind a quotation mark or a comma.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Final

from voltmem._model import construct_unchecked
from voltmem._values import with_strings
from voltmem.models import Message, MessageRow, NativeMessage
from voltmem.parts import File, Part, plain
from voltmem.parts._forms import read_payload
from voltmem.parts._types import FILE_URL

# Shorter base64 stays in the payload: a file would take more room.
_SHORTEST: Final = 1024
_TOKEN: Final = FILE_URL.replace("v", "\\u0076", 1)
# A whole string, or what follows ";base64," at the end of one, in JSON text. No JSON escape has characters of base64
# alone, and the run ends at a quotation mark that no backslash stands before: the end of the string.
_BASE64: Final = re.compile(rf'(?:(?<=")|(?<=;base64,))(?:[\w+/-]{{{_SHORTEST - 2},}}+)={{0,2}}(?=")', re.ASCII)
# From the alphabet that is safe in URLs.
_STANDARD: Final = str.maketrans("-_", "+/")
# Where a token is one: see above.
_TOKENS: Final = re.compile(rf'(?<=[",]){re.escape(_TOKEN)}(?=[0-9a-f]{{64}}(?:/url)?")')
EXPORTED: Final = "voltmem:inlined/"
"""What a token is in an export, where the JSON is parsed. No payload that has it already is exported with tokens."""
_EXPORTED: Final = re.compile(rf'(?<=[",]){EXPORTED}(?=([0-9a-f]{{64}})(?:/url)?")')
_DATA_URL: Final = re.compile(r"\Adata:[^,]*;base64,")


def extracted(message: Message, row: MessageRow, contents: dict[str, str]) -> tuple[Message, MessageRow]:
    """
    Return a message and its row with references in place of the base64 in the payload.

    In the returned message, which still has the payload itself, the plain content has the addresses of the files.

    Args:
        message: The message.
        row: Its row.
        contents: By its id, the base64 of each file is added.
    """
    payload = row[8]
    if payload is None or len(payload) < _SHORTEST or not isinstance(message, NativeMessage):
        return message, row
    ids: dict[str, str] = {}

    def token(found: re.Match[str]) -> str:
        data = found[0]
        if data not in ids and len(data) >= _SHORTEST and (content := _decoded(data)) is not None:
            ids[data] = sha256(content).hexdigest()
            contents[ids[data]] = data.translate(_STANDARD)
        return _TOKEN + ids[data] + ("/url" if _is_url_safe(data) else "") if data in ids else data

    payload = _BASE64.sub(token, payload)
    if not ids:
        return message, row
    said = _referring(message, ids)
    id, role, content, content_json, *_ = Message.to_row(said)
    return said, (id, role, content, content_json, *row[4:8], payload, row[9])


def exported(payload: str) -> tuple[str, bool]:
    """Return the JSON text of a payload with its tokens as they are in an export, and whether it has any."""
    text, count = _TOKENS.subn(EXPORTED, payload)
    return text, count > 0


def imported(payload: str) -> str:
    """Return the JSON text of a payload from an export with its tokens."""
    return _EXPORTED.sub(lambda _: _TOKEN, payload)


def exported_files(payload: str) -> set[str]:
    """Return the ids of the files whose content the JSON text of a payload from an export lacks."""
    return set(_EXPORTED.findall(payload))


def _decoded(data: str) -> bytes | None:
    """Return the bytes of base64 that PostgreSQL encodes identically, in either alphabet; None for anything else."""
    standard = data.translate(_STANDARD) if _is_url_safe(data) else data
    try:
        content = b64decode(standard, validate=True)
    except binascii.Error:
        return None
    return content if b64encode(content).decode() == standard else None


def _is_url_safe(data: str) -> bool:
    return ("-" in data or "_" in data) and "+" not in data and "/" not in data


def _referring(message: NativeMessage, ids: Mapping[str, str]) -> NativeMessage:
    """Return the message with the addresses of its files in the plain content, if that was derived from the payload."""
    parts = None if message.format is None else read_payload(message.format, message.payload)
    if parts is None or plain.derive_beside(message.role, parts) != (message.type, message.content):
        return message
    # Readers may give the bytes in the other alphabet.
    urls = {each: FILE_URL + id for data, id in ids.items() for each in (data, data.translate(_STANDARD))}

    def referring(part: Part) -> Part:
        return replace(part, url=urls[part.data], data="") if isinstance(part, File) and part.data in urls else part

    _, content = plain.derive(message.role, [referring(part) for part in parts])
    # The results of tools are JSON, which may have the bytes anywhere.
    content = with_strings(content, lambda each: urls.get(_DATA_URL.sub("", each, count=1), each))
    return construct_unchecked(NativeMessage, {**message.__dict__, "content": content})

"""Helpers for the tests of export and import: lines, and the export of a storage."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from voltmem import Storage

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
OTHER = "voltmem_other"


async def exported(storage: Storage, user_id: str = "ada") -> list[str]:
    """Return the lines of an export without its header, which has the time."""
    header, *lines = [line async for line in storage.export_user(user_id)]
    assert json.loads(header)["user_id"] == user_id
    return lines


def header(**changes: object) -> str:
    return json.dumps({"voltmem": 1, "kind": "header", **changes})


def line(kind: str, **values: object) -> str:
    return json.dumps({"kind": kind, **values})


def conversation(id: str, *texts: str) -> list[str]:
    """Return the lines of a conversation with these messages."""
    messages = (line("message", id=f"m{n}", role="user", content=text) for n, text in enumerate(texts))
    return [line("conversation", id=id), *messages]


END = line("end")

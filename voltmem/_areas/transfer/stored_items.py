"""Storing the items of an import."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from voltmem._areas.area import Access, off_loop_if_long
from voltmem._areas.items import ItemStatements, text_array
from voltmem._areas.transfer.pieces import ImportedItem
from voltmem._areas.transfer.result import Result
from voltmem._areas.words import USER, vector
from voltmem._values import to_json, uuid7


async def store_items(access: Access, items: Sequence[ImportedItem], result: Result) -> None:
    """Store items of the user. Those that are there already are skipped."""
    texts = [to_json(item.value) for item in items]
    row = await access.executor.fetchrow(
        access.sql(ItemStatements).store,
        result.user_id,
        [text_array(item.namespace) for item in items],
        [item.key for item in items],
        texts,
        await off_loop_if_long(sum(map(len, texts)), _vectors, items),
        [None if item.lifetime is None else str(item.lifetime) for item in items],
        *([_iso(getattr(item, name)) for item in items] for name in ("expires_at", "created_at", "updated_at")),
        uuid7(),
        repeatable=False,
    )
    assert row is not None  # the statement returns one row always
    stored = {(tuple(namespace), key) for namespace, key in json.loads(row["stored"])}
    result.items += len(stored)
    for item in items:
        if (tuple(item.namespace), item.key) not in stored:
            result.skip("item", item.key, "it is there already")


def _vectors(items: Sequence[ImportedItem]) -> list[str | None]:
    return [
        vector(json.dumps(item.value, ensure_ascii=False)).replace(USER, "") if item.searched else None
        for item in items
    ]


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()

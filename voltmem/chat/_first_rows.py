"""
The first rows of the list, as HTML: they are seen before the scripts are there, which draw them anew.

What they look like is said here and in row.js, which adds a menu, and the mark of an answer under way. Their groups go
by days in UTC, since the server does not know the time zone of who asks: near midnight, a row may get another heading
when the scripts are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from typing import Any, Final

from voltmem._areas.groups import headings
from voltmem.chat._assets import version
from voltmem.chat._carried import encoded
from voltmem.chat._languages import Language

# As in described.js: marks around words, and between them.
_AROUND: Final = re.compile(r"(?<![A-Za-z0-9])[*_]+|[*_]+(?![A-Za-z0-9])|`+|\$\$|\\[()\[\]]")
_BETWEEN: Final = re.compile(r"(?<!\S)[#>]+(?!\S)|:?-{2,}:?|\|")
_FOLDER: Final = "folder:"


def first_rows(items: Iterable[dict[str, Any]], language: Language, base: str, path: str, *, with_folders: bool) -> str:
    """
    Return the rows of conversations, as the API has them, under their headings.

    Args:
        items: In the order of the list.
        language: Of the headings, and of the name of what has no title. Months are named in English only.
        base: The address of the chat, with a slash at its end.
        path: The address of the page, whose row is the current one.
        with_folders: Whether there are folders. What is in one has no row here.
    """
    heading = headings(UTC, datetime.now(UTC))
    found = [
        (heading(item["pinned"], datetime.fromisoformat(item["updatedAt"])), _row(item, language, base, path))
        for item in items
        if not (with_folders and any(tag.startswith(_FOLDER) and tag != _FOLDER for tag in item["tags"]))
    ]
    return "".join(
        f'<section class="group"><h2 class="group-name">{escape(_name(key, label, language))}</h2>'
        f'<ul class="rows">{"".join(row for _, row in rows)}</ul></section>'
        for (key, label), rows in groupby(found, key=lambda each: each[0])
    )


def _name(key: str, label: str, language: Language) -> str:
    is_month = key[0].isdigit()
    return key if is_month and not language.tag.startswith("en") else language.text(label)


def _row(item: dict[str, Any], language: Language, base: str, path: str) -> str:
    title = (item["title"] or "").strip()
    name = title or language.text("New chat")
    preview = " ".join(_BETWEEN.sub(" ", _AROUND.sub("", item["preview"] or "")).split())
    address = f"{base}c/{encoded(item['id'])}"
    is_current, is_fork = address == path, item["forkedFrom"] is not None
    is_unread = item["unread"] and not is_current
    kinds = ["row", *(["row-unread"] if is_unread else []), *([] if title else ["row-unnamed"])]
    current = ' aria-current="page"' if is_current else ""
    icon = f'<svg class="icon" aria-hidden="true"><use href="{escape(base)}static/{version()}/icons.svg#fork"/></svg>'
    marks = [
        language.text(", {mark}").replace("{mark}", language.text(mark))
        for mark, is_so in (("unread", is_unread), ("pinned", item["pinned"]), ("a fork", is_fork))
        if is_so
    ]
    return (
        f'<li class="{" ".join(kinds)}" data-id="{escape(item["id"])}">'
        f'<a class="row-link" href="{escape(address)}"{current}>'
        f'<span class="row-title" dir="auto">{icon if is_fork else ""}{escape(name)}</span>'
        f'<span class="row-preview" dir="auto">{escape(preview)}</span>'
        f'<span class="unseen">{escape("".join(marks))}</span></a></li>'
    )

"""
ChatGPT's citations as links in Markdown.

The text of an answer has marks in place of them, and the metadata says what each mark refers to. A mark consists of
characters for private use, with the kind and the values in between; an older one looks like 【3†source】.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from voltmem.importers._shapes import Json, object_in, objects_in, string_in
from voltmem.parts._types import arguments

_MARK: Final = re.compile("\ue200([^\ue200\ue201]*)\ue201")
_SEPARATOR: Final = "\ue202"
# What remains of marks: the ends of highlighted passages, and a mark that was cut off.
_REST: Final = re.compile("[\ue200-\ue20f]")
_BRACKETS, _ESCAPED = re.compile(r"([\[\]\\])"), r"\\\1"
_OLD: Final = re.compile("【[^【】]*】")
_LONGEST_MARK: Final = 200


def with_links(text: str, metadata: Json) -> str:
    """Return the text with links in place of citations."""
    shown = dict(_explained(text, metadata))
    text = _OLD.sub(lambda mark: shown.get(mark[0], mark[0]), text)
    text = _MARK.sub(lambda mark: shown[mark[0]] if mark[0] in shown else _unexplained(mark), text)
    return _REST.sub("", text)


def link(title: str, url: str) -> str:
    """Return a link in Markdown; the title alone if the address is not one of the web."""
    if not url.startswith(("https://", "http://")):
        return title
    address = url.replace(" ", "%20").replace("(", "%28").replace(")", "%29")
    return f"[{_BRACKETS.sub(_ESCAPED, title or url)}]({address})"


def _explained(text: str, metadata: Json) -> Iterator[tuple[str, str]]:
    """Yield the marks that the metadata explains, each with what is shown in its place."""
    for reference in objects_in(metadata, "content_references"):
        yield string_in(reference, "matched_text"), _shown(reference)
    for citation in objects_in(metadata, "citations"):
        start, end = citation.get("start_ix"), citation.get("end_ix")
        if isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= start + _LONGEST_MARK:
            about = object_in(citation, "metadata")
            if name := string_in(about, "title", "name", "url"):
                yield text[start:end], f" ({link(name, string_in(about, 'url'))})"


def _shown(reference: Json) -> str:
    """Return what ChatGPT shows: its own text for it, or links to the pages."""
    if shown := string_in(reference, "alt"):
        return shown
    if reference.get("type") == "hidden":
        return ""
    addresses = reference.get("safe_urls")
    first = addresses[0] if isinstance(addresses, list) and addresses else ""
    pages = [page for name in ("items", "images", "sources") for page in objects_in(reference, name)]
    links = [link(string_in(page, "title"), string_in(page, "url")) for page in pages]
    if not any(links):
        name = string_in(reference, "title", "name")
        links = [link(name, string_in(reference, "url") or str(first))]
    found = ", ".join(filter(None, links))
    return f"({found})" if found else ""


def _unexplained(mark: re.Match[str]) -> str:
    """Return what a mark says that the metadata does not know: the name of a person or thing, the text of a link."""
    kind, *values = mark[1].split(_SEPARATOR)
    if kind == "entity" and values:
        match arguments(values[0]):
            case [_, str(name), *_]:
                return name
    return values[0] if kind in ("url", "link_title") and values else ""

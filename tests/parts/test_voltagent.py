"""show(): what VoltAgent reads of messages of others, whose agents accept no address but http's and data's."""

from __future__ import annotations

from typing import Any

import pytest

from voltmem import Message
from voltmem.parts.voltagent import show

URL = "voltmem:file/" + "1" * 64


@pytest.mark.parametrize(
    "given",
    [
        {"content": [{"type": "text", "text": "See"}, {"type": "file", "filename": "a.png", "url": URL}]},
        {
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": URL}, "name": "a.png"},
            ]
        },
        {"parts": [{"type": "text", "text": "See"}, {"type": "file", "mediaType": "a.png", "url": URL}]},
    ],
    ids=["a plain part", "OpenAI's", "a UIMessage"],
)
def test_show_names_a_stored_file(given: dict[str, Any]) -> None:
    """A file part with an address of ours would end each later run of an agent."""
    (shown,) = show([Message.of({"role": "user", **given})])

    named = shown.parts[-1]
    assert shown.parts[0] == {"type": "text", "text": "See"}
    assert named in ({"type": "text", "text": "[file: a.png]"}, {"type": "text", "text": "[file: image]"})


def test_show_leaves_other_addresses() -> None:
    """Files that VoltAgent's agents read themselves stay files."""
    data = "data:image/png;base64,AAAA"
    files = [{"type": "file", "mediaType": "image/png", "url": url} for url in ("https://x.test/a.png", data)]

    (shown,) = show([Message.of({"role": "user", "content": files})])

    assert shown.parts == files

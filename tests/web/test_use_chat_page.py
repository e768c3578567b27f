"""The code for useChat in the documentation, run in Node against a real server."""

from __future__ import annotations

import re
from typing import Final

from tests.checkout import ROOT
from tests.node import node
from tests.web.conftest import Serve, application
from voltmem import PostgresStorage
from voltmem.web._bodies import MAX_BODY_BYTES

PAGE: Final = ROOT / "docs" / "how-to" / "web.md"


async def test_the_page_for_use_chat_saves_what_is_new(storage: PostgresStorage, serve: Serve) -> None:
    """
    A new id opens as an empty chat; each save fits into a request, however long the chat; a refusal is an error.

    An answer that was asked for again replaces the old one, and saving again what is saved changes nothing.
    """
    found = re.search(r"```tsx\n(import \{ useChat.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None

    async with serve(application(storage)) as address:
        said = await node("use_chat_page.cjs", {"page": found[1], "address": address})

    assert said["begun"] == []
    assert max(said["sizes"][:-2]) < MAX_BODY_BYTES
    assert "more than 10485760 bytes" in said["error"]
    assert said["opened"] == "as it was saved"
    stored = await storage.get_messages("ada", "new")
    assert [message.id for message in stored] == [*(f"{who}{n}" for n in range(3) for who in "ua"), "u3", "again"]

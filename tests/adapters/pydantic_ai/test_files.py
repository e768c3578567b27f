"""Pictures and stored files in messages that Pydantic AI's models read."""

from __future__ import annotations

from typing import Any, Final

from pydantic_ai.messages import BinaryContent, ImageUrl, ModelRequest, UserPromptPart

from voltmem import PostgresStorage
from voltmem.adapters.pydantic_ai import VoltMemConversationStore, to_message, to_model_messages
from voltmem.models import NativeMessage

PICTURE: Final = b"\x89PNG\r\n\x1a\n" + bytes(30)
SEEN: Final[list[Any]] = [
    {"type": "text", "text": "done"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
]
CALLED: Final[list[Any]] = [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "k", "name": "look", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "k", "content": SEEN}]},
]


def test_a_picture_in_a_result_of_another_form_is_shown() -> None:
    """A model that sees pictures in tools' results gets it as Pydantic AI's own content."""
    _, returned = to_model_messages([NativeMessage.of(each) for each in CALLED])

    part: Any = returned.parts[0]
    assert part.content == ["done", BinaryContent(b"\x00\x00\x00", media_type="image/png")]


async def test_a_stored_file_in_pydantic_ais_own_form_is_filled_in_or_named(storage: PostgresStorage) -> None:
    """A model gets the bytes of a file, or its name; never an address of ours."""
    file = await storage.put_file("ada", PICTURE)
    missing = "voltmem:file/" + "1" * 64
    store = VoltMemConversationStore(storage, user_id="ada")
    for id, url in (("c1", file.url), ("c2", missing)):
        asked = ModelRequest([UserPromptPart(["See", ImageUrl(url, media_type="image/png")])])
        await storage.conversation("ada", id).add_turn([to_message(asked)])

    found: list[Any] = []
    for id in ("c1", "c2"):
        loaded = await store.load(id)
        assert loaded is not None
        found.append(loaded.messages[0].parts[0])

    assert found[0].content[1].url.startswith("data:image/png;base64,")
    assert found[1].content == "See\n[file: image/png]"

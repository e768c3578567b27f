"""Exports as other programs write them, and what is read from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

from voltmem import ImportedConversation, Skipped
from voltmem.importers import from_chatgpt

BEGAN = 1_700_000_000.5


def node(
    id: str,
    parent: str | None,
    text: Any = None,
    *,
    role: str = "user",
    time: Any = None,
    recipient: str = "all",
    name: str | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    """A node of ChatGPT's mapping. The text may be the whole content."""
    content = text if isinstance(text, Mapping) else {"content_type": "text", "parts": [text]}
    message = {
        "id": id,
        "author": {"role": role, "name": name, "metadata": {}},
        "create_time": time,
        "update_time": None,
        "content": content,
        "status": "finished_successfully",
        "weight": 1.0,
        "metadata": metadata,
        "recipient": recipient,
    }
    return {"id": id, "parent": parent, "children": [], "message": None if text is None else message}


def chat(*nodes: Mapping[str, Any], current: str | None = None, **fields: Any) -> dict[str, Any]:
    """A conversation of ChatGPT's export."""
    mapping = {each["id"]: each for each in nodes}
    return {
        "title": "Coats",
        "create_time": BEGAN,
        "update_time": BEGAN + 60,
        "mapping": mapping,
        "current_node": current or nodes[-1]["id"],
        "conversation_id": "chat-1",
        "is_archived": False,
        **fields,
    }


def the(export: object) -> ImportedConversation:
    (conversation,) = read(from_chatgpt([export]))
    return conversation


def said(conversation: ImportedConversation) -> list[tuple[str, Any]]:
    return [(message.role, message.content) for message in conversation.messages]


def read(found: Iterable[ImportedConversation | Skipped]) -> list[ImportedConversation]:
    """Return the conversations; nothing must be skipped."""
    every = list(found)
    conversations = [each for each in every if isinstance(each, ImportedConversation)]
    assert conversations == every
    return conversations


def outcomes(found: Iterable[ImportedConversation | Skipped]) -> list[str | None]:
    """Return the title of each conversation, and the id of each entry that is skipped."""
    return [each.title if isinstance(each, ImportedConversation) else each.id for each in found]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)

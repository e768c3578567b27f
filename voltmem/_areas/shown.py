"""What models are shown and nobody has said: summaries, quotes of what was recalled, working memories."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from voltmem.models import Message
from voltmem.parts import SYSTEM_ROLES

_MOST: Final = 10_000

# Hashes: the texts are long, and must not be kept after they were forgotten. Of the process and not of a storage,
# because a framework gives back what it was shown whatever object has read it.
_shown: Final[OrderedDict[int, None]] = OrderedDict()


def shown(text: str) -> str:
    """Return a text for a model, which is not stored as a message if a framework gives it back."""
    _shown[hash(text)] = None
    _shown.move_to_end(hash(text))
    if len(_shown) > _MOST:
        _shown.popitem(last=False)
    return text


def is_shown(role: str, text: str) -> bool:
    """Return whether this is the whole text of what this process has shown a model, as what the user or system says."""
    return bool(_shown) and (role == "user" or role in SYSTEM_ROLES) and hash(text) in _shown


def was_said(message: Message) -> bool:
    """
    Return whether a message is one of the conversation's own: it is not what this process has shown a model.

    Frameworks give back a window with their new messages, some of them without its ids. The whole text must be the
    same: by nothing less could a user keep what they say out of the conversation.
    """
    return not (isinstance(message.content, str) and is_shown(message.role, message.content))

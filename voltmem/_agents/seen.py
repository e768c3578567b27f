"""What a handle on a conversation has read or written."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from voltmem.models import Message

# How many ids of messages a handle remembers: enough for all answers that grow at a time.
_MESSAGES_SEEN: Final = 1000


class Seen:
    """
    What a handle has read or written: its conversation, and messages. It does not create them again.

    Who deleted them for good must not see them come back from a run that was under way. For the same reason it has the
    time at which the handle was made: the conversation is not created if the user was deleted since.
    """

    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self.conversation = False
        self.messages: dict[str, None] = {}

    def add(self, messages: Iterable[Message], storage_limit: int | None) -> None:
        """Remember messages that were stored: the newest that the limit of the storage has not deleted."""
        self.conversation = True
        self.messages.update((message.id, None) for message in messages)
        most = _MESSAGES_SEEN if storage_limit is None else min(storage_limit, _MESSAGES_SEEN)
        for id in [*self.messages][: max(len(self.messages) - most, 0)]:
            del self.messages[id]

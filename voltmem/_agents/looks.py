"""When adapters looked for conversations that did not exist: what runs did first that may create them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

_MOST: Final = 10_000


class Looks:
    """
    The moments at which an adapter's object, which serves many runs, last looked for each conversation.

    The last look counts: a run may fail, and another one begin, without a write.
    """

    def __init__(self) -> None:
        self._moments: OrderedDict[Hashable, float] = OrderedDict()

    def look(self, conversation: Hashable) -> None:
        """Remember now as the moment at which a run looked for the conversation."""
        self._moments[conversation] = time.monotonic()
        self._moments.move_to_end(conversation)
        if len(self._moments) > _MOST:
            self._moments.popitem(last=False)

    def last(self, conversation: Hashable) -> float | None:
        """Return the moment of the last look, for NativeMemory.since(); None: there was none."""
        return self._moments.get(conversation)

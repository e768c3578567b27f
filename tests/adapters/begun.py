"""Runs of adapters that began earlier."""

from __future__ import annotations

from voltmem import ConversationMemory
from voltmem._agents.looks import Looks

_EARLIER = 60.0


def begin_earlier(run: Looks | ConversationMemory) -> None:
    """
    Let the runs have begun a minute ago.

    A deletion counts for a run that began before it, up to the time in which a statement reaches the server. No test
    depends on how long that takes.
    """
    if isinstance(run, ConversationMemory):
        run._seen.began_at -= _EARLIER
    else:
        for conversation in run._moments:
            run._moments[conversation] -= _EARLIER

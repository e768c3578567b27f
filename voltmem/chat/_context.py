"""What a function that answers may know beside the messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event

from pydantic import JsonValue

from voltmem._agents.protocol import Memory
from voltmem.chat._parts import Decision


@dataclass(frozen=True)
class Context:
    """What a function may want to know about the question, beside the messages."""

    user_id: str
    """Who asks."""
    conversation_id: str
    """Where."""
    memory: Memory
    """The conversation, as an agent's memory."""
    model: str = ""
    """Which of the models the user has chosen; "" if there is no choice."""
    cancelled: Event = field(default_factory=Event)
    """Is set when nobody waits for the answer any more. A function in a thread, which nothing ends, looks at it."""
    decisions: Sequence[Decision] = ()
    """What the user has decided about the calls for which this answer had stopped; (): it is a new answer."""
    state: JsonValue = None
    """What an agent had left when it stopped for approval. Only the agent reads it."""

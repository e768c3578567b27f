"""What OpenAI's compaction session is given of a VoltMemSession, and how its deletions are told from a person's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import currentframe
from typing import TYPE_CHECKING, Final, Literal

from voltmem._areas.summaries import Range

if TYPE_CHECKING:
    from agents import TResponseInputItem

PLACEHOLDER: Final = "Items that OpenAI has compacted."
"""The text of such a summary: what it says is in the items, and partly encrypted."""

_MODULE: Final = "agents.memory.openai_responses_compaction_session"
_REPLACING: Final = frozenset({"_replace_underlying_session_items", "_run_compaction_locked", "run_compaction"})
_RESTORING: Final = frozenset({"_restore_underlying_session_items"})
_PREPARING: Final = "prepare_input_with_session"
_MOST_FRAMES: Final = 15


@dataclass(frozen=True)
class Line:
    """What a compaction can replace: all that a model is shown."""

    part: Range
    """The messages that the summary will stand for, and the summary before."""
    items: list[TResponseInputItem]
    """What a model is shown."""
    heads: int
    """How many of the items are the system message, which stays."""
    is_settled: bool
    """Whether no call waits for its result."""


@dataclass(frozen=True)
class Snapshot:
    """What the SDK asks for under a private name."""

    items: list[TResponseInputItem]
    complete: bool
    """Whether these are all."""
    replace_suffix: Callable[[int, list[TResponseInputItem]], Awaitable[bool]]
    """Replaces the items from this place on by others. False: they have changed."""


def caller() -> Literal["replacing", "restoring"] | None:
    """
    Return what the compaction session does that awaits the method which asks; None: somebody else awaits it.

    Without hooks, it clears the session it wraps before it adds what OpenAI has returned, or, after a failure, what was
    there. A session sees no difference to a person's clearing, but by the function that awaits it. Functions with other
    names are somebody else: what a person clears must be gone.
    """
    here = currentframe()
    method = here and here.f_back
    frame = method and method.f_back
    if frame is None or frame.f_globals.get("__name__") != _MODULE:
        return None
    name = frame.f_code.co_name
    return "replacing" if name in _REPLACING else "restoring" if name in _RESTORING else None


def asks_for_model() -> bool:
    """
    Return whether the method which asks is awaited by the runner for what it shows a model.

    With the limit of a RunConfig, the runner passes a number, as it does where it compares items with those it added.
    The calling functions tell the two apart. If a later SDK has others, the items are exactly those that are stored.
    """
    frame = currentframe()
    for _ in range(_MOST_FRAMES):
        frame = frame and frame.f_back
        if frame is not None and frame.f_code.co_name == _PREPARING:
            return str(frame.f_globals.get("__name__")).startswith("agents.")
    return False
